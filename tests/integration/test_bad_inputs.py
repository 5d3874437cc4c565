"""A hundred and more bad inputs: each gets its exit code and one line, and nothing is lost or left half-written."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from bad_inputs import command_lines, data, engines, environments, images, option_files, runs, weights, world
from bad_inputs.case import Case
from bad_inputs.launcher import Launch, launcher

TABLES = (option_files, data, weights, images, runs, command_lines, engines, environments)
CASES = [
    pytest.param(case, id=f"{table.__name__.rpartition('.')[2]}-{number}: {case.command!a}")
    for table in TABLES
    for number, case in enumerate(table.TABLE, 1)
]
NO_MESSAGE = re.compile(
    r"^usage: |^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|^\w+: Experiment|\d%\||(it|px|image)/s|\ds/(it|image)"
)
"""Beginning of usage and logs, and what progress bars have."""
WARNING = "WARNING: "
"""After the time of a line of the log that is a message too."""


@pytest.fixture(scope="module")
def launch() -> Iterator[Launch]:
    with launcher() as launch:
        yield launch


@pytest.fixture(scope="module")
def template(launch: Launch) -> Iterator[Path]:
    """The working folder that each case gets a copy of, with a finished run. Not below pytest's, which is private."""
    with tempfile.TemporaryDirectory(prefix="bad_inputs_") as folder:
        path = Path(folder, "world")
        path.mkdir()
        path.parent.chmod(0o755)
        world.make(path)
        code, _, err = launch(["train", "-opt", "run.yml"], path, environment(path.parent))
        assert code == 0, err
        yield path


def environment(folder: Path) -> dict[str, str | None]:
    """Nothing is written outside of ``folder``, and nothing downloaded."""
    for name in ("home", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "tmp").chmod(0o777)
    nobody = "http://127.0.0.1:9"  # answers there
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nobody)
    cleared = dict.fromkeys(("XDG_CACHE_HOME", "HAT_ARCH_MODELS", "TORCH_HOME", "no_proxy", "NO_PROXY"))
    return {**proxies, **cleared, "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}


def content(folder: Path) -> dict[str, bytes]:
    """Everything below a folder: files, links as what they point to, empty folders as nothing."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = bytes(path.readlink())
        elif path.is_file():
            found[name] = path.read_bytes()
        elif not any(path.iterdir()) and not name.startswith("home"):
            found[name] = b""
    return found


def message(err: str) -> list[str]:
    """The lines of a message, each with what follows it indented: without usage, logs and progress bars."""
    lines: list[str] = []
    passed_over = False
    for line in err.replace("\r", "\n").splitlines():
        indented = line.startswith((" ", "\t"))
        passed_over = (NO_MESSAGE.search(line) and WARNING not in line) or (passed_over and indented)
        if passed_over or not line.strip():
            continue
        if indented and lines:
            lines[-1] += line
        else:
            lines.append(line)
    return lines


def complaints(case: Case, folder: Path, launch: Launch) -> tuple[list[str], str]:
    """What is wrong with how a case ends, and all that was said."""
    env = {**environment(folder.parent), **case.env}
    before = content(folder.parent)
    code, out, err = launch(shlex.split(case.command), folder, env, case.before, case.stdin)
    after = content(folder.parent)
    lines = message(err)
    kept = [name for name in before if not name.endswith(".in_use")]  # which says who has it
    kept = [name for name in kept if not any(other.startswith(f"{name}/") for other in after)]  # empty folders
    made = [name for name in after if name not in before]
    patterns = [pattern if pattern.startswith("home/") else f"{folder.name}/{pattern}" for pattern in case.makes]
    wrong = {
        f"exit code {code}, not {case.code}": code != case.code,
        "a traceback": "Traceback" in out + err,
        f"no line with {case.says}": case.says and not any(all(word in line for word in case.says) for line in lines),
        f"{len(lines)} lines, not {case.lines}": case.lines is not None and len(lines) != case.lines,
        f"not said: {case.notes}": case.notes not in out,
        **{f"{name} was lost": name not in after for name in kept},
        **{f"{name} was changed": name in after and before[name] != after[name] for name in kept},
        **{f"{name} was left": not any(fnmatch(name, pattern) for pattern in patterns) for name in made},
        **{f"{pattern} was not made": not any(fnmatch(name, pattern) for name in made) for pattern in patterns},
    }
    return [what for what, is_so in wrong.items() if is_so], f"{out}\n{err}"


@pytest.mark.parametrize("case", CASES)
def test_a_bad_input(case: Case, template: Path, launch: Launch) -> None:
    case.skip_if_impossible()
    with tempfile.TemporaryDirectory(prefix="bad_") as place:
        Path(place).chmod(0o755)
        folder = Path(place, "world")
        shutil.copytree(template, folder, symlinks=True)
        case.prepare(folder)
        wrong, said = complaints(case, folder, launch)
    assert not wrong, f"{wrong}\n$ basicsr {case.command}\n{said}"


def test_there_are_a_hundred_at_least() -> None:
    assert len(CASES) >= 100 and len({case.id for case in CASES}) == len(CASES)
