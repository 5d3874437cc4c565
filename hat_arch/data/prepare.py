"""Makes whole data sets in the layout that the option files expect, straight from the published images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ..degradations.resize import Convention, imresize
from .benchmark_folders import ground_truth, set_folder
from .benchmark_sets import BENCHMARK_SETS
from .build import Made, Outcome, build
from .folders import downsample, modcrop
from .images import DataError, EncodedImage, encoded, find_named, mod_crop, read, read_bytes, verify
from .sub_images import SubImages, sub_image_names

DF2K_SOURCES, DF2K_SUB_IMAGES = 3450, 139_995


def pack(source: Path, store: Path, strip: str = "", overwrite: bool = False, skip_bad: bool = False) -> Outcome:
    """Packs the images of a folder, byte for byte, into an LMDB store. Keys are their paths without suffix.

    Args:
        source: folder of images.
        store: its name must end in ``.lmdb``.
        strip: dropped from the end of every name, such as ``x4``, so that GT and LR have the same keys.
        overwrite: replace a store that exists.
        skip_bad: make the store even if some images cannot be used.
    """
    if store.suffix != ".lmdb":
        raise DataError(f"{store}: the name of an LMDB store must end in .lmdb")
    bad: list[str] = []
    names = find_named(source, strip, bad)

    def make(file: Path) -> Made:
        data = read_bytes(file)
        return {store: [EncodedImage(names[file], data, verify(data, file))]}

    recipe = {"made_by": "lmdb", "source": str(source.resolve()), "strip": strip}
    wanted = {file: [name] for file, name in names.items()}
    return build({store: recipe}, wanted, make, overwrite, store.name, skip_bad, bad)


def df2k(
    source: Path,
    target: Path,
    scales: Sequence[int] = (2, 3, 4),
    how: SubImages = SubImages(),  # noqa: B008 (frozen)
    convention: Convention = "uint8",
    overwrite: bool = False,
    skip_bad: bool = False,
    name: str = "DF2K",
    suffix: str = ".png",
) -> Outcome:
    """Cuts photographs and their bicubic LR into sub-images: ``DF2K_HR_sub.lmdb``, ``DF2K_bicx2_sub.lmdb``, ….

    Each photograph is cropped to a multiple of all scales, reduced as a whole, and then cut.

    Args:
        source: folder with DIV2K's and Flickr2K's HR images below it, or any photographs.
        target: folder of the stores.
        scales: of the LR.
        how: sub-images of the HR; size, step and threshold must be multiples of all scales.
        convention: how `hat_arch.degradations.resize.imresize` rounds.
        overwrite: replace stores that exist.
        skip_bad: make the stores even if some images cannot be used.
        name: beginning of the stores' names.
        suffix: ``.png``, or ``.bmp``: uncompressed, twice as large and far faster to decode.
    """
    if min(scales) < 2:
        raise DataError(f"--scale {min(scales)}: must be 2 or more")
    all_scales = sorted({2, 3, 4, *scales})  # so that they can be added later
    multiple = math.lcm(*all_scales)
    for option, pixels in vars(how).items():
        if pixels % multiple:
            needed = f"which scales {', '.join(map(str, all_scales))} need"
            raise DataError(f"--{option} {pixels}: is not a multiple of {multiple}, {needed}")
    bad: list[str] = []
    sources = {file: Path(path).name for file, path in find_named(source, bad=bad).items()}
    names = sub_image_names(sources, how, multiple, bad)
    stores = {1: target / f"{name}_HR_sub.lmdb", **{x: target / f"{name}_bicx{x}_sub.lmdb" for x in scales}}

    def make(file: Path) -> Made:
        gt, made = mod_crop(read(file), multiple, file), {}
        for scale, store in stores.items():
            image = imresize(gt, 1 / scale, convention=convention) if scale > 1 else gt
            squares = zip(names[file], how.divided(scale).cut(image))
            made[store] = [encoded(name, square, suffix) for name, square in squares]
        return made

    recipe = {
        "made_by": "prepare df2k",
        "source": str(source.resolve()),
        "sources": len(sources),
        "modcrop": multiple,
        "format": suffix,
        **vars(how),
    }
    recipes = {
        store: {**recipe, "scale": scale, **({"convention": convention} if scale > 1 else {})}
        for scale, store in stores.items()
    }
    return build(recipes, names, make, overwrite, name, skip_bad, bad)


def benchmarks(
    source: Path, target: Path, scales: Sequence[int] = (2, 3, 4), overwrite: bool = False
) -> dict[str, Outcome]:
    """Makes ``Set5/GTmod4/``, ``Set5/LRbicx4/`` and so on, for each of the five sets that are below ``source``.

    LR as published with SwinIR and HAT: MATLAB's bicubic of the cropped uint8 image, rounded after each side.

    Returns:
        Name of a set → what was done; ``written`` and ``there_already`` count GT and LR files. A set that has not its
        images is in ``bad``, and nothing is made of it.

    Raises:
        DataError: none of the sets is there.
    """
    outcomes: dict[str, Outcome] = {}
    for benchmark in BENCHMARK_SETS:
        name, folder = benchmark.folder, set_folder(source, benchmark)
        if folder is None:
            continue
        total = outcomes[name] = Outcome()
        for scale in scales:
            gt, lr = target / name / f"GTmod{scale}", target / name / f"LRbicx{scale}"
            try:
                found = ground_truth(folder, benchmark, scale)
            except DataError as error:
                total.bad.append(str(error))
                continue
            steps = [modcrop(found.folder, gt, scale, overwrite, found.images)]
            if not steps[0].bad:
                steps.append(downsample(gt, {scale: lr}, "uint8", overwrite))
            for step in steps:
                total.written += step.written
                total.there_already += step.there_already
                total.bad += [line for line in step.bad if line not in total.bad]
    if not outcomes:
        raise DataError(f"{source}: none of {', '.join(benchmark.folder for benchmark in BENCHMARK_SETS)} is below it")
    return outcomes
