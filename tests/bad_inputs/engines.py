"""Engines that are not there or have nothing for a network, and exported files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hat_arch.utils.extras import installed

from .case import Case

UPSCALE = "upscale photos large --precision fp32"
NOT_INSTALLED = "import hat_arch.utils.extras as extras; extras.find_spec = lambda name: None"


def words(args: str, *says: str, **more: Any) -> Case:
    return Case(args, 2, says, **more)


def foreign(folder: Path) -> bytes:
    """An ONNX file of another program, which returns the image."""
    from onnx import TensorProto, helper

    image, same = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 3, "h", "w"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", [image], [same])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()


TABLE = [
    words(f"{UPSCALE} --weights w.pth --engine tensorflow", "--engine", "'tensorflow'"),
    words(f"{UPSCALE} --weights w.pth", "HAT_ARCH_ENGINE=best", "openvino", env={"HAT_ARCH_ENGINE": "best"}),
    words(
        f"{UPSCALE} --weights w.pth --engine openvino",
        "openvino",
        "pip install 'hat-arch[openvino]'",
        before=NOT_INSTALLED,
    ),
    words(f"{UPSCALE} --weights w.pth --engine onnxruntime", "onnxruntime", "hat-arch[onnx]", before=NOT_INSTALLED),
    words(
        "train -opt it.yml",
        "it.yml",
        "val.engine",
        "hat-arch[openvino]",
        yml={"val.engine": "openvino"},
        before=NOT_INSTALLED,
    ),
    words("train -opt it.yml", "it.yml", "val.engine", "torch", yml={"val.engine": "fastest"}),
    words("export gone.pth", "gone.pth"),
    words("export d/GT/0.png", "d/GT/0.png"),
    words("export w.pth -o x.txt", "x.txt", ".onnx", ".pt2"),
    words("export w.pth -o x.pt2 --dtype fp16", "--dtype fp16", ".pt2"),
    words("export w.pth --size 0x4", "--size", "0x4"),
    words("export w.pth -o x.onnx", "x.onnx", "--overwrite", files={"x.onnx": "mine"}),
    words(
        "export w.pth --arch_opt it.yml", "w.pth", "MSRResNet", yml={"network_g": {"type": "MSRResNet", "upscale": 4}}
    ),
    words("export w.pth", "hat-arch[onnx]", before=NOT_INSTALLED),
    words(f"{UPSCALE} --weights gone.onnx", "gone.onnx", "no such file"),
    words(f"{UPSCALE} --weights x.onnx", "x.onnx", "hat-arch[onnx]", files={"x.onnx": "x"}, before=NOT_INSTALLED),
]
if installed("onnxruntime") and installed("onnx"):
    how = f"{UPSCALE} --weights x.onnx"
    TABLE += [
        words(how, "x.onnx", "damaged", files={"x.onnx": "x"}),
        words(how, "x.onnx", "--scale", files={"x.onnx": foreign}),
        words(f"{how} --scale 2", "x.onnx", "--scale 2", files={"x.onnx": foreign}),
        words(f"{how} --scale 1 --engine torch", "x.onnx", "--engine", files={"x.onnx": foreign}),
        words(f"{UPSCALE} --weights w.pth --engine onnxruntime --compile", "onnxruntime", "compile"),
        words(
            f"{UPSCALE} --weights w.pth --engine onnxruntime",
            "HAT_ARCH_ENGINES",
            "w.pth/x",
            "cannot be written",
            env={"HAT_ARCH_ENGINES": "w.pth/x"},
        ),
        words("upscale photos large --weights w.pth --engine onnxruntime --precision bf16", "onnxruntime", "fp32"),
    ]
