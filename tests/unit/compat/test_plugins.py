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
    assert "network    ToyNet" in done.stderr
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


@pytest.fixture
def plugins_apart(monkeypatch):
    """What plugins of a test import is forgotten after it."""
    for name, empty in (("_files", {}), ("_helpers", {})):
        monkeypatch.setattr(plugins, name, empty)
    monkeypatch.setattr(plugins.later, "folders", [])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def plugin(folder, network, width, lazy=False):
    """A plugin ``net.py`` whose helper ``blocks.py`` and package ``parts`` lie beside it."""
    (folder / "parts").mkdir(parents=True)
    (folder / "blocks.py").write_text(f"from parts.deep import WIDTH\nassert WIDTH == {width}\n")
    (folder / "parts/__init__.py").touch()
    (folder / "parts/deep.py").write_text(f"WIDTH = {width}\n")
    (folder / f"only_{network}.py").write_text(f"HERE = {width}\n")
    lines = ["from blocks import WIDTH", f"def later(): import only_{network} as one; return one.HERE"]
    lines += ["def again(): import blocks; return blocks.WIDTH"]
    (folder / "net.py").write_text("\n".join([ARCH.replace("ToyNet", network), *lines]))
    return str(folder / "net.py")


def test_a_file_finds_modules_beside_it_from_any_folder(tmp_path, plugins_apart):
    path = list(sys.path)
    plugins.load_local([plugin(tmp_path / "a", "BesideNet", 3)])
    module = sys.modules["basicsr_plugin_net"]
    assert (module.WIDTH, module.later(), module.again()) == (3, 3, 3)
    assert sys.path == path


def test_plugins_of_one_name_with_helpers_of_one_name_do_not_clash(tmp_path, plugins_apart):
    files = [plugin(tmp_path / str(n), f"Clash{n}Net", n) for n in range(3)]
    plugins.load_local([*files, files[0]])
    modules = [sys.modules[f"basicsr_plugin_net{end}"] for end in ("", "_2", "_3")]
    for n, module in enumerate(modules):
        assert (module.WIDTH, module.later()) == (n, n)
        with pytest.raises(ImportError, match=r"several plugins have a module 'blocks'.*at the top"):
            module.again()


def test_a_plugin_that_fails_leaves_nothing(tmp_path, plugins_apart):
    good = plugin(tmp_path / "good", "GoodNet", 1)
    plugins.load_local([good])
    bad = plugin(tmp_path / "bad", "BadNet", 2)
    with open(bad, "a") as file:  # noqa: PTH123
        file.write("\nraise ValueError('in it')\n")
    for _ in range(2):
        with pytest.raises(UserError, match=r"bad/net\.py: .*(in it|BadNet)"):
            plugins.load_local([bad])
    assert sys.modules["basicsr_plugin_net"].WIDTH == 1
