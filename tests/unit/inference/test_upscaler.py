"""Tiles, precision and self-ensemble beside the plain network."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from hat_arch import HAT
from hat_arch.archs.layers import pad_to_multiple
from hat_arch.inference import memory, upscaler
from hat_arch.inference.tiles import plan
from hat_arch.inference.upscaler import UpscaleError, Upscaler, symmetry, undo_symmetry
from hat_arch.utils.peak_memory import peak_memory

RADIUS = 3  # of the receptive field of `Convolutional`
ALLOCATION = "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"


class Convolutional(nn.Module):
    """A network whose output depends on no more than `RADIUS` pixels around."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 6, 3, 1, 1), nn.GELU(), nn.Conv2d(6, 6, 3, 1, 1), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(6, 3 * scale**2, 3, 1, 1), nn.PixelShuffle(scale))

    def forward(self, x):
        return self.layers(x)


class Limited(nn.Module):
    """A network that runs out of memory on request."""

    def __init__(self, network, fails):
        super().__init__()
        self.network, self.fails, self.shapes = network, fails, []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        if self.fails(x, len(self.shapes)):
            raise RuntimeError(ALLOCATION)
        return self.network(x)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def convolutional(scale=2, seed=0):
    torch.manual_seed(seed)
    return Convolutional(scale)


def tiny_hat(**changes):
    torch.manual_seed(0)
    arguments = {
        "embed_dim": 12,
        "depths": [2],
        "num_heads": [2],
        "window_size": 4,
        "squeeze_factor": 4,
        "mlp_ratio": 2,
    }
    return HAT(**{**arguments, "upscale": 2, "conv_scale": 0.5, **changes})


def images(h, w, b=1, c=3, seed=0):
    return torch.rand(b, c, h, w, generator=torch.Generator().manual_seed(seed))


def whole(network, lq, scale, multiple=1):
    with torch.no_grad():
        output = network.eval()(pad_to_multiple(lq, multiple))
    return output[..., : lq.shape[-2] * scale, : lq.shape[-1] * scale]


# tiles


@settings(deadline=None, max_examples=60)
@given(
    h=st.integers(1, 90),
    w=st.integers(1, 90),
    b=st.integers(1, 2),
    scale=st.integers(1, 3),
    multiple=st.sampled_from([1, 4, 8]),
    tile=st.integers(32, 60),
    blend=st.booleans(),
    batch=st.integers(1, 4),
)
def test_tiles_equal_the_whole_where_the_overlap_covers_the_receptive_field(
    h, w, b, scale, multiple, tile, blend, batch
):
    network, lq = convolutional(scale), images(h, w, b)
    overlap = 4 * RADIUS if blend else 2 * RADIUS
    tiled = Upscaler(network, scale, multiple=multiple, tile=tile, overlap=overlap, blend=blend, batch=batch)(lq)
    torch.testing.assert_close(tiled, whole(network, lq, scale, multiple), rtol=0, atol=2e-6)


def test_tiles_differ_from_the_whole_where_it_does_not():
    network, lq = convolutional(), images(60, 60)
    for blend, overlap in ((True, 2 * RADIUS), (False, RADIUS)):
        tiled = Upscaler(network, 2, tile=32, overlap=overlap, blend=blend)(lq)
        assert not torch.allclose(tiled, whole(network, lq, 2), atol=1e-4)


@pytest.mark.parametrize("tile", ["whole", "auto", 8, 16])
@pytest.mark.parametrize("size", [(1, 1), (1, 33), (17, 1), (5, 3), (31, 18)])
def test_any_size_down_to_a_pixel(size, tile):
    network, lq = tiny_hat(), images(*size)
    output = Upscaler(network, 2, multiple=4, tile=tile, overlap=4)(lq)
    assert output.shape == (1, 3, 2 * size[0], 2 * size[1]) and output.dtype == torch.float32
    if isinstance(tile, str) or max(size) <= tile:
        assert torch.equal(output, whole(network, lq, 2))


