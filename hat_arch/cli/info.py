"""``basicsr archs`` and ``basicsr doctor``."""

from __future__ import annotations

import argparse
import inspect
import os
import platform
import shutil
import sys

from .parser import add_plugin_option

PACKAGES = ("hat-arch", "basicsr", "torch", "torchvision", "numpy", "opencv-python", "lmdb", "scipy", "scikit-image")
REGISTRIES = ("ARCH_REGISTRY", "MODEL_REGISTRY", "DATASET_REGISTRY", "LOSS_REGISTRY", "METRIC_REGISTRY")


def add_parser(commands: argparse._SubParsersAction) -> None:
    archs = commands.add_parser("archs", help="list what an option file can name as a type")
    add_plugin_option(archs)
    archs.set_defaults(run=list_registries)
    doctor = commands.add_parser("doctor", help="versions, devices, fixes in force, and what is wrong")
    doctor.set_defaults(run=examine)


def list_registries(args: argparse.Namespace) -> int:
    """Prints every class and function of BasicSR's registries, with its package and its first line of documentation."""
    from basicsr.utils import registry

    for attribute in REGISTRIES:
        entries = getattr(registry, attribute)
        print(f"{entries._name}s")
        for name, entry in sorted(entries, key=lambda item: item[0].lower()):
            package = entry.__module__.partition(".")[0]
            summary = inspect.cleandoc(entry.__doc__ or "").partition("\n")[0]  # its own: getdoc() takes that of a base
            print(f"  {name:<32}{package:<14}{summary[:72]}".rstrip())
    return 0


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
