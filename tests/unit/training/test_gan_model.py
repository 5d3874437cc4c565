"""A step of generator and discriminator, beside BasicSR's own; what of `HATModel` holds for both networks."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import official
import pytest
import torch
from basicsr.models import build_model
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.models.srgan_model import SRGANModel
from basicsr.utils.registry import ARCH_REGISTRY
from tiny import TINY_HAT, needs_a_compiler
from torch import nn

from hat_arch import HATGANModel, RealHATGANModel, config
from hat_arch.compat.without_cuda import cuda_is_cpu
from hat_arch.config.vgg import untrained_vgg
from hat_arch.training import checkpoints
from hat_arch.training.checkpoints import CheckpointError

SGD = {"type": "SGD", "lr": 0.1}
SMALL_VGG = {**official.PERCEPTUAL, "layer_weights": {"conv1_2": 0.1, "conv2_2": 1}}


class Patches(nn.Module):
    """A discriminator whose output depends on its input alone: spectral norms also depend on the calls before."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 3, 1, 1))

    def forward(self, x):
        return self.layers(x)


@pytest.fixture
def gan_options(options, monkeypatch):
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "Patches", Patches)
    options.update(model_type="HATGANModel", network_d=dict(official.UNET))
    options["network_g"] = {**TINY_HAT, "depths": [1], "num_heads": [2]}
    options["train"].update(optim_d={"type": "Adam", "lr": 1e-3}, gan_opt=dict(official.GAN), ema_decay=0.9)
    return options


@pytest.fixture
def build(gan_options, write_options, tmp_path):
    def build(model_type="HATGANModel", usm=(), **changes):
        opt = copy.deepcopy(gan_options)
        opt["train"].update(changes)
        opt = config.load(write_options(opt), is_train=True, absent=[])
        opt.update(dist=False, rank=0, world_size=1, is_train=True, model_type=model_type)
        opt["path"].update(models=str(tmp_path), training_states=str(tmp_path), visualization=str(tmp_path))
        opt |= dict(zip(("l1_gt_usm", "percep_gt_usm", "gan_gt_usm"), usm))
        opt["high_order_degradation"] = False
        torch.manual_seed(0)
        with untrained_vgg(), cuda_is_cpu("HAT" not in model_type):
            return build_model(opt)

    return build


def batch(seed=0, size=2):
    generator = torch.Generator().manual_seed(seed)
    gt = torch.rand(size, 3, 8, 8, generator=generator).repeat_interleave(4, -1).repeat_interleave(4, -2)
    gt = (gt + 0.1 * torch.rand(gt.shape, generator=generator)).clamp(0, 1)
    return {"lq": nn.functional.avg_pool2d(gt, 4), "gt": gt}


def step(model, iteration=1, data=None):
    model.feed_data(data or batch(iteration))
    model.optimize_parameters(iteration)
    return model.log_dict


def weights(model):
    nets = ("net_g", "net_d", "net_g_ema")
    return {f"{net}.{name}": v.clone() for net in nets for name, v in getattr(model, net).state_dict().items()}


def changed(before, after):
    """Networks whose weights differ; buffers of spectral norms change with each call."""
    learnt = {name for name in before if not name.endswith(("weight_u", "weight_v"))}
    return {name.partition(".")[0] for name in learnt if not torch.equal(before[name], after[name])}


USM = {"plain": (False, False, False), "sharper": (True, True, False), "all": (True, True, True)}


@pytest.mark.parametrize("usm", USM)
def test_a_step_equals_that_of_basicsrs_real_esrgan(build, usm):
    ours, theirs = beside_basicsrs(build, USM[usm], {"type": "Adam", "lr": 1e-4, "betas": [0.9, 0.99]})
    logs = [step(model, 1, large_batch(1)) for model in (ours, theirs)]
    assert [*logs[1], "grad_norm", "grad_norm_d"] == list(logs[0]) and {"l_g_percep", "l_g_ldl"} <= logs[0].keys()
    assert {k: v for k, v in logs[0].items() if "grad_norm" not in k} == pytest.approx(logs[1], rel=1e-5)
    equal(ours, theirs)


