"""The ``basicsr`` command: how it starts, what it says of itself, and how it ends."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version

import pytest
import torch
import yaml

from hat_arch import cli
from hat_arch.compat import importable
from hat_arch.compat.registration import build


def run(capsys, *args):
    code = cli.main(args)
    out, err = capsys.readouterr()
    return code, out, err


def commands(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command: (), (train), (data), (data, prepare), …."""
    yield words
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from commands(inner, (*words, name))


START = """
import io, json, sys
before, seen = set(sys.modules), []
from basicsr_command import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["basicsr", *words]
    sys.stdout = sys.stderr = io.StringIO()
    try:
        main()
    except SystemExit as end:
        seen.append([end.code, sys.stdout.getvalue()])
sys.stdout = sys.__stdout__
started = hasattr(sys.modules["hat_arch"], "HAT")
print(json.dumps([seen, started, sorted({name.partition(".")[0] for name in set(sys.modules) - before})]))
"""


@pytest.fixture(scope="module")
def start():
    """Runs commands one after the other in a process; their codes and output, and the packages that were imported."""

    def start(*lines):
        command = [sys.executable, "-c", START, json.dumps(lines)]
        seen, started, packages = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert not started, "hat_arch/__init__ was run"
        assert set(packages) - set(sys.stdlib_module_names) <= {"basicsr_command", "hat_arch"}
        return seen

    return start


def test_help_of_every_command_imports_the_standard_library_alone(start):
    every = list(commands(cli.build_parser()))
    assert len(every) > 10
    for words, (code, out) in zip(every, start(*([*words, "--help"] for words in every))):
        assert code == 0 and out.startswith(" ".join(("usage: basicsr", *words))), out


@pytest.mark.parametrize(("verb", "shown"), [("train", True), ("test", False)])
def test_what_a_test_does_not_heed_is_taken_and_not_offered(capsys, verb, shown):
    with pytest.raises(SystemExit):
        cli.main([verb, "--help"])
    said = capsys.readouterr().out
    for flag in ("--auto_resume", "--debug"):
        assert (flag in said) == shown
        assert cli.build_parser().parse_args([verb, "-opt", "a.yml", flag])


def test_the_version_is_that_of_the_package(start):
    import hat_arch

    assert start(["--version"]) == [[0, f"hat_arch {hat_arch.__version__}\n"]]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "required: COMMAND"),
        ("trian", "'train'"),
        ("data prepare df2", "'df2k'"),
        ("train", "required: -opt"),
        ("train -opt a.yml --launcher mpi", "--launcher: .*'mpi'"),
        ("upscale a b --weights c --tille 8", r"^basicsr upscale: .*--tille.*'--tile'"),
        ("upscale a b --weights c --tile 0", "--tile: '0'"),
    ],
)
def test_mistakes_exit_with_2_and_name_the_nearest_word_at_once(start, line, words):
    [(code, out)] = start(line.split())
    assert code == 2 and re.search(words, out, re.M), out


INTERRUPTED = """
import sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == interrupted:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
interrupted, sys.argv = sys.argv[1], ["basicsr", "archs"]
from basicsr_command import main
main()
"""


@pytest.mark.parametrize("module", ["hat_arch.cli", "torch", "basicsr"])
def test_ctrl_c_during_the_imports_gets_one_line(module):
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, module], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "basicsr: stopped\n")


def test_importing_the_package_changes_no_hook():
    hooks = "(sys.excepthook, sys.displayhook, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))"
    code = f"import signal, sys; before = {hooks}; import hat_arch; assert before == {hooks}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_reader_that_has_gone_gets_no_traceback(tmp_path):
    command = [sys.executable, "-m", "hat_arch", "archs"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_archs_lists_what_is_registered_with_its_own_documentation(capsys):
    code, out, _ = run(capsys, "archs")
    assert code == 0
    for name, package in (("HAT", "hat_arch"), ("SwinIR", "basicsr"), ("HATModel", "hat_arch"), ("L1Loss", "basicsr")):
        assert re.search(rf"^  {name} +{package} ", out, re.M), out
    assert torch.nn.Module.__doc__.split("\n")[0] not in out
    assert re.findall(r"^\w+$", out, re.M) == ["archs", "models", "datasets", "losses", "metrics"]


@pytest.mark.parametrize("name", ["HAT", "SRVGGNetCompact"])
def test_archs_explains_a_network_and_its_arguments_as_an_option_file_has_them(capsys, name):
    code, out, _ = run(capsys, "archs", name)
    assert code == 0 and out.startswith(name)
    section = yaml.safe_load(out.partition("in an option file:\n")[2])
    assert type(build(section)).__name__ == name
    if name == "HAT":
        assert "α, the weight of CAB" in out and section["depths"] == [6, 6, 6, 6]


def test_archs_explains_losses_and_metrics_and_names_the_nearest(capsys):
    code, out, _ = run(capsys, "archs", "PerceptualLoss", "calculate_psnr", "HATModel", "PairedImageDataset")
    assert code == 0
    assert "  layer_weights:  # needed\n  vgg_type: vgg19\n" in out and "  crop_border:  # needed\n" in out
    assert "  model_type: HATModel\n" in out and "dataroot_gt (str)" in out and "img2:" not in out
    code, _, err = run(capsys, "archs", "HATT")
    assert code == 2 and "HATT: is not registered; did you mean 'HAT'?" in err


def test_doctor_tells_versions_devices_and_fixes(capsys):
    code, out, err = run(capsys, "doctor")
    assert code == (1 if "PROBLEM" in err else 0)
    assert re.search(r"basicsr +1\.4\.2", out)
    assert re.search(rf"torch +{re.escape(version('torch'))}\n", out)
    assert ("No GPU" in out) == (not torch.cuda.is_available())
    for line in importable.ACTIVE:
        assert line in out


def test_doctor_finds_a_read_only_folder(capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    code, _, err = run(capsys, "doctor")
    assert code == 1 and "cannot be written to" in err


def test_report_without_weights_says_what_to_do(capsys, tmp_path, monkeypatch, options, write_options):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "report", "-opt", str(write_options(options)))
    assert code == 2 and "net_g_latest.pth" in err and "basicsr train" in err
