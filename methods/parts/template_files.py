"""Templates as NIfTI files, ``<contrast>.nii.gz`` of one folder, all on one grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medssl_bench.data.orientation import ras_header, to_ras
from medssl_bench.data.reading import FileSource
from medssl_bench.digest import digest
from medssl_bench.durable import create_once
from medssl_bench.errors import BenchError

ENDING = ".nii.gz"
Spacing = tuple[float, float, float]


def template_sources(folder: Path) -> dict[str, FileSource]:
    """Return the files by contrast.

    Raises:
        BenchError: There are none.
    """
    files = sorted(folder.glob(f"*{ENDING}")) if folder.is_dir() else []
    if not files:
        raise BenchError(
            f"templates: no {ENDING} files in {folder}; `bench export --to templates` writes some,"
            f" one for each contrast (T1{ENDING}, FLAIR{ENDING}, ...)"
        )
    return {path.name.removesuffix(ENDING): FileSource(path) for path in files}


def check_templates(folder: Path) -> str:
    """Return the digest of a folder's templates.

    Raises:
        BenchError: There are none, one cannot be read, or they are not on one grid.
    """
    sources = template_sources(folder)
    _grid(sources)
    return digest({name: source.digest() for name, source in sources.items()})


def read_templates(folder: Path) -> tuple[dict[str, Tensor], Spacing]:
    """Return templates ``(X, Y, Z)`` in RAS, scaled to [0, 1], by contrast, and their voxels in mm.

    Raises:
        BenchError: As :func:`check_templates`; or one is flat or not finite.
    """
    sources = template_sources(folder)
    spacing = _grid(sources)
    found = {}
    for name, source in sources.items():
        array = np.asarray(to_ras(source.read()).array, np.float32)
        low, high = float(array.min()), float(array.max())
        if not high > low or not np.isfinite([low, high]).all():
            raise BenchError(f"{source}: a template must be finite and not the same everywhere")
        found[name] = torch.from_numpy(np.ascontiguousarray((array - low) / (high - low)))
    return found, spacing


def _grid(sources: dict[str, FileSource]) -> Spacing:
    """Return the voxel size that all share, along R, A and S."""
    first: tuple[FileSource, tuple[int, ...], Spacing] | None = None
    for source in sources.values():
        header = ras_header(source.header())
        volume = (header.shape, header.spacing)
        if first is None:
            first = (source, *volume)
        elif volume[0] != first[1] or not np.allclose(volume[1], first[2], rtol=1e-3):
            raise BenchError(
                f"{source}: {_words(*volume)}, but {first[0].path.name} has {_words(*first[1:])};"
                " the templates of a folder are on one grid"
            )
    assert first is not None
    return first[2]


def _words(shape: tuple[int, ...], spacing: Spacing) -> str:
    sides, millimetres = "x".join(map(str, shape)), "x".join(f"{side:g}" for side in spacing)
    return f"{sides} voxels of {millimetres} mm"


def write_templates(
    folder: Path, templates: dict[str, Tensor], spacing: Spacing | None
) -> list[Path]:
    """Write templates ``(X, Y, Z)`` in RAS as NIfTI, the origin at their middle; returns the files.

    Raises:
        BenchError: The folder has such files already, or cannot be written.
    """
    from medssl_bench.label_maps import encode

    sides = np.array(spacing or (1.0, 1.0, 1.0))
    written = []
    for name, volume in templates.items():
        affine = np.diag([*sides, 1.0])
        affine[:3, 3] = -sides * (np.array(volume.shape) - 1) / 2
        path = folder / f"{name}{ENDING}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            created = create_once(path, encode(volume.float().numpy(), affine))
        except OSError as error:
            raise BenchError(f"{path}: cannot be written ({error.strerror})") from None
        if not created:
            raise BenchError(f"{path}: there is such a file already; choose another --out")
        written.append(path)
    return written
