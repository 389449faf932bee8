"""A cluster that is not there: the commands of SLURM as scripts that print recorded answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

RECORDED = Path(__file__).with_name("recorded")
"""What SLURM 22.05.8 printed of a cluster of six nodes without accounting."""

Commands = Callable[..., Path]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Put commands of SLURM first on PATH; ``sacctmgr="..."`` gives one a script of its own."""

    def put(**scripts: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        answers = {
            "scontrol": f'case "$*" in *config*) cat {RECORDED}/config.txt;;'
            f" *partition*) cat {RECORDED}/partitions.txt;; esac",
            "sinfo": f"cat {RECORDED}/nodes.txt",
            "sacct": "echo Slurm accounting storage is disabled >&2; exit 1",
            "sacctmgr": "echo You are not running a supported plugin >&2; exit 1",
            **dict.fromkeys(("sbatch", "squeue", "scancel"), "exit 1"),
            **scripts,
        }
        for name, script in answers.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return folder

    return put
