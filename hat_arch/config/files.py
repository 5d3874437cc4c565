"""The files of an option file: data sets must exist and fit the scale, weights must fit the networks."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from basicsr.utils.registry import DATASET_REGISTRY
from torch import nn

from ..compat.registration import build, registered
from ..utils.errors import UserError, in_one_line
from ..utils.files import from_home
from ..utils.image_list import misread_by_basicsr, read_list
from ..weights import named
from ..weights.files import LEAST, WeightsError, choose_to_start_from, fitting, read_weights
from ..weights.load import another_task
from .keys import networks
from .problems import Key, Problems
from .reading import Options
from .source import reads

DATA_REMEDY = (
    "  how to prepare each data set: basicsr data prepare --help, and docs/data.md in the repository; to train "
    "without any: basicsr data demo, and -opt train_HAT_demo_SRx4"
)
FOLDERS_ONLY = ("PairedImageDataset", "SingleImageDataset", "RealESRGANPairedDataset", "RealESRGANDataset")
"""Data sets of BasicSR that ignore their list if they read an LMDB store; a line of the first two names one file."""
OURS = "take SeededPairedDataset or BicubicLRDataset, which read the listed images alone"
WEIGHTS = (".pth", ".pt", ".ckpt", ".safetensors")
NEEDED = ("dataroot_gt", "dataroot_lq")
NEEDED_TO_TRAIN = ("batch_size_per_gpu", "num_worker_per_gpu", "gt_size", "use_hflip", "use_rot")


def check_datasets(opt: Options, is_train: bool, problems: Problems) -> None:
    """Folders, stores and files must exist, and patches must fit the scale."""
    if is_train and "train" not in {name.split("_")[0] for name in opt["datasets"]}:
        problems.add(("datasets",), "has no 'train'")
    if is_train and opt.get("val") and not opt["val"].get("val_freq"):
        problems.add(("val", "val_freq"), "is missing")
    for name, dataset in opt["datasets"].items():
        key = ("datasets", name)
        words = reads(registered(DATASET_REGISTRY, dataset["type"])).words
        for needed in (*NEEDED, *NEEDED_TO_TRAIN) if name == "train" else NEEDED:
            if dataset.get(needed) is None and (needed in words or needed.endswith("_per_gpu")):
                problems.add(key, f"'{needed}' is missing")
        gt_size = dataset.get("gt_size")
        if name == "train" and gt_size and gt_size % opt.get("scale", 1):
            problems.add((*key, "gt_size"), f"{gt_size} is not a multiple of scale {opt['scale']}")
        _name_stores(dataset)
        check_root = _check_store if dataset["io_backend"]["type"] == "lmdb" else _check_folder
        for option, root in _roots(dataset):
            if option not in words:
                continue
            check_root((*key, option), from_home(root), problems)
        _check_own(key, dataset, opt.get("scale", 1), problems)
        for option in ("meta_info_file", "meta_info"):
            if option in words and isinstance(dataset.get(option), str):
                _check_list((*key, option), Path(dataset[option]), dataset, problems)


def _check_own(key: Key, dataset: Options, scale: int, problems: Problems) -> None:
    """What a data set's class says of its options: ``check_options(options)`` returns an option and what is wrong."""
    check = getattr(registered(DATASET_REGISTRY, dataset["type"]), "check_options", None)
    if check and (found := check({**dataset, "scale": scale, "phase": key[-1].split("_")[0]})):
        problems.add((*key, found[0]), found[1])


def _roots(dataset: Options) -> list[tuple[str, str]]:
    """Option and path of each folder or store that a data set is read from."""
    given = {option: value for option, value in dataset.items() if option.startswith("dataroot") and value is not None}
    return [(option, root) for option, one in given.items() for root in (one if isinstance(one, list) else [one])]


def _name_stores(dataset: Options) -> None:
    """Takes slashes off the ends of roots, since BasicSR looks for ``.lmdb`` there; what ends so is read as a store."""
    for option, root in _roots(dataset):
        if dataset[option] == root:
            dataset[option] = root.rstrip("/") or root
    roots = [root for _, root in _roots(dataset)]
    if roots and all(root.endswith(".lmdb") for root in roots) and dataset["io_backend"]["type"] == "disk":
        dataset["io_backend"]["type"] = "lmdb"


def _check_list(key: Key, file: Path, dataset: Options, problems: Problems) -> None:
    """A list of images must be there, name images that are there, and be read as it is meant."""
    cls, is_lmdb = registered(DATASET_REGISTRY, dataset["type"]), dataset["io_backend"]["type"] == "lmdb"
    is_basicsr = cls.__module__.startswith("basicsr.")
    if not file.is_file():
        problems.add_absent(key, file, "file")
        return
    try:
        lines = read_list(file)
        misread = misread_by_basicsr(file) if is_basicsr else None
    except UserError as error:
        problems.add(key, str(error))
        return
    root = Path(next((root for _, root in _roots(dataset)), ""))
    if misread:
        problems.add(key, f"{misread}, which {dataset['type']} takes for an image; delete it")
    elif is_basicsr and is_lmdb and cls.__name__ in FOLDERS_ONLY:
        problems.add(key, f"{dataset['type']} does not read it with an LMDB store; leave it out, or {OURS}")
    elif root.is_dir() and root.suffix != ".lmdb" and (not is_basicsr or cls.__name__ in FOLDERS_ONLY[:2]):
        missing = [line for line in lines if not (root / line.name).is_file()]
        if missing:
            problems.add(key, f"{missing[0].place}: names '{missing[0].name}', which is not in {root}")


