"""Write phantoms as NIfTI files, to try a task or corpus of one's own without data."""

from __future__ import annotations

from pathlib import Path

from medssl_bench.data.volume import Source
from medssl_bench.task import Case


def write_nifti(case: Case, folder: Path) -> list[Path]:
    """Write ``images/<id>.nii.gz`` and ``labels/<id>.nii.gz`` below ``folder``.

    A case with several channels has ``<id>_<channel>.nii.gz``. Returns the files written.
    """
    written = []
    for channel, source in case.images.items():
        name = case.id if len(case.images) == 1 else f"{case.id}_{channel}"
        written.append(_write(source, folder / "images" / f"{name}.nii.gz"))
    if case.label is not None:
        written.append(_write(case.label, folder / "labels" / f"{case.id}.nii.gz"))
    return written


def _write(source: Source, path: Path) -> Path:
    import nibabel

    volume = source.read()
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(volume.array, volume.affine), path)
    return path
