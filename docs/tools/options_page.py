"""docs/reference/options.md: every key of an option file, from the schema and from the class `HAT`."""

from __future__ import annotations

import ast
import inspect
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic.fields import FieldInfo

from hat_arch import HAT
from hat_arch.config import schema
from hat_arch.config.source import reads

HEAD = """# Options

<!-- Written by docs/tools/reference.py: change hat_arch/config/schema.py instead. -->

An option file is YAML. `basicsr options` lists those that come with the package, `basicsr options copy NAME` copies one
to change. A key that is not known, of a wrong type or without effect is named, with file, line and remedy, before
anything starts: `basicsr train -opt FILE --dry_run` tries a file without its data.

*Since* is the version of this project from which on a key is read; *BasicSR* means that BasicSR reads it itself, so the
file runs there too. A key without default may be left out; what happens then is in the last column. `1e-4` and `5e3`
are numbers.
"""
SECTIONS: tuple[tuple[str, type[schema.Section], str], ...] = (
    ("", schema.TrainOptions, "On top of the file."),
    (
        "datasets",
        schema.Dataset,
        "A section for each data set: `train`, and `val`, `val_2`, … to validate on; `test_1`, `test_2`, … in files "
        "for tests. Which of these keys a data set reads depends on its `type`; one that has no effect is named.",
    ),
    ("io_backend", schema.IoBackend, "In a data set's section."),
    ("path", schema.PathOptions, "Networks beside `network_g` have such keys too: `pretrain_network_d`, …."),
    ("train", schema.Train, ""),
    ("val", schema.Val, "How the network is validated while it trains, and tested."),
    ("logger", schema.Logger, ""),
    ("wandb", schema.Wandb, "Below `logger:`."),
    ("tile", schema.Tile, schema.Tile.__doc__ or ""),
    ("dist_params", schema.DistParams, ""),
)
OF_CLASSES = {
    "train": {
        "pixel_opt": "Loss between the pixels of output and ground truth; `type`, and its arguments.",
        "perceptual_opt": "Loss between features of VGG19, such as `PerceptualLoss`; `type`, and its arguments.",
        "gan_opt": "Loss by the discriminator, such as `GANLoss`; `type`, and its arguments.",
        "ldl_opt": "Loss on artefacts (LDL), weighted where the output differs from the moving average's.",
        "optim_d": "As `optim_g`, for the discriminator.",
        "net_d_iters": "The generator is updated in each n-th iteration; 1 by default.",
        "net_d_init_iters": "Iterations at the beginning in which only the discriminator learns; 0 by default.",
    },
    "": {
        "network_d": "The discriminator: `type`, and its arguments.",
        "gt_size": "Side of the patches of ground truth, where the LR is made in training.",
        "queue_size": "Pairs in the pool from which the batches are drawn; 180 by default, 0 for none.",
        "high_order_degradation": "Whether the LR is made in training (default); else it is the data set's.",
        "gt_usm": "Whether the ground truth is sharpened.",
        "l1_gt_usm": "Whether `pixel_opt` compares with sharpened ground truth.",
        "percep_gt_usm": "Whether `perceptual_opt` does.",
        "gan_gt_usm": "Whether `gan_opt` does.",
    },
    "datasets": {
        "filename_tmpl": "Name of the LR's file without suffix, such as `{}x4`; `{}` by default.",
        "skip_broken": "Whether an image that cannot be used is replaced by another, and reported.",
        "scales": "The scales of a batch.",
        "crop_pad_size": "Side of the squares cut from the ground truth before it is degraded; 400 by default.",
    },
}
"""Section → key → what it is for, of the keys that only some models or data sets read; seen in their source."""
OURS = "hat_arch."


def page() -> str:
    """The page's text."""
    parts = [HEAD]
    for name, section, text in SECTIONS:
        parts += [f"## {f'`{name}`' if name else 'Top'}\n", f"{text}\n" if text else "", table(name, section)]
        parts += [of_classes(name)] if name in OF_CLASSES else []
    parts += ["## `network_g`\n", NETWORK, table_of_hat()]
    return "\n".join(part for part in parts if part)


def table(name: str, section: type[schema.Section]) -> str:
    """The keys of a section of the schema."""
    described = docstrings()
    rows = []
    for key, field in section.model_fields.items():
        text = next(described[owner.__name__, key] for owner in section.__mro__ if (owner.__name__, key) in described)
        rows.append([anchored(name, key), type_of(field), default_of(field), since(name, key), text])
    return markdown_table(["key", "type", "default", "since", "what it is for"], rows)


def docstrings() -> dict[tuple[str, str], str]:
    """Class and key → the docstring behind the key in the schema's source."""
    tree = ast.parse(Path(schema.__file__).read_text(encoding="utf-8"))
    found = {}
    for cls in tree.body:
        if not isinstance(cls, ast.ClassDef):
            continue
        for field, text in zip(cls.body, cls.body[1:]):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(field.target, ast.Name):
                found[cls.name, field.target.id] = in_markdown(ast.literal_eval(text.value))
    return found


def since(section: str, key: str) -> str:
    """The version in which a key came, or BasicSR."""
    versions = [version for version, keys in schema.SINCE.items() if key in keys.get(section, ())]
    return versions[0] if versions else "BasicSR"


