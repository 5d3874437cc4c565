"""``basicsr bench``: a quick look at a network's speed and memory here, HAT's beside spandrel's HAT if it is there."""

from __future__ import annotations

import argparse
import itertools
import sys
import warnings
from pathlib import Path
from typing import Any

from ..utils.errors import UserError, in_one_line
from .parser import add_plugin_option

TASKS = ("inference", "training step")
OURS, PEER = "ours", "spandrel"
SMALLEST = 9  # pixels of a side; spandrel's HAT mirrors what is missing to a whole window of 16


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "bench",
        help="a quick look at the speed and memory of HAT, or another network, on this machine",
        description="Times a forward pass and a training step (forward, backward, Adam) of HAT x4 and measures the "
        "memory that they take beside the weights; spandrel's HAT with the same weights too, if it is installed (pip "
        "install spandrel). Each measurement has a process of its own. How long it takes depends on the network, "
        "--size, --seconds, the processor and what else it does: HAT at 64x64 with spandrel takes about three minutes "
        "on two CPU cores that do nothing else, and several times that where they do.",
        epilog="For figures to keep, other sizes and other comparisons: experiments/benchmarks in the repository.",
    )
    add = parser.add_argument
    add("--network", default="HAT", metavar="NAME|FILE", help="HAT-S, HAT (default), HAT-L, or an option file")
    add("--size", type=int, default=64, metavar="PX", help="side of the LR image; default: 64")
    add("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"], help="default: both")
    add("--seconds", type=float, default=5.0, metavar="S", help="of timing each; default: 5")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: CUDA if there is")
    add_plugin_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measures and prints a table."""
    from importlib.util import find_spec

    from ..utils.machine import describe, environment, pick_device
    from ..utils.text_tables import aligned

    if args.size < SMALLEST or not args.seconds > 0:
        raise UserError(f"--size {args.size} --seconds {args.seconds:g}: at least {SMALLEST}, and more than 0")
    section, scale = network_section(args.network)
    device = pick_device(args.device)
    machine = environment(device, "spandrel", "hat-arch")
    names = [OURS, PEER] if section["type"] == "HAT" and find_spec("spandrel") else [OURS]
    rows: list[list[str]] = []
    for task, precision in itertools.product(TASKS, args.precision):
        row, measured = [f"{task}, {precision}"], []
        for name in names:
            print(f"{task}, {precision}, {name} …", file=sys.stderr, flush=True)
            seconds, mib = measure_apart(name, task, precision, args, device.type)
            row += [f"{1000 * seconds:.0f}", f"{mib:.0f}"]
            measured.append((seconds, mib))
        if PEER in names:
            (seconds, mib), (peer_seconds, peer_mib) = measured
            row += [f"{peer_seconds / seconds:.2f}", f"{mib / peer_mib:.2f}"]
        rows.append(row)
    header = ["", "ms", "MiB", "spandrel ms", "MiB", "times as fast", "memory, of spandrel's"]
    print(f"{args.network} x{scale}, LR {args.size}x{args.size}, batch 1")
    print(aligned(header[: len(rows[0])], rows), describe(machine), sep="\n")
    if PEER not in names and section["type"] == "HAT":
        print("for a comparison: pip install spandrel")
    return 0


def network_section(name: str) -> tuple[dict[str, Any], int]:
    """``network_g`` and scale of a network of the paper, by name, or of an option file.

    Raises:
        UserError: it is neither, or the file names no registered network with such arguments.
    """
    from .. import config
    from ..archs.presets import PRESETS
    from ..config import shipped_options

    if name in PRESETS:
        return {"type": "HAT", **PRESETS[name]}, 4
    if not shipped_options.find(name).is_file():
        raise UserError(f"--network {name}: is neither {', '.join(PRESETS)} nor an option file")
    return config.read_network(Path(name))


def measure_apart(*args: object) -> tuple[float, float]:
    """`measure` in a process of its own, where no earlier work has left memory or threads.

    Raises:
        UserError: memory is not enough.
    """
    import signal
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    from ..inference.memory import is_out_of_memory

    # on Ctrl-C the process ends at once and in silence; the command says that it was stopped
    with ProcessPoolExecutor(1, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_DFL)) as pool:
        try:
            return pool.submit(measure, *args).result()  # type: ignore[arg-type]
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, BrokenProcessPool) or is_out_of_memory(error):
                raise UserError("bench: memory is not enough; try a smaller --size") from error
            raise


def measure(name: str, task: str, precision: str, args: argparse.Namespace, device_type: str) -> tuple[float, float]:
    """Measures one network, with random weights that are the same for both, in this process.

    Returns:
        Median seconds of a call, and its peak extra memory in MiB.
    """
    import torch
    from torch.utils.benchmark import Timer

    from ..compat import plugins
    from ..compat.registration import build
    from ..inference.memory import is_out_of_memory
    from ..inference.prepared import Prepared
    from ..utils import allocator, denormals
    from ..utils.peak_memory import peak_memory

    plugins.load_local(args.plugin)
    section, scale = network_section(args.network)
    torch.manual_seed(0)
    network = build(section)
    if name == OURS:
        allocator.keep()  # as every basicsr command does; spandrel's users have the defaults
        denormals.flush()
    else:
        from spandrel.architectures.HAT import HAT as PeerHAT

        warnings.filterwarnings("ignore", message="torch.meshgrid")
        weights = network.state_dict()
        network = PeerHAT(**{key: value for key, value in section.items() if key != "type"})
        network.load_state_dict(weights, strict=True)
    network.to(device_type)
    lq, gt = (torch.rand(1, 3, side, side, device=device_type) for side in (args.size, scale * args.size))
    dtype = torch.bfloat16 if precision == "bf16" else None
    prepared = Prepared(network, dtype)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-6)

    def forward() -> object:
        return prepared(lq)  # as `basicsr upscale` runs it; spandrel's as it is

    def training_step() -> object:
        optimizer.zero_grad()
        with torch.autocast(device_type, dtype, enabled=dtype is not None):
            sr = network(lq)
        torch.nn.functional.l1_loss(sr.float(), gt).backward()
        return optimizer.step()

    call = forward if task == TASKS[0] else training_step
    network.train(call is training_step)
    try:
        call()
    except Exception as error:  # of a network that is not ours
        if name != OURS or section["type"] == "HAT" or is_out_of_memory(error):
            raise
        what = f"{section['type']} fails in {task} at {args.size}x{args.size}"
        raise UserError(f"--network {args.network}: {what}: {in_one_line(error)}") from error
    memory = peak_memory(call, torch.device(device_type)).extra_mib
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=args.seconds).median, memory
