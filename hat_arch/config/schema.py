"""What an option file may hold: the keys that BasicSR's loop and this project read, with types and defaults.

A key's docstring says what it is for. Keys that a registered class reads beyond these are found in its source (see
`source`), so data sets and models of BasicSR and of plugins need no entry here.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from .problems import Key, Problems

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Number = Annotated[int | float, Field(gt=0)]
Iterations = Annotated[int | float, Field(ge=1, multiple_of=1)]
"""A number of iterations, which may be written as 5e3."""


LONGEST_NAME = 200
"""Bytes; file systems allow 255, and logs and renamed runs get names that are longer by some 30."""


def _folder_name(name: str) -> str:
    if not name.strip() or name in (".", "..") or any(mark in name for mark in "/\\\0\n"):
        raise ValueError("should be the name of a folder, without / and other than . and ..")
    if len(name.encode(errors="replace")) > LONGEST_NAME:
        raise ValueError(f"should be the name of a folder, of {LONGEST_NAME} bytes at most")
    return name


FolderName = Annotated[str, AfterValidator(_folder_name)]
"""A name that a folder or file gets: nothing is written elsewhere."""

HAT_MODEL_ONLY = {
    "train": {
        "precision",
        "accumulate",
        "compile",
        "cuda_graph",
        "channels_last",
        "clip_grad_norm",
        "max_bad_steps",
        "begin_as_interpolation",
        "fft_opt",
    },
    "val": {"tile", "tile_overlap", "tile_blend", "tile_batch", "self_ensemble", "precision", "compile", "engine"},
    "logger": {"keep_last", "keep_best", "safetensors"},
}
"""Keys that models read which say so in ``hat_sections``; those of ``val`` are arguments of `Upscaler`."""
SINCE = {
    "0.1.0": {
        "": {"tile", "published"},
        "datasets": {"use_channel_permutation", "use_shuffle", "recipe"},
        **HAT_MODEL_ONLY,
        "val": HAT_MODEL_ONLY["val"] | {"val_first"},
        "wandb": {"entity"},
        "tile": {"tile_size", "tile_pad"},
    }
}
"""Version of this project → section → keys that are read from it on. All others are read by BasicSR itself."""
ALWAYS = ("resume_state", "suffix")
"""Keys that BasicSR reads without asking if they are there."""


class Section(BaseModel):
    """A section of an option file; other keys than its fields are kept as they are."""

    model_config = ConfigDict(extra="allow", strict=True)

    @model_validator(mode="before")
    @classmethod
    def without_empty_keys(cls, content: Any) -> Any:
        """Takes ``key:`` with nothing behind it as no key, where None says nothing of its own."""
        if not isinstance(content, dict):
            return content
        fields = cls.model_fields
        return {
            name: value
            for name, value in content.items()
            if value is not None or name not in fields or type(None) in get_args(fields[name].annotation)
        }

    @model_serializer(mode="wrap")
    def without_absent_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The section without keys that are None by default: BasicSR often asks whether a key is there."""
        kept = {*self.model_fields_set, *ALWAYS}
        return {name: value for name, value in handler(self).items() if value is not None or name in kept}


class IoBackend(Section):
    type: Literal["disk", "lmdb", "memcached"]
    """Where images are read from: files in a folder, or an LMDB store (its folder ends in ``.lmdb``)."""


