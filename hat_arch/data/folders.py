"""Folders of images made from folders of images: modcrop, downsample, sub-images, and lists of them."""

from __future__ import annotations

from pathlib import Path

from ..degradations.resize import Convention, imresize
from ..utils.files import write_file
from .build import Made, Outcome, build
from .images import PNG_LEVEL, DataError, ImageError, encoded, find, find_named, is_utf8, mod_crop, peek, read
from .parallel import map_images
from .sub_images import SubImages, sub_image_names


def modcrop(
    source: Path, target: Path, scale: int, overwrite: bool = False, names: dict[Path, str] | None = None
) -> Outcome:
    """Crops images to a multiple of ``scale``, from their top left, into PNG files.

    Args:
        source: folder of images.
        target: folder of the PNG files.
        scale: what both sides shall be a multiple of.
        overwrite: make again what is there.
        names: image → name of its PNG file; by default all images, which keep their names.
    """
    bad: list[str] = []
    names = find_named(source, bad=bad) if names is None else names

    def make(file: Path) -> Made:
        return {target: [encoded(names[file], mod_crop(read(file), scale, file), level=PNG_LEVEL)]}

    recipe = {"made_by": "modcrop", "source": str(source.resolve()), "scale": scale}
    wanted = {file: [name] for file, name in names.items()}
    return build({target: recipe}, wanted, make, overwrite, "modcrop", bad=bad)


def downsample(
    source: Path, targets: dict[int, Path], convention: Convention = "uint8", overwrite: bool = False
) -> Outcome:
    """Reduces every image, cropped to a multiple of the scale, by MATLAB's bicubic.

    Args:
        source: folder of images.
        targets: scale → folder.
        convention: how `hat_arch.degradations.resize.imresize` rounds.
        overwrite: make again what is there.
    """
    bad: list[str] = []
    names = find_named(source, bad=bad)

    def make(file: Path) -> Made:
        image, made = read(file), {}
        for scale, target in targets.items():
            reduced = imresize(mod_crop(image, scale, file), 1 / scale, convention=convention)
            made[target] = [encoded(names[file], reduced, level=PNG_LEVEL)]
        return made

    recipe = {"made_by": "downsample", "source": str(source.resolve()), "convention": convention}
    recipes = {target: {**recipe, "scale": scale} for scale, target in targets.items()}
    wanted = {file: [name] for file, name in names.items()}
    return build(recipes, wanted, make, overwrite, "downsample", bad=bad)


def sub_images(source: Path, target: Path, how: SubImages, overwrite: bool = False) -> Outcome:
    """Cuts every image into overlapping squares, named as BasicSR's ``extract_subimages.py`` names them."""
    bad: list[str] = []
    names = sub_image_names(find_named(source, bad=bad), how, 1, bad)

    def make(file: Path) -> Made:
        squares = zip(names[file], how.cut(read(file)))
        return {target: [encoded(name, square, level=PNG_LEVEL) for name, square in squares]}

    recipe = {"made_by": "sub-images", "source": str(source.resolve()), **vars(how)}
    return build({target: recipe}, names, make, overwrite, "sub-images", bad=bad)


def meta_info(folder: Path, file: Path, overwrite: bool = False, skip_bad: bool = False) -> Outcome:
    """Lists the images of a folder as BasicSR's ``meta_info_file`` does: ``name.png (height,width,channels)``."""
    outcome = Outcome()

    def line(path: Path) -> str:
        name, header = path.relative_to(folder).as_posix(), peek(path)
        if " " in name:
            raise ImageError(f"{path}: BasicSR cuts names in a meta info file at the first space; rename it")
        if not is_utf8(name):
            raise ImageError(f"{path}: its name is no UTF-8, as a list's must be; rename it")
        return f"{name} ({header.height},{header.width},{header.channels})\n"

    lines = [text for _, text in map_images(line, find(folder), outcome.bad, "meta-info")]
    data = "".join(lines).encode()
    if outcome.bad and not skip_bad:
        return outcome
    if file.exists() and file.read_bytes() == data:
        outcome.there_already = len(lines)
        return outcome
    if file.exists() and not overwrite:
        raise DataError(f"{file}: exists and says otherwise; delete it, give another name, or say --overwrite")
    write_file(file, data)
    outcome.written = len(lines)
    return outcome