def test_the_generator_learns_when_basicsrs_does(build):
    smooth = {"type": "Adam", "lr": 1e-3, "eps": 1e-2}  # Adam itself makes large differences of rounding errors
    ours, theirs = beside_basicsrs(build, USM["sharper"], smooth, net_d_iters=2, net_d_init_iters=2)
    for iteration in range(1, 7):
        before = weights(ours)
        logs = [step(model, iteration, large_batch(iteration)) for model in (ours, theirs)]
        learns = iteration in (4, 6)
        assert [name in log for log in logs for name in ("l_g_gan", "l_g_pix")] == [learns] * 4
        assert ("grad_norm" in logs[0]) == learns and logs[0]["grad_norm_d"] > 0
        assert ("net_g" in changed(before, weights(ours))) == learns
        equal(ours, theirs)


def beside_basicsrs(build, usm, adam, **train):
    """Our model and BasicSR's, with the same weights."""
    train |= {"optim_g": adam, "optim_d": adam, "perceptual_opt": SMALL_VGG, "ldl_opt": official.L1}
    ours, theirs = (build(name, usm, **copy.deepcopy(train)) for name in ("RealHATGANModel", "RealESRGANModel"))
    assert isinstance(ours, RealHATGANModel) and type(theirs) is RealESRGANModel
    same_start(ours, theirs)
    return ours, theirs


def large_batch(seed):
    """Of a size that can be sharpened."""
    return {name: nn.functional.interpolate(value, scale_factor=2) for name, value in batch(seed).items()}


def test_steps_equal_those_of_basicsrs_srgan(build):
    ours, theirs = build("HATGANModel"), build("SRGANModel")
    assert type(ours) is HATGANModel and type(theirs) is SRGANModel
    same_start(ours, theirs)
    for iteration in (1, 2):
        logs = [step(model, iteration) for model in (ours, theirs)]
        names = [name for name in logs[0] if "grad_norm" not in name]
        assert names == list(logs[1]) == ["l_g_pix", "l_g_gan", "l_d_real", "out_d_real", "l_d_fake", "out_d_fake"]
        equal(ours, theirs)


def same_start(ours, theirs):
    for net in ("net_g", "net_d", "net_g_ema"):
        getattr(ours, net).load_state_dict(getattr(theirs, net).state_dict())
    if ours.cri_perceptual:
        ours.cri_perceptual.load_state_dict(theirs.cri_perceptual.state_dict())