def type_of(field: FieldInfo) -> str:
    return in_words(field.annotation, field.metadata)


def in_words(hint: Any, limits: typing.Sequence[Any] = ()) -> str:
    """A type in words, such as "integer from 1, or `auto`"."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is typing.Annotated:
        return in_words(arguments[0], [*limits, *arguments[1:]])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if set(arguments) - {type(None)} == {int, float}:
        return number("number", limits)
    if origin in (Union, types.UnionType):
        words = dict.fromkeys(in_words(part, limits) for part in arguments if part is not type(None))
        return " or ".join(words)
    if inspect.isclass(hint) and issubclass(hint, schema.Section):
        (name,) = [name for name, section, _ in SECTIONS if section is hint]
        return f"[section](#{name})"
    if hint is schema.FolderName or any("folder" in str(limit) for limit in limits):
        return "name of a folder"
    if hint in (int, float):
        return number("integer" if hint is int else "number", limits)
    if origin is list:
        inner = {str: "texts", float: "numbers", int: "integers"}[arguments[0]]
        return f"list of {inner}"
    if origin is dict and inspect.isclass(arguments[1]) and issubclass(arguments[1], schema.Section):
        return f"[sections](#{'datasets'})"
    return {bool: "`true`, `false`", str: "text"}.get(hint, "section")


def number(kind: str, limits: typing.Sequence[Any]) -> str:
    """A number with its limits in words."""
    words = []
    for limit in (part for field in limits for part in getattr(field, "metadata", [field])):
        if isinstance(limit, MultipleOf):
            kind = "whole number"
        for sort, word in ((Ge, "from"), (Gt, "above"), (Le, "to"), (Lt, "below")):
            if isinstance(limit, sort):
                words.append(f"{word} {getattr(limit, sort.__name__.lower())}")
    return " ".join([kind, *words])


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "*needed*"
    return as_default(field.default)


def as_default(value: Any) -> str:
    if isinstance(value, schema.Section):
        value = ", ".join(f"{key}: {text}" for key, text in value.model_dump(exclude_defaults=True).items() if text)
        return f"`{value}`" if value else "empty"
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        value = list(value)
    return f"`{value}`" if value != "" else '`""`'


def of_classes(section: str) -> str:
    """The keys of a section that only some classes read, and which these are."""
    from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY  # hat_arch makes it importable

    registry = DATASET_REGISTRY if section == "datasets" else MODEL_REGISTRY
    rows = []
    for key, text in OF_CLASSES[section].items():
        classes = [name.removesuffix("_basicsr") for name, cls in registry if read_by(cls, key)]
        assert classes, f"{key}: no class of this project reads it"
        rows.append([anchored(section, key), ", ".join(f"`{name}`" for name in sorted(classes)), text])
    what = "data sets" if section == "datasets" else "models"
    also = "`basicsr archs NAME` tells what else a class takes." if section != "train" else ""
    head = f"Keys that some of this project's {what} read; BasicSR's own have more. {also}".rstrip()
    return f"{head}\n\n{markdown_table(['key', 'read by', 'what it is for'], rows)}"


def read_by(cls: type, key: str) -> bool:
    return cls.__module__.startswith(OURS) and key in reads(cls).keys


NETWORK = """`type` is the name of a network: `basicsr archs` lists all, and `basicsr archs NAME` tells the arguments of
one, which are its keys. Those of HAT (`type: HAT`), all of them arguments of the official constructor but the three
`use_…` switches of the ablations, which are this project's (0.1.0):
"""
OF_PYTHON = {"norm_layer"}
"""Arguments whose values no option file can hold."""


def table_of_hat() -> str:
    """The arguments of `HAT`."""
    described = dict(arguments_in(HAT.__doc__ or ""))
    hints, rows = typing.get_type_hints(HAT.__init__), []
    for key, parameter in inspect.signature(HAT).parameters.items():
        if key not in OF_PYTHON:
            words = in_words(hints[key]).replace("section", "list of integers")
            rows.append([anchored("network_g", key), words, as_default(parameter.default), described[key]])
    return markdown_table(["key", "type", "default", "what it is for"], rows)


def arguments_in(docstring: str) -> Iterator[tuple[str, str]]:
    """Name and description of each argument in a docstring."""
    clean = inspect.cleandoc(docstring)  # from Python 3.13 on, they have no indentation of their own
    section = re.split(r"\n\s*(?:Returns|Raises):", clean.partition("Args:\n")[2])[0]
    for names, text in re.findall(r"^ {4}(\w[\w, ]*): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
        for name in names.split(", "):
            yield name, in_markdown(text)


def anchored(section: str, key: str) -> str:
    """A key with the anchor by which pages link to it: options.md#train-precision."""
    return f'<a id="{section or "top"}-{key}"></a>`{key}`'


def in_markdown(text: str) -> str:
    """A docstring's text on one line, as a sentence."""
    text = re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split())).rstrip(".")
    return f"{text[0].upper() if text[0].isascii() else text[0]}{text[1:]}."


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    assert not any("|" in cell for row in lines for cell in row)
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)
