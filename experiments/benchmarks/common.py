"""What the benchmarks share: options, networks, processes of their own, time, and results as JSON files.

A script measures each candidate (a peer, and ours in one or more settings) in a process of its own, in turn, and hands
its results to `run`, which prints and writes them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from hat_arch.archs.hat_arch import HAT
from hat_arch.archs.presets import PRESETS
from hat_arch.inference.memory import is_out_of_memory
from hat_arch.utils import allocator, denormals, openmp
from hat_arch.utils.errors import UserError
from hat_arch.utils.files import write_file
from hat_arch.utils.machine import describe, environment, pick_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
PEER = "peer"
"""Name of the candidate that ours is compared with."""
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Names of precisions, and the types for autocast."""
PACKAGES = ("basicsr", "spandrel", "opencv-python", "lmdb", "openvino", "onnxruntime", "hat-arch")
BLOCK_SECONDS = 0.5
NOISE = 0.02
COLOUR, MUTED = "#2a6f97", "#9aa5b1"

Result = dict[str, Any]


# options


def options(description: str | None, rounds: int | None = None) -> argparse.ArgumentParser:
    """A parser with what all scripts share.

    Args:
        description: first line of the help; a script's docstring.
        rounds: default of ``--rounds``; without it there is no such option.
    """
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    if rounds:
        add("--rounds", type=positive, default=rounds, metavar="N", help=f"in which all are timed; {rounds} by default")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="CUDA where there is one, by default")
    add("--threads", type=positive, metavar="N", help="CPU threads; as many as PyTorch chooses, by default")
    add("--out", type=Path, default=FOLDER, metavar="FOLDER", help="of the JSON files; by default this script's")
    add("--show", type=Path, nargs="+", metavar="FILE", help="print and draw these results, and measure nothing")
    return parser


def add_network(parser: argparse.ArgumentParser, **several: Any) -> None:
    """Adds ``--network`` and ``--groups``; with ``nargs="+"``, several networks."""
    default = ["HAT"] if several else "HAT"
    parser.add_argument("--network", choices=list(PRESETS), default=default, help="at ×4; HAT by default", **several)
    parser.add_argument("--groups", type=positive, metavar="N", help="its first N residual groups alone; else all")


def add_busy(parser: argparse.ArgumentParser) -> None:
    """Adds ``--busy``, for `idle_and_busy`."""
    what = "busy loops, each a process, beside which all is timed once more; 1 by default, 0: not at all"
    parser.add_argument("--busy", type=count, default=1, metavar="N", help=what)


def count(text: str) -> int:
    """An argparse type: a whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} must be 0 or more")
    return int(text)


def positive(text: str) -> int:
    """An argparse type: a whole number, 1 or more."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be 1 or more")
    return int(text)


def image_size(text: str) -> tuple[int, int]:
    """An argparse type: ``64``, or ``480x640``; height and width in pixels."""
    sides = [positive(side) for side in text.split("x")]
    if len(sides) > 2:
        raise argparse.ArgumentTypeError(f"{text!r} must be a side, such as 64, or height and width, such as 480x640")
    return sides[0], sides[-1]


def show_size(size: Sequence[int]) -> str:
    """``480×640``."""
    return "×".join(map(str, size))


# networks


def network_options(name: str, groups: int | None = None) -> dict[str, Any]:
    """Arguments of a ×4 network, all with the paper's upsampling, since the peer knows no other.

    ``groups``: with its first residual groups alone.
    """
    found = PRESETS[name]
    return {
        **found,
        "upsampler": "pixelshuffle",
        "depths": found["depths"][:groups],
        "num_heads": found["num_heads"][:groups],
    }


def build(network: Mapping[str, Any], peer: bool = False) -> nn.Module:
    """Our HAT, or spandrel's with the same weights, for inference; the same random weights in every process.

    To the usual initial values a little noise is added, so that no bias is 0 and no part can be wrong unnoticed.
    """
    torch.manual_seed(0)
    ours = HAT(**network)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=NOISE)
    if not peer:
        return ours.eval()
    theirs = peer_class()(**network)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return theirs.eval()


def peer_class() -> type[nn.Module]:
    """spandrel's HAT, which computes what the official code computes.

    Raises:
        UserError: spandrel is not installed.
    """
    try:
        from spandrel.architectures.HAT import HAT as PeerHAT
    except ImportError as error:
        raise UserError("spandrel is missing: pip install spandrel") from error
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    return PeerHAT


def random_image(size: tuple[int, int], device: torch.device) -> Tensor:
    """``(1, 3, H, W)``, values 0 to 1, the same for the same size."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, *size, generator=generator).to(device)


# processes


class Worker(ProcessPoolExecutor):
    """A candidate in a process of its own, where no other has left memory or threads. Use it in a ``with`` statement.

    Args:
        make: makes the candidate there: a class at the top level of a module.
        args: of ``make``.
        ours: whether threads wait as ``basicsr`` lets them; the peer's users have the defaults of OpenMP.
    """

    def __init__(self, make: Callable[..., Any], *args: Any, ours: bool = False) -> None:
        self.candidate, self.ours = (make, args), ours
        # Ctrl-C ends the process at once and in silence; the script itself says what there is to say.
        super().__init__(1, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_DFL))

    def __enter__(self) -> Worker:
        """Starts the process, without a candidate yet, and does not wait: several import what they need together."""
        with _environment(openmp.wait_briefly if self.ours else lambda: None):
            self.submit(int)
        return self

    def call(self, method: str) -> Any:
        """Calls a method of the candidate, once that is made, and waits for what it returns.

        Raises:
            UserError: memory was not enough.
        """
        too_much = "memory is not enough; try a smaller size"
        try:
            return self.submit(_call, *self.candidate, method).result()
        except BrokenProcessPool as error:
            raise UserError(f"a process was killed, perhaps since {too_much}") from error
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise UserError(too_much) from error
            raise


@contextlib.contextmanager
def _environment(change: Callable[[], object]) -> Iterator[None]:
    """Changes this process's environment for a while, for a process that is started meanwhile."""
    before = dict(os.environ)
    change()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