class Dataset(Section):
    name: FolderName
    """Shown in logs; names the folder of saved images."""
    type: str
    """Name in the data set registry."""
    dataroot_gt: str | None = None
    """Folder (or LMDB store) of the ground truth; BasicSR takes one."""
    dataroot_lq: str | None = None
    """Folder (or LMDB store) of the low-resolution images."""
    meta_info_file: str | None = None
    """Text file that lists the images; all of the folder if absent."""
    io_backend: IoBackend = IoBackend(type="disk")
    """How the images are stored."""
    gt_size: Positive | None = None
    """Side of the square patches cut from the ground truth for training."""
    use_hflip: bool | None = None
    """Whether training patches are flipped at random."""
    use_rot: bool | None = None
    """Whether training patches are turned by 90 degrees at random."""
    use_channel_permutation: bool | None = None
    """Whether red, green and blue of training patches change places at random: a small set of photographs does not show
    all colours that others have. The project's own data sets only."""
    use_shuffle: bool | None = None
    """Whether an epoch goes through the images in random order (default), or in theirs."""
    color: Literal["rgb", "y"] | None = None
    """``y``: images become luma, for a network of one channel; ``rgb`` by default."""
    recipe: str | dict[str, Any] | None = None
    """How DegradedImageDataset makes the LR: ``noise:25``, ``jpeg:10-40``, ``photo``, or ``type`` and options."""
    mean: list[float] | None = None
    """What is subtracted from the images, for each channel, in 0…1; nothing by default."""
    std: list[float] | None = None
    """What the images are divided by after that, for each channel; nothing by default."""
    batch_size_per_gpu: Positive | None = None
    """Patches of a batch, for each GPU; needed in training."""
    num_worker_per_gpu: Count | None = None
    """Processes that read images, for each GPU; needed in training. 0: the training itself reads them."""
    dataset_enlarge_ratio: Positive | None = None
    """How often an epoch goes through the data set."""
    prefetch_mode: Literal["cpu", "cuda"] | None = None
    """``cpu``: a thread gets the next batches ready; ``cuda``: the next batch is copied to the GPU during a step.
    Neither by default."""
    num_prefetch_queue: Positive | None = None
    """Batches that ``prefetch_mode: cpu`` gets ready; 1 by default."""
    pin_memory: bool | None = None
    """Whether batches lie in page-locked memory, from which the copy to a GPU is faster."""
    persistent_workers: bool | None = None
    """Whether the processes that read images stay from one epoch to the next."""


class PathOptions(Section):
    pretrain_network_g: str | None = None
    """Weights to start from, or to test."""
    param_key_g: str | None = None
    """Name of the weights in that file: ``params`` by default, and if there are none of that name. The moving average
    of a training begins with ``params_ema``, if the file has them."""
    strict_load_g: bool = True
    """Whether every weight must be in the file, and no other."""
    resume_state: str | None = None
    """``.state`` file to go on from. With ``--auto_resume`` it is not read: that takes the newest of the run's own."""
    ignore_resume_networks: str | list[str] | None = None
    """Networks whose ``pretrain_network`` is kept when a run is resumed."""


class Train(Section):
    total_iter: Iterations
    """Iterations to train for."""
    optim_g: dict[str, Any]
    """``type``: an optimizer of torch.optim; the other keys are its arguments."""
    scheduler: dict[str, Any]
    """``type``: MultiStepLR, MultiStepRestartLR or CosineAnnealingRestartLR; the other keys are its arguments."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the moving average of the weights that is validated and saved beside them; 0 for none."""
    warmup_iter: int = -1
    """Iterations over which the learning rate rises linearly; -1 for none."""
    precision: Literal["fp32", "tf32", "bf16", "fp16", "auto"] = "fp32"
    """Arithmetic of the network in training. bf16 and fp16 are autocast, fp16 with a gradient scaler; tf32 is for
    NVIDIA's matrix products; auto is bf16 where the device is made for it, else fp32, as BasicSR trains."""
    accumulate: Positive | None = None
    """Parts that a batch is computed in, to save memory; the update is the same."""
    compile: bool | Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] | None = None
    """Whether to compile the network with torch.compile, or its mode."""
    cuda_graph: bool | None = None
    """Whether the network's forward and backward are recorded at the first step, and replayed at once at each: where a
    GPU waits for Python, as with small networks and patches. One process; without use_checkpoint and accumulate."""
    channels_last: bool | None = None
    """Whether images and weights are kept in the channels-last memory format."""
    begin_as_interpolation: bool | None = None
    """Whether a network that starts from no weights starts as an interpolation, with the right colours; for HAT with
    ``upsampler: pixelshuffledirect``, or ``""``, which then starts by returning its input."""
    clip_grad_norm: Number | None = None
    """Largest norm of the gradient; a larger gradient is scaled down to it."""
    fft_opt: dict[str, Any] | None = None
    """Loss that is added to ``pixel_opt``, such as SpectralL1Loss; ``type``, and its arguments."""
    max_bad_steps: Positive | None = None
    """Steps in a row whose gradient may be NaN or infinite before training stops; 20 by default."""