def test_a_network_that_cannot_pad_gets_whole_windows():
    network = Limited(convolutional(), lambda x, n: False)
    Upscaler(network, 2, multiple=8, tile="whole")(images(13, 20))
    Upscaler(network, 2, multiple=8, tile=16, overlap=8, self_ensemble=True)(images(13, 35))
    assert all(side % 8 == 0 for shape in network.shapes for side in shape[-2:])


@pytest.mark.parametrize("batch", [1, 3])
def test_tiles_of_a_batch_of_images_are_those_of_each(batch):
    network, lq = tiny_hat(), images(40, 30, b=2)
    tiled = Upscaler(network, 2, multiple=4, tile=16, overlap=8, batch=batch)
    torch.testing.assert_close(tiled(lq), torch.cat([tiled(lq[:1]), tiled(lq[1:])]), rtol=0, atol=1e-6)


def test_images_are_not_changed_even_by_a_network_that_returns_them():
    lq = images(50, 50)
    before = lq.clone()
    output = Upscaler(nn.Identity(), 1, tile=20, overlap=8)(lq)
    assert torch.equal(lq, before)
    torch.testing.assert_close(output, lq)


def test_bands_are_the_image_from_top_to_bottom():
    network, shares = convolutional(), []
    lq = (images(100, 70) * 255).byte()
    scaler = Upscaler(network, 2, tile=32, overlap=12)
    bands = scaler.in_bands(lq, list, shares.append)
    assert len(bands) > 3 and max(band.shape[-2] for band in bands) <= 2 * 32
    assert torch.equal(torch.cat(bands, -2), scaler(lq / 255))
    assert shares == sorted(set(shares)) and shares[-1] == pytest.approx(1)
    assert len(shares) == len(plan(100, 32, 12)) * len(plan(70, 32, 12))  # after each tile


def test_no_seams_on_a_photograph():
    """Steps that tiling adds across the borders of tiles are no larger than those it adds elsewhere."""
    from skimage.data import astronaut

    lq = torch.from_numpy(astronaut()[:128, 128:256].copy()).permute(2, 0, 1)[None] / 255
    network = tiny_hat(conv_scale=1.0)
    for parameter in network.parameters():  # an untrained HAT hardly uses its attention
        parameter.data *= 2
    exact = whole(network, lq, 2)

    def steps(overlap, blend):
        """Of what tiling adds, from column to column: where tiles overlap, and elsewhere."""
        added = Upscaler(network, 2, multiple=4, tile=64, overlap=overlap, blend=blend)(lq) - exact
        sizes, at_border = added.diff(dim=-1).abs().mean((0, 1, 2)), torch.zeros(255, dtype=torch.bool)
        for before, after in pairwise(plan(128, 64, overlap, 4)):
            at_border[2 * after.start - 1 : 2 * before.stop] = True
        return sizes[at_border], sizes[~at_border]

    for blend in (True, False):
        border, inside = steps(16, blend)
        assert border.max() <= inside.max() and border.mean() <= inside.mean()
    border, inside = steps(0, True)
    assert border.max() > 5 * inside.mean()  # so this does see a seam


# memory


@settings(deadline=None, max_examples=60)
@given(
    h=st.integers(40, 130),
    w=st.integers(40, 130),
    fails_at=st.sets(st.integers(1, 12), max_size=4),
    blend=st.booleans(),
    batch=st.integers(1, 3),
    start=st.sampled_from([64, 100, "auto"]),
)
def test_out_of_memory_begins_again_with_smaller_tiles_and_has_the_same_result(h, w, fails_at, blend, batch, start):
    plain, lq, lines = convolutional(), images(h, w), []
    network = Limited(plain, lambda x, n: n in fails_at and max(x.shape[-2:]) > 32)
    scaler = Upscaler(network, 2, tile=start, overlap=16, blend=blend, batch=batch, report=lines.append)
    torch.testing.assert_close(scaler(lq), whole(plain, lq, 2), rtol=0, atol=2e-6)
    failed = [shape for n, shape in enumerate(network.shapes, 1) if n in fails_at and max(shape[-2:]) > 32]
    assert len(lines) == len(failed) and all("out of memory" in line for line in lines)


