"""A network that is exported or traced once gives its own results for images of every size, in every batch."""

from __future__ import annotations

import importlib.util
import itertools
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.export import Dim

from hat_arch import HAT
from hat_arch.archs.attention import MASK_VALUE
from hat_arch.archs.exported import Windows, crop_by_index, pad_by_index
from hat_arch.archs.layers import pad_to_multiple
from hat_arch.archs.multi_task_arch import MultiTaskHAT
from hat_arch.archs.window_attention import shift_masks

OPTIONS = {"embed_dim": 12, "depths": (2,), "num_heads": (2,), "squeeze_factor": 4, "mlp_ratio": 2, "upscale": 2}
SIZES = [(1, 1), (1, 9), (8, 8), (16, 16), (13, 19), (40, 24), (17, 56)]
WHOLE_WINDOWS = [(1, 1), (1, 3), (3, 1), (2, 2), (4, 3), (3, 5), (1, 6)]


def network(cls=HAT, **options) -> nn.Module:
    torch.manual_seed(0)
    net = cls(**OPTIONS | {"conv_scale": 0.5} | options)
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return net.double().eval()


def image(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)).double()


def check(run, net: nn.Module, sizes=SIZES, batches=(1, 3), tolerance=1e-12) -> None:
    for (h, w), b in itertools.product(sizes, batches):
        x = image(b, 3, h, w)
        with torch.no_grad():
            expected = net(x)
            error = (run(x) - expected).abs().max() / expected.abs().max()
        assert error < tolerance, f"{b}x{h}x{w}"


# ---- places


@settings(deadline=None, derandomize=True)
@given(b=st.integers(1, 3), rows=st.integers(1, 4), columns=st.integers(1, 4), side=st.integers(1, 5), data=st.data())
def test_places_are_those_of_windows_cut_one_by_one(b, rows, columns, side, data):
    shift, key = data.draw(st.integers(0, side - 1)), data.draw(st.integers(side, 2 * side))
    h, w, before = rows * side, columns * side, (key - side) // 2
    places = Windows(b, h, w, side, torch.device("cpu")).places(shift, key)
    number = torch.arange(b * h * w).view(b, h, w)
    padded = nn.functional.pad(number - b * h * w, [before, key] * 2) + b * h * w
    rolled = number.roll((-shift, -shift), (1, 2))
    windows = list(itertools.product(range(b), range(0, h, side), range(0, w, side)))
    if len(windows) == 1:
        windows *= 2  # see `Windows.corners`
    for places_, tokens, width in ((places.in_map, number, side), (places.shifted_in_map, rolled, side)):
        expected = [tokens[i, y : y + width, x : x + width].flatten() for i, y, x in windows]
        assert torch.equal(places_, torch.cat(expected))
    expected = [padded[i, y : y + key, x : x + key].flatten() for i, y, x in windows]
    assert torch.equal(places.keys_in_map, torch.cat(expected))
    assert torch.equal(places.in_map[places.in_windows], number.flatten())
    assert torch.equal(places.shifted_in_map[places.shifted_in_windows], number.flatten())
    masks = shift_masks(side, shift)
    expected = [masks[int(y == h - side), int(x == w - side)] for _, y, x in windows]
    apart = (places.regions @ places.regions.mT)[:, 0] == 0
    assert torch.equal(torch.where(apart, MASK_VALUE, 0.0), torch.stack(expected))


@settings(deadline=None, derandomize=True)
@given(h=st.integers(1, 40), w=st.integers(1, 40), multiple=st.integers(1, 17))
def test_padding_and_cropping_by_index(h, w, multiple):
    x = torch.arange(h * w).view(1, 1, h, w).float()
    padded = pad_by_index(x, multiple)
    assert torch.equal(padded, pad_to_multiple(x, multiple))
    assert torch.equal(crop_by_index(padded, h, w), x)


# ---- exporters


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("window, size", [(7, (21, 28)), (8, (13, 19)), (16, (8, 8))])
def test_traced(window, size, grad):
    net = network(window_size=window)
    with torch.set_grad_enabled(grad), warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)  # of a size that would be a constant
        check(torch.jit.trace(net, image(2, 3, *size), check_trace=False), net)


DYNAMIC = {
    "auto": {0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},
    "dynamic": {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},
    "named": {0: Dim("b"), 2: Dim("h"), 3: Dim("w")},
}


@pytest.mark.parametrize(
    "window, size, dynamic, strict",
    [
        (7, (10, 15), "auto", True),
        (7, (21, 28), "dynamic", False),
        (8, (24, 32), "named", True),
        (8, (13, 19), "auto", False),
        (16, (48, 30), "dynamic", True),
        (16, (16, 64), "named", False),
    ],
)
def test_exported_for_any_size(window, size, dynamic, strict):
    net = network(window_size=window)
    program = torch.export.export(net, (image(2, 3, *size),), dynamic_shapes=(DYNAMIC[dynamic],), strict=strict)
    check(program.module(), net)


