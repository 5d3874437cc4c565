"""Option files of other programs made into this project's: what has changed is said, a line for each change.

Those of BasicSR, the official HAT, Real-ESRGAN and their forks run as they are; of them, older keys are renamed, and
keys without effect are taken out. All else stays as it is written, comments included. See `others` for other kinds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import yaml

from . import check, foreign, keys, others, reading
from .edits import Edits
from .problems import ConfigError, Key, Problems

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOVED = {"save_img": True, "suffix": None}
"""Keys on top of older tests that belong below ``val:`` → what holds without them."""


class Converted(NamedTuple):
    """An option file of this project, made of another's."""

    text: str
    program: str
    """Whose option file it was."""
    said: list[str]
    """A line for each change, and for each thing that there is none for here."""


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line."""


_Dumper.add_representer(
    list, lambda dumper, values: dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=True)
)


def convert(file: Path) -> Converted:
    """Makes an option file of this project of one of BasicSR, the official HAT, neosr or traiNNer-redux, and checks it.

    Raises:
        ConfigError: it is no such file; or something in it cannot work, or cannot be converted, with the remedy.
    """
    text = reading.text_of(file)
    if foreign.is_toml(file, text):
        try:
            content, program = tomllib.loads(text), foreign.NEOSR
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{file}: {error}") from None
    else:
        content, _ = reading.parse(file, text)
        program = foreign.program_of(content) or ""
    if not program:
        return _of_basicsr(file, text)
    if program not in foreign.CONVERTIBLE:
        raise foreign.refusal(file, program)
    options, said = others.converted(file, content, program)
    check(options, "train" in options, Problems(file, {}, absent=[]), here=False)
    made = f"# made of {file.name}, of {program}, by basicsr options convert\n"
    return Converted(made + yaml.dump(options, Dumper=_Dumper, sort_keys=False, allow_unicode=True), program, said)


def _of_basicsr(file: Path, text: str) -> Converted:
    """Renames, moves and removes keys in the text of a file of BasicSR's kind."""
    edits = Edits(file, text)
    said: list[tuple[int, str]] = []

    def say(key: Key, what: str) -> None:
        line = edits.lines[key]
        said.append((line, f"{file}:{line}: {'.'.join(key)}: {what}"))

    if not {"network_g", "model_type", "datasets"} & edits.content.keys():
        raise ConfigError(f"{file}: not an option file; it has no network_g, no model_type and no datasets")
    gpus = edits.content.get("gpu_ids", [0])
    for key in _old_keys(edits.content):
        new, old = keys.RENAMED[key[-1]], edits.content
        for name in key[:-1]:
            old = old[name]
        if new in old:
            raise ConfigError(f"{file}:{edits.lines[key]}: {'.'.join(key)}: {new} is there too; keep one of them")
        _rename(edits, key, new, old[key[-1]], len(gpus) if isinstance(gpus, list) else 0, say)
    model = str(edits.content.get("model_type"))
    if model in keys.RENAMED:
        edits.set(("model_type",), keys.RENAMED[model])
        say(("model_type",), f"{model} is called {keys.RENAMED[model]} now")
    _move(edits, say)
    problems = Problems(file, edits.lines, absent=[])
    check(edits.content, "train" in edits.content, problems, here=False)
    for key, reason in problems.notes:
        edits.remove(key)
        say(key, f"taken out; {reason}")
    if tile := edits.content.get("tile"):
        side, overlap = tile["tile_size"] + 2 * tile["tile_pad"], 2 * tile["tile_pad"]
        own = f"val: {{tile: {side}, tile_overlap: {overlap}}}"
        say(("tile",), f"kept, for the official HAT's tiles to the pixel; with {own} in its place they are blended")
    return Converted(edits.text(), "BasicSR's kind", [line for _, line in sorted(said)])


def _old_keys(content: reading.Options) -> list[Key]:
    """The keys of a file, in the sections of BasicSR, that are called otherwise now."""
    datasets = content.get("datasets")
    names = datasets if isinstance(datasets, dict) else ()
    places: list[Key] = [(), ("path",), ("train",), *(("datasets", str(name)) for name in names)]
    found = []
    for place in places:
        section: object = content
        for name in place:
            section = section.get(name) if isinstance(section, dict) else {}
        found += [(*place, name) for name in section if name in keys.RENAMED] if isinstance(section, dict) else []
    return found


def _rename(edits: Edits, key: Key, new: str, value: object, gpus: int, say: others.Say) -> None:
    """Renames a key; of numbers that meant something else, the value is changed too."""
    if key[-1] == "gpu_ids":
        edits.set(key, "auto" if gpus else 0)
        several = f"; --gpus {gpus} starts a process for each" if gpus > 1 else ""
        say(key, f"is num_gpu: {'auto' if gpus else 0} now{several}")
    elif key[-1] == "batch_size" and isinstance(value, int) and gpus > 1:
        if value % gpus:
            raise ConfigError(
                f"{edits.file}:{edits.lines[key]}: {'.'.join(key)}: {value} cannot be shared by {gpus} GPUs"
            )
        edits.set(key, value // gpus)
        say(key, f"{value} for {gpus} GPUs together is {new}: {value // gpus} now")
    else:
        say(key, f"is called {new} now")
    edits.rename(key, new)


def _move(edits: Edits, say: others.Say) -> None:
    """Moves keys of old files to the sections in which they are now."""
    train, val = edits.content.get("train"), edits.content.get("val")
    top = edits.content.keys()
    if isinstance(train, dict) and "manual_seed" in train and "manual_seed" not in top and "model_type" in top:
        seed = train["manual_seed"]
        edits.remove(("train", "manual_seed"))
        edits.put_before(("model_type",), "manual_seed", seed)
        say(("train", "manual_seed"), "stands on top now")
    for name, default in MOVED.items():
        if edits.content.get(name, default) == default:
            continue
        if not isinstance(val, dict) or not val or name in val:
            raise ConfigError(
                f"{edits.file}:{edits.lines[(name,)]}: {name}: belongs below val:, which lacks it: write it there, "
                "such as val: {save_img: false}"
            )
        value = edits.content[name]
        edits.remove((name,))
        edits.put_before(("val", next(iter(val))), name, value)
        say((name,), "stands below val: now")
