"""Every change made to BasicSR 1.4.2 and to torchvision, one function each.

The first group makes ``import basicsr`` work; `hat_arch` calls `make_importable` before anything else, and it does
nothing where nothing is broken. The second group gives BasicSR's pipelines the seams they lack; it is in force only
while `hat_arch.pipeline` runs one of them.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

ACTIVE: list[str] = []
"""What had to be fixed in this process, one line each, for ``basicsr doctor``."""

_schemas: list[torch.library.Library] = []  # a schema lives as long as the object that declared it


def make_importable() -> None:
    """Applies what this machine needs for ``import basicsr`` to work, and imports it."""
    if "basicsr" in sys.modules:
        return
    declare_torchvision_operators()
    alias_functional_tensor()
    with lend_distutils():
        importlib.import_module("basicsr")


def declare_torchvision_operators() -> None:
    """Lets PyPI's CUDA build of torchvision be imported beside a CPU build of torch.

    Its compiled library does not load there, and then its Python code refers to two operators that nobody declared
    (``operator torchvision::nms does not exist``, https://github.com/pytorch/pytorch/issues/122494). Declaring them is
    enough, since BasicSR calls none of them. Does nothing where torchvision can be imported.
    """
    try:
        importlib.import_module("torchvision")
        return
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _schemas.append(library)
    importlib.import_module("torchvision")
    ACTIVE.append("torchvision was built for CUDA, torch was not: operators nms and qnms declared")


def alias_functional_tensor() -> None:
    """Brings back ``torchvision.transforms.functional_tensor``, which torchvision 0.17 removed.

    ``basicsr.data.degradations`` imports ``rgb_to_grayscale`` from it
    (https://github.com/XPixelGroup/BasicSR/issues/649). Does nothing where the module exists; can go with a BasicSR
    that imports from ``torchvision.transforms.functional``.
    """
    name = "torchvision.transforms.functional_tensor"
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return
    from torchvision.transforms.functional import rgb_to_grayscale

    module = types.ModuleType(name, "rgb_to_grayscale, for basicsr.data.degradations")
    module.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[name] = module
    ACTIVE.append("torchvision.transforms.functional_tensor brought back")


@contextlib.contextmanager
def lend_distutils() -> Iterator[None]:
    """Provides ``distutils.version.LooseVersion`` while BasicSR is imported.

    ``basicsr.archs.arch_util`` compares versions with it, and Python 3.12 removed distutils
    (PEP 632; no issue upstream). Does nothing where distutils exists, in the standard library
    or through setuptools.
    """
    try:
        importlib.import_module("distutils.version")
    except ImportError:
        pass
    else:
        yield
        return
    from packaging.version import Version

    stub, version = types.ModuleType("distutils"), types.ModuleType("distutils.version")
    version.LooseVersion = Version  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in ("distutils", "distutils.version")}
    sys.modules.update({"distutils": stub, "distutils.version": version})
    ACTIVE.append("distutils.version lent to basicsr.archs.arch_util")
    try:
        yield
    finally:
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


@contextlib.contextmanager
def pipeline_seams(opt: dict[str, Any], argv: list[str], watch: Callable[[Any, dict[str, Any]], Any]) -> Iterator[None]:
    """Puts the functions below, and our sampler, into BasicSR's modules for the length of the context.

    Args:
        opt: the checked options.
        argv: BasicSR's own command line for this run, without the program's name.
        watch: called with the model that the pipeline built and the pipeline's options; returns the model.
    """
    import basicsr.test
    import basicsr.train
    from basicsr.data.prefetch_dataloader import PrefetchGenerator

    from .data.sampling import DrawSampler

    pipeline_opt: dict[str, Any] = {}  # the very dict that BasicSR's loop reads

    def build_and_watch(model_opt: dict[str, Any]) -> Any:
        return watch(build_model(model_opt), pipeline_opt)

    def parse(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], Any]:
        nonlocal pipeline_opt
        pipeline_opt, args = parse_checked_options(opt, argv, root_path, is_train)
        if "train" in pipeline_opt["datasets"]:
            pipeline_opt["datasets"]["train"].setdefault("seed", pipeline_opt["manual_seed"])
        return pipeline_opt, args

    samplers: list[DrawSampler] = []

    def sampler(*args: Any) -> DrawSampler:
        samplers.append(DrawSampler(*args))
        return samplers[-1]

    build_model = basicsr.train.build_model
    changes = [
        (basicsr.train, "parse_options", parse),
        (basicsr.test, "parse_options", parse),
        (basicsr.train, "build_model", build_and_watch),
        (basicsr.train, "load_resume_state", load_resume_state),
        (basicsr.train, "EnlargedSampler", sampler),
        (PrefetchGenerator, "run", prefetch),
        (PrefetchGenerator, "__next__", next_prefetched),
    ]
    originals = [(module, name, getattr(module, name)) for module, name, _ in changes]
    for module, name, value in changes:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in originals:
            setattr(module, name, value)
        for drawn in samplers:
            drawn.report()


def prefetch(self: Any) -> None:
    """Replaces `PrefetchGenerator.run` (``prefetch_mode: cpu``), which ends without a word if an item raises.

    Training would wait for the next item forever.
    """
    try:
        for item in self.generator:
            self.queue.put(item)
        self.queue.put(None)
    except BaseException as error:  # raised again where the item is wanted
        self.queue.put(error)


def next_prefetched(self: Any) -> Any:
    """Replaces `PrefetchGenerator.__next__`: raises what `prefetch` passed on."""
    item = self.queue.get()
    if item is None:
        raise StopIteration
    if isinstance(item, BaseException):
        raise item
    return item


def parse_checked_options(
    opt: dict[str, Any], argv: list[str], root_path: str, is_train: bool
) -> tuple[dict[str, Any], Any]:
    """BasicSR's `parse_options`, given options that were read and checked already.

    Its own reading is unsafe: a YAML tag can run any code, and ``--force_yml`` is passed to ``exec``. All else that it
    does (seeds, process groups, paths, debug mode) is kept.
    """
    from basicsr.utils import options

    class Checked:  # what yaml.load() wants of a loader
        def __init__(self, stream: Any) -> None:
            del stream

        def get_single_data(self) -> dict[str, Any]:
            return deepcopy(opt)

        def dispose(self) -> None:
            pass

    ordered_yaml, command_line = options.ordered_yaml, sys.argv
    options.ordered_yaml, sys.argv = lambda: (Checked, None), [command_line[0], *argv]
    try:
        return options.parse_options(root_path, is_train)
    finally:
        options.ordered_yaml, sys.argv = ordered_yaml, command_line


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Replaces BasicSR's function, which asks for the CUDA device and so cannot resume on a CPU.

    It also looks for states in the run's own folder rather than in ``experiments/`` of the current one, and passes
    over a state that cannot be read (the process may have been killed while it was written).
    """
    from basicsr.utils import check_resume

    if opt["auto_resume"]:
        states = Path(opt["path"]["training_states"]).glob("*.state")
        candidates = sorted((p for p in states if p.stem.isdigit()), key=lambda p: int(p.stem), reverse=True)
    else:
        given = opt["path"].get("resume_state")
        candidates = [Path(given)] if given else []

    for path in candidates:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a damaged file makes torch.load raise
            if not opt["auto_resume"]:
                raise ValueError(f"{path}: cannot be read as a training state ({error})") from error
            print(f"{path} is damaged, looking for an earlier state", file=sys.stderr)
            continue
        opt["path"]["resume_state"] = str(path)
        check_resume(opt, state["iter"])
        return state
    return None
