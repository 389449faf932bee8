"""What commands about submitted work ask first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medssl_bench.slurm.overview import Overview


def results_folder(results: Path | None) -> Path:
    """Return the folder named by ``--results`` or by bench.yaml."""
    from medssl_bench.workspace import load_workspace

    return results or load_workspace().results


def overview_of(results: Path | None) -> Overview:
    """Look at what was submitted from a results folder.

    Raises:
        BenchError: Nothing was.
    """
    from medssl_bench.errors import BenchError
    from medssl_bench.slurm.overview import look

    root = results_folder(results)
    found = look(root)
    if found is None:
        raise BenchError(f"nothing was submitted from {root}; see `bench run --executor slurm`")
    return found
