"""Ground truth for real-world training, which the model degrades."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from basicsr.data.realesrgan_dataset import RealESRGANDataset as BasicSRDataset

from .images import find


class RealESRGANDataset(BasicSRDataset):
    """BasicSR's data set of this name, which does without ``meta_info`` as the official HAT's does: all of a folder.

    Raises:
        DataError: the folder holds no image.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        whole_folder = opt["io_backend"]["type"] == "disk" and opt.get("meta_info") is None
        super().__init__({**opt, "meta_info": os.devnull} if whole_folder else opt)
        self.opt = opt
        if whole_folder:
            self.paths = [str(file) for file in sorted(find(Path(opt["dataroot_gt"])))]
