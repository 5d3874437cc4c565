"""``basicsr bench``: a quick look at HAT's speed and memory on this machine, beside spandrel's HAT if it is there."""

from __future__ import annotations

import argparse
import itertools
import sys
import warnings

from ..utils.errors import UserError

TASKS = ("inference", "training step")
OURS, PEER = "ours", "spandrel"
SMALLEST = 9  # pixels of a side; spandrel's HAT mirrors what is missing to a whole window of 16


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "bench",
        help="a quick look at HAT's speed and memory on this machine",
        description="Times a forward pass and a training step (forward, backward, Adam) of HAT x4 and measures the "
        "memory that they take beside the weights; spandrel's HAT with the same weights too, if it is installed (pip "
        "install spandrel). Each measurement has a process of its own; with spandrel, HAT at 64x64 takes about three "
        "minutes on two CPU cores.",
        epilog="For figures to keep, other sizes and other comparisons: experiments/benchmarks in the repository.",
    )
    add = parser.add_argument
    add("--network", choices=["HAT-S", "HAT", "HAT-L"], default="HAT", help="default: HAT")
    add("--size", type=int, default=64, metavar="PX", help="side of the LR image; default: 64")
    add("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"], help="default: both")
    add("--seconds", type=float, default=5.0, metavar="S", help="of timing each; default: 5")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: CUDA if there is")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measures and prints a table."""
    from importlib.util import find_spec

    from ..utils.machine import describe, environment, pick_device
    from ..utils.text_tables import aligned

    if args.size < SMALLEST or not args.seconds > 0:
        raise UserError(f"--size {args.size} --seconds {args.seconds:g}: at least {SMALLEST}, and more than 0")
    device = pick_device(args.device)
    machine = environment(device, "spandrel", "hat-arch")
    names = [OURS, PEER] if find_spec("spandrel") else [OURS]
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
    print(f"{args.network} x4, LR {args.size}x{args.size}, batch 1")
    print(aligned(header[: len(rows[0])], rows), describe(machine), sep="\n")
    if PEER not in names:
        print("for a comparison: pip install spandrel")
    return 0


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

    from ..archs.hat_arch import HAT
    from ..archs.presets import PRESETS
    from ..inference.prepared import Prepared
    from ..utils import allocator
    from ..utils.peak_memory import peak_memory

    torch.manual_seed(0)
    network: torch.nn.Module = HAT(**PRESETS[args.network])
    if name == OURS:
        allocator.keep()  # as every basicsr command does; spandrel's users have the C library's defaults
    else:
        from spandrel.architectures.HAT import HAT as PeerHAT

        warnings.filterwarnings("ignore", message="torch.meshgrid")
        weights, network = network.state_dict(), PeerHAT(**PRESETS[args.network])
        network.load_state_dict(weights, strict=True)
    network.to(device_type)
    lq, gt = (torch.rand(1, 3, side, side, device=device_type) for side in (args.size, 4 * args.size))
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
    call()
    memory = peak_memory(call, torch.device(device_type)).extra_mib
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=args.seconds).median, memory