class Val(Section):
    save_img: bool
    """Whether to save the upscaled images."""
    val_freq: Iterations | None = None
    """Iterations between validations."""
    val_first: bool | None = None
    """Whether to validate once before training."""
    suffix: FolderName | None = None
    """Ending of the saved images' names in tests."""
    metrics: dict[str, dict[str, Any]] | None = None
    """What to measure: any name, with ``type`` (as in the metric registry) and its arguments."""
    pbar: bool = False
    """Whether to draw a progress bar of each validation."""
    tile: Literal["whole", "auto"] | Positive | None = None
    """``whole``, as the papers measure and by default; the side of tiles in LR pixels, overlaps included; or ``auto``:
    whole if it fits the free memory, else tiles. Tiles change the result."""
    tile_overlap: Count | None = None
    """LR pixels that neighbouring tiles share at least; 32 by default."""
    tile_blend: bool | None = None
    """Whether tiles are blended over their overlap (default), or cut in its middle."""
    tile_batch: Positive | None = None
    """Tiles that go through the network together; 1 by default."""
    self_ensemble: bool | None = None
    """Whether to average over the image's eight flips and transpositions, in eight times the time."""
    precision: Literal["fp32", "bf16", "fp16", "auto"] | None = None
    """Arithmetic of the network in validation and tests; fp32 by default. bf16 and fp16 are autocast; auto is bf16
    where the device is made for it, else fp32."""
    compile: bool | None = None
    """Whether to compile the network with torch.compile for validation and tests; pays on CUDA."""
    engine: Literal["torch", "openvino", "onnxruntime", "auto"] | None = None
    """What computes the network in validation and tests: torch by default; openvino or onnxruntime, if installed, which
    convert it whenever its weights have changed; or auto: the fastest here."""


class Wandb(Section):
    project: str | None = None
    """Project of Weights & Biases that gets what TensorBoard gets; needs ``pip install wandb``."""
    entity: str | None = None
    """User or team that the project belongs to; by default yours."""
    resume_id: str | None = None
    """Run to go on with; a training that is resumed goes on with its own."""


class Logger(Section):
    print_freq: Positive = 100
    """Iterations between log lines."""
    save_checkpoint_freq: Iterations = 5000
    """Iterations between checkpoints."""
    use_tb_logger: bool = False
    """Whether to write TensorBoard logs to ``tb_logger/``."""
    wandb: Wandb | None = None
    """Weights & Biases, beside TensorBoard."""
    keep_last: Positive | None = None
    """Number of checkpoints to keep, the newest ones; all if absent."""
    keep_best: list[str] | None = None
    """Data set and metric, such as Set5/psnr, whose best weights are kept as net_g_best_Set5_psnr.pth."""
    safetensors: bool | None = None
    """Whether to write the weights (of the EMA, if there is one) as .safetensors too."""


class Tile(Section):
    """Tiles as the official HAT has them: cut from the image padded to whole windows, each with a pad around it."""

    tile_size: Positive
    """Side of a tile in LR pixels, without its pads."""
    tile_pad: Count
    """LR pixels around a tile that the network sees too, as far as the image goes."""


class DistParams(Section):
    backend: Literal["nccl", "gloo"] | None = None
    """How processes talk under ``--launcher slurm``; NCCL where there are GPUs, else Gloo, if absent."""
    port: Positive | None = None
    """Port of the first process under ``--launcher slurm``."""


class NetworkOptions(Section):
    scale: Positive
    """By how much the network enlarges."""
    network_g: dict[str, Any]
    """``type``: name in the architecture registry; the other keys are its arguments."""


