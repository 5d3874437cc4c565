"""Each repair beside the failure it is for, in processes of their own: an import can only be tried once in each."""

import json
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

from hat_arch.compat import importable

COMPAT_ALONE = f"""
import contextlib, importlib.util, sys
spec = importlib.util.spec_from_file_location("compat", {str(Path(importable.__file__))!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
"""
WITHOUT_DISTUTILS = """
import sys
GONE = "distutils", "setuptools", "_distutils_hack"

class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in GONE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path[:] = [Gone()] + [finder for finder in sys.meta_path if "Distutils" not in type(finder).__name__]
for name in [name for name in sys.modules if name.partition(".")[0] in GONE]:
    del sys.modules[name]
"""


def run(*code: str) -> subprocess.CompletedProcess:
    source = "\n".join(textwrap.dedent(part) for part in code)
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=300)


def succeed(*code: str) -> str:
    process = run(*code)
    assert process.returncode == 0, process.stderr
    return process.stdout


def failure(*code: str) -> str:
    """The last line of the traceback; empty if there was none."""
    process = run(*code)
    return process.stderr.strip().rpartition("\n")[2] if process.returncode else ""


@pytest.fixture(scope="module")
def torchvision_failure() -> str:
    return failure("import torchvision")


@pytest.fixture(scope="module")
def functional_tensor_failure() -> str:
    """What is left after the repairs of torchvision's operators and of distutils."""
    return failure(
        COMPAT_ALONE,
        """
        compat.declare_torchvision_operators()
        with compat.lend_distutils():
            import basicsr
        """,
    )


def test_basicsr_fails_alone_and_works_after_this_package(torchvision_failure, functional_tensor_failure):
    error = failure("import basicsr")
    if not torchvision_failure and not functional_tensor_failure:
        pytest.skip("nothing is broken here")
    assert "torchvision::nms" in error or "functional_tensor" in error
    succeed("import hat_arch, basicsr, basicsr.data.degradations")


def test_torchvision_of_cuda_is_importable_beside_torch_of_cpu(torchvision_failure):
    if not torchvision_failure:
        pytest.skip("torchvision can be imported as it is")
    assert "operator torchvision::nms does not exist" in torchvision_failure
    out = succeed(
        COMPAT_ALONE,
        """
        compat.declare_torchvision_operators()
        import torchvision
        print(torchvision.__version__, compat.ACTIVE)
        """,
    )
    assert "operators nms and qnms declared" in out


def test_working_torchvision_is_left_alone(tmp_path):
    (tmp_path / "torchvision.py").touch()
    use_it = f"import sys; sys.path.insert(0, {str(tmp_path)!r})"
    assert succeed(use_it, COMPAT_ALONE, "compat.declare_torchvision_operators(); print(compat.ACTIVE)") == "[]\n"


def test_other_failures_of_torchvision_are_not_hidden(tmp_path):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('something else')")
    error = failure(f"import sys; sys.path.insert(0, {str(tmp_path)!r})", COMPAT_ALONE, "compat.make_importable()")
    assert error == "RuntimeError: something else"


def test_functional_tensor_is_brought_back(functional_tensor_failure):
    if not functional_tensor_failure:
        pytest.skip("this torchvision has functional_tensor")
    assert "torchvision.transforms.functional_tensor" in functional_tensor_failure
    succeed(
        COMPAT_ALONE,
        """
        compat.declare_torchvision_operators()
        compat.alias_functional_tensor()
        with compat.lend_distutils():
            import basicsr.data.degradations
        from torchvision.transforms import functional, functional_tensor
        assert functional_tensor.rgb_to_grayscale is functional.rgb_to_grayscale
        """,
    )


def test_basicsr_needs_distutils():
    error = failure(
        WITHOUT_DISTUTILS,
        COMPAT_ALONE,
        """
        compat.lend_distutils = contextlib.nullcontext
        compat.make_importable()
        """,
    )
    assert error.startswith("ModuleNotFoundError: No module named 'distutils")


@pytest.fixture(scope="module")
def lent() -> dict:
    """What a process without distutils and setuptools sees after importing this package."""
    out = succeed(
        WITHOUT_DISTUTILS,
        """
        import importlib, json
        import hat_arch, basicsr.archs.arch_util
        seen = {"active": list(hat_arch.compat.importable.ACTIVE)}
        hat_arch.compat.importable.make_importable()
        seen["active again"] = hat_arch.compat.importable.ACTIVE
        seen["modules"] = [name for name in sys.modules if name.partition(".")[0] in GONE]
        for name in "distutils", "distutils.version":
            try:
                importlib.import_module(name)
            except ModuleNotFoundError as error:
                seen[name] = str(error)
        print(json.dumps(seen))
        """,
    )
    return json.loads(out.splitlines()[-1])


def test_distutils_is_lent_for_the_import_alone(lent):
    assert [line for line in lent["active"] if line.startswith("distutils.version lent")]
    assert lent["modules"] == []
    assert lent["distutils"] == lent["distutils.version"] == "No module named 'distutils'"
    assert lent["active again"] == lent["active"]


def test_nothing_is_repaired_twice():
    before = list(importable.ACTIVE)
    importable.make_importable()
    assert before == importable.ACTIVE


def test_present_distutils_is_left_alone(monkeypatch):
    package, version = types.ModuleType("distutils"), types.ModuleType("distutils.version")
    monkeypatch.setitem(sys.modules, "distutils", package)
    monkeypatch.setitem(sys.modules, "distutils.version", version)
    before = list(importable.ACTIVE)
    with importable.lend_distutils():
        assert sys.modules["distutils.version"] is version
    assert sys.modules["distutils.version"] is version
    assert before == importable.ACTIVE


def test_distutils_is_taken_back_when_the_import_fails():
    error = failure(
        WITHOUT_DISTUTILS,
        COMPAT_ALONE,
        """
        try:
            with compat.lend_distutils():
                from distutils.version import LooseVersion
                assert LooseVersion("1.10") > LooseVersion("1.9")
                raise ValueError
        except ValueError:
            import distutils
        """,
    )
    assert error == "ModuleNotFoundError: No module named 'distutils'"