def equal(ours, theirs):
    after = weights(ours), weights(theirs)
    for name, value in after[0].items():
        torch.testing.assert_close(
            value, after[1][name], rtol=0, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("parts", [2, 3])
def test_a_batch_in_parts_gives_the_update_of_the_whole_for_both(build, gan_options, parts):
    gan_options["network_d"] = {"type": "Patches"}
    sgd = {"optim_g": dict(SGD), "optim_d": dict(SGD)}
    whole, parted = build(**copy.deepcopy(sgd)), build(accumulate=parts, **copy.deepcopy(sgd))
    for iteration in (1, 2):
        data = batch(iteration, 5)
        assert step(whole, iteration, data) == pytest.approx(step(parted, iteration, data), rel=1e-4)
    equal(whole, parted)


def test_a_bad_step_changes_neither_network_nor_average(build):
    model = build()
    step(model, 1)
    before, states = weights(model), copy.deepcopy([o.state_dict()["state"] for o in model.optimizers])
    data = batch()
    data["gt"][0, 0, 0, 0] = torch.nan
    assert step(model, 2, data)["bad_steps"] == 1
    assert not changed(before, weights(model))
    after = [o.state_dict()["state"] for o in model.optimizers]
    for old, new in zip(states, after):
        assert all(torch.equal(old[k][name], new[k][name]) for k in old for name in old[k])
    step(model, 3)
    assert changed(before, weights(model)) == {"net_g", "net_d", "net_g_ema"}


@pytest.mark.parametrize("limit", [0.01, 1e6])
def test_both_gradients_are_scaled_down_to_the_limit(build, limit):
    model = build(clip_grad_norm=limit)
    logged = step(model)
    for net, name in ((model.net_g, "grad_norm"), (model.net_d, "grad_norm_d")):
        norm = float(nn.utils.get_total_norm([p.grad for p in net.parameters()]))
        assert norm == pytest.approx(min(limit, logged[name]), rel=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_both_learn_in_any_precision(build, precision):
    model, seen = build(precision=precision), set()
    for net in (model.net_g.conv_first, model.net_d.conv0):
        net.register_forward_hook(lambda net, args, output: seen.add(output.dtype))
    logs = [dict(step(model, iteration, batch())) for iteration in range(1, 16)]
    assert seen == {{"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]}
    assert logs[-1]["l_g_pix"] < logs[0]["l_g_pix"]
    assert sum(logs[-1][f"l_d_{kind}"] for kind in ("real", "fake")) < sum(
        logs[0][f"l_d_{kind}"] for kind in ("real", "fake")
    )
    assert all(value.dtype == torch.float32 for net in (model.net_g, model.net_d) for value in net.parameters())
    assert "bad_steps" not in logs[-1]


@needs_a_compiler
def test_a_compiled_generator_learns_the_same(build, gan_options):
    gan_options["network_g"] = {"type": "MSRResNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1}
    plain, compiled = build(), build(compile=True)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for iteration in (1, 2):
        assert step(compiled, iteration) == pytest.approx(step(plain, iteration), rel=1e-3)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    assert weights(compiled).keys() == weights(plain).keys()


def test_a_step_reads_back_from_the_device_once(build, monkeypatch):
    model = build(optim_g=dict(SGD), optim_d=dict(SGD), clip_grad_norm=0.1)
    step(model, 1)
    reads = []
    for name in ("tolist", "item", "__float__", "__int__", "__bool__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda *args, name=name, original=original: (reads.append(name), original(*args))[1]
        )
    model.feed_data(batch(2))
    model.optimize_parameters(2)
    assert reads == ["tolist"]


def test_a_checkpoint_has_both_networks_and_goes_on_alike(build, gan_options, tmp_path):
    gan_options["path"]["param_key_d"] = "params"
    whole = build()
    for iteration in (1, 2):
        step(whole, iteration)
    whole.save(0, 2)
    state = checkpoints.load(tmp_path / "2.state")
    assert sorted(state["weights"]) == ["net_d_2.pth", "net_g_2.pth"] and len(state["optimizers"]) == 2
    gan_options["path"].update(
        {f"pretrain_network_{letter}": str(tmp_path / f"net_{letter}_2.pth") for letter in ("g", "d")}
    )
    other = build()
    other.resume_training(state)
    for iteration in (3, 4):
        assert step(whole, iteration) == step(other, iteration)
    assert not changed(weights(whole), weights(other))
    (tmp_path / "net_d_2.pth").unlink()
    with pytest.raises(CheckpointError, match=r"net_d_2\.pth is missing"):
        checkpoints.check_weights(state, tmp_path)


def test_a_state_without_a_discriminator_is_one_line(build, tmp_path):
    model = build()
    state = model.state(0, 2, [], {})
    alone = {**state, "optimizers": state["optimizers"][:1], "schedulers": state["schedulers"][:1]}
    model.opt["path"]["resume_state"] = "2.state"
    with pytest.raises(CheckpointError, match=r"2\.state: has 1 optimizer, HATGANModel has 2.*discriminator"):
        model.resume_training(alone)
    del alone["weights"]  # as BasicSR's own
    torch.save({}, tmp_path / "net_g_2.pth")
    with pytest.raises(CheckpointError, match=r"net_d_2\.pth is missing"):
        checkpoints.check_weights(alone, tmp_path, ["g", "d"])


def test_the_best_weights_are_the_generators(build, tmp_path):
    model = build()
    assert list(model.save_weights("best_a_psnr")) == ["net_g_best_a_psnr.pth"]
    assert sorted(path.name for path in Path(tmp_path).glob("*.pth")) == ["net_g_best_a_psnr.pth"]


def test_ldl_needs_the_average(gan_options, write_options):
    gan_options["train"].update(ldl_opt=official.L1, ema_decay=0)
    with pytest.raises(config.ConfigError, match=r"train\.ldl_opt: .*ema_decay"):
        config.load(write_options(gan_options), True)


def test_a_discriminator_starts_from_weights(build, gan_options, tmp_path, caplog):
    torch.manual_seed(1)
    network = ARCH_REGISTRY.get("UNetDiscriminatorSN")(num_in_ch=3, num_feat=4)
    torch.save({"params": network.state_dict()}, tmp_path / "d.pth")
    gan_options["path"]["pretrain_network_d"] = str(tmp_path / "d.pth")
    logging.getLogger("basicsr").propagate = True
    model = build()
    assert torch.equal(model.net_d.conv0.weight, network.conv0.weight)
