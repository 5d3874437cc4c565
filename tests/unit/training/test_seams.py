"""The functions that stand in for BasicSR's while one of its pipelines runs."""

from __future__ import annotations

import os

import torch

from hat_arch.training import seams


def test_slurm_processes_find_each_other(monkeypatch, tmp_path):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\n[ \"$*\" = 'show hostnames node[7-8]' ] && printf 'node7\\nnode8\\n'\n")
    scontrol.chmod(0o755)
    slurm = {"SLURM_NTASKS": "16", "SLURM_PROCID": "9", "SLURM_LOCALID": "1", "SLURM_NODELIST": "node[7-8]"}
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **slurm}
    monkeypatch.setattr(os, "environ", environment)
    started = []
    monkeypatch.setattr(torch.distributed, "init_process_group", started.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    seams.init_dist("slurm", port=29511)
    assert started == ["gloo"]
    told = {"MASTER_ADDR": "node7", "MASTER_PORT": "29511", "RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1"}
    assert told.items() <= environment.items()
