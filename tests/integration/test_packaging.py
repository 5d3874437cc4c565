"""Installing: BasicSR's build on Python 3.13 and later, the range of Pythons, and the script that CI runs."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
BUILD_SUPPORT = ROOT / "build_support"
SETUP = """
from setuptools import setup

def get_version():
    with open("version.py", "r") as f:
        exec(compile(f.read(), "version.py", "exec"))
    return locals()["__version__"]

setup(name="like-basicsr", version=get_version(), setup_requires=["no-such-package-anywhere"])
"""


def python(code: str, *path: Path) -> str:
    """What code prints that starts with these folders on ``PYTHONPATH``."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout


def build(tmp_path: Path, pythonpath: str) -> subprocess.CompletedProcess[str]:
    """pip builds a package that finds its version as BasicSR's ``setup.py`` does, in a folder with a space."""
    source = tmp_path / "the source"
    source.mkdir()
    (source / "setup.py").write_text(SETUP)
    (source / "version.py").write_text("__version__ = '1.4.2'\n")
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-index",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            tmp_path,
            source,
        ],
        env={**os.environ, "PYTHONPATH": pythonpath},
        capture_output=True,
        text=True,
    )


def test_builds_with_build_support(tmp_path):
    support = tmp_path / "build support"
    shutil.copytree(BUILD_SUPPORT, support)
    done = build(tmp_path, str(support))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [wheel.name for wheel in tmp_path.glob("*.whl")] == ["like_basicsr-1.4.2-py3-none-any.whl"]


def test_the_package_itself_is_built_without_a_warning_of_setuptools(tmp_path):
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests", "datasets", "experiments")
    shutil.copytree(ROOT, source, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "-v", "--no-index", "--no-deps", "--no-build-isolation", "-w"]
    done = subprocess.run([*command, tmp_path, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    said = (done.stdout + done.stderr).splitlines()
    assert [line for line in said if re.search(r"Warning|deprecated|!!|\*\*\*", line)] == []
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("hat_arch/web/static/")}
    assert packed == {f"hat_arch/web/static/{file.name}" for file in (ROOT / "hat_arch/web/static").iterdir()}


@pytest.mark.skipif(sys.version_info < (3, 13), reason="since Python 3.13 exec() adds nothing to locals()")
def test_build_support_is_needed(tmp_path):
    done = build(tmp_path, "")
    assert done.returncode != 0
    assert "KeyError: '__version__'" in done.stdout + done.stderr


def test_exec_is_otherwise_what_it_was():
    code = """
def into_caller():
    exec("a = 1")
    return locals()

def given(globals, *locals):
    exec("b = name", globals, *locals)
    return sorted(set(globals) - {"__builtins__"}), locals

def nonlocal_name():
    n = 2
    def inner():
        nonlocal n
        n += 1
        return n
    exec(inner.__code__, {}, closure=inner.__closure__)
    return n

class Body:
    exec("c = 3")

name = "of the module"
exec("d = name")
print(into_caller(), given({"name": 4}), given({"name": 5}, {}), Body.c, d)
"""
    expected = "{'a': 1} (['b', 'name'], ()) (['name'], ({'b': 5},)) 3 of the module\n"
    assert python(code, BUILD_SUPPORT) == expected
    if sys.version_info >= (3, 11):
        assert python(code.rpartition("print")[0] + "print(nonlocal_name())", BUILD_SUPPORT) == "3\n"
    if sys.version_info >= (3, 13):
        assert (
            python(
                code.replace(", globals, *locals)", ", globals=globals, **dict(zip(['locals'], locals)))"),
                BUILD_SUPPORT,
            )
            == expected
        )


def test_the_systems_own_sitecustomize_still_runs(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('of the system')\n")
    assert python("print('then this')", BUILD_SUPPORT, tmp_path) == "of the system\nthen this\n"


def test_every_file_names_the_same_pythons():
    declared = metadata("hat-arch")
    allowed = SpecifierSet(declared["Requires-Python"])
    minors = [minor for minor in range(40) if f"3.{minor}" in allowed]
    classifiers = " ".join(declared.get_all("Classifier"))
    assert [int(minor) for minor in re.findall(r"Python :: 3\.(\d+)", classifiers)] == minors
    told = f"3.{minors[0]} to 3.{minors[-1]}"
    assert told in (ROOT / "README.md").read_text(encoding="utf-8")
    assert told in (ROOT / "Makefile").read_text(encoding="utf-8")
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == [f"3.{minor}" for minor in minors]


def test_the_version_is_the_same_everywhere():
    version = metadata("hat-arch")["Version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("version", [(3, 9), (3, 15)])
def test_make_refuses_other_pythons(tmp_path, version):
    other = tmp_path / "python-other"
    pretend = f"import sys; sys.version_info, sys.executable = {version}, '/usr/bin/other'; exec(sys.argv[1])"
    other.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{pretend}" "$2"\n')
    other.chmod(0o755)
    venv = tmp_path / "venv"
    done = subprocess.run(
        ["make", "install", f"PYTHON={other}", f"VENV={venv}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert done.stderr.startswith(f"hat_arch needs Python 3.10 to 3.14, and /usr/bin/other is 3.{version[1]}.")
    assert not venv.exists()


@pytest.mark.parametrize("code", [0, 3])
def test_ci_makes_its_own_environment_and_passes_the_result_on(tmp_path, code):
    stand_in = tmp_path / "make"
    stand_in.write_text(f'#!/bin/sh\necho "$PWD|$@|$VENV|${{PYTHONPATH-none}}"\nls -a "$VENV" 2>&1\ncat\nexit {code}\n')
    stand_in.chmod(0o755)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = subprocess.run(
        [ROOT / ".ci" / "run"],
        env={**os.environ, "PATH": path, "TMPDIR": str(temporary), "PYTHONPATH": "elsewhere"},
        cwd=tmp_path,
        input="",
        capture_output=True,
        text=True,
    )
    assert done.returncode == code
    where, command, venv, pythonpath = done.stdout.splitlines()[0].split("|")
    assert (where, command, pythonpath) == (str(ROOT), "test", "none")
    assert Path(venv).is_relative_to(temporary)
    assert "No such file" in done.stdout
    assert not list(temporary.iterdir())
