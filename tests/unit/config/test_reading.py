"""An option file that cannot work is refused in a line that names file, key and remedy, before anything is created."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml

from hat_arch import HAT, config
from hat_arch.config import ConfigError


def put(opt, key, value):
    *sections, last = key.split(".")
    for section in sections:
        opt = opt[section]
    if value is KeyError:
        del opt[last]
    else:
        opt[last] = value


WRONG = [
    # key, value, what the message says
    ("train.ema_decy", 0.9, r"train\.ema_decy: unknown key; did you mean 'ema_decay'\?"),
    ("datasets.train.use_hflp", True, r"datasets\.train\.use_hflp: unknown key; did you mean 'use_hflip'\?"),
    ("lgger", {}, r"lgger: unknown key; did you mean 'logger'\?"),
    ("val.save_imgs", True, r"val\.save_imgs: unknown key; did you mean 'save_img'\?"),
    ("logger.print_frequency", 3, r"logger\.print_frequency: unknown key; did you mean 'print_freq'\?"),
    ("path.pretrain_networkg", None, r"path\.pretrain_networkg: unknown key; did you mean 'pretrain_network_g'\?"),
    ("train.total_iter", "many", r"train\.total_iter: .*is 'many'"),
    ("train.total_iter", KeyError, r"train\.total_iter: is missing"),
    ("train.precision", "fp8", r"train\.precision: should be 'fp32', 'tf32', 'bf16' or 'fp16', is 'fp8'"),
    ("scale", "4", r"scale: should be a valid integer, is '4'"),
    ("network_g", KeyError, r"network_g: is missing"),
    ("network_g.type", "HATT", r"network_g\.type: no arch 'HATT' is registered; did you mean 'HAT'\?"),
    ("network_g.embed_dims", 12, r"network_g\.embed_dims: unknown key; did you mean 'embed_dim'\?"),
    ("network_g.num_heads", [5, 5], r"network_g: HAT cannot be built: embed_dim 12 is not a multiple of num_heads 5"),
    ("network_g.upscale", 2, r"network_g\.upscale: is 2, but scale is 4"),
    ("model_type", "HATModell", r"model_type: no model 'HATModell' is registered; did you mean 'HATModel'\?"),
    ("datasets.train.type", "PairedDataset", r"datasets\.train\.type: no dataset 'PairedDataset' is registered"),
    ("datasets.train.gt_size", 30, r"datasets\.train\.gt_size: 30 is not a multiple of scale 4"),
    ("datasets.train.batch_size_per_gpu", KeyError, r"datasets\.train: 'batch_size_per_gpu' is missing"),
    ("datasets.train.dataroot_gt", "nowhere.lmdb", r"dataroot_gt: no LMDB store 'nowhere\.lmdb' \(looked in /"),
    ("datasets.train.dataroot_gt", "nowhere", r"dataroot_gt: 'nowhere' is no LMDB store; its name must end in \.lmdb"),
    ("datasets.val.dataroot_lq", "/nowhere", r"dataroot_lq: no folder '/nowhere'\n  datasets/README\.md says how"),
    ("datasets.val.dataroot_lq", KeyError, r"datasets\.val: 'dataroot_lq' is missing"),
    ("datasets.val.meta_info_file", "no.txt", r"meta_info_file: no file 'no\.txt'"),
    ("path.pretrain_network_g", "no.pth", r"path\.pretrain_network_g: no file 'no\.pth'"),
    ("path.resume_state", "no.state", r"path\.resume_state: no file 'no\.state'"),
    ("train.optim_g.type", "Adma", r"train\.optim_g\.type: torch\.optim has no optimizer 'Adma'"),
    ("train.optim_g.learning_rate", 1.0, r"train\.optim_g\.learning_rate: unknown key"),
    ("train.scheduler.type", "Cosine", r"train\.scheduler\.type: is 'Cosine'; it may be MultiStepLR"),
    ("train.scheduler.milestone", [1], r"train\.scheduler\.milestone: unknown key; did you mean 'milestones'\?"),
    ("train.pixel_opt.type", "L3Loss", r"pixel_opt\.type: no loss 'L3Loss' is registered; did you mean 'L1Loss'\?"),
    ("val.metrics.psnr.crop_boarder", 4, r"metrics\.psnr\.crop_boarder: unknown key; did you mean 'crop_border'\?"),
    ("val.metrics.psnr.crop_border", KeyError, r"val\.metrics\.psnr: 'crop_border' is missing"),
    ("val.val_freq", KeyError, r"val\.val_freq: is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "message"), WRONG, ids=[f"{key}={value}" for key, value, _ in WRONG])
def test_a_wrong_option_is_named(options, write_options, key, value, message):
    put(options, key, value)
    file = write_options(options)
    with pytest.raises(ConfigError) as error:
        config.load(file, is_train=True)
    text = str(error.value)
    assert re.search(message, text), text
    assert text.startswith(str(file))
    assert len(text.splitlines()) <= 3


@pytest.mark.parametrize(
    ("key", "typed"),
    [("train.total_iter", "totl_iter"), ("train", "trian"), ("scale", "scal"), ("val.val_freq", "freq")],
)
def test_a_needed_key_that_is_mistyped_is_named(options, write_options, key, typed):
    *sections, name = key.split(".")
    section = options[sections[0]] if sections else options
    section[typed] = section.pop(name)
    named = ".".join([*sections, typed])
    with pytest.raises(ConfigError, match=rf"tiny\.yml:\d+: {named}: unknown key; did you mean '{name}'\?"):
        config.load(write_options(options), is_train=True)


def test_the_line_of_the_key_is_given(options, write_options):
    options["train"]["ema_decy"] = 0.9
    file = write_options(options)
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "ema_decy" in text)
    with pytest.raises(ConfigError, match=re.escape(f"{file}:{line}: train.ema_decy")):
        config.load(file, is_train=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: !!python/object/apply:os.system ['touch owned']", "a tag that could run code is refused"),
        ("name: a\nscale: 4\nname: b", ":3: repeated key 'name'"),
        ("name: [a", "tiny.yml"),
        ("name: a\n\tscale: 4", ":2: "),
        ("", "holds no keys"),
        ("- a\n- b", "holds no keys"),
    ],
)
def test_a_file_that_is_no_option_file_is_refused(write_options, tmp_path, text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        config.load(write_options(text), is_train=True)
    assert not (tmp_path / "owned").exists()


def test_a_missing_or_binary_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yml: No such file or directory"):
        config.load(tmp_path / "absent.yml", is_train=True)
    (tmp_path / "image.yml").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ConfigError, match=r"image\.yml: is not a text file"):
        config.load(tmp_path / "image.yml", is_train=True)


def test_numbers_in_scientific_notation_are_numbers(write_options):
    raw, _ = config.read(write_options("a: 1e-4\nb: !!float 2e-4\nc: -1.5E+3\nd: e4\ne: 1e4x"))
    assert raw == {"a": 1e-4, "b": 2e-4, "c": -1500.0, "d": "e4", "e": "1e4x"}


def test_good_options_become_a_plain_dict_with_defaults(options, write_options):
    del options["logger"]
    opt = config.load(write_options(options), is_train=True)
    assert type(opt) is dict and type(opt["train"]) is dict
    assert opt["logger"]["save_checkpoint_freq"] == 5000
    assert opt["val"]["suffix"] is None
    assert yaml.safe_load(yaml.safe_dump(opt)) == opt


def test_force_yml_changes_options_and_is_checked(options, write_options):
    file = write_options(options)
    overrides = ["train:ema_decay=0.5", "train:scheduler:milestones=[1, 2]", "val:suffix=x", "train:optim_g:lr=1e-5"]
    opt = config.load(file, True, overrides)
    assert opt["train"]["ema_decay"] == 0.5
    assert opt["train"]["scheduler"]["milestones"] == [1, 2]
    assert opt["train"]["optim_g"]["lr"] == 1e-5
    for wrong in ("train:ema_decy=0.5", "trian:ema_decay=0.5", "train", "train:total_iter=__import__('os')", "a=[1"):
        with pytest.raises(ConfigError):
            config.load(file, True, [wrong])


def save_weights(path: Path, net: torch.nn.Module, key: str = "params") -> str:
    torch.save({key: net.state_dict()}, path)
    return str(path)


def test_weights_must_fit_the_network(options, write_options, tmp_path):
    arguments = {k: v for k, v in options["network_g"].items() if k != "type"}
    options["path"]["pretrain_network_g"] = save_weights(tmp_path / "good.pth", HAT(**arguments))
    config.load(write_options(options), is_train=True)

    options["path"]["pretrain_network_g"] = save_weights(tmp_path / "x2.pth", HAT(**{**arguments, "upscale": 2}))
    with pytest.raises(ConfigError, match=r"does not fit network_g: 2 not in the file: upsample\.2"):
        config.load(write_options(options), is_train=True)
    options["path"]["strict_load_g"] = False
    config.load(write_options(options), is_train=True)

    options["path"]["pretrain_network_g"] = save_weights(tmp_path / "odd.pth", HAT(**arguments), "weights")
    with pytest.raises(ConfigError, match=r"param_key_g: .* has no 'params'; it has: weights"):
        config.load(write_options(options), is_train=True)

    (tmp_path / "torn.pth").write_bytes((tmp_path / "good.pth").read_bytes()[:2000])
    options["path"]["pretrain_network_g"] = str(tmp_path / "torn.pth")
    with pytest.raises(ConfigError, match=r"torn\.pth' cannot be read as weights"):
        config.load(write_options(options), is_train=True)


def test_weights_that_would_run_code_are_refused(options, write_options, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"params": Evil()}, tmp_path / "evil.pth")
    options["path"]["pretrain_network_g"] = str(tmp_path / "evil.pth")
    with pytest.raises(ConfigError, match=r"evil\.pth' cannot be read as weights"):
        config.load(write_options(options), is_train=True)
    assert not (tmp_path / "owned").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_without_a_gpu_training_runs_on_the_cpu_and_says_so(options, write_options, capsys):
    options["num_gpu"] = 8
    assert config.load(write_options(options), is_train=True)["num_gpu"] == 0
    assert "PyTorch sees no GPU" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ESRGANModel", "SRGANModel", "RealESRNetModel", "SwinIRModel"])
def test_keys_that_basicsr_models_read_are_known(options, write_options, name):
    options["model_type"] = name
    if "GAN" in name:
        options["network_d"] = {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 8}
        options["train"]["optim_d"] = {"type": "Adam", "lr": 1e-4}
        options["train"]["gan_opt"] = {"type": "GANLoss", "gan_type": "vanilla"}
        options["train"]["net_d_iters"] = 1
        options["path"]["pretrain_network_d"] = None
    if name == "RealESRNetModel":
        options["gt_usm"] = True
        options["queue_size"] = 180
    config.load(write_options(options), is_train=True)
