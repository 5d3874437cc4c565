"""Option files of other programs, which look alike and have other sections: each is told by what it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .problems import ConfigError

MARKS = {
    "traiNNer-redux or neosr": {"use_amp", "amp_bf16", "bfloat16", "fast_matmul", "use_channels_last", "use_compile"},
    "KAIR": {"netG", "netD", "task", "gpu_ids"},
    "BasicSR before 2020, or MMSR": {"network_G", "network_D", "distortion"},
}
"""Program → keys on top of which BasicSR's files have none."""
LEAST = {"KAIR": 2}  # keys that must be there; one elsewhere
TOML = re.compile(r"(\s*(#.*)?\n)*(\w+\s*=|\[[\w.]+\]\s*$)", re.MULTILINE)


def refuse_toml(file: Path, text: str) -> None:
    """Raises `ConfigError` if a text is TOML."""
    if file.suffix == ".toml" or TOML.match(text):
        raise ConfigError(_line(file, "neosr, in TOML"))


def refuse(file: Path, content: dict[str, Any]) -> None:
    """Raises `ConfigError` if the content of a YAML or JSON file is of another program."""
    train = content.get("train")
    losses = isinstance(train, dict) and isinstance(train.get("losses"), list)
    for program, marks in MARKS.items():
        if len(marks & content.keys()) >= LEAST.get(program, 1) or (losses and "neosr" in program):
            raise ConfigError(_line(file, program))


def _line(file: Path, program: str) -> str:
    remedy = "`basicsr options copy train_HAT_SRx4` gives a file of BasicSR's kind, for your data, network and weights"
    return f"{file}: is an option file of {program}, whose sections are others; {remedy}"
