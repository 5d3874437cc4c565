"""The models that a page offers, and how visitors want their pictures made."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..inference import exported
from ..inference.forecast import seconds_per_pixel
from ..inference.upscaler import Upscaler
from ..utils import extras
from ..utils.errors import UserError
from ..weights import named
from ..weights.load import Loaded
from ..weights.mixed import load_mixed
from .limits import Refused

INSTALLED = tuple(filter(extras.installed, extras.ENGINES))
CHOICES: dict[str, tuple[str, ...]] = {
    "format": ("png", "jpg", "webp", "tif"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
    "tile": ("auto", "whole", "512", "256", "128"),
    "engine": tuple(dict.fromkeys((extras.default(), "auto", *INSTALLED))),
}
"""Settings with a few values, of which the first is the default. The page makes a list of each, with the texts
``setting.NAME`` and ``NAME.VALUE``; `Settings` has a field of its name."""
COMPUTING = ("precision", "tile", "engine")
"""Those that an `Upscaler` takes."""
SCALES = (1.0, 8.0)
KEPT = 2  # networks in memory


@dataclass(frozen=True)
class Settings:
    """How a visitor wants a picture made."""

    model: str
    scale: float
    denoise: float | None
    """0 to 1, of models that have a choice."""
    metadata: bool
    format: str
    precision: str
    tile: str
    engine: str

    def of_network(self) -> tuple[Any, ...]:
        """Those that an `Upscaler` depends on."""
        return self.model, self.denoise, *(getattr(self, name) for name in COMPUTING)


@dataclass(frozen=True)
class Choice:
    """A model that is offered."""

    name: str
    scale: int
    denoise: bool
    """Whether the strength of its cleaning can be chosen."""
    note: str


@dataclass
class Ready:
    """A network in memory."""

    model: Loaded
    upscaler: Upscaler
    limit: int | None
    """The upscaler's, before memory was ever short."""
    seconds_per_pixel: float
    """Of input, as measured last."""


class Networks:
    """Models by name, of which the last used are kept in memory.

    Args:
        given: names or files to offer; by default all models that lie on this machine.
        options: ``network_g`` and ``scale`` of an option file, for files of other networks than HAT.
        device: where they run.

    Raises:
        UserError: there is no such model, or its file is of another network; or the environment names an engine that
            is not there.
    """

    def __init__(self, given: Sequence[str], options: tuple[dict[str, Any], int] | None, device: torch.device) -> None:
        extras.check_default()
        if (engine := CHOICES["engine"][0]) != "auto":
            extras.require(engine)
        self.options = options
        self.device = device
        self.files: dict[str, str] = {}
        self.choices: dict[str, Choice] = {}
        for name in given:
            model = self._read(name)
            known = named.named(name)
            self.files[model.name] = name
            self.choices[model.name] = Choice(
                model.name, model.scale, bool(known and known.mixes_with), known.note if known else ""
            )
        for known in () if given else named.models().values():
            if known.path() is not None and known.network.startswith("HAT"):  # others need an option file
                self.files[known.name] = known.name
                self.choices[known.name] = Choice(known.name, known.scale, bool(known.mixes_with), known.note)
        if not self.choices:
            raise UserError("no model is on this machine: name one by --model; basicsr models lists those to be had")
        self.automatic = not given and any(choice.scale > 1 for choice in self.choices.values())
        self.ready: OrderedDict[tuple[Any, ...], Ready] = OrderedDict()

    def default(self, scale: float) -> str:
        """The model that serves a scale if a visitor names none."""
        return named.default(scale).name if self.automatic else next(iter(self.choices))

    def settings(self, wanted: Mapping[str, str]) -> Settings:
        """Settings from the words of a request; what is not said is the default.

        Raises:
            Refused: a word that is none of those that can be.
        """
        scale = _number(wanted, "scale", *SCALES)
        name = wanted.get("model") or self.default(scale or 4)
        if name not in self.choices:
            raise Refused(422, "setting", setting="model", value=name[:100])
        model = self.choices[name]
        if model.scale == 1:
            scale = 1.0
        words = {key: wanted.get(key) or values[0] for key, values in CHOICES.items()}
        for key, word in words.items():
            if word not in CHOICES[key]:
                raise Refused(422, "setting", setting=key, value=word[:100])
        denoise = _number(wanted, "denoise", 0, 1) if model.denoise else None
        kept = wanted.get("metadata", "1") == "1"
        return Settings(name, scale or float(model.scale), denoise, kept, **words)

    def load(self, settings: Settings) -> Ready:
        """The network for some settings, loaded if need be, and timed on a small image.

        Raises:
            UserError: its file is not there any more, or is another's.
        """
        key = settings.of_network()
        if key not in self.ready:
            while len(self.ready) >= KEPT:
                self.ready.popitem(last=False)
            file = self.files[settings.model]
            model = self._read(file) if settings.denoise is None else load_mixed(file, settings.denoise)
            how: dict[str, Any] = {name: getattr(settings, name) for name in COMPUTING}
            how["tile"] = int(how["tile"]) if how["tile"].isdecimal() else how["tile"]
            upscaler = Upscaler(
                model.network.to(self.device),
                model.scale,
                multiple=model.multiple,
                channels=model.channels,
                report=lambda line: None,
                **how,
            )
            self.ready[key] = Ready(model, upscaler, upscaler.limit, seconds_per_pixel(upscaler, model.channels))
        self.ready.move_to_end(key)
        ready = self.ready[key]
        ready.upscaler.limit = ready.limit  # memory may have been short a while ago, and not be so now
        return ready

    def _read(self, name: str) -> Loaded:
        """A network from its file; the option file is that of weights."""
        return exported.load(name) if exported.is_exported(name) else exported.load(name, options=self.options)

    def seconds(self, settings: Settings, pixels: int) -> float | None:
        """How long a picture will take, or None where no network for it has run yet."""
        ready = self.ready.get(settings.of_network())
        return None if ready is None else pixels * ready.seconds_per_pixel

    def describe(self) -> dict[str, Any]:
        """What there is to choose from, for JSON."""
        return {
            "models": [asdict(choice) for choice in self.choices.values()],
            "automatic": {f"{scale}": self.default(scale) for scale in (1.5, 2, 3, 4)} if self.automatic else None,
            "choices": CHOICES,
            "scales": SCALES,
        }


def _number(wanted: Mapping[str, str], key: str, least: float, most: float) -> float | None:
    """A number of a request, or None if it is not said."""
    word = wanted.get(key, "")
    if not word:
        return None
    try:
        value = float(word)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise Refused(422, "setting", setting=key, value=word[:100])
    return value


def shown(path: Path, name: str, text: str) -> str:
    """A message about a file of this machine as one about what the visitor calls it."""
    return text.replace(str(path), name).replace(f"{path.parent}/", "")
