"""What the option files of neosr and traiNNer-redux say, in this project's words, as far as there are such words.

Each key is either taken over, or named in a line with what holds in its place. Keys that are off are not named.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, METRIC_REGISTRY
from torch import nn, optim

from ..archs.presets import PRESETS
from ..compat.registration import registered
from ..utils.errors import UserError
from . import foreign
from .keys import SCHEDULERS
from .problems import Key
from .reading import Options

Say = Callable[[Key, str], None]

HATS = {"hat_s": "HAT-S", "hat_m": "HAT", "hat_l": "HAT-L"}
DATASETS = {"paired": "SeededPairedDataset", "single": "SingleImageDataset", "otf": "RealESRGANDataset"}
DATASETS |= {"pairedimagedataset": DATASETS["paired"], "singleimagedataset": DATASETS["single"]}
DATASETS |= {"realesrgandataset": DATASETS["otf"]}
DISCRIMINATORS = {"unet": "UNetDiscriminatorSN", "unetdiscriminatorsn": "UNetDiscriminatorSN"}
PIXEL = {"l1loss": "L1Loss", "mseloss": "MSELoss", "charbonnierloss": "CharbonnierLoss"}
GAN = {"vanilla": "vanilla", "bce": "vanilla", "lsgan": "lsgan", "mse": "lsgan", "wgan": "wgan", "hinge": "hinge"}
"""Type in lower case, without underscores → this project's or BasicSR's."""
OF_KERNELS = ("blur_kernel_size", "kernel_list", "kernel_prob", "sinc_prob", "blur_sigma", "betag_range", "betap_range")
OF_DATASET = {*OF_KERNELS, *(f"{name}2" for name in OF_KERNELS), "final_sinc_prob"}
"""Options of a degradation that stand in ``datasets: train``; the others stand on top."""
ADAM = {"type": "Adam", "lr": 2e-4, "betas": [0.9, 0.99]}
STEPS = (0.5, 0.8, 0.9, 0.95)  # of an official HAT's training, at which the learning rate is halved
OFF: tuple[object, ...] = (None, False, 0, 0.0, "", "off", [], {})
WORKERS = 4


def _section(file: Path, key: Key, value: Any) -> Options:
    """A value that must be a section."""
    if not isinstance(value, dict):
        raise UserError(f"{file}: {'.'.join(key)}: should be a section, is {value!r}")
    return value


class _Taker:
    """A section of which keys are taken; those that are left are named."""

    def __init__(self, file: Path, key: Key, section: Any, say: Say) -> None:
        self.file, self.key, self.left, self.say = file, key, dict(_section(file, key, section)), say

    def take(self, *names: str, default: Any = None) -> Any:
        """The value of the first of these names that is there, and not empty."""
        values = [self.left.pop(name) for name in names if name in self.left]
        return next((value for value in values if value is not None), default)

    def number(self, *names: str, default: Any = None) -> Any:
        """As `take`, of numbers alone."""
        value = self.take(*names, default=default)
        if value is not default and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise UserError(f"{self.file}: {'.'.join((*self.key, names[0]))}: should be a number, is {value!r}")
        return value

    def section(self, name: str) -> _Taker:
        value = self.take(name, default={})
        return _Taker(self.file, (*self.key, name), value, self.say)

    def all(self, names: Iterable[str]) -> Options:
        """Those of these names that are there, and not empty, in the file's order."""
        wanted = [name for name in self.left if name in set(names)]
        return {name: value for name in wanted if (value := self.take(name)) is not None}

    def needed(self, *names: str, number: bool = False) -> Any:
        value = self.number(*names) if number else self.take(*names)
        if value is None:
            raise UserError(f"{self.file}: {'.'.join((*self.key, names[0]))}: is missing")
        return value

    def name_rest(self, why: str = "there is nothing like it here") -> None:
        for name, value in self.left.items():
            if value not in OFF:
                self.say((*self.key, name), f"left out; {why}")


