"""HAT beside spandrel's copy of the official network, and everything that is asked of a module in training and use."""

import contextlib
import copy
import functools
import io
import itertools
import math
from collections import Counter
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import hat_arch.archs.hat_arch as hat_module
from hat_arch import HAT
from hat_arch.archs import strips as strips_module
from hat_arch.archs.hat_arch import OCAB, overlap_size
from hat_arch.archs.layers import DropPath, pad_to_multiple
from hat_arch.archs.strips import is_as_built, saving_memory
from hat_arch.archs.window_attention import relative_position_index

# isort: split
# After hat_arch, which repairs torchvision.
from spandrel.architectures.HAT.__arch.HAT import HAT as SpandrelHAT

pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")

TINY = {
    "embed_dim": 12,
    "depths": (2,),
    "num_heads": (2,),
    "window_size": 8,
    "squeeze_factor": 4,
    "conv_scale": 0.5,
    "mlp_ratio": 2,
    "upscale": 1,
}
WINDOWS = [
    (window, overlap)
    for window, overlap in itertools.product((4, 7, 8, 13, 16), (0, 0.25, 0.3, 0.5, 0.75, 1))
    if int(window * overlap) % 2 == 0  # else the official unfold yields too few windows and it fails
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small gain nothing from more, and lose much where the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@torch.no_grad()
def randomise(net: nn.Module, seed: int = 0) -> None:
    """Gives every parameter values that matter to the result, of a size that keeps the network well conditioned."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in net.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            noise = 1 + 0.2 * noise
        elif name.endswith("bias"):
            noise *= 0.3
        elif parameter.dim() > 1 and name.endswith("weight"):
            noise /= math.sqrt(parameter[0].numel())
        parameter.copy_(noise)


def make_pair(**config) -> tuple[HAT, nn.Module]:
    """Ours and the oracle with the oracle's random weights, and the same state dict in names and shapes."""
    config = TINY | config
    oracle = SpandrelHAT(**config).eval()
    randomise(oracle)
    ours = HAT(**config).eval()
    shapes = [{name: value.shape for name, value in net.state_dict().items()} for net in (ours, oracle)]
    assert shapes[0] == shapes[1]
    ours.load_state_dict(oracle.state_dict(), strict=True)
    return ours, oracle


def image(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def assert_near(actual: Tensor, expected: Tensor, tolerance: float, reach: Tensor | None = None) -> None:
    """Within ``tolerance`` of the range of ``expected`` (of ``reach``)."""
    assert actual.shape == expected.shape
    low, high = torch.aminmax(expected if reach is None else reach)
    assert (actual - expected).abs().max() <= tolerance * (high - low)


@contextlib.contextmanager
def small_strips():
    """Has the no-grad path go through an image of any size in several parts."""
    with (
        mock.patch.object(strips_module, "STRIP_TOKENS_CPU", 1),
        mock.patch.object(hat_module, "RECONSTRUCTED_ROWS", 2),
    ):
        yield


def assert_same_gradients(ours: nn.Module, oracle: nn.Module, tolerance: float) -> None:
    expected = {name: parameter.grad for name, parameter in oracle.named_parameters()}
    floor = 1e-6 * max(grad.abs().max() for grad in expected.values())
    for name, parameter in ours.named_parameters():
        error = (parameter.grad - expected[name]).abs().max()
        assert error <= tolerance * max(expected[name].abs().max(), floor), name


def check_parity(config: dict, batch: int, h: int, w: int) -> None:
    ours, oracle = make_pair(**config)
    x = image(batch, config.get("in_chans", 3), h, w)
    with torch.no_grad():
        expected = oracle(x)
        assert_near(ours(x), expected, 1e-5)
        with small_strips():
            assert_near(ours(x), expected, 1e-5)
    assert_near(ours(x), expected, 1e-5)

    outputs, inputs = [], []
    for net in ours.double(), oracle.double():
        inputs.append(x.double().requires_grad_())
        outputs.append(net(inputs[-1]))
        (outputs[-1] * image(*outputs[-1].shape, seed=2)).sum().backward()
    assert_near(outputs[0], outputs[1], 1e-10)
    assert_same_gradients(ours, oracle, 1e-9)
    grads = [x.grad for x in inputs]
    assert (grads[0] - grads[1]).abs().max() <= 1e-9 * grads[1].abs().max()
    with torch.no_grad(), small_strips():
        assert_near(ours(inputs[0]), outputs[1], 1e-10)


CASES = {f"scale {scale}": {"upscale": scale} for scale in (1, 2, 3, 4, 8)}
CASES |= {
    f"window {window} overlap {overlap}": {"window_size": window, "overlap_ratio": overlap, "size": (1, 2 * window, 32)}
    for window, overlap in WINDOWS
}
CASES |= {
    "unequal depths and heads": {"depths": (3, 1, 2), "num_heads": (1, 3, 2)},
    "head width 30": {"embed_dim": 60},
    "head width 8": {"embed_dim": 16},
    "compress 1": {"compress_ratio": 1},
    "compress to 1": {"compress_ratio": 12},
    "compress rounds": {"compress_ratio": 5, "squeeze_factor": 5},
    "squeeze 1": {"squeeze_factor": 1},
    "squeeze to 1": {"squeeze_factor": 12},
    "conv scale 0.01": {"conv_scale": 0.01},
    "mlp 1": {"mlp_ratio": 1},
    "mlp rounds": {"mlp_ratio": 1.3},
    "mlp 4": {"mlp_ratio": 4.0},
    "no qkv bias": {"qkv_bias": False},
    "qk scale": {"qk_scale": 0.7},
    "ape": {"ape": True, "img_size": 16, "size": (2, 16, 16)},
    "ape not square": {"ape": True, "img_size": (16, 32), "size": (1, 16, 32)},
    "ape padded": {"ape": True, "img_size": (16, 24), "size": (1, 13, 20)},
    "no patch norm": {"patch_norm": False},
    "norm layer": {"norm_layer": functools.partial(nn.LayerNorm, eps=1e-2)},
    "identity": {"resi_connection": "identity"},
    "gray": {"in_chans": 1},
    "four channels": {"in_chans": 4},
    "range 255": {"img_range": 255.0},
    "image of one window": {"size": (1, 8, 8)},
    "trained on one window": {"img_size": 8, "depths": (3,)},
    "batch": {"size": (3, 16, 16)},
    "tall": {"size": (2, 40, 8)},
    "wide": {"size": (1, 8, 48)},
    "padded": {"size": (2, 13, 19), "upscale": 2},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_official_weights_give_official_results_and_gradients(case):
    config = dict(case)
    check_parity(config, *config.pop("size", (1, 16, 24)))


@st.composite
def networks(draw) -> tuple[dict, int, int, int]:
    window, overlap = draw(st.sampled_from(WINDOWS))
    tiles = st.integers(1, 3 if window <= 8 else 2)
    sides = [window * draw(tiles) for _ in "hw"]
    groups = draw(st.lists(st.tuples(st.integers(1, 3), st.sampled_from((1, 2, 3, 6))), min_size=1, max_size=2))
    config = {
        "window_size": window,
        "overlap_ratio": overlap,
        "depths": [depth for depth, _ in groups],
        "num_heads": [heads for _, heads in groups],
        "ape": draw(st.booleans()),
    }
    choices = {
        "embed_dim": (12, 18, 24),
        "upscale": (1, 2, 3, 4, 8) if window <= 8 else (1, 2),
        "compress_ratio": (1, 3, 5),
        "squeeze_factor": (1, 4, 9),
        "conv_scale": (0.01, 1.0),
        "mlp_ratio": (1, 1.7, 3),
        "qkv_bias": (True, False),
        "qk_scale": (None, 0.4),
        "patch_norm": (True, False),
        "resi_connection": ("1conv", "identity"),
        "in_chans": (1, 3, 4),
        "img_range": (1.0, 255.0),
        "img_size": (sides,) if config["ape"] else (64, window),
    }
    config |= {name: draw(st.sampled_from(values)) for name, values in choices.items()}
    h, w = (side - draw(st.integers(0, (window - 1) // 2)) for side in sides)
    return config, draw(st.integers(1, 2)), h, w


@settings(max_examples=40, deadline=None, derandomize=True)
@given(networks())
def test_any_network_equals_the_official_one(network):
    check_parity(*network)


@pytest.mark.parametrize("overlap", [0, 0.5])
def test_official_network_loads_our_weights(overlap):
    ours, oracle = (net(**TINY, overlap_ratio=overlap).eval() for net in (HAT, SpandrelHAT))
    randomise(ours, seed=3)
    oracle.load_state_dict(ours.state_dict(), strict=True)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in oracle.named_parameters()]
    x = image(1, 3, 16, 24)
    with torch.no_grad():
        assert_near(ours(x), oracle(x), 1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("window, overlap", [(8, 0.5), (13, 0.5), (16, 0.25)])
def test_official_results_on_a_gpu(window, overlap, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    ours, oracle = (net.cuda() for net in make_pair(window_size=window, overlap_ratio=overlap, upscale=2))
    x = image(2, 3, 2 * window, 3 * window).cuda()
    with torch.no_grad():
        expected = oracle(x)
        assert_near(ours(x), expected, 1e-5)
        monkeypatch.setattr(strips_module, "STRIP_TOKENS", 1)
        assert_near(ours(x), expected, 1e-5)
        assert_near(ours.double()(x.double()), oracle.double()(x.double()), 1e-10)


# ---- image sizes


def pad_with_numpy(x: Tensor, multiple: int) -> Tensor:
    array = x.numpy()
    for axis in (2, 3):
        size = array.shape[axis]
        extra = math.ceil(size / multiple) * multiple - size
        widths = [(0, 0)] * 4
        widths[axis] = (0, extra)
        array = np.pad(array, widths, "reflect" if extra < size else "edge")
    return torch.from_numpy(array)


@functools.cache
def pair_for_sizes(window: int) -> tuple[HAT, nn.Module]:
    return make_pair(window_size=window, upscale=2)


def check_size(window: int, h: int, w: int) -> None:
    ours, oracle = pair_for_sizes(window)
    x = image(1, 3, h, w)
    padded = pad_with_numpy(x, window)
    assert torch.equal(pad_to_multiple(x, window), padded)
    with torch.no_grad():
        whole = oracle(padded)
        assert_near(ours(x), whole[..., : 2 * h, : 2 * w], 1e-5, whole)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from([4, 8]), st.integers(1, 25), st.integers(1, 25))
@example(16, 1, 1)
@example(16, 3, 17)
@example(16, 17, 40)
def test_image_of_any_size_is_mirrored_to_whole_windows_and_cropped(window, h, w):
    check_size(window, h, w)


# ---- the direct upsampler, which the official network lacks


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("h, w", [(1, 1), (8, 16), (13, 19)])
def test_direct_upsampler_gives_the_same_with_and_without_gradients(scale, h, w):
    net = HAT(**TINY | {"upscale": scale, "upsampler": "pixelshuffledirect"}).eval()
    randomise(net)
    x = image(2, 3, h, w)
    expected = net(x)
    assert expected.shape == (2, 3, h * scale, w * scale)
    with torch.no_grad():
        assert_near(net(x), expected, 1e-5)
        with small_strips():
            assert_near(net(x), expected, 1e-5)


def test_direct_upsampler_is_one_convolution_behind_the_features():
    net = HAT(**TINY | {"upscale": 3, "upsampler": "pixelshuffledirect", "in_chans": 1}).eval()
    paper = HAT(**TINY | {"upscale": 3, "in_chans": 1})
    tail = ("conv_before_upsample.", "upsample.", "conv_last.")
    state = {name: value.shape for name, value in paper.state_dict().items() if not name.startswith(tail)}
    state |= {"upsample.0.weight": (9, 12, 3, 3), "upsample.0.bias": (9,)}
    assert {name: value.shape for name, value in net.state_dict().items()} == state
    x = image(1, 12, 8, 8)
    with torch.no_grad():
        values = nn.functional.conv2d(x, *net.upsample[0].parameters(), padding=1).unflatten(1, (1, 3, 3))
        for i, j in itertools.product(range(3), repeat=2):  # an output pixel's place in the block says its channel
            assert_near(net.reconstruct(x)[:, :, i::3, j::3], values[:, :, i, j], 1e-6)


@pytest.mark.parametrize("choice", [{"upsampler": "pixelshuffledirect"}, {"resi_connection": "identity"}])
def test_networks_of_other_layers_save_memory_too(choice):
    net = HAT(**TINY | choice)
    assert all(is_as_built(module) for module in net.modules())


def test_network_with_the_direct_upsampler_can_be_trained():
    check_training_step(HAT(**TINY | {"upscale": 2, "upsampler": "pixelshuffledirect"}), image(2, 3, 13, 19))


# ---- overlapping windows


@pytest.mark.parametrize("window, overlap", [(4, 0.25), (7, 0.25), (7, 0.5), (13, 0.25), (13, 0.5), (13, 0.75)])
def test_networks_with_an_odd_overlap_can_be_trained(window, overlap):
    net = HAT(**TINY | {"window_size": window, "overlap_ratio": overlap, "upscale": 2})
    check_training_step(net, image(2, 3, window + 3, 2 * window))


def test_network_of_constructor_defaults_can_be_trained():
    check_training_step(HAT(), image(1, 3, 14, 7))


def check_training_step(net: HAT, x: Tensor) -> None:
    out = net(x)
    out.square().mean().backward()
    assert out.shape == (len(x), 3, 2 * x.shape[2], 2 * x.shape[3])
    assert out.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_official_network_fails_with_an_odd_overlap():
    """So there is nothing to be equal to, only the definition below."""
    with torch.no_grad(), pytest.raises(RuntimeError):
        SpandrelHAT(**TINY | {"window_size": 7, "overlap_ratio": 0.5})(image(1, 3, 21, 21))


def key_window(x: Tensor, row: int, column: int, window: int, key: int) -> Tensor:
    """``(key², C)`` around the window at ``row``, ``column`` of ``(H, W, C)``, zeros outside."""
    before = (key - window) // 2
    out = x.new_zeros(key, key, x.shape[-1])
    for i, j in itertools.product(range(key), repeat=2):
        y, z = row * window - before + i, column * window - before + j
        if 0 <= y < x.shape[0] and 0 <= z < x.shape[1]:
            out[i, j] = x[y, z]
    return out.flatten(0, 1)


@pytest.mark.parametrize("window, overlap", [(3, 0.5), (4, 0), (4, 0.5), (7, 0.5), (5, 1)])
def test_overlapping_cross_attention_is_that_of_the_definition(window, overlap):
    key = overlap_size(window, overlap)
    heads, dim = 2, 6
    ocab = OCAB(dim, heads, window, overlap, 2, nn.LayerNorm)
    randomise(ocab)
    ocab.double()
    x = image(2, 2 * window, 3 * window, dim).double()
    index = relative_position_index(window, key)
    table = ocab.relative_position_bias_table
    expected = torch.empty_like(x)
    for image_, out in zip(ocab.qkv(x), expected):
        for row, column in itertools.product(range(2), range(3)):
            rows, columns = (slice(i * window, (i + 1) * window) for i in (row, column))
            q = image_[rows, columns, :dim].flatten(0, 1)
            k, v = key_window(image_[..., dim:], row, column, window, key).chunk(2, -1)
            parts = []
            for head, (qh, kh, vh) in enumerate(zip(*(z.chunk(heads, -1) for z in (q, k, v)))):
                bias = table[:, head][index % len(table)]
                parts.append((qh @ kh.T / math.sqrt(dim / heads) + bias).softmax(-1) @ vh)
            out[rows, columns] = ocab.proj(torch.cat(parts, -1)).view(window, window, dim).detach()
    assert_near(ocab.cross_attention(x, index), expected, 1e-12)
    with torch.no_grad(), small_strips():
        in_strips = saving_memory(lambda net, x: net.cross_attention(x, index))
        assert_near(in_strips(ocab, x), expected, 1e-12)


# ---- parameter counts of the papers

BASE = {
    "embed_dim": 180,
    "depths": [6] * 6,
    "num_heads": [6] * 6,
    "window_size": 16,
    "compress_ratio": 3,
    "squeeze_factor": 30,
    "overlap_ratio": 0.5,
    "mlp_ratio": 2,
}
SMALL = BASE | {"embed_dim": 144, "compress_ratio": 24, "squeeze_factor": 24}
LARGE = BASE | {"depths": [6] * 12, "num_heads": [6] * 12}


def count_parameters(**config) -> int:
    with torch.device("meta"):
        net = HAT(**config)
    assert all(parameter.is_meta for parameter in net.parameters())
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(
    "config, counts",
    [
        (SMALL, {2: 9_473_471, 3: 9_658_111, 4: 9_621_183}),
        (BASE, {2: 20_624_795, 3: 20_809_435, 4: 20_772_507}),
        (LARGE, {2: 40_698_863, 3: 40_883_503, 4: 40_846_575}),
    ],
    ids=["HAT-S", "HAT", "HAT-L"],
)
def test_papers_networks_have_their_published_sizes(config, counts):
    assert {scale: count_parameters(**config, upscale=scale) for scale in counts} == counts


@pytest.mark.parametrize(
    "ablation, count",
    [
        ({"use_channel_attention": False}, 20_688_051),
        ({"use_cab": False, "overlap_ratio": 0}, 13_660_851),
        ({"use_cab": False, "overlap_ratio": 0.25}, 13_670_355),
        ({"use_cab": False, "overlap_ratio": 0.5}, 13_681_011),
        ({"use_cab": False, "overlap_ratio": 0.75}, 13_692_819),
    ],
)
def test_ablations_have_their_sizes(ablation, count):
    assert count_parameters(**BASE | ablation, upscale=4) == count


def test_baseline_without_cab_and_ocab_has_its_printed_size():
    assert round(count_parameters(**BASE, use_cab=False, use_ocab=False, upscale=4) / 1e6, 2) == 12.06


@pytest.mark.parametrize("left_out", ["use_cab", "use_ocab", "use_channel_attention"])
def test_ablations_can_be_trained(left_out):
    check_training_step(HAT(**TINY | {"upscale": 2}, **{left_out: False}), image(1, 3, 8, 16))


# ---- training


def step(net: HAT, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    net.train().zero_grad()
    torch.manual_seed(0)
    out = net(x)
    out.square().mean().backward()
    return out.detach(), {name: parameter.grad.clone() for name, parameter in net.named_parameters()}


def test_checkpointing_gives_the_same_step_also_with_dropout():
    config = TINY | {"depths": (3, 2), "num_heads": (2, 3), "drop_rate": 0.1, "drop_path_rate": 0.5}
    plain, saving = HAT(**config), HAT(**config, use_checkpoint=True)
    saving.load_state_dict(plain.state_dict())
    x = image(2, 3, 16, 16)
    for first, second in zip(step(plain, x), step(saving, x)):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_checkpointing_keeps_less_for_the_backward_pass():
    def bytes_kept(**config) -> int:
        net = HAT(**TINY | {"depths": (6, 6), "num_heads": (2, 2)}, **config)
        weights = {parameter.data_ptr() for parameter in net.parameters()}
        kept = {}

        def keep(x: Tensor) -> Tensor:
            storage = x.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            out = net(image(1, 3, 16, 16))
        out.sum().backward()
        return sum(kept.values())

    assert bytes_kept(use_checkpoint=True) < 0.3 * bytes_kept()


def test_drop_path_keeps_the_mean_and_drops_whole_samples():
    drop = DropPath(0.3).train()
    torch.manual_seed(0)
    out = drop(torch.ones(20_000, 2, 3))
    assert torch.equal(out, out[:, :1, :1].expand_as(out))
    torch.testing.assert_close(out.unique(), torch.tensor([0, 1 / 0.7]))
    assert abs(out.mean() - 1) < 0.02  # four standard deviations
    x = image(3, 2, 2)
    assert torch.equal(drop.eval()(x), x)


def test_drop_path_grows_linearly_over_the_blocks():
    net = HAT(**TINY | {"depths": (3, 2), "num_heads": (1, 1)}, drop_path_rate=0.2)
    rates = [module.rate for module in net.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("rate", ["drop_rate", "attn_drop_rate", "drop_path_rate"])
def test_dropout_is_random_in_training_and_off_in_eval(rate, grad):
    net = HAT(**TINY | {"drop_path_rate": 0, rate: 0.5})
    x = image(2, 3, 16, 8)
    with torch.set_grad_enabled(grad):
        net.train()
        torch.manual_seed(0)
        assert not torch.equal(net(x), net(x))
        net.eval()
        assert torch.equal(net(x), net(x))


def test_dropout_on_features_is_at_every_place():
    net = HAT(**TINY, drop_rate=0.1).train()
    calls = Counter()
    for name, module in net.named_modules():
        if isinstance(module, nn.Dropout) and module.p == 0.1:
            module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    net(image(1, 3, 8, 8))
    block = "layers.0.residual_group.blocks"
    in_blocks = {f"{block}.{i}.attn.proj_drop": 1 for i in (0, 1)} | {f"{block}.{i}.mlp.drop": 2 for i in (0, 1)}
    assert calls == {"pos_drop": 1} | in_blocks


# ---- precision, memory formats, compilers, copies


@pytest.fixture(scope="module")
def net() -> HAT:
    """Random weights; for tests that leave it as it is."""
    net = HAT(**TINY | {"upscale": 2}).eval()
    randomise(net)
    return net


def gradients(net: nn.Module, x: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(net(x).float().square().mean(), list(net.parameters())))


def test_bfloat16_autocast_is_close_to_float32_and_trains(net):
    x = image(2, 3, 16, 24)
    with torch.no_grad():
        expected = net(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert_near(net(x).float(), expected, 0.01)
    with torch.autocast("cpu", torch.bfloat16):
        assert_near(net(x).detach().float(), expected, 0.01)
        mixed = gradients(net, x)
    assert all(grad.dtype == torch.float32 for grad in mixed)
    mixed, full = (torch.cat([grad.flatten() for grad in grads]) for grads in (mixed, gradients(net, x)))
    assert (mixed - full).norm() <= 0.03 * full.norm()


def test_channels_last_changes_nothing(net):
    x = image(2, 3, 16, 24)
    last = copy.deepcopy(net).to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = net(x)
        assert_near(last(x.contiguous(memory_format=torch.channels_last)), expected, 1e-6)
        assert_near(last(x), expected, 1e-6)
        assert_near(net(x.transpose(2, 3).contiguous().transpose(2, 3)), expected, 1e-6)


def test_compiled_network_gives_the_same_in_one_graph(net):
    torch.compiler.reset()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    x = image(1, 3, 13, 16)
    with torch.no_grad():
        assert_near(compiled(x), net(x), 1e-6)
    for actual, expected in zip(gradients(compiled, x), gradients(net, x)):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_exported_network_gives_the_same(net):
    x = image(1, 3, 13, 16)
    with torch.no_grad():
        program = torch.export.export(net, (x,), strict=False)
        assert_near(program.module()(x), net(x), 1e-6)


def test_weights_file_is_all_of_the_network(net):
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    fresh = HAT(**TINY | {"upscale": 2}).eval()
    fresh.load_state_dict(torch.load(file, weights_only=True), strict=True)
    with torch.no_grad():
        assert torch.equal(fresh(image(2, 3, 13, 20)), net(image(2, 3, 13, 20)))


def test_double_network_computes_in_double(net):
    out = copy.deepcopy(net).double()(image(1, 3, 8, 8).double())
    assert out.dtype == torch.float64
    assert_near(out.float(), net(image(1, 3, 8, 8)), 1e-5)


def test_shapes_are_known_without_computing():
    with torch.device("meta"):
        net = HAT(**TINY | {"upscale": 4})
        out = net(torch.empty(2, 3, 13, 20))
    assert out.is_meta
    assert out.shape == (2, 3, 52, 80)


# ---- errors


@pytest.mark.parametrize(
    "config, named",
    [
        ({"depths": (2, 2)}, r"depths.*num_heads"),
        ({"num_heads": (2, 2)}, r"depths.*num_heads"),
        ({"upsampler": "bilinear"}, "upsampler.*'pixelshuffledirect', ''"),
        ({"upsampler": "", "upscale": 4}, "upscale is 4.*upsampler ''"),
        ({"upscale": 5}, "upscale"),
        ({"upscale": 0}, "upscale"),
        ({"upscale": 0, "upsampler": "pixelshuffledirect"}, "upscale"),
        ({"resi_connection": "foo"}, "resi_connection"),
        ({"num_heads": (5,)}, r"embed_dim.*num_heads"),
        ({"compress_ratio": 0}, "compress_ratio"),
        ({"compress_ratio": 13}, "compress_ratio"),
        ({"window_size": 0}, "window_size"),
        ({"overlap_ratio": -0.5}, "overlap_ratio"),
        ({"squeeze_factor": 0}, "squeeze_factor"),
        ({"squeeze_factor": 13}, "squeeze_factor"),
    ],
)
def test_impossible_arguments_are_named(config, named):
    with pytest.raises(ValueError, match=named):
        HAT(**TINY | config)


def test_position_embedding_refuses_other_sizes():
    net = HAT(**TINY, ape=True, img_size=16)
    with pytest.raises(ValueError, match=r"img_size.*24x16"):
        net(image(1, 3, 17, 16))


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (3, 16, 16), (1, 4, 16, 16)])
def test_images_of_another_shape_are_refused_in_one_line(net, shape):
    with pytest.raises(ValueError, match=r"expected \(B, 3, H, W\), got"):
        net(torch.zeros(shape))


@pytest.mark.parametrize(
    "changes", [{"depths": (0,), "use_ocab": False}, {"depths": (0,)}, {"use_cab": False}], ids=str
)
def test_results_without_gradients_are_those_with_them_where_a_branch_is_its_input(changes):
    """Without blocks and convolutions a residual branch is the very tensor that it is added to."""
    torch.manual_seed(0)
    net = HAT(**{**TINY, "resi_connection": "identity", "patch_norm": False, **changes}).eval()
    x = image(1, 3, 16, 16)
    before = x.clone()
    with torch.no_grad():
        actual = net(x)
    assert_near(actual, net(x), 1e-6)
    assert torch.equal(x, before)
