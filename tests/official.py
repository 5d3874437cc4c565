"""The keys that published option files of HAT, BasicSR, Real-ESRGAN and BSRN have, around networks of a few weights.

Each function gives an option file as a dict: all sections and keys of the kind of file it is named for.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tiny import TINY_HAT

Options = dict[str, Any]

DISK = {"type": "disk"}
LOADER = {"use_shuffle": True, "num_worker_per_gpu": 6, "batch_size_per_gpu": 4, "dataset_enlarge_ratio": 1}
LOADER |= {"prefetch_mode": None}
ADAM = {"type": "Adam", "lr": 2e-4, "weight_decay": 0, "betas": [0.9, 0.99]}
STEPS = {"type": "MultiStepLR", "milestones": [250000, 400000], "gamma": 0.5}
COSINE = {"type": "CosineAnnealingRestartLR", "periods": [300000], "restart_weights": [1], "eta_min": 1e-7}
L1 = {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
CHARBONNIER = {**L1, "type": "CharbonnierLoss"}
PERCEPTUAL = {"type": "PerceptualLoss", "layer_weights": {"conv1_2": 0.1, "conv5_4": 1}, "vgg_type": "vgg19"}
PERCEPTUAL |= {"use_input_norm": True, "range_norm": False, "perceptual_weight": 1.0, "style_weight": 0}
PERCEPTUAL |= {"criterion": "l1"}
GAN = {"type": "GANLoss", "gan_type": "vanilla", "real_label_val": 1.0, "fake_label_val": 0.0, "loss_weight": 0.1}
PSNR = {"type": "calculate_psnr", "crop_border": 4, "test_y_channel": True}
LOGGER = {"print_freq": 100, "save_checkpoint_freq": 5e3, "use_tb_logger": True}
LOGGER |= {"wandb": {"project": None, "resume_id": None}}
DIST = {"backend": "nccl", "port": 29500}
MSRRESNET = {"type": "MSRResNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "upscale": 4}
RRDBNET = {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "num_grow_ch": 4}
UNET = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4, "skip_connection": True}
SPYNET = "experiments/pretrained_models/flownet/spynet.pth"


def paired(name: str, **more: Any) -> Options:
    roots = {"dataroot_gt": f"datasets/{name}/GT", "dataroot_lq": f"datasets/{name}/LR"}
    return {"name": name, "type": "PairedImageDataset", **roots, "io_backend": dict(DISK), **more}


def training(network: Options, model: str = "SRModel", **train: Any) -> Options:
    """A training on pairs with a validation."""
    data = paired("DF2K", gt_size=64, use_hflip=True, use_rot=True, filename_tmpl="{}", **LOADER)
    recipe = {"ema_decay": 0.999, "optim_g": ADAM, "scheduler": STEPS, "total_iter": 500000, "warmup_iter": -1}
    opt: Options = {
        "name": "train_it",
        "model_type": model,
        "scale": 4,
        "num_gpu": "auto",
        "manual_seed": 0,
        "datasets": {"train": data, "val": paired("Set5"), "val_2": paired("Set14")},
        "network_g": network,
        "path": {"pretrain_network_g": None, "param_key_g": "params", "strict_load_g": True, "resume_state": None},
        "train": {**recipe, "pixel_opt": L1, **train},
        "val": {"val_freq": 5e3, "save_img": False, "pbar": False, "metrics": {"psnr": {**PSNR, "better": "higher"}}},
        "logger": LOGGER,
        "dist_params": DIST,
    }
    return deepcopy(opt)


def testing(network: Options, model: str = "SRModel", **more: Any) -> Options:
    opt: Options = {
        "name": "test_it",
        "model_type": model,
        "scale": 4,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {"test_1": paired("Set5"), "test_2": paired("Set14")},
        "network_g": network,
        "path": {"pretrain_network_g": "experiments/pretrained_models/it.pth", "strict_load_g": True},
        "val": {"save_img": True, "suffix": None, "metrics": {"psnr": PSNR}},
        **more,
    }
    return deepcopy(opt)


# HAT


def hat_training() -> Options:
    opt = training(TINY_HAT, "HATModel")
    opt["datasets"]["train"] |= {"meta_info_file": None}
    del opt["datasets"]["train"]["filename_tmpl"]
    return opt


def hat_imagenet() -> Options:
    opt = training(TINY_HAT, "HATModel")
    data = opt["datasets"]["train"]
    del data["filename_tmpl"]
    data |= {"type": "ImageNetPairedDataset", "meta_info_file": "datasets/imagenet/map.txt"}
    return opt


def hat_tiles() -> Options:
    path = {"pretrain_network_g": "experiments/pretrained_models/HAT_SRx4.pth", "strict_load_g": True}
    path |= {"param_key_g": "params_ema"}
    return testing(TINY_HAT, "HATModel", tile={"tile_size": 16, "tile_pad": 4}, path=path)


def hat_real_test() -> Options:
    """Without ``val:``."""
    single = {"name": "custom", "type": "SingleImageDataset", "dataroot_lq": "input_dir", "io_backend": DISK}
    opt = hat_tiles()
    opt["datasets"] = {"test_1": single}
    del opt["val"]
    return opt


def degradations() -> Options:
    """Keys on top and in ``datasets: train`` of Real-ESRGAN's training files, by their place."""
    top: Options = {"gt_size": 64, "queue_size": 180}
    data: Options = {"final_sinc_prob": 0.8}
    for order in ("", "2"):
        top |= {f"resize_prob{order}": [0.2, 0.7, 0.1], f"resize_range{order}": [0.3, 1.5]}
        top |= {f"gaussian_noise_prob{order}": 0.5, f"noise_range{order}": [1, 30]}
        top |= {f"poisson_scale_range{order}": [0.05, 3], f"gray_noise_prob{order}": 0.4}
        top |= {f"jpeg_range{order}": [30, 95]}
        data |= {f"blur_kernel_size{order}": 21, f"kernel_list{order}": ["iso", "aniso"]}
        data |= {f"kernel_prob{order}": [0.6, 0.4], f"sinc_prob{order}": 0.1, f"blur_sigma{order}": [0.2, 3]}
        data |= {f"betag_range{order}": [0.5, 4], f"betap_range{order}": [1, 2]}
    return {"top": {**top, "second_blur_prob": 0.8}, "data": data}