_made: list[Any] = []
"""The candidate of this process."""


def _call(make: Callable[..., Any], args: tuple[Any, ...], method: str) -> Any:
    if not _made:
        _made.append(make(*args))
    return getattr(_made[0], method)()


@contextlib.contextmanager
def workers(make: Callable[..., Any], names: Iterable[str], *args: Any) -> Iterator[dict[str, Worker]]:
    """A `Worker` with ``make(name, *args)`` for each name."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(Worker(make, name, *args, ours=name != PEER)) for name in names}


def settle(threads: int | None, ours: bool = False) -> None:
    """Sets up this process.

    Args:
        threads: of the CPU; None: as many as PyTorch chooses.
        ours: whether memory is kept from layer to layer and denormal numbers are zero, as in ``basicsr``; the peer's
            users have the defaults of glibc and of the processor.
    """
    torch.set_num_threads(threads or torch.get_num_threads())
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if ours:
        allocator.keep()
        denormals.flush()


# time


def seconds_of(call: Callable[[], object]) -> float:
    """Median seconds of a call, over a block of at least `BLOCK_SECONDS`, after a call to warm up."""
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=BLOCK_SECONDS).median


def in_turn(clocks: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Times all candidates in each round, so that what slows the machine for a while slows all of them.

    Args:
        clocks: by the candidate's name, what times it and returns seconds.
        rounds: how often.

    Returns:
        Seconds in each round, by name.
    """
    timed = [{name: clock() for name, clock in clocks.items()} for _ in range(rounds)]
    return {name: [turn[name] for turn in timed] for name in clocks}


@contextlib.contextmanager
def busy(loops: int) -> Iterator[None]:
    """The machine with other work on it: processes that compute without end, each on one core."""
    with contextlib.ExitStack() as stack:
        for _ in range(loops):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


def idle_and_busy(clocks: Mapping[str, Callable[[], float]], args: argparse.Namespace) -> dict[str, Any]:
    """`in_turn` on the machine as it is, and beside ``--busy`` loops.

    Returns:
        ``seconds`` and ``time_ratio`` (see `ratios`), and with loops ``busy_seconds``: name → `summary`.
    """
    seconds = in_turn(clocks, args.rounds)
    result = {"seconds": {name: summary(values) for name, values in seconds.items()}, "time_ratio": ratios(seconds)}
    if args.busy:
        with busy(args.busy):
            beside = in_turn(clocks, args.rounds)
        result["busy_seconds"] = {name: summary(values) for name, values in beside.items()}
    return result


def busy_cell(result: Result, name: str) -> str:
    """Milliseconds of a candidate beside the loops; empty where they were not measured."""
    seconds = result.get("busy_seconds", {}).get(name)
    return f"{1000 * seconds['median']:.0f}" if seconds else ""


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, minimum, maximum, and all of the values as ``runs``."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": list(values)}


def ratios(seconds: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
    """Ours / peer, round by round: name → `summary`."""
    ours = {name: values for name, values in seconds.items() if name != PEER}
    return {name: summary([a / b for a, b in zip(values, seconds[PEER])]) for name, values in ours.items()}


# results


def run(
    args: argparse.Namespace,
    measure: Callable[[argparse.Namespace, torch.device], Iterable[tuple[str, Result]]],
    report: Callable[[Result], str],
    draw: Callable[[Result], Figure] | None = None,
) -> None:
    """Measures, and prints and writes each result.

    Args:
        args: of a parser that `options` has made.
        measure: yields the file's name and the result, to which the options, the machine and the command are added.
        report: the result as text.
        draw: the result as a picture, which is written beside the JSON file.
    """
    try:
        for path in args.show or ():
            try:
                finish(json.loads(path.read_text(encoding="utf-8")), path, report, draw)
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{path}: is no result of this script") from error
        if args.show:
            return
        settle(args.threads)
        device = pick_device(args.device)
        args.out.mkdir(parents=True, exist_ok=True)
        if not os.access(args.out, os.W_OK):
            raise UserError(f"--out {args.out}: cannot be written to")
        machine = {**environment(device, *PACKAGES), "commit": commit()}
        options = {key: value for key, value in vars(args).items() if key not in ("device", "out", "show")}
        command = shlex.join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]])
        for name, result in measure(args, device):
            result = {**options, **result, "environment": machine, "command": command}
            text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"
            write_file(args.out / f"{name}.json", text.encode())
            finish(result, args.out / f"{name}.json", report, draw)
    except (UserError, OSError) as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")


def finish(
    result: Result, path: Path, report: Callable[[Result], str], draw: Callable[[Result], Figure] | None
) -> None:
    """Prints a result that is in a file, and draws it beside that."""
    print(report(result), describe(result["environment"]), f"{path}: {result['command']}", "", sep="\n", flush=True)
    if draw is not None:
        buffer = io.BytesIO()
        draw(result).savefig(buffer, dpi=130, format="png")
        write_file(path.with_suffix(".png"), buffer.getbuffer())


def commit() -> str | None:
    """The commit that is checked out, with ``-dirty`` if files differ from it; None where git does not tell."""
    command = ["git", "-C", str(FOLDER), "describe", "--always", "--dirty", "--abbrev=40"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return None


def progress(message: str) -> None:
    """Says on standard error what is being done."""
    print(f"{message} …", file=sys.stderr, flush=True)
