"""Peak memory of one unit of work, in a process that does many."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path


def start_peak(device: str) -> None:
    """Forget the peak so far: what an earlier cell or pretraining took is not this one's."""
    if device == "cuda":
        import torch

        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats()
        return
    # A system without this file has no peak to read either; one that forbids writing it keeps the
    # peak of the process, which is never too low.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: str) -> int | None:
    """Return the most memory held since :func:`start_peak`; None where nothing measures it.

    Of the GPU: tensors. Else of the process: resident memory, not ``ru_maxrss``, for that one
    starts from the parent's and cannot be reset.
    """
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.M) if status.is_file() else None
    return int(found[1]) * 1024 if found else None
