"""``basicsr data``: what its verbs print, that a kill at any point does no harm, and how their errors read."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import numpy as np
import pytest

from hat_arch import cli
from hat_arch.data.images import encode

LMDB = ["io_backend:", "  type: lmdb"]
VERBS = {
    "modcrop": ("modcrop SRC out --scale 4", "out/*.png", "14 images in out", ["dataroot_gt: out"]),
    "downsample": ("downsample SRC lr{} --scale 2 3", "lr2/*.png", "28 images in lr2, lr3", ["dataroot_lq: lr3"]),
    "degrade": (
        "degrade SRC out --recipe photo --scale 2 --seed 3",
        "out/*.png",
        "14 images in out",
        ["dataroot_lq: out"],
    ),
    "sub-images": (
        "sub-images SRC sub --size 48 --step 24",
        "sub/*.png",
        "224 sub-images in sub",
        ["dataroot_gt: sub"],
    ),
    "lmdb": ("lmdb SRC s.lmdb", ".s.lmdb.partial/data.mdb", "14 images in s.lmdb", ["dataroot_gt: s.lmdb", *LMDB]),
    "meta-info": (
        "meta-info SRC info.txt",
        ".info.txt.partial",
        "14 images in info.txt",
        ["dataroot_gt: SRC", "meta_info_file: info.txt"],
    ),
    "df2k": (
        "prepare df2k SRC --out DF2K --scale 2 4 --size 48 --step 24",
        "DF2K/.DF2K_HR_sub.lmdb.partial/data.mdb",
        "672 images in DF2K_HR_sub.lmdb, DF2K_bicx2_sub.lmdb, DF2K_bicx4_sub.lmdb",
        ["dataroot_gt: DF2K/DF2K_HR_sub.lmdb", "dataroot_lq: DF2K/DF2K_bicx4_sub.lmdb", *LMDB],
    ),
    "imagenet": (
        "prepare imagenet SRC --out IN",
        "IN/.GT.lmdb.partial/data.mdb",
        "14 images in IN/GT.lmdb",
        ["type: ImageNetPairedDataset", "dataroot_gt: IN/GT.lmdb", *LMDB],
    ),
    "benchmarks": (
        "prepare benchmarks SRC/.. --out sets --scale 2 4",
        "sets/Set14/LRbicx4/*.png",
        "56 images in sets/Set14",
        ["dataroot_gt: sets/Set14/GTmod4", "dataroot_lq: sets/Set14/LRbicx4"],
    ),
}
"""Command line, what is there once it is in the middle, what it counts, and its YAML."""

LAUNCHER = """
import json, os, resource, signal, sys, time
from pathlib import Path
from PIL import Image
from hat_arch import cli
from hat_arch.compat import plugins  # with the rest, imported before a child becomes another user
from hat_arch.utils import allocator, denormals, openmp
from hat_arch.data import build, check, degrade, folders, lmdb_store, prepare
from hat_arch.degradations import registry
Image.init()
lmdb_store.BATCH = build.BATCH = 30_000  # a handful of images
replace = Path.replace
enough = {".mdb": 150_000, ".partial": 200}  # bytes
for line in sys.stdin:
    job = json.loads(line)
    os.chdir(job["cwd"])
    pipes = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        for number, (_, end) in enumerate(pipes, 1):
            os.dup2(end, number)
        if job["until"]:  # so that there is a middle
            Path.replace = lambda *args: (time.sleep(0.01), replace(*args))[1]
        if job["limit"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["limit"], job["limit"]))
        if job["user"]:
            os.setuid(job["user"])
        code = 70
        try:
            code = cli.main(job["args"])
        except BaseException:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        os._exit(code)
    while job["until"]:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        there = list(Path(job["cwd"]).glob(job["until"]))
        if len(there) >= 3 or any(file.stat().st_size > enough.get(file.suffix, 1e9) for file in there):
            os.kill(child, signal.SIGKILL)
            break
        time.sleep(0.001)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = []
    for start, end in pipes:
        os.close(end)
        with open(start, encoding="utf-8") as stream:
            said.append(stream.read())
    print(json.dumps([code, *said]), flush=True)