def test_memory_that_runs_out_in_the_middle_of_an_image():
    lines: list[str] = []
    network = Limited(convolutional(), lambda x, n: n == 5)  # 2 tiles a row: the first of the third row
    scaler = Upscaler(network, 2, tile=64, overlap=16, report=lines.append)
    begun: list[int] = []

    def use(bands):
        begun.append(len(network.shapes))
        return torch.cat(list(bands), -2)

    output = scaler.in_bands(images(200, 100), use)
    torch.testing.assert_close(output, whole(network.network, images(200, 100), 2))
    assert begun == [0, 5] and lines == ["out of memory: tiles of 32 from here on"]
    assert scaler.limit == 32
    scaler(images(64, 64))
    assert all(max(shape[-2:]) <= 32 for shape in network.shapes[5:])  # later images too


def test_tiles_at_a_time_are_reduced_first():
    lines: list[str] = []
    network = Limited(convolutional(), lambda x, n: len(x) > 1)
    scaler = Upscaler(network, 2, tile=32, overlap=16, batch=4, report=lines.append)
    torch.testing.assert_close(scaler(images(80, 80)), whole(network.network, images(80, 80), 2))
    assert lines == [f"out of memory: {n} tiles at a time from here on" for n in (2, 1)]


@pytest.mark.parametrize(
    "tile, remedy", [("whole", "take tile: auto"), ("auto", "even for a tile of 32x32"), (8, "8x8")]
)
def test_one_error_when_nothing_fits(tile, remedy):
    network = Limited(convolutional(), lambda x, n: True).train()
    with pytest.raises(UpscaleError, match=remedy):
        Upscaler(network, 2, tile=tile, report=lambda line: None)(images(100, 100))
    assert network.training


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="channels"):
        Upscaler(convolutional(), 2, tile=32)(images(50, 50, c=4))
    with pytest.raises(ValueError, match="made"):
        Upscaler(convolutional(3), 2, tile=32)(images(50, 50))


@pytest.mark.parametrize(
    "error, expected",
    [
        (RuntimeError(ALLOCATION), True),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate"), True),
        (MemoryError(), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("not enough memory of it"), False),
    ],
)
def test_what_counts_as_out_of_memory(error, expected):
    assert memory.is_out_of_memory(error) is expected


def test_auto_takes_the_largest_tile_that_fits(monkeypatch):
    network, lq, lines = convolutional(), images(300, 200), []
    model = memory.MemoryModel(1e6, 1000.0)
    monkeypatch.setattr(memory, "measure", lambda *args: model)

    def side(free):
        monkeypatch.setattr(memory, "available", lambda device: free)
        return Upscaler(network, 2, multiple=8, report=lines.append)._side(lq, streamed=True)

    assert side(300 * 200 * 2**18) == side(1.3 * model.bytes(300 * 200) + 1e7) == 304  # the whole image
    assert lines == []
    for free in (2e7, 3e7, 6e7):
        tile = side(free)
        need = [model.bytes(s * s) + 3 * 3 * 4 * 2**2 * s * 200 for s in (tile, tile + 8)]
        assert need[0] <= 0.8 * free < need[1] and tile % 8 == 0
    assert side(0) == 32
    assert side(None) == 256
    assert [line.split(",")[0] for line in lines][-2:] == ["tile: 32", "tile: 256"]


def test_auto_measures_the_network_once_as_it_will_run(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 10**7)
    seen, lines = [], []
    network = convolutional().train()
    network.register_forward_hook(lambda net, args, out: seen.append((torch.is_grad_enabled(), net.training)))
    scaler = Upscaler(network, 2, multiple=8, precision="bf16", report=lines.append)
    for _ in range(2):
        assert scaler(images(260, 200)).shape == (1, 3, 520, 400)
    assert set(seen) == {(False, False)}
    least = 3 * 4 + 2 * 2 * 3 * 4  # bytes of input and output
    assert scaler.model is not None and least <= scaler.model.per_pixel < 100 * least
    assert len(lines) == 1 and lines[0].startswith("tile: ")
    assert (len(seen) - 3) % 2 == 0 and len(seen) > 3 + 2  # three to measure, then as many tiles for each


