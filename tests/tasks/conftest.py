"""Tiny trees of volumes."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture
def write() -> Callable[..., Path]:
    """Write a small NIfTI and return its path."""

    def save(path: Path, shape: tuple[int, int, int] = (3, 4, 5)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)), path)
        return path

    return save