class RootsOptions(Section):
    """What `basicsr data check` reads of a data set."""

    dataroot_gt: str | list[str] | None = None
    dataroot_lq: str | list[str] | None = None
    filename_tmpl: str = "{}"


class DataOptions(Section):
    scale: Positive = 1
    datasets: dict[str, RootsOptions] = {}


class Options(Section):
    name: FolderName
    """Name of the run and of its folder."""
    model_type: str
    """Name in the model registry."""
    scale: Positive | None = None
    """By how much the network enlarges; only models and data sets that do not ask for it do without."""
    network_g: dict[str, Any]
    """``type``: name in the architecture registry; the other keys are its arguments."""
    datasets: dict[str, Dataset]
    """``train``, ``val``, ``val_2``, …; in test files ``test_1``, ``test_2``, …."""
    path: PathOptions = PathOptions()
    """Weights to start from, and states to go on from."""
    num_gpu: Count | Literal["auto"] = "auto"
    """0 for the CPU; a process uses one GPU at most, and --gpus N starts N processes."""
    manual_seed: int | None = None
    """Seed of weights, crops and order; by default one is drawn."""
    find_unused_parameters: bool | None = None
    """Whether several processes look for weights that a step does not use."""
    tile: Tile | None = None
    """The official HAT's tiles in validation and tests, in place of ``val: tile``."""
    val: Val | None = None
    """Validation while training, and tests."""
    published: dict[str, dict[str, float]] | None = None
    """Data set → metric, as in ``val: metrics`` → what the network's authors print; beside ours in a test's table."""


class TestOptions(Options):
    val: Val = Val(save_img=True)


class TrainOptions(Options):
    train: Train
    """How the network is trained. Training files alone have this section and the two below."""
    logger: Logger = Logger()
    """Logs and checkpoints."""
    dist_params: DistParams | None = None
    """How several processes find each other."""


PLAIN = {
    "a valid array": "a list",
    "a valid boolean": "true or false",
    "a valid dictionary": "a section",
    "a valid integer": "an integer",
    "a valid number": "a number",
    "a valid string": "text",
    "a multiple of 1": "a whole number",
    "an object": "a section",
}
"""Words of pydantic → those of option files."""
SECTIONS = (IoBackend, Dataset, PathOptions, Train, Val, Wandb, Logger, Tile, DistParams, TrainOptions)
KNOWN = {name for section in SECTIONS for name in section.model_fields}


def validate(model: type[Section], content: dict[str, Any], problems: Problems) -> dict[str, Any]:
    """The options as a plain dict with defaults filled in.

    Raises:
        ConfigError: keys are missing or of a wrong type.
    """
    try:
        return model.model_validate(content).model_dump()
    except ValidationError as error:
        _add(error, problems)
        problems.raise_if_any()
        raise


def _add(error: ValidationError, problems: Problems) -> None:
    """Adds each key that is missing or of a wrong type, once; a needed key that seems mistyped is named as typed."""
    seen: set[Key] = set()
    for detail in error.errors():
        place = tuple(map(str, detail["loc"]))
        if detail["type"] == "missing":
            beside = {name for name in map(str, detail["input"]) if not name.startswith("network_")}
            if near := difflib.get_close_matches(place[-1], beside - KNOWN, 1):
                problems.add_unknown((*place[:-1], near[0]), [place[-1]])
            else:
                problems.add(place, "is missing")
            continue
        # pydantic appends the alternative of a union that it tried to the place
        key = next((place[:n] for n in range(len(place), 0, -1) if place[:n] in problems.lines), place)
        if key not in seen:
            problems.add(key, f"{what_it_may_be(detail)}, is {detail['input']!r}")
        seen.add(key)


def what_it_may_be(detail: Any) -> str:
    """What an error of pydantic says of a value, such as "should be a valid number"."""
    text = detail["msg"].removeprefix("Input ").removeprefix("Value error, ")
    text = re.sub(r" or instance of \w+", "", text)
    for pydantics, plain in PLAIN.items():
        text = text.replace(pydantics, plain)
    return f"{text[0].lower()}{text[1:]}"
