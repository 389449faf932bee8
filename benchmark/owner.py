"""Which process wrote a claim, and whether it is surely dead."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Owner:
    """A process, told apart from later ones of the same number by when it started."""

    machine: str
    user: int
    pid: int
    started: str
    job: str = ""
    """Cluster and number of its SLURM job; empty outside of one."""
    restart: int = 0
    """How often SLURM had requeued that job when the process started."""

    @classmethod
    def this_process(cls) -> Self:
        """Describe the process that asks."""
        pid = os.getpid()
        return cls(_machine(), os.getuid(), pid, _started(pid) or "", *_slurm_job())

    @classmethod
    def from_json(cls, note: Mapping[str, Any]) -> Self | None:
        """Read what :meth:`to_json` wrote; None where it is not there."""
        try:
            return cls(
                str(note["machine"]),
                int(note["user"]),
                int(note["pid"]),
                str(note["started"]),
                str(note.get("job", "")),
                int(note.get("restart", 0)),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)

    def is_dead(self) -> bool:
        """Tell whether it ran on this machine, or in this SLURM job, and does no longer.

        A requeued job starts only after its earlier run has ended. False where it cannot be known:
        on other machines, and of other users, whose processes a cluster's nodes may hide.
        """
        job, restart = _slurm_job()
        if self.job and self.job == job and self.restart < restart:
            return True
        if (self.machine, self.user) != (_machine(), os.getuid()):
            return False
        return _started(self.pid) != self.started


def _slurm_job() -> tuple[str, int]:
    """Return the SLURM job of this process, and how often it was requeued; ("", 0) outside."""
    number = os.environ.get("SLURM_JOB_ID")
    if number is None:
        return "", 0
    cluster = os.environ.get("SLURM_CLUSTER_NAME", "")
    return f"{cluster} {number}", int(os.environ.get("SLURM_RESTART_COUNT", "0"))


@cache
def _machine() -> str:
    """Name this boot of this machine and the process numbers visible in it.

    Host names are shared by cloned machines and containers, boots and namespaces are not.
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    if boot.is_file() and namespace.is_symlink():
        return f"{boot.read_text().strip()} {namespace.readlink()}"
    return platform.node()


def _started(pid: int) -> str | None:
    """Return when the process started, in the system's own words; None where there is none."""
    if not Path("/proc/self/stat").is_file():
        answer = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return answer.stdout.strip() or None
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command in brackets, which may hold anything.
    fields = text.rpartition(")")[2].split()
    state, ticks = fields[0], fields[19]
    # A killed process whose parent has not asked for it yet is dead too.
    return None if state in "ZX" else ticks
