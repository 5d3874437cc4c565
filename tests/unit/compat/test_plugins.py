"""Other packages' networks are found and trained by name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hat_arch.compat import plugins
from hat_arch.utils.errors import UserError

ARCH = """
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

@ARCH_REGISTRY.register()
class ToyNet(nn.Module):
    def __init__(self, upscale=4, width=8):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1), nn.Conv2d(width, 3 * upscale**2, 3, 1, 1))
        self.shuffle = nn.PixelShuffle(upscale)

    def forward(self, x):
        return self.shuffle(self.body(x))
"""
SETUP = """
from setuptools import setup
setup(name="{name}", version="1.0", py_modules=["{name}"], entry_points={{"basicsr.plugins": ["{name} = {name}"]}})
"""


def install(source: str, name: str, folder) -> str:
    """Installs a package of one module into a folder of its own; returns that folder, for PYTHONPATH."""
    package, target = folder / f"{name}_source", folder / "site"
    package.mkdir()
    (package / f"{name}.py").write_text(source)
    (package / "setup.py").write_text(SETUP.format(name=name))
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*command, "--target", str(target), str(package)], check=True, capture_output=True)
    return str(target)


def test_network_of_an_installed_package_trains_by_its_name(options, write_options, basicsr, tmp_path):
    site = install(ARCH, "toy_arch", tmp_path)
    options["network_g"] = {"type": "ToyNet", "width": 12}
    options["train"]["total_iter"] = 2
    done = basicsr("train", "-opt", write_options(options), env={"PYTHONPATH": site})
    assert done.returncode == 0, done.stderr
    assert "Network [ToyNet] is created" in done.stderr
    assert (tmp_path / "experiments/tiny/models/net_g_latest.pth").is_file()

    options["network_g"]["widht"] = 3
    done = basicsr("train", "-opt", write_options(options), env={"PYTHONPATH": site})
    assert done.returncode == 2 and "network_g.widht: unknown key; did you mean 'width'?" in done.stderr


def test_broken_package_is_named_in_one_line_and_does_no_harm(basicsr, tmp_path):
    site = install("raise ImportError('no such thing')", "broken_arch", tmp_path)
    done = basicsr("archs", env={"PYTHONPATH": site})
    assert done.returncode == 0 and "HAT " in done.stdout
    assert done.stderr == ("basicsr: plugin 'broken_arch' of broken_arch is broken: ImportError: no such thing\n")


def test_local_file_or_module_is_loaded_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_arch.py").write_text(ARCH.replace("ToyNet", "LocalNet"))
    (tmp_path / "my_module.py").write_text(ARCH.replace("ToyNet", "ModuleNet"))
    for _ in range(2):
        plugins.load_local(["my_arch.py", "my_module"])
    from basicsr.utils.registry import ARCH_REGISTRY

    assert "LocalNet" in ARCH_REGISTRY and "ModuleNet" in ARCH_REGISTRY


@pytest.mark.parametrize("name", ["absent.py", "absent_module", "broken.py"])
def test_local_plugin_that_fails_is_named(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("def (")
    with pytest.raises(UserError, match=f"--plugin {name}: ") as error:
        plugins.load_local([name])
    assert "\n" not in str(error.value)