def converted(file: Path, content: Options, program: str) -> tuple[Options, list[str]]:
    """The options in this project's words, not yet checked, and a line for each key that is not what it was.

    Raises:
        UserError: something without which it would be another training has no counterpart.
    """
    said: list[str] = []
    return _Conversion(file, content, program, lambda key, what: said.append(f"{file}: {'.'.join(key)}: {what}")).run(
        "train" in content
    ), said


class _Conversion:
    def __init__(self, file: Path, content: Options, program: str, say: Say) -> None:
        self.file, self.program, self.say = file, program, say
        self.top = _Taker(file, (), content, say)
        self.scale: int = self.top.needed("scale", number=True)
        self.losses: dict[str, Options] = {}

    def run(self, is_train: bool) -> Options:
        top = self.top
        opt: Options = {"name": top.take("name", default="train"), "model_type": "HATModel", "scale": self.scale}
        opt |= top.all(["num_gpu", "manual_seed"])
        degrades = top.take("model_type") == "otf" or bool(top.take("high_order_degradation"))
        train = top.section("train")
        recipe, self.losses = (self._recipe(train), _losses(train)) if is_train else ({}, {})
        datasets, parts = self._datasets(is_train, degrades)
        discriminator = self._discriminator(top.take("network_d"), train) if is_train else {}
        if is_train and "train" not in datasets:
            raise UserError(f"{self.file}: datasets.train: is missing")
        if degrades and is_train:
            opt |= self._degradation(datasets["train"], bool(discriminator))
        real = degrades and is_train
        kind = ("Real" if real else "") + "HAT" + ("GAN" if discriminator else "MSE" if real else "")
        opt["model_type"] = f"{kind}Model"
        opt |= {"datasets": datasets, "network_g": self._network(top.needed("network_g")), **discriminator}
        opt["path"] = self._path(bool(discriminator))
        logger = top.section("logger")
        if is_train:
            opt["train"] = self._train(train, recipe, logger, parts)
            if not train.take("use_moa"):
                train.take("moa_augs", "moa_probs", "moa_debug_limit")
            train.name_rest()
        opt |= self._val(datasets, is_train)
        if is_train:
            opt["logger"] = logger.all(["print_freq", "save_checkpoint_freq", "use_tb_logger", "wandb"])
            if logger.take("save_checkpoint_format") == "safetensors":
                opt["logger"]["safetensors"] = True
        logger.name_rest()
        top.take("dist_params", "print_network", "compile_mode", "high_order_degradations_debug_limit")
        if not top.take("lq_usm"):
            top.take("lq_usm_radius_range")
        top.name_rest()
        return opt

    def _recipe(self, train: _Taker) -> Options:
        """Precision and memory, which stand on top there and below ``train:`` here."""
        top = self.top
        recipe: Options = {}
        mixed, bf16 = top.take("use_amp"), top.take("bfloat16", "amp_bf16")
        fast, channels_last = top.take("fast_matmul"), top.take("use_channels_last")
        if mixed:
            recipe["precision"] = "bf16" if bf16 else "fp16"
            if not bf16:
                self.say(("use_amp",), "is train.precision: fp16, in which HAT overflows; bf16 does not")
        elif fast:
            recipe["precision"] = "tf32"
        if mixed and channels_last:
            recipe["channels_last"] = True
        if top.take("compile", "use_compile"):
            recipe["compile"] = True
        if train.take("grad_clip", default=self.program == foreign.NEOSR):
            recipe["clip_grad_norm"] = 1
        return recipe

    def _datasets(self, is_train: bool, degrades: bool) -> tuple[Options, int]:
        """The data sets, and the number of parts in which a batch is computed."""
        sections, datasets, parts = self.top.section("datasets"), {}, 1
        for name in list(sections.left):
            data = sections.section(name)
            kind = str(data.needed("type"))
            known = DATASETS.get(kind.lower(), kind if kind in DATASET_REGISTRY else None)
            if known is None:
                raise UserError(
                    f"{self.file}: datasets.{name}.type: '{kind}' is {self.program}'s; there is none like it"
                )
            made: Options = {"name": data.take("name", default=name), "type": known}
            for root in ("dataroot_gt", "dataroot_lq"):
                if (folder := self._root(data, root)) is not None:
                    made[root] = folder
            made |= data.all(["filename_tmpl", "io_backend", "mean", "std"])
            if (listed := data.take("meta_info")) is not None:
                if known == DATASETS["otf"]:
                    made["meta_info"] = listed
                else:
                    self.say((*data.key, "meta_info"), "left out; it lists pairs, meta_info_file lists names of images")
            if name == "train":
                parts = self._loader(data, made)
                if degrades:
                    made |= data.all(OF_DATASET)
            datasets[name] = made
            data.name_rest()
        return datasets, parts

    def _root(self, data: _Taker, root: str) -> str | None:
        folders = data.take(root)
        if isinstance(folders, list):
            if len(folders) != 1:
                remedy = "make a folder with links to all of them, and name that"
                raise UserError(f"{self.file}: {'.'.join((*data.key, root))}: a data set has one folder here; {remedy}")
            return folders[0]
        return folders

    def _loader(self, data: _Taker, made: Options) -> int:
        """Patches and batches of the training data; returns the number of parts of a batch."""
        small, parts = data.number("patch_size", "lq_size"), data.number("accumulate", "accum_iter", default=1)
        made["gt_size"] = small * self.scale if small else data.needed("gt_size", number=True)
        made |= {name: bool(data.take(name, default=True)) for name in ("use_hflip", "use_rot")}
        if made["type"] == DATASETS["otf"]:
            self.top.left["gt_size"] = made.pop("gt_size")
        made["batch_size_per_gpu"] = data.needed("batch_size", "batch_size_per_gpu", number=True) * parts
        if parts > 1:
            what = f"{parts}: batches of {made['batch_size_per_gpu']}, in {parts} parts; an iteration here is an update"
            self.say((*data.key, "accumulate"), what)
        workers = data.take("num_worker_per_gpu")
        made["num_worker_per_gpu"] = WORKERS if workers in (None, "auto") else workers
        if isinstance(ratio := data.take("dataset_enlarge_ratio"), int):
            made["dataset_enlarge_ratio"] = ratio
        return parts

    def _degradation(self, train: Options, has_discriminator: bool) -> Options:
        """Real-ESRGAN's degradation: what stands on top; what belongs to the data set is put there."""
        wanted: set[str] = set(registered(DATASET_REGISTRY, DATASETS["otf"]).option_keys)
        given = self.top.section("degradations")
        options = {**self.top.all(wanted), **given.all(wanted)}
        given.name_rest()
        train |= {name: value for name, value in options.items() if name in OF_DATASET}
        for name in ("blur_kernel_size", "blur_kernel_size2"):
            if isinstance(size := train.get(name), int) and size % 2 == 0:
                self.say(("datasets", "train", name), f"{size} left out, so 21; kernels have odd sides here")
                del train[name]
        batch = max(int(train["batch_size_per_gpu"]), 1)
        pairs = int(self.top.number("queue_size", default=180)) // batch * batch
        top = {name: value for name, value in options.items() if name not in OF_DATASET}
        names = ("l1_gt_usm", "percep_gt_usm", "gan_gt_usm") if has_discriminator else ("gt_usm",)
        usm = {name: bool(self.top.take(name, default=False)) for name in names}
        return {**usm, **top, "gt_size": self.top.take("gt_size"), "queue_size": pairs}

    def _network(self, section: Options) -> Options:
        network = dict(_section(self.file, ("network_g",), section))
        kind = str(network.pop("type", None))
        network.pop("upscale", None), network.pop("scale", None)
        if kind.lower() in HATS:
            return {"type": "HAT", **PRESETS[HATS[kind.lower()]], **network, "upscale": self.scale}
        if kind.lower() == "hat":
            return {"type": "HAT", **network, "upscale": self.scale}
        name = _registered(kind)
        if name is None:
            remedy = "basicsr archs lists those that are here, and --plugin FILE adds others"
            raise UserError(f"{self.file}: network_g.type: no network '{kind}' is registered; {remedy}")
        takes = inspect.signature(ARCH_REGISTRY.get(name)).parameters
        factor = next((word for word in ("upscale", "scale") if word in takes), None)
        return {"type": name, **network, **({factor: self.scale} if factor else {})}

    def _discriminator(self, section: Options | None, train: _Taker) -> Options:
        """``network_d``, if it is here and its loss and optimizer are; else all three are left out."""
        gan = self.losses.get("gan_opt")
        kind = str(_section(self.file, ("network_d",), section or {}).get("type"))
        name = DISCRIMINATORS.get(kind.lower(), kind if kind in ARCH_REGISTRY else None)
        if section is None or gan is None or name is None or str(gan.get("gan_type", "vanilla")) not in GAN:
            train.take("optim_d")
            self.losses.pop("gan_opt", None)
            if section is not None:
                why = f"there is no {kind} here, or no such loss with it"
                self.say(("network_d",), f"left out, with its loss and optimizer; {why}")
            return {}
        sizes = {"num_in_ch": 3, "num_feat": 64, "skip_connection": True} if kind.lower() in DISCRIMINATORS else {}
        return {"network_d": {"type": name, **sizes, **{key: one for key, one in section.items() if key != "type"}}}

    def _path(self, has_discriminator: bool) -> Options:
        path = self.top.section("path")
        made: Options = {}
        for letter in "gd" if has_discriminator else "g":
            made |= path.all([f"{stem}_{letter}" for stem in ("pretrain_network", "param_key", "strict_load")])
        if path.take("resume_state") is not None:
            self.say(("path", "resume_state"), f"left out; a state of {self.program}'s cannot be gone on from here")
        path.name_rest()
        return {"pretrain_network_g": None, **made}

    def _train(self, train: _Taker, recipe: Options, logger: _Taker, parts: int) -> Options:
        total = train.number("total_iter") or logger.number("total_iter") or self.top.number("total_iter")
        if total is None:
            raise UserError(f"{self.file}: train.total_iter: is missing")
        logger.take("total_iter")
        decay = train.number("ema", "ema_decay")
        made: Options = {"ema_decay": decay if decay and decay > 0 else 0.0, **recipe}
        if parts > 1:
            made["accumulate"] = parts
        made["optim_g"] = self._optimizer(train, "optim_g")
        if "gan_opt" in self.losses:
            made["optim_d"] = self._optimizer(train, "optim_d")
        made["scheduler"] = self._scheduler(train.take("scheduler"), total)
        made |= {"total_iter": total, **train.all(["warmup_iter"])}
        return made | self._losses()

    def _optimizer(self, train: _Taker, name: str) -> Options:
        given = train.section(name)
        kind = str(given.needed("type"))
        known = {one.lower(): one for one, cls in vars(optim).items() if isinstance(cls, type)}
        if kind.lower() not in known:
            self.say(given.key, f"{kind} is not of torch.optim; {ADAM['type']}, lr {ADAM['lr']}, is in its place")
            return dict(ADAM)
        takes = inspect.signature(getattr(optim, known[kind.lower()])).parameters
        made = {"type": known[kind.lower()], **given.all(list(takes))}
        given.name_rest()
        return made

    def _scheduler(self, given: Options | None, total: int) -> Options:
        kind = str(_section(self.file, ("train", "scheduler"), given or {}).get("type")).lower()
        if given and kind in ("cosineannealing", "cosineannealinglr"):
            lowest = {"eta_min": given.get("eta_min", 0)}
            return {"type": "CosineAnnealingRestartLR", "periods": [given.get("T_max", total)], **lowest}
        known = {name.lower(): name for name in SCHEDULERS}
        if given and kind in known:
            return {**given, "type": known[kind]}
        milestones = [int(total * step) for step in STEPS]
        self.say(("train", "scheduler"), f"lr is halved at {milestones}, as in the official HAT's training")
        return {"type": "MultiStepLR", "milestones": milestones, "gamma": 0.5}

    def _losses(self) -> Options:
        made: Options = {}
        for name, section in self.losses.items():
            kind = str(section.get("type")).lower().replace("_", "")
            weight = section.get("loss_weight", 1.0)
            layers = section.get("layer_weights")
            if kind in PIXEL and "pixel_opt" not in made:
                made["pixel_opt"] = {"type": PIXEL[kind], "loss_weight": weight, "reduction": "mean"}
            elif name == "gan_opt":
                gan = GAN[str(section.get("gan_type", "vanilla"))]
                made["gan_opt"] = {"type": "GANLoss", "gan_type": gan, "loss_weight": weight}
            elif kind == "perceptualloss" and layers and section.get("criterion") in ("l1", "l2", "fro"):
                takes = ("layer_weights", "vgg_type", "use_input_norm", "range_norm", "perceptual_weight", "criterion")
                made["perceptual_opt"] = {"type": "PerceptualLoss", **{k: section[k] for k in takes if k in section}}
                made["perceptual_opt"].setdefault("perceptual_weight", weight)
            else:
                self.say(("train", name), f"left out; {section.get('type')}, as it is set there, is not here")
        if "pixel_opt" not in made:
            self.say(("train", "pixel_opt"), "L1Loss, weight 1, as in the official HAT's training, for want of another")
            made = {"pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}, **made}
        return made

    def _val(self, datasets: Options, is_train: bool) -> Options:
        val, validated = self.top.section("val"), [name for name in datasets if name.startswith("val")]
        if is_train and (not val.take("val_enabled", default=True) or not validated):
            for name in validated:
                del datasets[name]
            if val.left or validated:
                self.say(("val",), "left out, with its data; it is off there, or has no data")
            return {}
        made: Options = {"save_img": bool(val.take("save_img", default=True)), **val.all(["val_freq"])}
        if (tile := val.number("tile", "tile_size", default=-1)) > 0:
            made["tile"] = tile
            made |= val.all(["tile_overlap"])
        val.take("tile_overlap")
        measures = val.take("metrics_enabled", default=True)
        metrics = val.section("metrics")
        if measures:
            made |= self._metrics(metrics)
        val.name_rest()
        return {"val": made}

    def _metrics(self, metrics: _Taker) -> Options:
        kept = {}
        for name in list(metrics.left):
            section = _section(self.file, (*metrics.key, name), metrics.take(name) or {})
            if str(section.get("type")) in METRIC_REGISTRY:
                kept[name] = {"crop_border": self.scale, **section}
            else:
                self.say((*metrics.key, name), f"left out; there is no {section.get('type')} here")
        return {"metrics": kept} if kept else {}


def _registered(kind: str) -> str | None:
    """The network of a name, whether its letters are large or small."""
    names = {name.lower(): name for name, cls in ARCH_REGISTRY if isinstance(cls, type) and issubclass(cls, nn.Module)}
    return names.get(kind.lower())


def _losses(train: _Taker) -> dict[str, Options]:
    """Key → loss, of a section with one key each or a list; those of weight 0 are off."""
    listed = train.take("losses") or []
    if not isinstance(listed, list):
        raise UserError(f"{train.file}: train.losses: should be a list, is {listed!r}")
    for number, loss in enumerate(listed):
        kind = str(_section(train.file, ("train", "losses", str(number)), loss).get("type")).lower()
        train.left["gan_opt" if kind.startswith("gan") else f"losses.{number}"] = loss
    names = [name for name, value in train.left.items() if isinstance(value, dict) and not name.startswith("optim_")]
    names = [name for name in names if name != "scheduler"]
    found = {name: train.take(name) for name in names}
    return {name: loss for name, loss in found.items() if loss.get("loss_weight", 1) != 0}
