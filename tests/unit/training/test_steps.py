"""One training step of HATModel: its parts, precisions, average, bad gradients; and what validation and saving do."""

from __future__ import annotations

import copy
import logging
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from basicsr.models.base_model import BaseModel
from basicsr.utils.registry import ARCH_REGISTRY
from tiny import needs_a_compiler
from torch import nn
from torch.nn import functional as F

from hat_arch import config
from hat_arch.archs.kernels import PLAIN, Kernels
from hat_arch.training import checkpoints, hat_model
from hat_arch.training.hat_model import TrainingError
from hat_arch.training.random_state import random_states, set_random_states
from hat_arch.utils.errors import UserError

SGD = {"type": "SGD", "lr": 0.1}


class OneLayer(nn.Module):
    def __init__(self, upscale: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 3 * upscale**2, 3, 1, 1), nn.PixelShuffle(upscale))

    def forward(self, x):
        return self.layers(x)


class NetworkWithBatchNorm(nn.Module):
    def __init__(self, upscale: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 3 * upscale**2, 3, 1, 1))
        self.shuffle = nn.PixelShuffle(upscale)

    def forward(self, x):
        return self.shuffle(self.body(x))


@pytest.fixture
def build(options, write_options, tmp_path, monkeypatch):
    for network in (OneLayer, NetworkWithBatchNorm):
        monkeypatch.setitem(ARCH_REGISTRY._obj_map, network.__name__, network)

    def build(**changes):
        options["train"].update(changes)
        opt = config.load(write_options(options), is_train=True)
        opt.update(dist=False, rank=0, world_size=1, is_train=True)
        opt["path"].update(models=str(tmp_path), training_states=str(tmp_path), visualization=str(tmp_path))
        torch.manual_seed(0)
        return build_model(opt)

    return build


@pytest.fixture
def log(caplog):
    logging.getLogger("basicsr").propagate = True
    with caplog.at_level(logging.INFO, "basicsr"):
        yield caplog


def batch(seed=0, size=2):
    gt = torch.rand(size, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return {"lq": F.avg_pool2d(gt, 4), "gt": gt}


def step(model, iteration=1, data=None):
    model.feed_data(data or batch(iteration))
    model.optimize_parameters(iteration)
    return model.log_dict


def test_a_step_computes_by_what_is_faster_here_and_a_resumed_run_keeps_it(build, monkeypatch):
    def fastest(answer):
        monkeypatch.setattr(hat_model, "fastest_kernels", lambda *_, learning: answer if learning else "?")

    models, other = {}, Kernels("onednn", "products")
    for kernels in (PLAIN, other):
        fastest(kernels)
        models[kernels] = build()
        step(models[kernels])
    weights = [list(model.net_g.parameters()) for model in models.values()]
    assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(*weights))
    assert [model.kernels for model in models.values()] == [PLAIN, other]

    state = models[other].state(0, 1, [], {})
    fastest(PLAIN)
    resumed, elsewhere = build(), build()
    resumed.resume_training(copy.deepcopy(state))
    step(resumed, 2)
    assert resumed.kernels == other
    elsewhere.resume_training({**state, "kernels": [*other, "another processor"]})
    step(elsewhere, 2)
    assert elsewhere.kernels == PLAIN


def test_all_processes_compute_by_what_the_first_says(build, monkeypatch):
    other = Kernels("onednn", "products")

    def broadcast(found):
        found[0] = other

    monkeypatch.setattr(hat_model, "fastest_kernels", lambda *_, **__: pytest.fail("measured here"))
    monkeypatch.setattr(hat_model.distributed, "broadcast_object_list", broadcast)
    for earlier in (None, PLAIN):  # from a checkpoint, on machines of several kinds
        model = build()
        model.feed_data(batch(1))
        model.opt.update(dist=True, rank=1)
        model.earlier_kernels = earlier
        assert model.fastest_kernels() == other


def test_a_loss_on_spectra_is_added_and_logged(build):
    model, plain = build(fft_opt={"type": "SpectralL1Loss", "loss_weight": 0.5}), build(fft_opt=None)
    losses = step(model)
    assert losses["l_pix"] == step(plain)["l_pix"] and losses["l_fft"] > 0 and "l_fft" not in plain.log_dict
    gradients = [next(iter(m.net_g.parameters())).grad for m in (model, plain)]
    assert not torch.allclose(*gradients)


def bad_batch():
    data = batch()
    data["lq"][0, 0, 0, 0] = torch.nan
    return data


def weights(model):
    return {name: value.clone() for name, value in model.net_g.state_dict().items()}


