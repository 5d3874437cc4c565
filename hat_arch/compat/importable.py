"""Makes ``import basicsr`` work on current PyTorch, torchvision and Python: one function for each defect.

`hat_arch` calls `make_importable` before anything else. It does nothing where nothing is broken.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator

import torch

ACTIVE: list[str] = []
"""What had to be fixed in this process, one line each, for ``basicsr doctor``."""

_schemas: list[torch.library.Library] = []  # a schema lives as long as the object that declared it


def make_importable() -> None:
    """Applies what this machine needs for ``import basicsr`` to work, and imports it."""
    if "basicsr" in sys.modules:
        return
    declare_torchvision_operators()
    alias_functional_tensor()
    with lend_distutils():
        importlib.import_module("basicsr")


def declare_torchvision_operators() -> None:
    """Lets PyPI's CUDA build of torchvision be imported beside a CPU build of torch.

    Its compiled library does not load there, and then its Python code refers to two operators that nobody declared
    (``operator torchvision::nms does not exist``, https://github.com/pytorch/pytorch/issues/122494). Declaring them is
    enough, since BasicSR calls none of them. Does nothing where torchvision can be imported.
    """
    try:
        importlib.import_module("torchvision")
        return
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _schemas.append(library)
    importlib.import_module("torchvision")
    ACTIVE.append("torchvision was built for CUDA, torch was not: operators nms and qnms declared")


def alias_functional_tensor() -> None:
    """Brings back ``torchvision.transforms.functional_tensor``, which torchvision 0.17 removed.

    ``basicsr.data.degradations`` imports ``rgb_to_grayscale`` from it
    (https://github.com/XPixelGroup/BasicSR/issues/649). Does nothing where the module exists; can go with a BasicSR
    that imports from ``torchvision.transforms.functional``.
    """
    name = "torchvision.transforms.functional_tensor"
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return
    from torchvision.transforms.functional import rgb_to_grayscale

    module = types.ModuleType(name, "rgb_to_grayscale, for basicsr.data.degradations")
    module.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[name] = module
    ACTIVE.append("torchvision.transforms.functional_tensor brought back")


@contextlib.contextmanager
def lend_distutils() -> Iterator[None]:
    """Provides ``distutils.version.LooseVersion`` while BasicSR is imported.

    ``basicsr.archs.arch_util`` compares versions with it, and Python 3.12 removed distutils
    (PEP 632; no issue upstream). Does nothing where distutils exists, in the standard library or through setuptools.
    """
    try:
        importlib.import_module("distutils.version")
    except ImportError:
        pass
    else:
        yield
        return
    from packaging.version import Version

    lent = {name: types.ModuleType(name) for name in ("distutils", "distutils.version")}
    lent["distutils.version"].LooseVersion = Version  # type: ignore[attr-defined]
    sys.modules.update(lent)
    ACTIVE.append("distutils.version lent to basicsr.archs.arch_util")
    try:
        yield
    finally:
        for name in lent:
            del sys.modules[name]