def real_mse(network: Options = TINY_HAT, model: str = "RealHATMSEModel") -> Options:
    """As the official HAT's: a list of images that its data set does not read, an optimizer for no discriminator."""
    opt = training(network, model, optim_d=ADAM)
    keys = degradations()
    opt |= {"gt_usm": True, **keys["top"]}
    data = opt["datasets"]["train"]
    del data["filename_tmpl"], data["dataroot_lq"], opt["val"], opt["datasets"]["val"], opt["datasets"]["val_2"]
    data |= {"type": "RealESRGANDataset", "meta_info_file": "hat/meta_info.txt", "use_rot": False, **keys["data"]}
    return opt


def real_gan(network: Options = TINY_HAT, model: str = "RealHATGANModel") -> Options:
    opt = real_mse(network, model)
    del opt["gt_usm"]
    opt |= {"l1_gt_usm": True, "percep_gt_usm": True, "gan_gt_usm": False, "network_d": dict(UNET)}
    opt["train"] |= {"perceptual_opt": PERCEPTUAL, "gan_opt": GAN, "net_d_iters": 1, "net_d_init_iters": 0}
    opt["path"] |= {"pretrain_network_g": "experiments/pretrained_models/Real_HAT_x4.pth", "param_key_g": "params_ema"}
    return deepcopy(opt)


# Real-ESRGAN


def realesrgan() -> Options:
    opt = real_gan(RRDBNET, "RealESRGANModel")
    data = opt["datasets"]["train"]
    data["meta_info"] = data.pop("meta_info_file")
    opt["path"] |= {"pretrain_network_d": "experiments/d.pth", "param_key_d": "params", "strict_load_d": True}
    return opt


def realesrgan_pairs() -> Options:
    opt = realesrgan()
    for key in degradations()["top"]:
        del opt[key]
    opt["high_order_degradation"] = False
    opt["datasets"]["train"] = paired(
        "mine", gt_size=64, use_hflip=True, use_rot=False, meta_info="pairs.txt", **LOADER
    )
    opt["datasets"]["train"]["type"] = "RealESRGANPairedDataset"
    return opt


def realesrnet() -> Options:
    opt = real_mse(RRDBNET, "RealESRNetModel")
    del opt["train"]["optim_d"]
    data = opt["datasets"]["train"]
    data["meta_info"] = data.pop("meta_info_file")
    return opt


def ldl() -> Options:
    opt = realesrgan()
    opt["train"]["ldl_opt"] = L1
    opt["datasets"]["val"] = {"name": "v", "type": "SingleImageDataset", "dataroot_lq": "LR", "io_backend": DISK}
    opt["val"] = {"val_freq": 5e3, "save_img": True}
    return opt


