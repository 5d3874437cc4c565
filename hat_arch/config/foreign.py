"""Option files of other programs, which look alike and have other sections: each is told by what it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .problems import ConfigError

TRAINNER = "traiNNer-redux"
NEOSR = "neosr"
CONVERTIBLE = (TRAINNER, NEOSR)
"""Programs whose files `basicsr options convert` takes, beside those of BasicSR's kind."""
MARKS = {
    NEOSR: {"bfloat16", "degradations"},
    TRAINNER: {"amp_bf16", "use_channels_last", "use_compile", "use_amp", "fast_matmul"},  # the last two neosr's too
    "KAIR": {"netG", "netD", "task", "gpu_ids"},
    "BasicSR before 2020, or MMSR": {"network_G", "network_D", "distortion"},
}
"""Program → keys on top of which BasicSR's files have none; the first program that fits is it."""
LEAST = {"KAIR": 2}  # keys that must be there; one elsewhere
NEOSR_TYPES = {"model_type": {"image", "default", "otf"}, "dataset": {"paired", "single", "otf"}}
TOML = re.compile(r"(\s*(#.*)?\n)*(\w+\s*=|\[[\w.]+\]\s*$)", re.MULTILINE)


def is_toml(file: Path, text: str) -> bool:
    """Whether a text is TOML, in which neosr's option files are written."""
    return file.suffix == ".toml" or TOML.match(text) is not None


def program_of(content: dict[str, Any]) -> str | None:
    """The program whose option file a content is; None of BasicSR's kind, which the official HAT's is too."""
    train, datasets = content.get("train"), content.get("datasets")
    sections = [one for one in datasets.values() if isinstance(one, dict)] if isinstance(datasets, dict) else []
    if str(content.get("model_type")) in NEOSR_TYPES["model_type"] and any(
        str(one.get("type")) in NEOSR_TYPES["dataset"] for one in sections
    ):
        return NEOSR
    if isinstance(train, dict) and isinstance(train.get("losses"), list):
        return TRAINNER
    return next((one for one, marks in MARKS.items() if len(marks & content.keys()) >= LEAST.get(one, 1)), None)


def refusal(file: Path, program: str) -> ConfigError:
    """What is said of a file that is not of BasicSR's kind."""
    if program in CONVERTIBLE:
        remedy = f"`basicsr options convert {file}` makes one of BasicSR's kind of it"
    else:
        remedy = "`basicsr options copy train_HAT_SRx4` gives one of BasicSR's kind, for your data, network and weights"
    return ConfigError(f"{file}: is an option file of {program}, whose sections are others; {remedy}")
