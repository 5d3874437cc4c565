"""The tables of results that were measured earlier, and their pictures."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import common
import data_loading
import inference
import resize
import scaling
import tiles
import training

from hat_arch.utils.machine import describe

SUITES: dict[str, Any] = {
    "infer": inference,
    "train": training,
    "scaling": scaling,
    "tile": tiles,
    "data": data_loading,
    "resize": resize,
}
"""Which script has measured a file, by what the file says of itself."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = sorted(common.FOLDER.glob("*.json"))
    parser.add_argument("files", nargs="*", type=Path, default=default, metavar="FILE", help="all here, by default")
    parser.add_argument("--draw", action="store_true", help="draw those that have a picture, beside their files")
    args = parser.parse_args()
    by_suite: dict[str, dict[Path, Any]] = {}
    for path in args.files:
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            by_suite.setdefault(SUITES[result["suite"]].__name__, {})[path] = result
        except (OSError, ValueError, KeyError, TypeError) as error:
            sys.exit(f"{path}: is no result of a benchmark ({error})")
    for suite, results in by_suite.items():
        script = sys.modules[suite]
        if script is inference:
            print(inference.report(*results.values()))
        for path, result in results.items():
            if script is not inference:
                print(script.report(result))
            print(f"{path.name}: {result['command']}; {describe(result['environment'])}")
            if args.draw and hasattr(script, "draw"):
                common.save(script.draw(result), path.with_suffix(".png"))
        print()


if __name__ == "__main__":
    main()
