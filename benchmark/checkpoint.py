"""Checkpoints that a killed process can trust: whole, checked, the last two kept.

A file ``checkpoint-<number>.<sha256>.pt`` carries its checksum in its name, so that one rename
publishes both.
"""

from __future__ import annotations

import os
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssl_bench.claims import ClaimLost
from medssl_bench.digest import file_digest
from medssl_bench.durable import sync_folder, temporary_name
from medssl_bench.errors import CaseError, DamagedError

KEPT = 2
"""Checkpoints in a folder: the newest, and one to fall back to."""

_NAME = re.compile(r"checkpoint-(?P<number>\d{6,})\.(?P<sha256>[0-9a-f]{64})\.pt")


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Add a checkpoint to ``folder`` and drop all but the last two.

    ``state`` holds tensors, numbers, text, lists and dicts, nothing that loading would have to
    execute; NumPy numbers become Python's.

    Raises:
        ClaimLost: The folder is gone: another process took the work over.
        CaseError: The disk refuses.
        TypeError: ``state`` holds something else; the message says where.
    """
    plain = _plain(state, "state")
    if not folder.is_dir():
        raise ClaimLost(f"{folder}: no such folder; was its work taken over or released?")
    earlier = _found(folder)
    number = _number(earlier[0]) + 1 if earlier else 1
    temporary = temporary_name(folder / "checkpoint")
    try:
        _remove_temporaries(folder)
        _write(temporary, plain)
        final = folder / f"checkpoint-{number:06d}.{file_digest(temporary)}.pt"
        temporary.rename(final)
        sync_folder(folder)
        for path in earlier[KEPT - 1 :]:
            path.unlink(missing_ok=True)
    except OSError as error:
        if not folder.is_dir():
            raise ClaimLost(f"{folder}: gone while a checkpoint was written") from error
        raise CaseError(
            f"{folder}: no checkpoint can be written: {error.strerror or error}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def load(folder: Path) -> dict[str, Any] | None:
    """Return the newest sound checkpoint on the CPU, or None where none was ever written.

    A damaged one is named in a warning and the one before it is used.

    Raises:
        DamagedError: There are checkpoints and all are damaged; starting over must be a decision.
    """
    import torch

    paths = _found(folder)
    for path in paths:
        if file_digest(path) == _match(path)["sha256"]:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            return state
        warnings.warn(f"{path}: damaged checkpoint, the one before it is used", stacklevel=2)
    if paths:
        raise DamagedError(
            f"{folder}: every checkpoint is damaged; remove this folder to start over"
        )
    return None


def _write(path: Path, state: Any) -> None:
    import torch

    with path.open("xb") as stream:
        try:
            torch.save(state, stream)
        except RuntimeError as error:
            # Closing the archive fails after a failed write, and hides what the disk said.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
        stream.flush()
        os.fsync(stream.fileno())


def _found(folder: Path) -> list[Path]:
    """Return complete checkpoints, the newest first."""
    if not folder.is_dir():
        return []
    paths = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(paths, key=_number, reverse=True)


def _match(path: Path) -> re.Match[str]:
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return match


def _number(path: Path) -> int:
    return int(_match(path)["number"])


def _remove_temporaries(folder: Path) -> None:
    """Remove what a killed writer left; the folder belongs to one writer at a time."""
    for path in folder.glob(".checkpoint.*"):
        path.unlink(missing_ok=True)


def _plain(value: Any, where: str) -> Any:
    """Return ``value`` with NumPy's numbers as Python's; raises TypeError that says where."""
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor) or type(value) in {int, float, bool, str, bytes, type(None)}:
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        plain = {
            _plain(key, f"a key of {where}"): _plain(item, f"{where}[{key!r}]")
            for key, item in value.items()
        }
        # A state dict keeps its type: it carries the versions of its modules.
        same = all(plain[key] is item for key, item in value.items())
        return value if same and type(value) in {dict, OrderedDict} else plain
    if type(value) in {list, tuple}:
        return type(value)(_plain(item, f"{where}[{index}]") for index, item in enumerate(value))
    raise TypeError(f"{where} is a {type(value).__name__}, which a checkpoint cannot hold")