def assert_equal(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("parts", [2, 3, 9])
def test_a_batch_in_parts_gives_the_update_of_the_whole(build, parts):
    whole, parted = build(optim_g=dict(SGD)), build(optim_g=dict(SGD), accumulate=parts)
    calls = []
    parted.net_g.register_forward_hook(lambda net, args, output: calls.append(len(output)))
    for iteration in (1, 2):
        losses = step(whole, iteration, batch(iteration, 5)), step(parted, iteration, batch(iteration, 5))
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert calls == {2: [3, 2] * 2, 3: [2, 2, 1] * 2, 9: [1] * 10}[parts]
    for a, b in zip(whole.net_g.parameters(), parted.net_g.parameters()):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("limit", [0.01, 1e6])
def test_the_gradient_is_scaled_down_to_the_limit(build, limit):
    model = build(optim_g=dict(SGD), clip_grad_norm=limit)
    net = copy.deepcopy(model.net_g)
    data = batch()
    F.l1_loss(net(data["lq"]), data["gt"]).backward()
    norm = nn.utils.clip_grad_norm_(net.parameters(), limit)
    logged = step(model, data=data)["grad_norm"]
    assert logged == pytest.approx(float(norm)) and (logged > limit) == (limit < 1)
    clipped = nn.utils.get_total_norm([p.grad for p in model.net_g.parameters()])
    assert float(clipped) == pytest.approx(min(limit, logged), rel=1e-4)
    for a, b in zip(net.parameters(), model.net_g.parameters()):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("network", ["HAT", "NetworkWithBatchNorm"])
def test_the_average_is_basicsrs_to_the_bit_and_has_the_buffers(build, options, network):
    if network != "HAT":
        options["network_g"] = {"type": network, "upscale": 4}
    model = build(ema_decay=0.9)
    reference = copy.deepcopy(model.net_g_ema)
    for iteration in (1, 2, 3):
        step(model, iteration)
        ours, model.net_g_ema = model.net_g_ema, reference
        BaseModel.model_ema(model, 0.9)
        model.net_g_ema = ours
    names = dict(model.net_g.named_parameters())
    assert_equal(*(dict(net.named_parameters()) for net in (ours, reference)))
    assert_equal(dict(ours.named_buffers()), dict(model.net_g.named_buffers()))
    assert any(not torch.equal(value, names[name]) for name, value in ours.named_parameters())
    if network != "HAT":
        assert ours.body[1].num_batches_tracked == 3 and ours.body[1].running_mean.any()


@pytest.fixture
def tf32_put_back():
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    yield
    for backend, allowed in zip(backends, before):
        backend.allow_tf32 = allowed


@pytest.mark.parametrize("precision", ["bf16", "fp16", "tf32"])
def test_weights_and_average_stay_in_fp32(build, precision, tf32_put_back):
    model = build(precision=precision, ema_decay=0.9)
    seen = set()
    model.net_g.conv_first.register_forward_hook(lambda net, args, output: seen.add(output.dtype))
    losses = [step(model, iteration, batch())["l_pix"] for iteration in range(1, 6)]
    assert losses[-1] < losses[0]
    assert seen == {{"bf16": torch.bfloat16, "fp16": torch.float16, "tf32": torch.float32}[precision]}
    assert model.output.dtype == torch.float32
    for net in (model.net_g, model.net_g_ema):
        assert all(value.dtype == torch.float32 for value in net.parameters())
    if precision == "tf32":
        assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32


def test_the_scale_of_fp16_goes_on_from_a_state(build):
    model = build(precision="fp16")
    first = model.scaler.get_scale()
    step(model, 1)
    step(model, 2, bad_batch())
    assert model.scaler.get_scale() == first / 2
    file = Path(model.opt["path"]["training_states"]) / "2.state"
    model.save(0, 2)
    state = checkpoints.load(file)
    other = build(precision="fp16")
    other.resume_training(state)
    assert other.scaler.get_scale() == first / 2 and other.scaler.state_dict() == model.scaler.state_dict()
    assert other.bad_steps == 1
    other.net_g.load_state_dict(model.net_g.state_dict())
    assert step(model, 3) == step(other, 3)
    build(precision="fp32").resume_training(state)  # another precision goes on, too


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_step_without_a_finite_gradient_changes_nothing_but_the_count(build, precision, log):
    model = build(ema_decay=0.9, precision=precision)
    assert "bad_steps" not in step(model, 1)
    before = weights(model), copy.deepcopy(model.net_g_ema.state_dict())
    adam = copy.deepcopy(model.optimizer_g.state_dict()["state"])
    logged = step(model, 2, bad_batch())
    assert logged["bad_steps"] == 1 and not np.isfinite(logged["grad_norm"])
    assert "iteration 2: loss or gradient is not finite; the step is passed over" in log.text
    assert_equal(before[0], weights(model))
    assert_equal(before[1], model.net_g_ema.state_dict())
    for key, values in model.optimizer_g.state_dict()["state"].items():
        assert_equal(adam[key], values)
    assert step(model, 3)["bad_steps"] == 1
    assert any(not torch.equal(before[0][name], value) for name, value in model.net_g.state_dict().items())


@pytest.mark.parametrize("made_for_bf16", [False, True])
def test_auto_is_bf16_where_the_device_is_made_for_it(build, monkeypatch, made_for_bf16):
    monkeypatch.setattr(hat_model, "fast_in_bf16", lambda device: made_for_bf16)
    model = build(precision="auto")
    seen = set()
    model.net_g.conv_first.register_forward_hook(lambda net, args, output: seen.add(output.dtype))
    step(model)
    assert seen == {torch.bfloat16 if made_for_bf16 else torch.float32}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_step_reads_back_from_the_device_once(build, precision, monkeypatch):
    """On a GPU, each time that a number of a tensor is asked for waits for all that was computed."""
    model = build(ema_decay=0.9, precision=precision, clip_grad_norm=0.1)
    step(model, 1)
    reads = []
    for name in ("tolist", "item", "__float__", "__int__", "__bool__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda *args, name=name, original=original: (reads.append(name), original(*args))[1]
        )
    model.feed_data(batch(2))
    model.optimize_parameters(2)
    of_adam = ["item"] * len(list(model.net_g.parameters()))  # its counters lie on the CPU
    assert [read for read in reads if read != "item"] == ["tolist"] and len(reads) <= 1 + len(of_adam)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_step_synchronizes_a_gpu_once(build, options):
    options["num_gpu"] = 1
    model = build(ema_decay=0.9, precision="bf16", clip_grad_norm=0.1)
    for iteration in (1, 2):
        step(model, iteration)
    model.feed_data(batch(3))
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.optimize_parameters(3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len([warning for warning in caught if "synchroniz" in str(warning.message)]) <= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("optimizer", [SGD, {"type": "AdamW", "lr": 1e-4, "fused": True}], ids=lambda it: it["type"])
def test_a_recorded_step_trains_like_any_other(build, options, precision, optimizer):
    options["num_gpu"] = 1
    options["network_g"]["drop_path_rate"] = 0.0
    train = {"precision": precision, "ema_decay": 0.9, "clip_grad_norm": 0.1, "optim_g": dict(optimizer)}
    plain, recorded = build(**train), build(**train, cuda_graph=True)
    for iteration in range(1, 6):
        data = bad_batch() if iteration == 3 else batch(iteration, 1 if iteration == 4 else 2)
        losses = step(plain, iteration, dict(data)), step(recorded, iteration, dict(data))
        assert losses[0] == pytest.approx(losses[1], rel=1e-2 if precision != "fp32" else 1e-4, nan_ok=True)
    assert recorded.recorded is not None and plain.recorded is None and recorded.bad_steps == 1
    for nets in ((plain.net_g, recorded.net_g), (plain.net_g_ema, recorded.net_g_ema)):
        for a, b in zip(*(net.parameters() for net in nets)):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5 if precision == "fp32" else 2e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_network_that_cannot_be_recorded_is_named(build, options, monkeypatch):
    class Waits(OneLayer):
        def forward(self, x):
            return super().forward(x) * float(x.mean())

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "Waits", Waits)
    options.update(num_gpu=1, network_g={"type": "Waits"})
    with pytest.raises(TrainingError, match=r"^train: cuda_graph: Waits cannot be recorded: \w+: "):
        step(build(cuda_graph=True))


def test_without_a_gpu_nothing_is_recorded_and_that_is_said(build, options, log):
    options["num_gpu"] = 0
    model = build(cuda_graph=True)
    step(model)
    assert model.recorded is None
    assert "train: cuda_graph: there is no GPU, and nothing to record" in log.text


def test_recording_is_for_one_process(build):
    model = build()
    with pytest.raises(TrainingError, match=r"^train: cuda_graph: .* --gpus"):
        type(model)({**model.opt, "dist": True, "train": {**model.train_opt, "cuda_graph": True}})


@pytest.mark.parametrize(
    "train, network", [({"compile": True}, {}), ({"accumulate": 2}, {}), ({}, {"use_checkpoint": True})]
)
def test_what_recording_does_not_go_with(build, options, train, network):
    options["network_g"].update(network)
    (other,) = {**train, **network}
    with pytest.raises(UserError, match=rf"train.cuda_graph: does not go with \w+: {other}"):
        build(**train, cuda_graph=True)


def test_nan_in_the_ground_truth_alone_is_a_bad_step(build):
    """The gradient of L1 is finite there."""
    data = batch()
    data["gt"][0, 0, 0, 0] = float("nan")
    model = build()
    before = weights(model)
    assert step(model, 1, data)["bad_steps"] == 1
    assert_equal(before, weights(model))


def test_too_many_bad_steps_in_a_row_end_training(build):
    model = build(max_bad_steps=3)
    for iteration, bad in enumerate((True, True, False, True, True), 1):
        step(model, iteration, bad_batch() if bad else None)
    with pytest.raises(TrainingError, match=r"^iteration 6: 3 steps in a row were not finite\. .*last checkpoint$"):
        step(model, 6, bad_batch())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_fused_adamw(build, precision):
    plain, fused = (
        build(optim_g={"type": "AdamW", "lr": 1e-3, "fused": fused}, precision=precision) for fused in (False, True)
    )
    for iteration in (1, 2):
        assert step(fused, iteration) == pytest.approx(step(plain, iteration), rel=1e-4)
    state = copy.deepcopy(fused.state(0, 2, [], {}))
    other = build(optim_g={"type": "AdamW", "lr": 1e-3, "fused": True}, precision=precision)
    other.net_g.load_state_dict(fused.net_g.state_dict())
    other.resume_training({**state, "random": [random_states()]})
    assert step(other, 3) == step(fused, 3)


def test_channels_last_changes_no_loss(build):
    plain, last = build(), build(channels_last=True)
    assert last.net_g.conv_first.weight.is_contiguous(memory_format=torch.channels_last)
    for iteration in range(1, 5):
        assert step(last, iteration)["l_pix"] == pytest.approx(step(plain, iteration)["l_pix"], rel=1e-5)
    assert not last.lq.is_contiguous()


@needs_a_compiler
def test_a_compiled_network_learns_the_same_and_keeps_its_names(build, options):
    options["network_g"] = {"type": "OneLayer", "upscale": 4}
    plain, compiled = build(), build(compile=True)
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    for iteration in (1, 2):
        assert step(compiled, iteration)["l_pix"] == pytest.approx(step(plain, iteration)["l_pix"], rel=1e-5)
    assert counters["stats"]["unique_graphs"] >= 1
    assert weights(compiled).keys() == weights(plain).keys() == compiled.net_g_ema.state_dict().keys()


def val_loader(model):
    opt = {**model.opt["datasets"]["val"], "phase": "val", "scale": 4}
    return build_dataloader(build_dataset(opt), opt)


def test_validation_draws_no_random_numbers(build):
    model = build()
    states = random_states()
    wanted = random.random(), np.random.rand(), torch.rand(1)
    set_random_states(states)

    def draw(*args):
        random.random(), np.random.rand(), torch.rand(1)

    model.net_g_ema.register_forward_hook(draw)
    model.validation(val_loader(model), 1, None)
    assert (random.random(), np.random.rand(), torch.rand(1)) == wanted


def validate(model, psnr, iteration):
    """As if the network were worth ``psnr``."""
    model.nondist_validation = lambda loader, current_iter, *rest: (
        model._initialize_best_metric_results("demo_held_out"),
        model._update_best_metric_result("demo_held_out", "psnr", psnr, current_iter),
    )
    model.validation(val_loader(model), iteration, None)


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_the_best_weights_are_kept(build, options, tmp_path, better):
    options["logger"]["keep_best"] = ["demo_held_out/psnr"]
    options["val"]["metrics"]["psnr"]["better"] = better
    model = build()
    best = tmp_path / "net_g_best_demo_held_out_psnr.pth"
    sign = 1 if better == "higher" else -1
    kept = []
    for iteration, psnr in enumerate((20.0, 19.0, 20.0, 21.0), 1):
        step(model, iteration)
        validate(model, sign * psnr, iteration)
        kept.append(torch.load(best, weights_only=True)["params"]["conv_first.weight"])
    first, worse, same, last = kept
    assert torch.equal(first, worse) and torch.equal(first, same) and not torch.equal(first, last)
    assert torch.equal(last, model.net_g.state_dict()["conv_first.weight"])
    assert not (tmp_path / "net_g_best_demo_held_out_ssim.pth").exists()


def test_a_metric_that_is_new_since_the_state_is_validated(build, options):
    ssim = options["val"]["metrics"].pop("ssim")
    model = build()
    validate(model, 20.0, 2)
    state = model.state(0, 2, [random_states()], {})
    options["val"]["metrics"]["ssim"] = ssim
    model = build()
    model.resume_training(state)
    model.validation(val_loader(model), 4, None)
    best = model.best_metric_results["demo_held_out"]
    assert best["psnr"] == {"better": "higher", "val": 20.0, "iter": 2} and best["ssim"]["iter"] == 4
