"""The weights that ``basicsr test`` measures: nothing is measured with random ones unless that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..config import ConfigError
from ..weights import named
from ..weights.files import run_weights

KEY = "path: pretrain_network_g"


def for_test(file: str | Path, weights: str | None, untrained: bool) -> Callable[[dict[str, Any]], None]:
    """How `hat_arch.config.load` is to change an option file for a test, before it checks it.

    A training file becomes a test of its run: on its validation sets, with the weights that its training has left.

    Args:
        file: for messages.
        weights: file or name of the weights; by default those of the file.
        untrained: measure the network with random weights, if there are no others.

    Raises:
        ConfigError: by the returned function: there are no weights.
        WeightsError: there is no file or model of the name ``weights``.
    """
    found = named.find(weights) if weights is not None else None

    def change(opt: dict[str, Any]) -> None:
        path, datasets = opt.get("path") or {}, opt.get("datasets")
        if not isinstance(path, dict) or not isinstance(datasets, dict):
            return  # the check says what is wrong
        opt["path"] = path
        given = found
        if any(name.split("_")[0] == "train" for name in datasets):
            opt["datasets"] = {name: one for name, one in datasets.items() if name.split("_")[0] != "train"}
            if not opt["datasets"]:
                raise ConfigError(f"{file}: datasets: has no set to test on, beside the one to train on")
            path["strict_load_g"] = True  # of the training, which may start from a part of other weights
            path["pretrain_network_g"] = None
            given = given or run_weights(Path("experiments", str(opt.get("name"))))
            if given is None and not untrained:
                raise ConfigError(
                    f"{file}: experiments/{opt.get('name')}/models has no weights to test; train first: basicsr train "
                    f"-opt {file}, or give others: --weights FILE"
                )
        if given is not None:
            path["pretrain_network_g"] = str(given)
            path.setdefault("param_key_g", "params_ema")  # or params, where there is no average
        elif not path.get("pretrain_network_g") and not untrained:
            raise ConfigError(
                f"{file}: {KEY}: is missing, and random weights are not worth measuring; give the file there, or by "
                "--weights FILE (--untrained to measure the network as it begins)"
            )

    return change
