"""What all degradations have in common: an image and a random generator in, its steps out, one after the other."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from torch import Tensor

from ..utils.errors import UserError


class RecipeError(UserError):
    """A recipe that does not exist, or cannot work with such values."""


class Step(NamedTuple):
    """An image on its way through a degradation."""

    label: str
    """What was done last, with its values."""
    image: Tensor
    """``(C, H, W)`` float32; some steps leave values slightly outside 0…1."""


class Recipe(Protocol):
    """A degradation: from an image and a random generator to a low-quality image."""

    scale: int
    """GT side / LR side."""

    @property
    def margin(self) -> int:
        """LR pixels around a patch that should be degraded with it, so that what lies beside it changes it, and it lies
        anywhere within JPEG's blocks; 0 where each pixel is degraded by itself."""

    @property
    def least_side(self) -> int:
        """The smallest side of a GT image, in pixels, that the degradation is meant for: its largest kernel's."""

    def steps(self, image: Tensor, rng: np.random.Generator) -> Iterator[Step]:
        """The image after each step, the first as it came, the last as `__call__` returns it."""

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Degrades an image.

        All that is random comes from ``rng``, and is drawn on the CPU, so that a CPU and a GPU give the same image up
        to the rounding of their arithmetic. No global random state is read or changed.

        Args:
            image: RGB ``(3, H, W)`` or grey ``(1, H, W)``, float32 in 0…1, on any device; H and W multiples of
                ``scale``.
            rng: what decides.

        Returns:
            ``(C, H / scale, W / scale)``, float32 in 0…1 (noise alone may go beyond), on the image's device.

        Raises:
            RecipeError: the image has another shape.
        """


def _range(value: Any) -> Any:
    numbers = list(value) if isinstance(value, (list, tuple)) else []
    if len(numbers) != 2 or not all(_is_number(number) for number in numbers) or numbers[0] > numbers[1]:
        raise ValueError("should be a range, as two numbers, the lower one first")
    return float(numbers[0]), float(numbers[1])


def _whole(value: Any) -> Any:
    low, high = _range(value)
    if low % 1 or high % 1:
        raise ValueError("should be a range of whole numbers")
    return int(low), int(high)


def _shares(value: Any) -> Any:
    numbers = list(value) if isinstance(value, (list, tuple)) else []
    if not numbers or not all(_is_number(number) and number >= 0 for number in numbers) or not sum(numbers):
        raise ValueError("should be a list of shares, none below 0, not all of them 0")
    return tuple(map(float, numbers))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _that(text: str, holds: Callable[[float, float], bool]) -> AfterValidator:
    def check(ends: tuple[float, float]) -> tuple[float, float]:
        if not holds(*ends):
            raise ValueError(text)
        return ends

    return AfterValidator(check)


_FROM_ZERO = _that("should begin at 0 or above", lambda low, high: low >= 0)
_QUALITIES = _that("should be within 1 to 100", lambda low, high: low >= 1 and high <= 100)

Range = Annotated[tuple[float, float], BeforeValidator(_range)]
"""The lowest and the highest value that is drawn."""
FromZero = Annotated[Range, _FROM_ZERO]
AboveZero = Annotated[Range, _that("should begin above 0", lambda low, high: low > 0)]
AroundOne = Annotated[Range, _that("should begin above 0 and hold 1", lambda low, high: 0 < low <= 1 <= high)]
Qualities = Annotated[Range, _QUALITIES]
"""Of the approximated JPEG, which takes fractions."""
WholeFromZero = Annotated[tuple[int, int], BeforeValidator(_whole), _FROM_ZERO]
FileQualities = Annotated[tuple[int, int], BeforeValidator(_whole), _QUALITIES]
"""Of JPEG files."""
Shares = Annotated[tuple[float, ...], BeforeValidator(_shares)]
"""How often each of several kinds is drawn, in any unit."""
Probability = Annotated[float, Field(ge=0, le=1)]


class Degradation(BaseModel):
    """Base of the recipes, whose fields are their options. Subclasses give `steps`, and what differs of the rest."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: ClassVar[str]
    """As in option files."""
    margin: ClassVar[int] = 8

    scale: Annotated[int, Field(ge=1)]

    @property
    def least_side(self) -> int:
        return self.scale

    def steps(self, image: Tensor, rng: np.random.Generator) -> Iterator[Step]:
        raise NotImplementedError

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        channels, height, width = image.shape if image.ndim == 3 else (0, 0, 0)
        if channels not in (1, 3) or not height or not width or height % self.scale or width % self.scale:
            raise RecipeError(
                f"{self.name}: takes an image (3 or 1, H, W) whose sides are multiples of {self.scale}, not "
                f"{tuple(image.shape)}"
            )
        with torch.no_grad(), _without_tf32() if image.is_cuda else contextlib.nullcontext():
            for step in self.steps(image, rng):
                result = step.image
        return result


@contextlib.contextmanager
def _without_tf32() -> Iterator[None]:
    """Lets a GPU compute with all of float32's digits, as the CPU does."""
    products = torch.backends.cuda.matmul
    before = products.allow_tf32
    try:
        products.allow_tf32 = False
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        products.allow_tf32 = before


def rng_of_image(seed: int, name: str) -> np.random.Generator:
    """The generator for an image that is always to be degraded in the same way, whatever images are beside it.

    Args:
        seed: 0 or more.
        name: the image's, such as its path below its folder without the suffix.
    """
    words = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=16).digest()
    return np.random.default_rng((seed, int.from_bytes(words, "little")))


def choice(rng: np.random.Generator, shares: tuple[float, ...]) -> int:
    """A random index; each is drawn as often as its share of all shares says."""
    bounds = np.cumsum(shares)
    return int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))
