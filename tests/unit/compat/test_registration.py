"""HAT and its model in BasicSR's registries."""

import subprocess
import sys

import pytest
import torch

import hat_arch
from hat_arch.compat.registration import register

# isort: split
# After hat_arch, which makes BasicSR importable.
from basicsr.archs import build_network
from basicsr.utils.registry import DATASET_REGISTRY, Registry

ONCE = """
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY
for registry, name in ((ARCH_REGISTRY, "HAT"), (MODEL_REGISTRY, "HATModel")):
    names = [key for key, _ in registry if key.startswith(name)]
    assert names == [name], names
    assert registry.get(name) is getattr(sys.modules["hat_arch"], name)
"""


def named(name: str, module: str) -> type:
    return type(name, (), {"__module__": module})


def test_basicsr_builds_the_network_of_an_option_file():
    options = {"type": "HAT", "embed_dim": 12, "depths": [1], "num_heads": [2], "squeeze_factor": 4, "upscale": 3}
    net = build_network(options)
    assert type(net) is hat_arch.HAT
    assert net(torch.rand(1, 3, 5, 6)).shape == (1, 3, 15, 18)


@pytest.mark.parametrize(
    "modules",
    [
        "hat_arch.archs.hat_arch hat_arch.training.hat_model hat_arch.compat.registration",
        "hat_arch.training.hat_model hat_arch.archs.window_attention hat_arch",
        "hat_arch.compat.registration hat_arch.compat.importable hat_arch.archs.hat_arch",
    ],
)
def test_modules_can_be_imported_and_reloaded_in_any_order(modules):
    code = f"""
import importlib, sys
modules = [importlib.import_module(name) for name in {modules.split()}]
{ONCE}
for module in [*modules, *modules[::-1], sys.modules["hat_arch"]]:
    importlib.reload(module)
{ONCE}
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr


def test_class_is_registered_once_and_anew_after_a_reload():
    registry = Registry("arch")
    first, second = (named("Net", "package.nets") for _ in range(2))
    for cls in (first, first, second):
        register(registry, cls)
        assert list(registry) == [("Net", cls)]


def test_two_packages_cannot_share_a_name():
    registry = Registry("arch")
    first = named("HAT", "one.nets")
    register(registry, first)
    with pytest.raises(ImportError, match=r"one\.nets .*arch named 'HAT'.* two\.nets "):
        register(registry, named("HAT", "two.nets"))
    assert registry.get("HAT") is first


def test_another_package_may_register_a_data_set_under_a_name_of_basicsrs(monkeypatch):
    assert DATASET_REGISTRY.get("RealESRGANDataset") is hat_arch.RealESRGANDataset
    monkeypatch.setattr(DATASET_REGISTRY, "_obj_map", dict(DATASET_REGISTRY._obj_map))
    theirs = named("RealESRGANDataset", "another")
    DATASET_REGISTRY.register(theirs)
    assert DATASET_REGISTRY.get("RealESRGANDataset") is theirs
