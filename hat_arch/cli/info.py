"""``basicsr archs`` and ``basicsr doctor``."""

from __future__ import annotations

import argparse
import inspect
import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from ..config.problems import did_you_mean
from ..utils.errors import UserError
from .parser import add_plugin_option

PACKAGES = ("hat-arch", "basicsr", "torch", "torchvision", "numpy", "opencv-python", "lmdb", "scipy", "scikit-image")
REGISTRIES = ("ARCH_REGISTRY", "MODEL_REGISTRY", "DATASET_REGISTRY", "LOSS_REGISTRY", "METRIC_REGISTRY")
PASSED = {"arch": (), "model": ("opt",), "dataset": ("opt",), "loss": (), "metric": ("img", "img2")}
"""Arguments that BasicSR passes, by kind."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    archs = commands.add_parser("archs", help="list what an option file can name as a type, or explain some")
    archs.add_argument("names", nargs="*", metavar="NAME", help="explain these: documentation, arguments, defaults")
    add_plugin_option(archs)
    archs.set_defaults(run=list_registries)
    doctor = commands.add_parser("doctor", help="versions, devices, fixes in force, and what is wrong")
    doctor.set_defaults(run=examine)


def list_registries(args: argparse.Namespace) -> int:
    """Prints every class and function of BasicSR's registries, with its package and its first line of documentation.

    With names: all that is known of these.
    """
    from basicsr.utils import registry

    registries = [getattr(registry, attribute) for attribute in REGISTRIES]
    if args.names:
        print("\n\n".join(_explain(name, registries) for name in args.names))
        return 0
    for entries in registries:
        print(f"{entries._name}{'es' if entries._name.endswith('s') else 's'}")
        for name, entry in sorted(entries, key=lambda item: item[0].lower()):
            package = entry.__module__.partition(".")[0]
            summary = textwrap.shorten(_documentation(entry).partition("\n")[0], 72, placeholder=" …")
            print(f"  {name:<32}{package:<14}{summary}".rstrip())
    return 0


def _documentation(entry: Any) -> str:
    """The docstring that a class or function has itself; `inspect.getdoc` would take that of a base."""
    return inspect.cleandoc(entry.__doc__ or "")


def _explain(name: str, registries: Sequence[Any]) -> str:
    """Documentation of a class or function, and its arguments with their defaults, as an option file has them.

    Raises:
        UserError: no registry has that name.
    """
    for entries in registries:
        for known in (name, f"{name}_basicsr"):  # Registry.get tries both
            if known in entries:
                entry = entries.get(known)
                head = f"{known}: {entries._name} of {entry.__module__}"
                return "\n\n".join(filter(None, (head, _documentation(entry), _as_options(name, entry, entries._name))))
    names = [known for entries in registries for known, _ in entries]
    raise UserError(f"{name}: is not registered{did_you_mean(name, names) or '; `basicsr archs` lists what is'}")


def _as_options(name: str, entry: Any, kind: str) -> str:
    """The arguments as lines of an option file."""
    from yaml import safe_dump

    lines = ["in an option file:", f"  {'model_type' if kind == 'model' else 'type'}: {name}"]
    for parameter in inspect.signature(entry).parameters.values():
        default = [*parameter.default] if isinstance(parameter.default, tuple) else parameter.default
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or parameter.name in PASSED[kind]:
            continue
        if default is parameter.empty:
            lines.append(f"  {parameter.name}:  # needed")
        elif isinstance(default, (bool, int, float, str, list, dict, type(None))):
            value = safe_dump(default, default_flow_style=True, width=1000).removesuffix("...\n").strip()
            lines.append(f"  {parameter.name}: {value}")
        else:
            lines.append(f"  # {parameter.name}: {getattr(default, '__name__', default)}")
    return "\n".join(lines)


def examine(args: argparse.Namespace) -> int:
    """Prints what is installed and in force; returns 1 if something must be mended."""
    import importlib.metadata

    import torch

    from ..compat import importable

    problems = []
    print(f"Python {platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores")
    for package in PACKAGES:
        try:
            print(f"  {package:<16}{importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            print(f"  {package:<16}missing")
            problems.append(f"{package} is missing: pip install {package}")

    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(i).total_memory / 2**30
            print(f"GPU {i}: {torch.cuda.get_device_name(i)}, {memory:.0f} GiB")
    else:
        print("No GPU: everything runs on the CPU")
        if shutil.which("nvidia-smi"):
            built = f"for CUDA {torch.version.cuda}, too new for its driver" if torch.version.cuda else "for CPUs"
            problems.append(f"this machine has an NVIDIA GPU, but torch is built {built}; take one from pytorch.org")

    print("Fixes in force:" if importable.ACTIVE else "No fixes needed")
    for line in importable.ACTIVE:
        print(f"  {line}")
    for line in args.installed_plugins:
        print(f"Plugin: {line}")
    if not os.access(os.curdir, os.W_OK):
        problems.append(f"{os.getcwd()} cannot be written to: runs would have nowhere to go")  # noqa: PTH109
    free = shutil.disk_usage(os.curdir).free / 2**30
    print(f"Free disk here: {free:.1f} GiB")
    if free < 2:
        problems.append(f"only {free:.1f} GiB of disk are free here; a checkpoint of HAT and its state take 0.4 GiB")
    for line in problems:
        print(f"PROBLEM: {line}", file=sys.stderr)
    return 1 if problems else 0
