"""What an option file may hold: the keys of BasicSR's own code and of this project, with their types.

Keys that a registered class reads beyond these are found in its source (see `hat_arch.config`), so that data sets and
models of BasicSR and of plugins need no entry here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Number = Annotated[int | float, Field(gt=0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, use_attribute_docstrings=True)

    def plain(self) -> dict[str, Any]:
        """As a dict, without what is None by default: to BasicSR, a key that is there often has a meaning."""
        return {name: _plain(value) for name, value in self if value is not None or name in self.model_fields_set}


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.plain()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


class IoBackend(Section):
    type: Literal["disk", "lmdb", "memcached"]
    """Where images are read from: files in a folder, or an LMDB store (its folder ends in ``.lmdb``)."""


class Dataset(Section):
    name: str
    """Shown in logs; names the folder of saved images."""
    type: str
    """Name in the data set registry."""
    dataroot_gt: str | list[str] | None = None
    """Folder (or LMDB store) of the ground truth."""
    dataroot_lq: str | list[str] | None = None
    """Folder (or LMDB store) of the low-resolution images."""
    meta_info_file: str | None = None
    """Text file that lists the images; all of the folder if absent."""
    io_backend: IoBackend = IoBackend(type="disk")
    gt_size: Positive | None = None
    """Side of the square patches cut from the ground truth for training."""
    use_hflip: bool | None = None
    """Whether training patches are flipped at random."""
    use_rot: bool | None = None
    """Whether training patches are turned by 90 degrees at random."""
    batch_size_per_gpu: Positive | None = None
    num_worker_per_gpu: Count | None = None
    dataset_enlarge_ratio: Positive | None = None
    """How often an epoch goes through the data set."""
    prefetch_mode: Literal["cpu", "cuda"] | None = None
    pin_memory: bool | None = None


class PathOptions(Section):
    pretrain_network_g: str | None = None
    """Weights to start from, or to test."""
    param_key_g: str | None = None
    """Which weights of that file: ``params`` or ``params_ema``."""
    strict_load_g: bool = True
    """Whether every weight must be in the file, and no other."""
    resume_state: str | None = None
    """``.state`` file to resume from; ``--auto_resume`` finds the newest."""


class Train(Section):
    total_iter: Number
    """Iterations to train for."""
    optim_g: dict[str, Any]
    """``type``: an optimizer of torch.optim; the other keys are its arguments."""
    scheduler: dict[str, Any]
    """``type``: MultiStepLR, MultiStepRestartLR or CosineAnnealingRestartLR; the other keys are its arguments."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the moving average of the weights that is validated and saved beside them; 0 for none."""
    warmup_iter: int = -1
    """Iterations over which the learning rate rises linearly; -1 for none."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the network in training. bf16 and fp16 are autocast, fp16 with a gradient scaler; tf32 is for
    NVIDIA's matrix products. fp32 is PyTorch's default, as BasicSR trains. This and the following: HATModel only."""
    accumulate: Positive | None = None
    """Parts that a batch is computed in, for less memory; the update is the same."""
    compile: bool | Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] | None = None
    """Whether to compile the network with torch.compile, or its mode."""
    channels_last: bool | None = None
    """Whether images and weights are kept channels last."""
    clip_grad_norm: Number | None = None
    """Largest norm of the gradient; larger ones are scaled down to it."""
    max_bad_steps: Positive | None = None
    """Gradients in a row that may be NaN or infinite before training stops; 20 by default. Their steps are left out."""


class Val(Section):
    save_img: bool
    """Whether to save the upscaled images."""
    val_freq: Number | None = None
    """Iterations between validations."""
    suffix: str | None = None
    """Ending of the saved images' names in tests."""
    metrics: dict[str, dict[str, Any]] | None = None
    """What to measure: any name, with ``type`` (as in the metric registry) and its arguments."""
    pbar: bool = False
    val_first: bool | None = None
    """Whether to validate once before training; HATModel only."""
    tile: Literal["whole", "auto"] | Positive | None = None
    """Whole images, as the papers measure and by default; tiles of at most so many LR pixels a side, overlaps included;
    or auto: whole if it fits the free memory. Tiles change the result. This and the following: HATModel only."""
    tile_overlap: Count | None = None
    """LR pixels that neighbouring tiles share at the least; 32 by default."""
    tile_blend: bool | None = None
    """Whether tiles pass smoothly into each other (default), or are cut in the middle of their overlap."""
    tile_batch: Positive | None = None
    """Tiles that go through the network together; 1 by default."""
    self_ensemble: bool | None = None
    """Whether to average over the image's eight flips and transpositions, in eight times the time."""
    precision: Literal["fp32", "bf16", "fp16", "auto"] | None = None
    """Arithmetic of the network in validation and tests; fp32 by default. bf16 and fp16 are autocast; auto is bf16
    where the device is made for it."""
    compile: bool | None = None
    """Whether to compile the network with torch.compile for validation and tests; pays on CUDA."""


class Wandb(Section):
    project: str | None = None
    """Weights & Biases gets what TensorBoard gets, in a project of this name; needs ``pip install wandb``."""
    resume_id: str | None = None
    """Run to go on with; a training that is resumed goes on with its own."""


class Logger(Section):
    print_freq: Positive = 100
    """Iterations between log lines."""
    save_checkpoint_freq: Number = 5000
    """Iterations between checkpoints."""
    use_tb_logger: bool = False
    """Whether to write TensorBoard logs to ``tb_logger/``."""
    wandb: Wandb | None = None
    keep_last: Positive | None = None
    """Checkpoints to keep, the newest; all if absent. This and the following: HATModel only."""
    keep_best: list[str] | None = None
    """Data set and metric, such as Set5/psnr: the weights that were best at it, as net_g_best_Set5_psnr.pth."""
    safetensors: bool | None = None
    """Whether to write the weights (of the EMA, if there is one) as .safetensors too."""


class Options(Section):
    name: str
    """Name of the run and of its folder."""
    model_type: str
    """Name in the model registry."""
    scale: Positive
    datasets: dict[str, Dataset]
    """``train``, ``val``, ``val_2``, …; in test files ``test_1``, ``test_2``, …."""
    network_g: dict[str, Any]
    """``type``: name in the architecture registry; the other keys are its arguments."""
    path: PathOptions = PathOptions()
    num_gpu: Count | Literal["auto"] = "auto"
    """0 for the CPU; a process uses one GPU at most, and --gpus N starts N processes."""
    manual_seed: int | None = None
    val: Val | None = None


class TestOptions(Options):
    val: Val


class TrainOptions(Options):
    train: Train
    logger: Logger = Logger()
    dist_params: dict[str, Any] | None = None
