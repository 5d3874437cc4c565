"""Training, testing and reporting where a run is there, or is not, or is damaged; and what only shows in the middle."""

from __future__ import annotations

from typing import Any

from .case import GONE, Case
from .data import RUN
from .images import RRDBNET, rrdbnet
from .option_files import TRAIN
from .world import saved

RESUME = "train -opt run.yml --auto_resume"
LONGER = f"{RESUME} --force_yml train:total_iter=3"
HELD = """
import fcntl, subprocess
from pathlib import Path
code = "import fcntl, sys; f = open('experiments/.run.in_use', 'a'); fcntl.lockf(f, fcntl.LOCK_EX); "
code += "f.truncate(0); f.write('process 7 on here'); f.flush(); print(flush=True); sys.stdin.read()"
holder = subprocess.Popen([sys.executable, '-S', '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
holder.stdout.readline()
"""
VAL_LQ = {"datasets.val": {"name": "v", "type": "SingleImageDataset", "dataroot_lq": "d/LR"}}
COSINE = {"type": "CosineAnnealingRestartLR", "periods": [4], "restart_weights": [1]}
GREY = {"network_g.in_chans": 1}


RRDBNET_TEST = f"""name: it
model_type: SRModel
{RRDBNET}datasets: {{test_1: {{name: odd, type: SingleImageDataset, dataroot_lq: odd/LR}}}}
"""


def ends(code: int, *says: str, yml: dict[str, Any], more: tuple[str, ...] = (), **how: Any) -> Case:
    """A training that begins."""
    return Case(TRAIN, code, says, yml=yml, makes=(*RUN, *more), **how)


RUNS = [
    Case("train -opt run.yml", 0, (), lines=0, notes="run is done"),
    Case("train -opt run.yml --restart --auto_resume", 2, ("--restart", "--auto_resume")),
    Case("train -opt run.yml --force_yml train:total_iter=9", 2, ("experiments/run", "--auto_resume", "--restart")),
    Case("train -opt run.yml --restart", 2, ("experiments/run", "in use by process 7"), before=HELD),
    Case(
        LONGER,
        2,
        ("2.state", "embed_dim"),
        files={"run.yml": lambda f: (f / "run.yml").read_bytes().replace(b"embed_dim: 12", b"embed_dim: 24")},
    ),
    Case(
        "train -opt it.yml", 2, ("it.yml", "path.resume_state", "gone.state"), yml={"path.resume_state": "gone.state"}
    ),
    Case("train -opt it.yml", 2, ("w.pth",), yml={"path.resume_state": "w.pth"}, makes=RUN[:1]),
    Case(
        "train -opt it.yml",
        2,
        ("experiments/run/training_states/2.state",),
        yml={"path.resume_state": "experiments/run/training_states/2.state"},
        cut={"experiments/run/training_states/2.state": 400},
        makes=RUN[:1],
    ),
    Case(
        "train -opt it.yml",
        2,
        ("net_g_2.pth",),
        yml={"path.resume_state": "experiments/run/training_states/2.state", "train.total_iter": 3},
        gone=("experiments/run/models/net_g_2.pth",),
        makes=RUN[:1],
    ),
    ends(0, "goes on from", yml={"path.resume_state": "experiments/run/training_states/1.state"}, lines=3),
    Case("report -opt it.yml", 2, ("experiments/it/models/net_g_latest.pth", "basicsr train"), yml={}),
    Case("report -opt it.yml --weights page.pth", 2, ("page.pth", "web page"), yml={}, files={"page.pth": "<html>"}),
    Case("report -opt it.yml --weights w.pth", 2, ("it", "ground truth"), yml=VAL_LQ),
    Case("report -opt gone.yml", 2, ("gone.yml",)),
    Case("report -opt test.yml", 2, ("test.yml", "train", "missing")),
    Case("test -opt it.yml", 2, ("experiments/it/models", "--weights"), yml={}),
    Case("test -opt test.yml --weights page.pth", 2, ("page.pth", "web page"), files={"page.pth": "<html>"}),
    Case("test -opt test.yml --weights gone.pth", 2, ("gone.pth", "no such file")),
    Case("test -opt it.yml", 2, ("it.yml", "datasets"), yml={"datasets.val": GONE}),
    Case("test -opt test.yml --restart", 2, ("--restart",)),
]
MIDDLE = [
    ends(0, yml=VAL_LQ, lines=0),
    ends(2, "one channel", "color: y", yml=GREY),
    ends(
        0,
        yml={**GREY, "datasets.train.color": "y", "datasets.val.color": "y", "logger.use_tb_logger": True},
        lines=0,
        more=("tb_logger/it/*",),
    ),
    Case(
        TRAIN,
        2,
        ("it.yml", "train.scheduler", "ends after 4", "total_iter is 8"),
        yml={"train.scheduler": COSINE, "train.total_iter": 8},
    ),
    Case(
        f"{TRAIN} --dry_run",
        2,
        ("it.yml", "train.scheduler", "ends after 4"),
        yml={"train.scheduler": COSINE, "train.total_iter": 8},
    ),
    ends(2, "d/GT/0.png", "gt_size 4096", yml={"datasets.train.gt_size": 4096}),
    ends(2, "d/LR/0.png", "shapes", yml={"datasets.val.dataroot_gt": "d/LR"}),
    ends(2, "HATModel", "losses are None", yml={"train.pixel_opt": GONE}),
    ends(0, "val: metrics: psnr", "held_out", "crop_border", yml={"val.metrics.psnr.crop_border": 40}, lines=2),
    Case(
        "test -opt it.yml",
        0,
        ("val: metrics: psnr", "crop_border"),
        yml={"val.metrics.psnr.crop_border": 40},
        test=True,
        makes=("results/*",),
    ),
    Case(
        "test -opt rr.yml --weights w2.pth",
        2,
        ("odd/LR/a.png", "RRDBNet"),
        files={"w2.pth": rrdbnet, "rr.yml": RRDBNET_TEST, "odd/LR/a.png": saved(".png", 7, 13)},
        makes=("results/*",),
    ),
    Case("test -opt test.yml", 2, ("d/GT/1.png", "damaged"), cut={"d/GT/1.png": 90}, makes=("results/*",)),
    Case(
        "test -opt it.yml",
        0,
        (),
        yml={"datasets": {"test_1": {"name": "s", "type": "SingleImageDataset", "dataroot_lq": "stem"}}},
        test=True,
        files={f"stem/a.{e}": lambda f: (f / "photos/a.png").read_bytes() for e in ("png", "bmp")},
        lines=0,
        makes=("results/*", "results/it/visualization/s/a.png_it.png", "results/it/visualization/s/a.bmp_it.png"),
    ),
]
TABLE = [*RUNS, *MIDDLE]
