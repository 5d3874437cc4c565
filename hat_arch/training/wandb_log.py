"""Weights & Biases beside TensorBoard (``logger: wandb: {project: …}``), whose curves and pictures it copies.

In place of BasicSR's function, which current versions of the package do not run; and a run that goes on stays one run.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only

from ..config import ConfigError
from .random_state import same_random_numbers_after

ID = "wandb_id.txt"


@master_only
def start(opt: dict[str, Any]) -> None:
    """Starts a run, or goes on with that of ``resume_id``, or of the training that is resumed.

    Raises:
        ConfigError: W&B refuses; the message says why.
    """
    import wandb

    wanted = opt["logger"]["wandb"]
    remembered = Path(opt["path"]["experiments_root"]) / ID
    known = wanted.get("resume_id")
    if not known and opt["path"].get("resume_state") and remembered.exists():
        known = remembered.read_text(encoding="utf-8").strip()
    try:
        with same_random_numbers_after():
            run = wandb.init(
                project=wanted["project"],
                **({"entity": wanted["entity"]} if wanted.get("entity") else {}),
                name=opt["name"],
                id=known,
                resume="allow" if known else None,
                config=opt,
                sync_tensorboard=True,
            )
    except wandb.errors.Error as error:
        raise ConfigError(f"logger.wandb: {str(error).rstrip('.')}; without an account: WANDB_MODE=offline") from error
    remembered.write_text(f"{run.id}\n", encoding="utf-8")
    get_root_logger().info(f"W&B: project {wanted['project']}, {'goes on with ' if known else ''}run {run.id}")


@master_only
def finish() -> None:
    """Ends the run, if there is one, once all that was logged is written."""
    if (wandb := sys.modules.get("wandb")) is not None:
        wandb.finish()