@pytest.mark.parametrize("window, strict", [(7, False), (8, True), (16, False)])
def test_exported_for_whole_windows_of_single_images(window, strict):
    net = network(window_size=window)
    shapes = {2: window * Dim("h", min=1, max=64), 3: window * Dim("w", min=1, max=64)}
    program = torch.export.export(net, (image(1, 3, 3 * window, 4 * window),), dynamic_shapes=(shapes,), strict=strict)
    check(program.module(), net, [(window * rows, window * columns) for rows, columns in WHOLE_WINDOWS], [1])
    with pytest.raises((AssertionError, IndexError, RuntimeError)):
        program.module()(image(1, 3, 2 * window + 1, 2 * window + 3))


@pytest.mark.parametrize(
    "options",
    [
        {"overlap_ratio": 0.0},
        {"overlap_ratio": 1.0},
        {"overlap_ratio": 0.125},
        {"use_ocab": False},
        {"use_cab": False},
        {"img_size": 8},
        {"use_checkpoint": True},
        {"upsampler": "pixelshuffledirect", "upscale": 3},
        {"upsampler": "", "upscale": 1, "in_chans": 3},
        {"num_heads": (1,), "qkv_bias": False},
        {"cls": MultiTaskHAT, "scales": [2, 3]},
    ],
    ids=str,
)
def test_exported_with_other_options(options):
    net = network(window_size=8, **options)
    program = torch.export.export(net, (image(2, 3, 13, 30),), dynamic_shapes=(DYNAMIC["dynamic"],))
    check(program.module(), net)


def test_exported_in_training_with_gradients():
    net = network(window_size=4, drop_path_rate=0.0).train()
    program = torch.export.export(net, (image(2, 3, 13, 9),), dynamic_shapes=(DYNAMIC["dynamic"],)).module()
    x = image(1, 3, 7, 8)
    expected, actual = (
        torch.autograd.grad(run(x).square().sum(), [run.get_parameter(name) for name, _ in net.named_parameters()])
        for run in (net, program)
    )
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def test_stochastic_depth_is_exported_for_any_batch():
    net = network(window_size=4, drop_path_rate=0.5).train()
    program = torch.export.export(net, (image(2, 3, 13, 9),), dynamic_shapes=(DYNAMIC["dynamic"],)).module()
    images = image(1, 3, 8, 8).expand(20, -1, -1, -1)
    with torch.no_grad():
        assert 1 < len(program(images).unique(dim=0)) <= 4  # two branches of the second block are dropped, or not


def test_position_embedding_refuses_other_sizes_than_its_own():
    net = network(window_size=8, ape=True, img_size=16)
    program = torch.export.export(net, (image(2, 3, 16, 16),), dynamic_shapes=(DYNAMIC["dynamic"],)).module()
    check(program, net, [(16, 16)])
    with pytest.raises(AssertionError, match="Guard failed"):
        program(image(1, 3, 24, 16))


def test_exported_graph_has_one_transposition_of_heads_and_grows_with_no_size():
    net = network(window_size=4, use_cab=False, use_ocab=False, depths=(1,), resi_connection="identity")
    graphs = [
        list(torch.export.export(net, (image(2, 3, side, side),), dynamic_shapes=(DYNAMIC["dynamic"],)).graph.nodes)
        for side in (8, 40)
    ]
    assert len(graphs[0]) == len(graphs[1])
    names = [node.target for node in graphs[0]]
    assert names.count(torch.ops.aten.scaled_dot_product_attention.default) == 1
    assert [len(node.args[1]) for node in graphs[0] if node.target == torch.ops.aten.permute.default].count(5) == 1
    assert torch.ops.aten.split.Tensor not in names


# ---- ONNX


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "window, size, dynamo, opset",
    [
        (7, (10, 15), True, 18),
        (8, (24, 32), True, 23),
        (16, (48, 30), True, 18),
        (7, (21, 28), False, 17),
        (16, (13, 40), False, 17),
    ],
)
def test_onnx(tmp_path, window, size, dynamo, opset):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    if dynamo:
        pytest.importorskip("onnxscript")
    net, file = network(window_size=window), str(tmp_path / "hat.onnx")
    if dynamo:
        how = {"dynamic_shapes": (DYNAMIC["dynamic"],), "external_data": False, "verbose": False}
    else:
        how = {"dynamic_axes": {"x": {0: "b", 2: "h", 3: "w"}}}
    example = image(2, 3, *size).float()
    torch.onnx.export(net.float(), (example,), file, dynamo=dynamo, opset_version=opset, input_names=["x"], **how)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    net.double()
    check(lambda x: torch.from_numpy(session.run(None, {"x": x.float().numpy()})[0]), net, tolerance=1e-5)
    if not importlib.util.find_spec("openvino"):
        return
    import openvino

    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    check(lambda x: torch.from_numpy(compiled(x.float().numpy())[0]), net, tolerance=1e-5)