# BasicSR


def msrresnet() -> Options:
    opt = training(MSRRESNET, scheduler={**COSINE, "periods": [250000] * 2, "restart_weights": [1] * 2})
    opt["val"]["metrics"]["niqe"] = {"type": "calculate_niqe", "crop_border": 4, "better": "lower"}
    return opt


def esrgan() -> Options:
    discriminator = {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 4}
    opt = training(RRDBNET, "ESRGANModel", optim_d=ADAM, perceptual_opt=PERCEPTUAL, gan_opt=GAN, net_d_iters=1)
    opt["train"]["net_d_init_iters"] = 0
    opt["datasets"]["train"]["gt_size"] = 128
    return {**opt, "network_d": discriminator}


def swinir() -> Options:
    network = {key: TINY_HAT[key] for key in ("upscale", "img_size", "window_size", "depths", "embed_dim", "num_heads")}
    network |= {"type": "SwinIR", "in_chans": 3, "img_range": 1.0, "mlp_ratio": 2, "upsampler": "pixelshuffle"}
    return training({**network, "resi_connection": "1conv"}, "SwinIRModel")


def ecbsr() -> Options:
    network = {"type": "ECBSR", "num_in_ch": 1, "num_out_ch": 1, "num_block": 1, "num_channel": 4, "with_idt": False}
    opt = training({**network, "act_type": "prelu", "scale": 4}, ema_decay=0)
    for data in opt["datasets"].values():
        data["color"] = "y"
    return opt


