"""Degrades the images of a folder, or one image, into PNG files: ``basicsr data degrade``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..degradations import Recipe, recipe_named, rng_of_image
from ..degradations.contact_sheet import draw_contact_sheet
from ..degradations.recipe import Step
from ..utils.files import write_file
from .build import Made, Outcome, build
from .images import PNG_LEVEL, DataError, Image, encode, encoded, find_named, mod_crop, read
from .patches import from_pixels

SUFFIX = ".png"


def degrade(
    source: Path,
    target: Path,
    spec: str,
    scale: int,
    seed: int = 0,
    overwrite: bool = False,
    contact_sheet: Path | None = None,
) -> Outcome:
    """Degrades images, cropped to a multiple of the scale.

    What becomes of an image depends on the recipe, ``seed`` and the image's name: its path below ``source`` without the
    suffix, or the file's own name. Values are rounded to 8 bits and clipped, where a recipe does not do so itself.

    Args:
        source: folder of images, or one image.
        target: folder of the PNG files, of the same names; for one image also a file whose name ends in ``.png``.
        spec: name of the recipe, see `recipe_named`.
        scale: GT side / LR side.
        seed: 0 or more.
        overwrite: make again, and replace, what is there.
        contact_sheet: PNG file to write, with the steps of the first image.

    Raises:
        RecipeError: there is no such recipe.
        DataError: there are no images, or the target is not what would be made.
    """
    recipe = recipe_named(spec, scale)
    if contact_sheet is not None and contact_sheet.suffix.lower() != SUFFIX:
        raise DataError(f"--contact_sheet {contact_sheet}: its name must end in {SUFFIX}")
    if not source.exists():
        raise DataError(f"{source}: no such folder, and no such image")
    if source.is_dir():
        outcome, first = _degrade_folder(source, target, spec, recipe, seed, overwrite)
    else:
        outcome, first = _degrade_file(source, target, recipe, seed, overwrite), source
    if contact_sheet is not None and first is not None:
        name = first.relative_to(source).with_suffix("").as_posix() if source.is_dir() else first.stem
        title = f"{first.name}, {spec} ×1/{scale}, seed {seed}" if scale > 1 else f"{first.name}, {spec}, seed {seed}"
        draw_contact_sheet(steps(first, name, recipe, seed), title, contact_sheet)
    return outcome


def _degrade_folder(
    source: Path, target: Path, spec: str, recipe: Recipe, seed: int, overwrite: bool
) -> tuple[Outcome, Path | None]:
    """Also returns the first image that can be used."""
    bad: list[str] = []
    names = find_named(source, bad=bad)

    def make(file: Path) -> Made:
        return {target: [encoded(names[file], pixels(steps(file, names[file], recipe, seed)[-1]), level=PNG_LEVEL)]}

    made = {"made_by": "degrade", "source": str(source.resolve()), "recipe": spec, "scale": recipe.scale, "seed": seed}
    wanted = {file: [name] for file, name in names.items()}
    outcome = build({target: made}, wanted, make, overwrite, "degrade", bad=bad)
    return outcome, next((file for file in names if not any(line.startswith(f"{file}:") for line in outcome.bad)), None)


def _degrade_file(source: Path, target: Path, recipe: Recipe, seed: int, overwrite: bool) -> Outcome:
    file = target if target.suffix.lower() == SUFFIX and not target.is_dir() else target / f"{source.stem}{SUFFIX}"
    if file.exists() and file.samefile(source):
        raise DataError(f"{file}: is the image itself; name another file")
    data = encode(pixels(steps(source, source.stem, recipe, seed)[-1]), level=PNG_LEVEL)
    if file.exists() and not overwrite:
        if file.read_bytes() == data:
            return Outcome(there_already=1)
        raise DataError(f"{file}: exists and is another image; give another name, or say --overwrite")
    write_file(file, data)
    return Outcome(written=1)


def steps(file: Path, name: str, recipe: Recipe, seed: int) -> list[Step]:
    """An image on its way through a recipe; ``name`` is what its random generator depends on.

    Raises:
        ImageError: it cannot be used, or is smaller than the scale.
    """
    image = from_pixels(np.atleast_3d(mod_crop(read(file), recipe.scale, file)))
    return list(recipe.steps(image, rng_of_image(seed, name)))


def pixels(step: Step) -> Image:
    """A step's image, ``(H, W, 3)`` BGR or ``(H, W)``, in 8 bits."""
    image = step.image.mul(255).round().clamp(0, 255).byte().numpy().transpose(1, 2, 0)[..., ::-1]
    return np.ascontiguousarray(image if image.shape[2] == 3 else image[..., 0])