"""


@pytest.fixture(scope="module")
def launch():
    """Runs the command in a process of its own, forked from one that has imported everything: fast, and killable."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", LAUNCHER], env=environment, **pipes) as process:

        def run(args, cwd, until="", limit=0, user=0):
            job = {"args": args, "cwd": str(cwd), "until": until, "limit": limit, "user": user}
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            return subprocess.CompletedProcess(args, *json.loads(process.stdout.readline()))

        yield run
        process.stdin.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Fourteen images, in a folder that may be Set14."""
    folder = tmp_path_factory.mktemp("images") / "Set14"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(14):
        shape = (60 + n % 7, 208 - n % 5, 3)
        (folder / f"photo_{n:02d}.png").write_bytes(encode(rng.integers(0, 256, shape, np.uint8)))
    return folder


def arguments(verb, source):
    return ["data", *VERBS[verb][0].replace("SRC/..", str(source.parent)).replace("SRC", str(source)).split()]


def tree(folder):
    """Everything below a folder, with stores as what they hold."""
    found = {}
    for file in folder.rglob("*"):
        name = file.relative_to(folder).as_posix()
        if file.name == "data.mdb":
            environment = lmdb.open(str(file.parent), readonly=True, lock=False)
            with environment, environment.begin() as transaction:
                found[name] = {bytes(key): bytes(value) for key, value in transaction.cursor()}
        elif file.is_file():
            found[name] = file.read_bytes().replace(bytes(folder), b"FOLDER")  # in recipes
    return found


def complaint(result):
    """The one line of an error, which is no traceback."""
    assert "Traceback" not in result.stderr, result.stderr
    lines = [line for line in result.stderr.replace("\r", "\n").splitlines() if line.startswith("basicsr: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.fixture(scope="module")
def repeated(launch, source, tmp_path_factory):
    """Verb → what the killed run returned, where it was, and what ``python -m hat_arch`` said when it was repeated."""
    killed = {}
    for verb, (_, until, *_) in VERBS.items():
        folder = tmp_path_factory.mktemp(f"killed_{verb}")
        killed[verb] = launch(arguments(verb, source), folder, until=until), folder

    def repeat(verb):
        command = [sys.executable, "-m", "hat_arch", *arguments(verb, source)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        folder = killed[verb][1]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    directly = [verb for verb in VERBS if verb != "imagenet"]  # which is lmdb by another name
    with ThreadPoolExecutor(2) as pool:
        results = dict(zip(directly, pool.map(repeat, directly)))
    results["imagenet"] = launch(arguments("imagenet", source), killed["imagenet"][1])
    return {verb: (*killed[verb], result) for verb, result in results.items()}


@pytest.mark.parametrize("verb", VERBS)
def test_after_kill_9_the_same_command_makes_what_an_uninterrupted_one_makes(verb, repeated, launch, source, tmp_path):
    killed, folder, again = repeated[verb]
    assert killed.returncode == -9
    assert again.returncode == 0, again.stderr
    whole = launch(arguments(verb, source), tmp_path)
    assert whole.returncode == 0
    there, expected = tree(folder), tree(tmp_path)
    assert there.keys() == expected.keys()
    assert all(there[name] == expected[name] for name in expected)
    _, _, counted, yaml = VERBS[verb]
    assert whole.stdout.splitlines()[0].endswith(counted)
    if verb != "meta-info":  # which is made at once
        assert counted.partition(" ")[2] in again.stdout and " were there" in again.stdout.splitlines()[0]
    for result in (whole, again):
        lines = result.stdout.splitlines()
        head = lines.index("in the option file, below datasets: train: (or val:)")
        assert lines[head + 1 :][: len(yaml)] == [f"    {line.replace('SRC', str(source))}" for line in yaml]


FULL = {"modcrop": 9000, "downsample": 2500, "lmdb": 200_000, "meta-info": 200, "df2k": 100_000, "benchmarks": 9000}


@pytest.mark.parametrize("verb,limit", [*FULL.items(), *((verb, 10) for verb in FULL)])
def test_a_full_disk_is_said_in_one_line_and_the_command_goes_on_when_there_is_room(
    verb, limit, launch, source, tmp_path
):
    (tmp_path / "small").mkdir()
    (tmp_path / "large").mkdir()
    result = launch(arguments(verb, source), tmp_path / "small", limit=limit)
    assert result.returncode == 2
    assert ": no space left on the disk" in complaint(result)
    assert launch(arguments(verb, source), tmp_path / "small").returncode == 0
    assert launch(arguments(verb, source), tmp_path / "large").returncode == 0
    assert tree(tmp_path / "small") == tree(tmp_path / "large")


@pytest.mark.parametrize("verb", VERBS)
def test_wrong_paths_and_targets_below_a_file_are_named(verb, launch, source, tmp_path):
    (tmp_path / "file").write_text("mine")
    result = launch(arguments(verb, tmp_path / "gone/Set14"), tmp_path)
    assert result.returncode == 2
    assert "no such folder" in complaint(result) and "gone" in complaint(result)
    args = arguments(verb, source)
    place = args.index("--out") + 1 if "--out" in args else 3
    args[place] = f"file/{args[place]}"
    result = launch(args, tmp_path)
    assert result.returncode == 2
    assert re.match(r"basicsr: file.*: (Not a directory|is there, and is no folder)$", complaint(result))
    assert [p.name for p in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs another user")
@pytest.mark.parametrize("verb", VERBS)
def test_a_target_that_may_not_be_written_is_named(verb, launch, source):
    folder = Path(tempfile.mkdtemp())
    try:
        shutil.copytree(source, folder / "Set14")
        folder.chmod(0o755)
        result = launch(arguments(verb, folder / "Set14"), folder, user=65534)
        assert result.returncode == 2
        assert complaint(result).endswith(": Permission denied")
        assert [p.name for p in folder.iterdir()] == ["Set14"]
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("verb", VERBS)
def test_bad_images_are_named_and_left_out_with_skip_bad(verb, launch, source, tmp_path):
    shutil.copytree(source, tmp_path / "Set14")
    bad = tmp_path / "Set14/photo_07.png"
    bad.write_bytes(b"")
    result = launch(arguments(verb, tmp_path / "Set14"), tmp_path)
    assert result.returncode == 1
    assert f"{bad}: is empty (0 bytes)" in result.stderr.replace("\r", "\n").splitlines()
    assert "not finished: 1 problem, see above; mend" in complaint(result)
    assert "option file" not in result.stdout
    if verb == "benchmarks":  # are made of all their images
        return
    result = launch([*arguments(verb, tmp_path / "Set14"), "--skip_bad"], tmp_path)
    assert result.returncode == 0 and "option file" in result.stdout
    made = tree(tmp_path)
    assert any("photo_08" in name or b"photo_08" in made[name] for name in made if not name.startswith("Set14/"))
    bad.unlink()
    assert launch([*arguments(verb, tmp_path / "Set14"), "--overwrite"], tmp_path).returncode == 0


@pytest.mark.parametrize("verb", VERBS)
def test_help_says_what_is_read_and_written(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments(verb, Path("SRC"))[: 3 if "prepare" in VERBS[verb][0] else 2], "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0 and "Reads" in text
    assert any(word in text for word in ("Writes", "writes")) and "goes on where it stopped" in text


@pytest.mark.parametrize(
    "args,message",
    [
        (["downsample", "SRC", "lr"], "lr: put {} where the scale goes, as in lrx{}; there are several scales"),
        (["modcrop", "SRC", "out", "--scale", "0"], "argument --scale: 0: must be 1 or more"),
        (["sub-images", "SRC", "out", "--step", "0"], "argument --step: 0: must be 1 or more"),
        (["lmdb", "SRC", "out"], "out: the name of an LMDB store must end in .lmdb"),
        (["prepare", "df2k", "SRC", "--size", "50"], "--size 50: is not a multiple of 12"),
        (["degrade", "SRC", "out", "--scale", "4", "--recipe", "jpeg:0"], "jpeg:0: quality should be within 1 to 100"),
        (["degrade", "SRC", "out", "--scale", "4", "--recipe", "jpeg:40-10"], "jpeg:40-10: quality should be a range"),
        (["degrade", "SRC", "out", "--scale", "4", "--recipe", "noise:-1"], "noise:-1: write noise:25"),
        (["degrade", "SRC", "out", "--scale", "4", "--recipe", "fhoto"], "did you mean 'photo'?"),
        (["degrade", "SRC", "out", "--recipe", "photo"], "--scale"),
        (["degrade", "SRC", "out", "--scale", "4", "--recipe", "photo", "--seed", "-1"], "--seed"),
        (
            ["degrade", "SRC", "out", "--scale", "4", "--recipe", "photo", "--contact_sheet", "a.jpg"],
            "must end in .png",
        ),
        (["check"], "nothing to check"),
        (["check", "--gt", "SRC"], "a pair needs --gt, --lq and --scale"),
    ],
)
def test_arguments_that_make_no_sense(args, message, source, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = cli.main(["data", *(arg.replace("SRC", str(source)) for arg in args)])
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and message in capsys.readouterr().err.splitlines()[-1]
    assert not any(tmp_path.iterdir())


def test_check_exits_with_0_or_1(repeated, basicsr, launch):
    folder = repeated["df2k"][1] / "DF2K"
    gt, lq = folder / "DF2K_HR_sub.lmdb", folder / "DF2K_bicx4_sub.lmdb"
    result = basicsr("data", "check", "--gt", gt, "--lq", lq, "--scale", 4)
    assert result.returncode == 0 and result.stdout.endswith("all pairs fit\n"), result.stderr
    assert f"{gt}: " in result.stdout and " 0 problems" in result.stdout
    assert launch(["data", "check", "--gt", str(gt), "--lq", str(lq), "--scale", "2"], folder).returncode == 1
    assert launch(["data", "check", str(gt), str(folder / "gone.lmdb")], folder).returncode == 1
    data = (lq / "data.mdb").read_bytes()
    try:
        (lq / "data.mdb").write_bytes(data[:-5000])
        result = launch(["data", "check", str(lq)], folder)
    finally:
        (lq / "data.mdb").write_bytes(data)
    assert result.returncode == 1 and "data.mdb: is truncated" in result.stderr and "Traceback" not in result.stderr