def _check_store(key: Key, store: Path, problems: Problems) -> None:
    if store.suffix != ".lmdb":
        problems.add(key, f"'{store}' is no LMDB store; its name must end in .lmdb")
    elif not store.is_dir():
        problems.add_absent(key, store, "LMDB store", DATA_REMEDY)
    else:
        for name in ("data.mdb", "meta_info.txt"):
            if not (store / name).is_file():
                problems.add(key, f"LMDB store '{store}' has no {name}; make it anew")


def _check_folder(key: Key, folder: Path, problems: Problems) -> None:
    if not folder.is_dir():
        problems.add_absent(key, folder, "folder", DATA_REMEDY)
    elif (folder / "data.mdb").is_file():
        problems.add(
            key, f"'{folder}' is an LMDB store, and not all of this data set are; give stores alone, or folders"
        )
    elif not any(folder.iterdir()):
        problems.add(key, f"folder '{folder}' is empty")


def find_models(opt: Options, problems: Problems) -> None:
    """Puts the files of models in place of their names: ``pretrain_network_g: HAT_SRx4`` (see ``basicsr models``)."""
    for key, value in opt["path"].items():
        if not key.startswith("pretrain_network_") or not value or from_home(value).is_file():
            continue
        if model := model_of(value):
            if path := model.path():
                opt["path"][key] = str(path)
            else:
                problems.add_absent(("path", key), value, "model", f"  to have it: basicsr models get {model.name}")


def model_of(value: object) -> named.Model | None:
    """The model that a path or name means: also the file of one where official option files look for downloads."""
    path = Path(str(value))
    return named.named(path.name if path.parent == named.DOWNLOADED_BY_HAND else str(value))


def check_networks(opt: Options, problems: Problems) -> None:
    """Networks must be buildable, enlarge by the scale, and fit their weights."""
    scale = opt.get("scale", 1)
    for argument in ("upscale", "scale"):
        if (given := opt["network_g"].get(argument, scale)) != scale:
            problems.add(("network_g", argument), f"is {given}, but scale is {scale}")
            return
    for name, section in networks(opt).items():
        for argument in absent_weights(section):
            problems.add_absent((name, argument), section[argument], "file")
        try:
            network = build_for_shapes(without_absent_weights(section))
        except Exception as error:  # a constructor may raise anything
            problems.add((name,), f"{section['type']} cannot be built: {in_one_line(error)}")
        else:
            _check_weights(network, name.removeprefix("network_"), opt["path"], problems)
    resume = opt["path"].get("resume_state")
    if resume and not from_home(resume).is_file():
        problems.add_absent(("path", "resume_state"), resume, "file")


def absent_weights(section: Options) -> list[str]:
    """Arguments of a network that are paths of weights which are not there, such as BasicVSR's ``spynet_path``."""
    paths = {name: Path(value) for name, value in section.items() if isinstance(value, str) and name != "type"}
    return [name for name, path in paths.items() if path.suffix in WEIGHTS and not from_home(path).is_file()]


def without_absent_weights(section: Options) -> Options:
    """A network's section, in which None stands for paths of weights that are not there."""
    return {**section, **dict.fromkeys(absent_weights(section))}


def build_for_shapes(section: Options) -> nn.Module:
    """The network of a section for the names and shapes of its state dict, if possible without memory for weights.

    On the ``meta`` device tensors have shapes but no values. A constructor that needs values cannot run there (that of
    BasicSR's SwinIR calls ``item()``); then the network is built on the CPU.
    """
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of copies into such tensors
            return build(section)
    except Exception:  # if it is the option file's fault, the second attempt raises it too
        return build(section)


def _check_weights(network: nn.Module, letter: str, paths: Options, problems: Problems) -> None:
    """Compares ``network_LETTER`` with ``pretrain_network_LETTER``."""
    file, key = paths.get(f"pretrain_network_{letter}"), ("path", f"pretrain_network_{letter}")
    if not file:
        return
    path = from_home(file)
    if not path.is_file():
        if not model_of(file):  # else `find_models` has said so
            problems.add_absent(key, file, "file")
        return
    try:
        content = read_weights(path)
    except WeightsError as error:
        problems.add(key, f"'{file}' {error}")
        return
    try:
        _, weights = choose_to_start_from(content, paths.get(f"param_key_{letter}"))
    except WeightsError as error:
        problems.add(("path", f"param_key_{letter}"), f"'{file}' {error}")
        return
    strict = paths.get(f"strict_load_{letter}", True)
    fit = fitting(weights, network.state_dict())
    enough = len(fit.weights) >= LEAST * fit.needed
    if enough and (fit.complete or not strict):
        return
    remedy = "give the arguments that it was trained with"
    if enough:
        remedy += f", or set strict_load_{letter}: false to take what fits"
    why = [*another_task(weights, network), *fit.lines()]
    problems.add(key, f"'{file}' does not fit network_{letter}: {'; '.join(why)}; {remedy}")
