"""A training's log in words, as BasicSR writes it, read on while it grows."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

NUMBER = r"[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|nan|inf)"
STEP = re.compile(rf"\[epoch: *\d+, iter: *([\d,]+), lr:\(({NUMBER})")
TIME = re.compile(rf"\[eta: (.+?), time \(data\): ({NUMBER})")
LOSS = re.compile(rf"(\w+): ({NUMBER})")
VALIDATION = re.compile(r"Validation (\S+)\s*$")
METRIC = re.compile(rf"^\s+# (\S+): ({NUMBER})(?:.*@ *\d+ iter)?")
TAIL = 20_000  # bytes of the log that are shown


class Log:
    """Numbers by tag and iteration, called as in TensorBoard's log.

    Args:
        folder: of the run, below ``experiments/``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scalars: dict[str, dict[int, float]] = defaultdict(dict)
        self.eta = ""
        """As it was written last."""
        self.iteration = 0
        self._set = ""
        """The data set whose metrics are being read."""
        self._read: dict[Path, int] = {}

    def files(self) -> list[Path]:
        """All logs of the run, the oldest first."""
        return sorted(self.folder.glob("train_*.log"), key=lambda file: (file.stat().st_mtime, file.name))

    def read_on(self) -> bool:
        """Reads what has been added; whether there was any."""
        more = False
        for file in self.files():
            with file.open("rb") as stream:
                start = stream.seek(self._read.get(file, 0))
                new = stream.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read[file] = start + len(whole)
            more = more or bool(whole)
            for line in whole.decode("utf-8", "replace").splitlines():
                self._take(line)
        return more

    def _take(self, line: str) -> None:
        if step := STEP.search(line):
            self.iteration = int(step[1].replace(",", ""))
            self.scalars["training/lr"][self.iteration] = float(step[2])
            if time := TIME.search(line):
                self.eta = time[1] if "-" not in time[1] else ""
                self.scalars["training/seconds_per_iteration"][self.iteration] = float(time[2])
            for name, value in LOSS.findall(line.rpartition("]")[2]):
                self.scalars[f"losses/{name}" if name.startswith("l_") else name][self.iteration] = float(value)
        elif validation := VALIDATION.search(line):
            self._set = validation[1]
        elif self._set and (metric := METRIC.match(line)):
            self.scalars[f"metrics/{self._set}/{metric[1]}"][self.iteration] = float(metric[2])

    def tail(self) -> str:
        """The end of the newest log."""
        files = self.files()
        if not files:
            return ""
        with files[-1].open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - TAIL))
            text = stream.read().decode("utf-8", "replace")
        return text.partition("\n")[2] if size > TAIL else text
