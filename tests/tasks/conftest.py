"""Tiny trees of volumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest

if TYPE_CHECKING:
    from medssl_bench.task import Corpus, Task


@pytest.fixture
def faults() -> Callable[[Task | Corpus, Path | None], list[str]]:
    """Return what stops a run with a task or corpus: case, file and message of each fault."""
    from medssl_bench.corpus_inventory import take_corpus_stock
    from medssl_bench.inventory import take_stock
    from medssl_bench.task import Task

    def look(owner: Task | Corpus, root: Path | None) -> list[str]:
        data = {} if root is None else {owner.name: root}
        stock = (
            take_stock(owner, data) if isinstance(owner, Task) else take_corpus_stock(owner, data)
        )
        if stock.reason:
            return [stock.reason]
        return [str(finding) for finding in stock.findings if finding.level == "error"]

    return look


@pytest.fixture
def write() -> Callable[..., Path]:
    """Write a small NIfTI and return its path."""

    def save(path: Path, shape: tuple[int, int, int] = (3, 4, 5)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)), path)
        return path

    return save