def rcan_test() -> Options:
    """Of an older BasicSR: keys on top that are gone, no ``val:``."""
    network = {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_group": 1, "num_block": 1}
    network |= {"squeeze_factor": 2, "upscale": 4, "res_scale": 1, "img_range": 255.0, "rgb_mean": [0.45, 0.44, 0.4]}
    opt = testing(network, suffix=None, crop_border=None, save_img=True)
    del opt["val"]
    return opt


def bsrn_test() -> Options:
    opt = testing(MSRRESNET, suffix=None, crop_border=None)
    opt["val"]["pbar"] = True
    return opt


def bsrn() -> Options:
    opt = training(MSRRESNET)
    del opt["train"]["ema_decay"]
    opt["logger"]["wandb"]["entity"] = None
    return opt


def stylegan2() -> Options:
    """Without ``scale:``."""
    opt = training({"type": "StyleGAN2Generator", "out_size": 32, "num_style_feat": 8, "num_mlp": 1}, "StyleGAN2Model")
    opt["network_g"] |= {"channel_multiplier": 1, "resample_kernel": [1, 3, 3, 1], "lr_mlp": 0.01}
    opt["network_d"] = {"type": "StyleGAN2Discriminator", "out_size": 32, "channel_multiplier": 1}
    data = {"name": "FFHQ", "type": "FFHQDataset", "dataroot_gt": "ffhq.lmdb", "io_backend": {"type": "lmdb"}}
    opt["datasets"] = {"train": {**data, "use_hflip": True, "mean": [0.5] * 3, "std": [0.5] * 3, **LOADER}}
    opt["val"] = {"val_freq": 5e3, "save_img": True}
    del opt["scale"], opt["train"]["pixel_opt"], opt["train"]["ema_decay"]
    opt["train"] |= {"optim_d": ADAM, "gan_opt": {"type": "GANLoss", "gan_type": "wgan_softplus", "loss_weight": 1.0}}
    opt["train"] |= {"r1_reg_weight": 10, "path_batch_shrink": 2, "path_reg_weight": 2, "net_g_reg_every": 4}
    opt["train"] |= {"net_d_reg_every": 16, "mixing_prob": 0.9, "net_d_iters": 1, "net_d_init_iters": 0}
    return deepcopy(opt)


def hifacegan() -> Options:
    opt = training({"type": "HiFaceGAN", "num_in_ch": 3, "num_feat": 4, "use_vae": False, "z_dim": 8}, "HiFaceGANModel")
    opt["network_g"] |= {"crop_size": 64, "norm_g": "spectralspadebatch3x3", "is_train": False}
    opt["network_d"] = {"type": "HiFaceGANDiscriminator", "num_in_ch": 3, "num_out_ch": 3, "conditional_d": True}
    opt["network_d"] |= {"num_feat": 4, "norm_d": "spectralinstance"}
    opt["scale"] = 1
    del opt["train"]["pixel_opt"], opt["train"]["ema_decay"]
    weights = {"relu1_1": 0.03, "relu5_1": 1.0}
    opt["train"] |= {"perceptual_opt": {**PERCEPTUAL, "layer_weights": weights}, "optim_d": ADAM, "net_d_iters": 1}
    opt["train"] |= {"gan_opt": {**GAN, "type": "MultiScaleGANLoss", "gan_type": "lsgan"}, "net_d_init_iters": 0}
    opt["train"]["feature_matching_opt"] = {"type": "GANFeatLoss", "loss_weight": 10.0, "criterion": "l1"}
    return deepcopy(opt)


def video(network: Options, model: str, dataset: str, tested: str, **train: Any) -> Options:
    opt = training(network, model, scheduler=COSINE, total_iter=300000, pixel_opt=CHARBONNIER, **train)
    data = paired("REDS", gt_size=64, use_hflip=True, use_rot=True, meta_info_file="REDS_GT.txt", **LOADER)
    data |= {"type": dataset, "val_partition": "REDS4", "num_frame": 5, "interval_list": [1], "random_reverse": False}
    val = {**paired("REDS4"), "type": tested, "cache_data": False, "num_frame": 5}
    opt["datasets"] = {"train": data, "val": val}
    return {**opt, "find_unused_parameters": True}


def edvr() -> Options:
    network = {"type": "EDVR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_frame": 5, "deformable_groups": 8}
    network |= {"num_extract_block": 1, "num_reconstruct_block": 1, "center_frame_idx": None, "hr_in": False}
    network |= {"with_predeblur": False, "with_tsa": True}
    opt = video(network, "EDVRModel", "REDSDataset", "VideoTestDataset", tsa_iter=50000, dcn_lr_mul=1)
    opt["datasets"]["train"]["dataroot_flow"] = None
    opt["datasets"]["val"] |= {"padding": "reflection_circle", "meta_info_file": "REDS4.txt"}
    return opt


def basicvsr() -> Options:
    network = {"type": "BasicVSR", "num_feat": 4, "num_block": 1, "spynet_path": SPYNET}
    recurrent = ("REDSRecurrentDataset", "VideoRecurrentTestDataset")
    opt = video(network, "VideoRecurrentModel", *recurrent, fix_flow=5000, flow_lr_mul=0.125)
    opt["datasets"]["train"]["test_mode"] = False
    return opt


def basicvsr_gan() -> Options:
    opt = basicvsr()
    opt["model_type"] = "VideoRecurrentGANModel"
    opt["network_d"] = {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 4, "input_size": 128}
    opt["train"] |= {"lr_flow": 0.0, "fix_flow": None, "optim_d": ADAM, "perceptual_opt": PERCEPTUAL, "gan_opt": GAN}
    del opt["train"]["flow_lr_mul"]
    return deepcopy(opt)


def video_test(network: Options, model: str, dataset: str, **data: Any) -> Options:
    opt = testing(network, model)
    section = {**paired("Vid4"), "type": dataset, "cache_data": False, "num_frame": 7, **data}
    opt["datasets"] = {"test": section}
    return opt


def duf_test() -> Options:
    network = {"type": "DUF", "scale": 4, "num_layer": 16, "adapt_official_weights": True}
    more = {"padding": "reflection_circle", "use_duf_downsampling": True}
    return video_test(network, "VideoBaseModel", "VideoTestDUFDataset", **more)


def toflow_test() -> Options:
    network = {"type": "TOFlow", "adapt_official_weights": True}
    return {**video_test(network, "VideoBaseModel", "VideoTestDataset", padding="reflection_circle"), "save_img": True}


def basicvsr_test() -> Options:
    network = {"type": "BasicVSR", "num_feat": 4, "num_block": 1, "spynet_path": SPYNET}
    opt = video_test(network, "VideoRecurrentModel", "VideoTestVimeo90KDataset", meta_info_file="Vimeo90K.txt")
    opt["val"] |= {"flip_seq": True, "center_frame_only": True}
    return opt


TRAINING = (hat_training, hat_imagenet, real_mse, real_gan, realesrgan, realesrgan_pairs, realesrnet, ldl, msrresnet)
TRAINING += (esrgan, swinir, ecbsr, bsrn, stylegan2, hifacegan, edvr, basicvsr, basicvsr_gan)
TESTING = (hat_tiles, hat_real_test, rcan_test, bsrn_test, duf_test, toflow_test, basicvsr_test)