def test_auto_without_memory_to_measure_takes_the_smallest_tiles(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 10**6)
    lines: list[str] = []
    network = Limited(convolutional(), lambda x, n: max(x.shape[-2:]) > 40)
    scaler = Upscaler(network, 2, overlap=16, report=lines.append)
    torch.testing.assert_close(scaler(images(90, 60)), whole(network.network, images(90, 60), 2))
    assert lines == ["tile: 32, since memory is not enough to measure what the network takes"]


@pytest.mark.skipif(not memory.MEMINFO.exists(), reason="measures on Linux")
def test_the_measured_need_is_that_of_a_larger_image():
    """In a process of its own, where no earlier work has left memory to reuse."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        predicted, measured = pool.submit(_predicted_and_measured).result()
    assert 0.5 < predicted / measured < 2


def _predicted_and_measured():
    device = torch.device("cpu")
    network = Upscaler(nn.Sequential(nn.Conv2d(3, 96, 3, 1, 1), nn.GELU(), nn.Conv2d(96, 3, 3, 1, 1)), 1)
    model = memory.measure(network._forward, 3, 1, device)
    return model.bytes(400 * 400) / 2**20, peak_memory(lambda: network(images(400, 400)), device).extra_mib


def test_memory_that_is_left_in_control_groups(monkeypatch, tmp_path):
    def group(folder, limit_name, limit, usage_name, usage, stat):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name, text in ((limit_name, limit), (usage_name, usage), ("memory.stat", stat)):
            (tmp_path / folder / name).write_text(f"{text}\n")

    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "OWN_CGROUP", tmp_path / "own")
    (tmp_path / "own").write_text("0::/a/b\n")
    unlimited = memory.available(torch.device("cpu"))
    group("a/b", "memory.max", "max", "memory.current", 5, "inactive_file 0")
    group("a", "memory.max", 1000, "memory.current", 700, "anon 1\ninactive_file 100")
    assert unlimited > 2**20 and memory.available(torch.device("cpu")) == 400
    (tmp_path / "own").write_text("4:cpu,memory:/c\n3:devices:/\n")
    group("memory/c", "memory.limit_in_bytes", 900, "memory.usage_in_bytes", 300, "total_inactive_file 50")
    assert memory.available(torch.device("cpu")) == 650


# precision


def test_bf16_is_near_and_comes_back_as_fp32():
    network, lq = convolutional(), images(16, 16)
    exact, near = (Upscaler(network, 2, tile="whole", precision=p)(lq) for p in ("fp32", "bf16"))
    assert near.dtype == torch.float32 and not torch.equal(near, exact)
    torch.testing.assert_close(near, exact, rtol=0, atol=0.02)


def test_fp16_that_overflows_is_computed_in_fp32_and_said():
    class Large(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
            self.up.weight.data.fill_(1e5)
            self.down.weight.data.fill_(1e-5)

        def forward(self, x):
            return self.down(self.up(x))

    lines: list[str] = []
    scaler = Upscaler(Large(), 1, tile=20, precision="fp16", report=lines.append)
    torch.testing.assert_close(scaler(images(40, 40)), whole(scaler.network, images(40, 40), 1))
    assert lines == ["float16 overflows in this network: fp32 from here on"]


def test_a_result_that_is_not_finite_is_an_error():
    network = convolutional()
    network.layers[0].bias.data[0] = torch.nan
    with pytest.raises(UpscaleError, match="not finite"):
        Upscaler(network, 2)(images(8, 8))


@pytest.mark.parametrize("fast, expected", [(True, torch.bfloat16), (False, None)])
def test_auto_precision_is_settled_once_and_said(monkeypatch, fast, expected):
    monkeypatch.setattr(upscaler, "fast_in_bf16", lambda device: fast)
    lines: list[str] = []
    assert Upscaler(convolutional(), 2, precision="auto", report=lines.append).dtype is expected
    assert lines == [f"precision: {'bf16' if fast else 'fp32'}"]


# self-ensemble


def test_the_eight_symmetries_differ_and_are_undone():
    x = images(4, 4)
    seen = {tuple(symmetry(x, k).flatten().tolist()) for k in range(8)}
    assert len(seen) == 8
    rectangle = images(3, 5)
    assert all(torch.equal(undo_symmetry(symmetry(rectangle, k), k), rectangle) for k in range(8))


@settings(deadline=None, max_examples=20)
@given(h=st.integers(1, 20), w=st.integers(1, 20), k=st.integers(0, 7), multiple=st.sampled_from([1, 4]))
def test_self_ensemble_turns_with_the_image(h, w, k, multiple):
    lq, scaler = images(h, w), Upscaler(convolutional(), 2, multiple=multiple, self_ensemble=True)
    torch.testing.assert_close(scaler(symmetry(lq, k)), symmetry(scaler(lq), k), rtol=0, atol=1e-6)


def test_self_ensemble_is_the_mean_and_changes_only_what_is_not_equivariant():
    lq, network = images(9, 7), convolutional()
    expected = torch.stack([undo_symmetry(whole(network, symmetry(lq, k), 2), k) for k in range(8)]).mean(0)
    plain, ensemble = Upscaler(network, 2)(lq), Upscaler(network, 2, self_ensemble=True)(lq)
    torch.testing.assert_close(ensemble, expected)
    assert not torch.allclose(plain, ensemble, atol=1e-4)

    equivariant = nn.Upsample(scale_factor=2, mode="bilinear")
    tiled = Upscaler(equivariant, 2, tile=32, overlap=8, self_ensemble=True)(images(50, 50))
    torch.testing.assert_close(tiled, whole(equivariant, images(50, 50), 2))


# modes and arguments


def test_modes_of_all_modules_come_back_also_after_an_error():
    network = nn.Sequential(nn.Dropout(0.9), convolutional(), nn.Dropout(0.9)).train()
    network[2].eval()
    modes = [module.training for module in network.modules()]
    scaler = Upscaler(network, 2)
    torch.testing.assert_close(scaler(images(8, 8)), whole(network[1], images(8, 8), 2))
    network[1].train()
    assert [module.training for module in network.modules()] == modes
    with pytest.raises(RuntimeError):
        scaler(images(8, 8, c=4))
    assert [module.training for module in network.modules()] == modes
    assert not scaler(images(8, 8)).requires_grad


@pytest.mark.parametrize(
    "arguments", [{"tile": 0}, {"tile": "half"}, {"overlap": -1}, {"batch": 0}, {"multiple": 0}, {"precision": "fp8"}]
)
def test_arguments_that_mean_nothing(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Upscaler(convolutional(), 2, **arguments)


def test_integers_are_scaled_by_their_type_or_refused():
    scaler, lq = Upscaler(convolutional(), 2), images(8, 8)
    for dtype, white in ((torch.uint8, 255), (torch.uint16, 65535)):
        integers = (lq * white).round().int().to(dtype)
        torch.testing.assert_close(scaler(integers), scaler(integers.float() / white), rtol=0, atol=0)
    with pytest.raises(ValueError, match="int64"):
        scaler((lq * 255).long())
    with pytest.raises(ValueError, match="no pixels"):
        scaler(lq[:, :, :0])


# arrays and PIL images


def nearest(scale=2):
    return Upscaler(nn.Upsample(scale_factor=scale), scale, multiple=4, tile=8, overlap=4)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2", np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(13, 19), (13, 19, 1), (13, 19, 3), (1, 1, 3)])
def test_an_array_comes_back_in_its_type(shape, dtype):
    white = np.iinfo(dtype).max if np.issubdtype(np.dtype(dtype), np.integer) else 1
    image = (np.random.default_rng(0).random(shape) * white).astype(dtype)
    large = nearest()(image)
    assert large.dtype == image.dtype
    np.testing.assert_allclose(large.astype(float), image.repeat(2, 0).repeat(2, 1).astype(float), rtol=1e-3)
    if white > 1:
        assert np.array_equal(large, image.repeat(2, 0).repeat(2, 1))


def test_an_array_gives_what_its_tensor_gives():
    scaler = Upscaler(convolutional().eval(), 2, tile=16, overlap=8)
    lq = (images(30, 22) * 255).round().byte()
    array = lq[0].permute(1, 2, 0).numpy()[:, ::-1][:, ::-1]  # negative strides twice: not contiguous
    expected = scaler(lq)[0].permute(1, 2, 0)
    assert np.array_equal(scaler(array), expected.clamp(0, 1).mul(255).round().byte().numpy())
    torch.testing.assert_close(torch.from_numpy(scaler(array / np.float32(255))), expected)


def test_floats_beyond_0_to_1_are_not_cut_and_integers_are():
    scaler = Upscaler(nn.Sequential(nn.Upsample(scale_factor=2), Scaled(3.0)), 2)
    assert scaler(np.full((4, 4, 3), 0.5, np.float32)).max() == 1.5
    assert scaler(np.full((4, 4, 3), 128, np.uint8)).min() == 255


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


@pytest.mark.parametrize("mode, dtype", [("L", np.uint8), ("RGB", np.uint8), ("I;16", np.uint16)])
def test_a_pil_image_comes_back_in_its_mode(mode, dtype):
    shape = (13, 19, 3) if mode == "RGB" else (13, 19)
    array = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)
    image = Image.fromarray(array)
    image.info["icc_profile"] = b"profile"
    large = nearest()(image)
    assert (large.mode, large.size, large.info["icc_profile"]) == (mode, (38, 26), b"profile")
    assert np.array_equal(np.asarray(large), array.repeat(2, 0).repeat(2, 1))


def test_a_network_of_one_channel_takes_grey_arrays():
    grey = tiny_hat(in_chans=1)
    array = np.random.default_rng(0).integers(0, 255, (9, 8), np.uint8)
    assert Upscaler(grey, 2)(array).shape == (18, 16)
    with pytest.raises(ValueError, match=r"\(H, W, 1\)"):
        Upscaler(grey, 2)(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    "image, named",
    [
        (np.zeros((8, 8, 3), np.int64), "int64"),
        (np.zeros((8, 8), bool), "bool"),
        (np.zeros((8, 8, 4), np.uint8), r"\(8, 8, 4\)"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"\(1, 8, 8, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), "no pixels"),
        (torch.zeros(3, 8, 8), r"\(3, 8, 8\)"),
        (Image.new("RGBA", (8, 8)), "RGBA"),
        (Image.new("P", (8, 8)), "mode P"),
        (Image.new("F", (8, 8)), "mode F"),
        ([[0, 1]], "list"),
        ("photo.png", "str"),
    ],
)
def test_what_is_no_image_is_named(image, named):
    with pytest.raises(ValueError, match=named):
        nearest()(image)


def test_options_of_a_file():
    opt = {
        "scale": 2,
        "network_g": {"window_size": 4},
        "val": {"tile_overlap": 8, "tile_blend": False, "save_img": True},
    }
    scaler = Upscaler.from_options(tiny_hat(), opt)
    assert (scaler.tile, scaler.overlap, scaler.blend, scaler.multiple) == ("whole", 8, False, 4)
    opt["val"] |= {"tile": 16, "tile_batch": 2, "self_ensemble": True, "precision": "bf16"}
    scaler = Upscaler.from_options(tiny_hat(), opt)
    assert (scaler.tile, scaler.batch, scaler.self_ensemble, scaler.dtype) == (16, 2, True, torch.bfloat16)
