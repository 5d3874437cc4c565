"""Runs commands, each in a process of its own that is forked from one with all libraries imported: milliseconds."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER = """
import base64, contextlib, gc, importlib, io, json, os, pkgutil, resource, signal, sys, tempfile
from PIL import Image
import hat_arch
from hat_arch import cli, config
for module in pkgutil.walk_packages(hat_arch.__path__, "hat_arch."):  # while they may still be read
    if not module.name.endswith(("__main__", "engines.openvino", "engines.onnxruntime")):
        importlib.import_module(module.name)
import basicsr.test, basicsr.train, encodings.ascii, pwd, spandrel
Image.init()
with contextlib.redirect_stderr(io.StringIO()):  # fills caches of what classes read
    for name, is_train in (("train_HAT_demo_SRx4", True), ("test_HAT_SRx4", False)):
        config.load(name, is_train, absent=[], build_networks=is_train)
gc.collect()
gc.freeze()  # so that the processes to come share this memory
for line in sys.stdin:
    job = json.loads(line)
    said = [tempfile.TemporaryFile() for _ in range(3)]
    said[0].write(base64.b64decode(job["stdin"]))
    said[0].seek(0)
    child = os.fork()
    if not child:
        os.chdir(job["cwd"])
        for number, stream in enumerate(said):
            os.dup2(stream.fileno(), number)
        sys.stdin = open(0, encoding="utf-8", closefd=False)
        signal.alarm(120)
        for name, value in job["env"].items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
        tempfile.tempdir = os.environ["TMPDIR"]
        exec(job["before"])
        code = 70
        try:
            code = cli.main(job["args"])
        except SystemExit as end:
            code = end.code
        except BaseException:
            sys.excepthook(*sys.exc_info())
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = []
    for stream in said[1:]:
        stream.seek(0)
        texts.append(stream.read().decode("utf-8", "replace"))
    print(json.dumps([code, *texts]), flush=True)
"""

Launch = Callable[..., tuple[int, str, str]]
"""``launch(args, cwd, env, before, stdin)``: exit code, standard output and standard error."""


@contextmanager
def launcher() -> Iterator[Launch]:
    """Starts the process with all libraries, and ends it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", SERVER], env=environment, **pipes) as process:  # type: ignore[call-overload]

        def launch(
            args: list[str], cwd: Path, env: dict[str, str | None], before: str = "", stdin: bytes = b""
        ) -> tuple[int, str, str]:
            job = {"args": args, "cwd": str(cwd), "env": env, "before": before}
            process.stdin.write(json.dumps({**job, "stdin": base64.b64encode(stdin).decode()}) + "\n")
            process.stdin.flush()
            code, out, err = json.loads(process.stdout.readline())
            return code, out, err

        yield launch
        process.stdin.close()
