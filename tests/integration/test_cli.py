from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest
import torch

from hat_arch import cli
from hat_arch.compat import importable


def run(capsys, *args):
    code = cli.main(args)
    out, err = capsys.readouterr()
    return code, out, err


def test_archs_lists_hat_beside_basicsrs_own(capsys):
    code, out, _ = run(capsys, "archs")
    assert code == 0
    for name, package in (("HAT", "hat_arch"), ("SwinIR", "basicsr"), ("HATModel", "hat_arch"), ("L1Loss", "basicsr")):
        assert re.search(rf"^  {name} +{package} ", out, re.M), out


def test_doctor_tells_versions_devices_and_fixes(capsys):
    code, out, err = run(capsys, "doctor")
    assert code == (1 if "PROBLEM" in err else 0)
    assert re.search(r"basicsr +1\.4\.2", out)
    assert torch.__version__ in out
    assert ("No GPU" in out) == (not torch.cuda.is_available())
    for line in importable.ACTIVE:
        assert line in out


def test_doctor_finds_a_read_only_folder(capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    code, _, err = run(capsys, "doctor")
    assert code == 1 and "cannot be written to" in err


@pytest.mark.parametrize("args", [["--help"], ["train", "--help"], ["test", "--help"], ["data", "demo", "--help"]])
def test_every_command_explains_itself(capsys, args):
    with pytest.raises(SystemExit) as stop:
        cli.main(args)
    assert stop.value.code == 0
    assert "usage: basicsr" in capsys.readouterr().out


@pytest.mark.parametrize(("program", "traceback"), [("/usr/bin/basicsr", False), ("mine.py", True)])
def test_ctrl_c_before_it_begins_gets_a_line_from_the_command_alone(program, traceback):
    stopped = (
        "import sys\nclass Stop:\n def find_spec(self, name, *_):\n  if name == 'torch': raise KeyboardInterrupt\n"
    )
    code = f"{stopped}sys.meta_path.insert(0, Stop()); sys.argv[0] = {program!r}; import hat_arch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode in (130, -signal.SIGINT)
    assert (done.stderr == "basicsr: stopped\n") != traceback
    assert ("Traceback" in done.stderr) == traceback


def test_a_reader_that_has_gone_gets_no_traceback(tmp_path):
    command = [sys.executable, "-m", "hat_arch", "paper", "ablate", "--list"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


@pytest.mark.parametrize("args", [[], ["trian"], ["train"], ["train", "-opt", "a.yml", "--launcher", "mpi"]])
def test_wrong_usage_exits_with_2(capsys, args):
    with pytest.raises(SystemExit) as stop:
        cli.main(args)
    assert stop.value.code == 2


def test_report_without_weights_says_what_to_do(capsys, tmp_path, monkeypatch, options, write_options):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "report", "-opt", str(write_options(options)))
    assert code == 2 and "no weights 'experiments/tiny/models/net_g_latest.pth'; train first" in err


def test_data_demo_keeps_what_is_there(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets/demo").mkdir(parents=True)
    code, out, _ = run(capsys, "data", "demo")
    assert code == 0 and "there already" in out
