"""Data sets: what ``basicsr data`` makes and checks, and the stores, folders and lists that option files name."""

from __future__ import annotations

from typing import Any

from .case import GONE, Case
from .option_files import TRAIN, option
from .world import saved

RUN = ("experiments/.it.in_use", "experiments/it/*")
"""What a training makes before it reads its first image."""


def verb(args: str, *says: str, code: int = 2, **more: Any) -> Case:
    return Case(f"data {args}", code, says, **more)


CUT = {"d/GT/1.png": 90}
BASICSRS = {"datasets.train.type": "PairedImageDataset", "datasets.val.type": "PairedImageDataset"}
DEGRADED = {"datasets.train.type": "DegradedImageDataset", "datasets.train.dataroot_lq": GONE}
STORES = {"datasets.train.dataroot_gt": "GT.lmdb", "datasets.train.dataroot_lq": "LR.lmdb"}
LIST = "datasets.train.meta_info_file"

VERBS = [
    verb("lmdb d/gone out.lmdb", "d/gone", "no such folder"),
    verb("lmdb d out", "out", ".lmdb"),
    verb("lmdb d/GT GT.lmdb", "GT.lmdb", "does not say how", "--overwrite"),
    verb("lmdb d/GT w.pth.lmdb", "w.pth.lmdb", files={"w.pth.lmdb": "mine"}),
    verb(
        "lmdb two out.lmdb",
        "two/a.png",
        "two/a.jpg",
        "same name",
        code=1,
        files={"two/a.png": saved(".png", 9, 9), "two/a.jpg": saved(".jpg", 9, 9)},
        lines=2,
        makes=(".out.lmdb.partial/*",),
    ),
    verb("lmdb d/GT out.lmdb", "d/GT/1.png", "damaged", code=1, cut=CUT, lines=2, makes=(".out.lmdb.partial/*",)),
    verb("lmdb small out.lmdb", code=0, files={"small/a.jpg": saved(".jpg", 7, 20)}, lines=0, makes=("out.lmdb/*",)),
    verb(
        "lmdb link out.lmdb",
        code=0,
        files={"link/0.png": saved(".png", 8, 8)},
        links={"link/more": "../d/LR"},
        lines=0,
        makes=("out.lmdb/*",),
        notes="5 images",
    ),
    verb(
        "lmdb link out.lmdb",
        "link/loop.png",
        code=1,
        files={"link/0.png": saved(".png", 8, 8)},
        links={"link/loop.png": "loop.png"},
        lines=2,
        makes=(".out.lmdb.partial/*",),
    ),
    verb("modcrop d/GT out", "--scale"),
    verb("modcrop d/GT out --scale 0", "--scale", "1 or more"),
    verb("modcrop d/GT d/GT --scale 4", "d/GT", "inside"),
    verb("modcrop d/GT photos --scale 4", "photos", "--overwrite"),
    verb("modcrop d/GT w.pth --scale 4", "w.pth", "not a folder"),
    verb("modcrop photos out --scale 100", "photos/a.png", "100", code=1, lines=3, makes=("out/*",)),
    verb("downsample d/GT lr --scale 2 4", "lr", "{}"),
    verb("downsample d/GT out --scale 4", "d/GT/1.png", "damaged", code=1, cut=CUT, lines=2, makes=("out/*",)),
    verb("degrade d/GT out --scale 4 --recipe realesgan", "realesgan", "'realesrgan'"),
    verb("degrade d/GT out --scale 4 --recipe jpeg:0", "jpeg:0", "1 to 100"),
    verb("degrade d/GT out --scale 4 --recipe jpeg:101", "jpeg:101", "1 to 100"),
    verb("degrade d/GT out --scale 4 --recipe jpeg:40-10", "jpeg:40-10", "lower one first"),
    verb("degrade d/GT out --scale 4 --recipe noise:-1", "noise:-1", "noise:25"),
    verb("degrade d/GT out --scale 0 --recipe photo", "--scale", "1 or more"),
    verb("degrade d/gone out --scale 4 --recipe photo", "d/gone", "no such folder"),
    verb("degrade d/GT photos --scale 4 --recipe photo", "photos", "--overwrite"),
    verb("degrade d/GT/0.png d/GT/0.png --scale 1 --recipe photo", "d/GT/0.png", "the image itself"),
    verb("degrade d/GT/0.png d/GT/1.png --scale 1 --recipe photo", "d/GT/1.png", "--overwrite"),
    verb("degrade w.pth out --scale 1 --recipe photo", "w.pth", "not an image"),
    verb("degrade d/LR/0.png out --scale 100 --recipe photo", "d/LR/0.png", "smaller than 100x100"),
    verb("degrade d/GT/0.png out --scale 4 --recipe photo --contact_sheet a.jpg", "a.jpg", ".png"),
    verb("degrade photos out --scale 12 --recipe photo", "photos/a.png", "12", code=1, lines=3, makes=("out/*",)),
    verb("sub-images d/GT out --step 0", "--step", "1 or more"),
    verb("meta-info d/GT w.pth", "w.pth", "--overwrite"),
    verb("meta-info none m.txt", "none", "no image", files={"none/a.txt": ""}),
    verb("prepare df2k d --size 50", "--size 50", "12"),
    verb("prepare df2k d --name a/b --out out", "--name"),
    verb("prepare benchmarks d", "d", "Set5"),
    verb(
        "prepare benchmarks bench --out out --scale 4",
        "bench/Set5",
        "Set5 has 5",
        code=1,
        lines=2,
        files={
            f"bench/Set5/image_SRF_4/img_00{n}_SRF_4_{part}.png": saved(".png", side, side)
            for n in (1, 2)
            for part, side in (("HR", 60), ("LR", 15))
        },
    ),
    verb("prepare bsds d", "bsds", "df2k"),
    verb("check d/gone", "d/gone", "no such folder", code=1, notes="d/gone: 0 images, 1 problem"),
    verb("check GT.lmdb", "GT.lmdb/data.mdb", "truncated", code=1, cut={"GT.lmdb/data.mdb": 9000}),
    verb("check GT.lmdb", "GT.lmdb/data.mdb", "damaged", code=1, files={"GT.lmdb/data.mdb": bytes(9000)}),
    verb(
        "check GT.lmdb",
        "GT.lmdb/meta_info.txt",
        "listed twice",
        code=1,
        lines=4,
        files={"GT.lmdb/meta_info.txt": "0.png (64,64,3) 1\n0.png (64,64,3) 1\n"},
    ),
    verb("check photos.lmdb", "photos.lmdb", "no such store", code=1),
    verb("check", "nothing to check"),
    verb("check --gt d/GT", "--lq"),
    verb("check --gt d/GT --lq d/LR --scale 2", "d/GT", "not 2 times", code=1, lines=4),
    verb("check -opt gone.yml", "gone.yml", "No such file"),
    verb("check -opt it.yml", "it.yml", "datasets", files={"it.yml": "datasets: [a]\n"}),
    verb("check -opt it.yml", "it.yml", "datasets.train", files={"it.yml": "datasets: {train: d/GT}\n"}),
    verb(
        "check -opt it.yml",
        "it.yml",
        "scale",
        files={"it.yml": "scale: x\ndatasets: {a: {dataroot_gt: d/GT, dataroot_lq: d/LR}}\n"},
    ),
]
IN_OPTION_FILES = [
    Case(TRAIN, 2, ("it.yml", "datasets.train", "missing"), yml=DEGRADED),
    *(
        Case(TRAIN, 2, ("it.yml", f"datasets.train.{key}", *says), yml={**DEGRADED, "datasets.train.recipe": recipe})
        for recipe, key, *says in (
            ("realesgan", "recipe", "'realesrgan'"),
            ("jpeg:40-10", "recipe", "lower one first"),
            (25, "recipe", "text"),
            ({"type": "photo", "jpeg_rnge": [1, 2]}, "recipe", "'jpeg_range'"),
            ({"type": "realesrgan", "blur_kernel_size": 33}, "gt_size", "33 pixels"),
        )
    ),
    option("datasets.train.dataroot_gt", "d/gone", "no folder 'd/gone'", lines=1),
    option("datasets.train.dataroot_gt", "gone.lmdb", "gone.lmdb"),
    option("datasets.train.dataroot_gt", "w.pth", "no folder 'w.pth'"),
    Case(
        TRAIN, 2, ("none", "no image"), yml={"datasets.train.dataroot_gt": "none"}, files={"none/a.txt": ""}, makes=RUN
    ),
    Case(
        TRAIN, 2, ("it.yml", "datasets.train.dataroot_gt", "meta_info.txt"), yml=STORES, gone=("GT.lmdb/meta_info.txt",)
    ),
    Case(TRAIN, 2, ("GT.lmdb/data.mdb", "truncated"), yml=STORES, cut={"GT.lmdb/data.mdb": 9000}, makes=RUN),
    Case(
        TRAIN,
        2,
        ("GT.lmdb/data.mdb", "damaged"),
        yml={**STORES, **BASICSRS},
        files={"GT.lmdb/data.mdb": bytes(9000)},
        makes=RUN,
    ),
    Case(TRAIN, 2, ("GT.lmdb/data.mdb", "damaged"), yml=STORES, files={"GT.lmdb/data.mdb": b""}, makes=RUN),
    Case(
        f"{TRAIN} --dry_run",
        0,
        (),
        yml={"datasets.train.dataroot_gt": "GT.lmdb/", "datasets.train.dataroot_lq": "LR.lmdb/"},
        lines=0,
        notes="OK",
    ),
    Case(
        TRAIN, 2, ("it.yml", "datasets.train.dataroot_gt", "LMDB store"), yml={"datasets.train.dataroot_gt": "GT.lmdb"}
    ),
    Case(
        TRAIN,
        2,
        ("it.yml", LIST, "m.txt:2", "gone.png"),
        yml={LIST: "m.txt"},
        files={"m.txt": "0.png (64,64,3)\ngone.png\n"},
    ),
    Case(TRAIN, 2, ("it.yml", LIST, "m.txt", "no image"), yml={LIST: "m.txt"}, files={"m.txt": "\n# none\n"}),
    Case(TRAIN, 2, ("it.yml", LIST, "m.txt", "UTF-8"), yml={LIST: "m.txt"}, files={"m.txt": b"\xff\xfe0\0"}),
    Case(TRAIN, 2, ("it.yml", LIST, "d/GT"), yml={LIST: "d/GT"}),
    Case(
        f"{TRAIN} --dry_run",
        0,
        (),
        yml={LIST: "m.txt"},
        files={"m.txt": b"\xef\xbb\xbf0.png (64,64,3)\r\n\r\n"},
        lines=0,
        notes="OK",
    ),
    Case(
        TRAIN,
        2,
        ("it.yml", LIST, "m.txt:2", "empty"),
        yml={LIST: "m.txt", **BASICSRS},
        files={"m.txt": "0.png (64,64,3)\n\n"},
    ),
    Case(
        TRAIN,
        2,
        ("it.yml", LIST, "LMDB", "leave it out"),
        yml={LIST: "m.txt", **BASICSRS, **STORES},
        files={"m.txt": "0.png (64,64,3)\n"},
    ),
    *(
        Case(
            TRAIN,
            2,
            says or ("d/LR/1.png" if yml else "d/GT/1.png", "4"),
            yml=yml,
            cut=cut,
            gone=gone,
            files=files,
            makes=RUN,
        )
        for yml in ({}, BASICSRS)
        for says, cut, gone, files in (
            (("d/GT/1.png", "damaged"), CUT, (), {}),
            (("d/GT/1.png", "not an image"), {}, (), {"d/GT/1.png": "x"}),
            (("d/LR", "1"), {}, ("d/LR/1.png",), {}),
            ((), {}, (), {"d/LR/1.png": saved(".png", 10, 16)}),
        )
    ),
]
TABLE = [*VERBS, *IN_OPTION_FILES]
