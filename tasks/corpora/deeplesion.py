"""DeepLesion: fragments of CT around lesions; Yan et al., Journal of Medical Imaging 2018.

Either the release's 16-bit slices with ``DL_info.csv``, which says what fragments there are and
their spacing, or the volumes that its script ``DL_save_nifti.py`` makes of them. Both give the same
cases: one for each distinct range of slices, 20,094 in all. 32768 is subtracted from a pixel to get
HU. Fragments are contiguous pieces, not whole scans; several may overlap within one scan.

The corpus of papers 000 and 001, clipped to [-1024, 1024] HU as there, on paper 004's working grid.
All fragments are taken, whatever the column ``Train_Val_Test`` says.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medssl_bench.data.faulty import CLOSED, closed_cases
from medssl_bench.data.folders import match, names_in
from medssl_bench.data.png import PngStack
from medssl_bench.errors import BenchError, DataError
from medssl_bench.task import Case, Intensity, Preprocessing
from medssl_bench.tasks.corpora.published import Part, Published

OFFSET = -32768
"""What is added to a pixel to get HU."""

TABLE, SLICES = "DL_info.csv", "Images_png"


class DeepLesion(Published):
    """The release's slices and table, or else the NIfTI of its script."""

    def cases(self, root: Path | None) -> list[Case]:
        """List the fragments; those whose folder was not unpacked are passed over.

        Raises:
            DataError: Neither tree is there, or the table cannot be read.
        """
        closed: list[Path] = []
        tables = match(root, f"**/{TABLE}", closed) if root is not None else []
        folders = match(root, f"**/{SLICES}", closed) if root is not None else []
        if not tables or not folders:
            return super().cases(root)
        # A folder that may not be listed has been named by the search for others inside it.
        inside = {path: {*names_in(path)} for path in folders if path not in closed}
        folders = [*inside]
        cases: dict[str, Case] = {}
        for row in _rows(tables[0]):
            folder, first, last, spacing = _fragment(tables[0], row)
            name = f"{folder}_{first:03d}-{last:03d}"
            places = [path / folder for path in folders if folder in inside[path]]
            if name in cases or not places or places[0] in closed:
                continue
            source = PngStack(places[0], first, last, affine_of(spacing), OFFSET)
            cases[name] = Case(name, {"CT": source}, None, folder[:6], info={"part": SLICES})
        if not cases and closed:
            raise DataError(f"{self.name}: {closed[0]}: {CLOSED}")
        if not cases:
            raise DataError(
                f"{self.name}: none of the folders that {tables[0]} names is in {folders[0]};"
                f" see `bench data status corpus:{self.name}`"
            )
        found = [cases[name] for name in sorted(cases)]
        return found + closed_cases(tables[0].parent, closed, ("CT",))

    def write_samples(self, out: Path, tree: str | None = None) -> list[Path]:
        """Write slices with their table (``Images_png``), or the NIfTI of the script."""
        if tree == self.parts[0].name:
            return super().write_samples(out, tree)
        if tree not in (None, SLICES):
            raise BenchError(
                f"{self.name}: no tree {tree!r}; known are {SLICES}, {self.parts[0].name}"
            )
        return list(_write_slices(out / SLICES, out / TABLE, self.parts[0].samples))


def affine_of(spacing: tuple[float, float, float]) -> tuple[tuple[float, ...], ...]:
    """Return the affine of ``(row, column, slice)`` that the release's script gives a volume."""
    return (
        (0.0, -spacing[1], 0.0, 0.0),
        (-spacing[0], 0.0, 0.0, 0.0),
        (0.0, 0.0, -spacing[2], 0.0),
        (0.0, 0.0, 0.0, 1.0),
    )


def _rows(table: Path) -> Iterator[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            yield from csv.DictReader(stream, skipinitialspace=True)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read ({error}); fetch it again") from error


def _fragment(table: Path, row: dict[str, str]) -> tuple[str, int, int, tuple[float, float, float]]:
    """Return folder, first and last slice, and spacing in mm of a row's fragment."""
    try:
        folder = row["File_name"].rpartition("_")[0]
        first, last = (int(word) for word in row["Slice_range"].split(","))
        x, y, z = (float(word) for word in row["Spacing_mm_px_"].split(","))
    except KeyError as error:
        raise DataError(f"{table}: it has no column {error}; fetch it again") from error
    except ValueError as error:
        raise DataError(f"{table}: a row cannot be read ({error}); fetch it again") from error
    return folder, first, last, (x, y, z)


def _write_slices(folder: Path, table: Path, samples: tuple[str, ...]) -> Iterator[Path]:
    """Write one folder of 16-bit slices for each sample, and the table; two rows share a range."""
    from PIL import Image

    from medssl_bench.data.orientation import from_ras
    from medssl_bench.data.synthetic import SHAPE, SPACING, draw_bodies, make_way

    make_way(table)
    spacing = (SPACING[0], SPACING[0], SPACING[2])
    columns = ["File_name", "Slice_range", "Spacing_mm_px_", "Train_Val_Test"]
    rows = []
    for name in samples:
        match = re.fullmatch(r"(.+)_([0-9]+)-([0-9]+)", name)
        assert match is not None
        first = int(match[2])
        drawn, _ = draw_bodies(("deeplesion", name), ["CT"], ct=True)
        stored = from_ras(drawn["CT"], np.array(affine_of(spacing)))
        for place in range(SHAPE[2]):
            path = folder / match[1] / f"{first + place:03d}.png"
            make_way(path)
            pixels = (stored[:, :, place].astype(np.int32) - OFFSET).astype(np.uint16)
            Image.fromarray(np.ascontiguousarray(pixels)).save(path)
            yield path
        for lesion in (first + 2, first + 5):
            span = f"{first}, {first + SHAPE[2] - 1}"
            words = ", ".join(map(str, spacing))
            rows.append([f"{match[1]}_{lesion:03d}.png", span, words, "1"])
    with table.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])
    yield table


DEEPLESION = DeepLesion(
    name="deeplesion",
    summary="Fragments of CT around lesions of DeepLesion, slices or NIfTI",
    preprocessing={
        "CT": Preprocessing(
            spacing=(1.5, 1.5, 2.0), intensity=Intensity(rule="clip", low=-1024.0, high=1024.0)
        )
    },
    parts=(
        Part(
            name="Images_nifti",
            images={"CT": "**/Images_nifti/{id}.nii.gz"},
            ids=r"[0-9]{6}_[0-9]{2}_[0-9]{2}_[0-9]{3}-[0-9]{3}",
            shown=(
                "Images_png/000001_01_01/103.png ...   DL_info.csv\n"
                "or, made of them by DL_save_nifti.py,\n"
                "Images_nifti/000001_01_01_103-115.nii.gz ..."
            ),
            expected=20094,
            samples=(
                "000001_01_01_103-130",
                "000001_02_01_008-035",
                "000002_01_01_162-189",
                "000003_02_01_001-028",
            ),
            codes="PLI",
        ),
    ),
    patient="^[0-9]{6}",
    licence="terms of the NIH Clinical Center's release",
    access="https://nihcc.app.box.com/v/DeepLesion",
)
