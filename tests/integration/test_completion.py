"""Completion in real shells: the script is sourced there, and asked what Tab would offer."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from hat_arch import cli
from hat_arch.cli import completion

ASK = {
    "bash": 'source {script}; COMP_WORDS=({words} "$LAST"); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); '
    'COMP_LINE="${{COMP_WORDS[*]}}"; COMP_POINT=${{#COMP_LINE}}; '
    "_shtab_basicsr; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
    "fish": 'source {script}; complete -C "{words} $LAST" | string split -f1 \\t',
}


@pytest.fixture(params=ASK)
def offered(request, tmp_path, capsys, monkeypatch):
    """What a shell offers for the last of some words, in a folder with two files."""
    shell, script = request.param, tmp_path / "script"
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    assert cli.main(["completion", shell]) == 0
    script.write_text(capsys.readouterr().out)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("photo.png", "my_own.yml"):
        (folder / name).touch()

    def offered(words: str, last: str) -> set[str]:
        command = ASK[shell].format(script=script, words=words)
        env = {"LAST": last, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        run = subprocess.run([shell, "-c", command], cwd=folder, env=env, capture_output=True, text=True, check=False)
        return set(run.stdout.split())

    return offered


def test_verbs_options_and_choices(offered):
    assert {"train", "test"} <= offered("basicsr", "t") and "upscale" not in offered("basicsr", "t")
    assert "table" in offered("basicsr paper", "ta")
    assert "--self_ensemble" in offered("basicsr upscale", "--self")
    assert offered("basicsr upscale photo.png --engine", "o") == {"openvino", "onnxruntime"}


def test_option_files_and_models_by_name_and_files(offered):
    assert {"train_HAT_SRx4", "train_HAT_demo_SRx4"} <= offered("basicsr train -opt", "train_HAT_")
    assert "my_own.yml" in offered("basicsr train -opt", "my")
    assert "hat-light-x4" in offered("basicsr upscale photo.png --model", "hat-light-x")
    assert "hat-light-x4" in offered("basicsr export", "hat-light-x")
    assert "photo.png" in offered("basicsr upscale", "ph")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_takes_the_script(tmp_path, capsys):
    assert cli.main(["completion", "zsh"]) == 0
    (tmp_path / "_basicsr").write_text(capsys.readouterr().out)
    command = "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -d $PWD/dump; echo $_comps[basicsr]"
    run = subprocess.run(["zsh", "-fc", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("_basicsr\n", "")
    subprocess.run(["zsh", "-n", "_basicsr"], cwd=tmp_path, check=True)


def test_each_name_is_of_an_argument_that_is_there():
    there = {(verb, action.dest) for verb, action in completion.arguments(cli.build_parser())}
    assert completion.WORDS.keys() <= there
