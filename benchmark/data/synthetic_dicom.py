"""Made-up cases of a dataset in DICOM, with what lies beside and can be mistaken for the data."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.dicom_writing import (
    Scan,
    outlines,
    write_companion,
    write_contours_json,
    write_scan,
    write_segmentation,
    write_structures,
)
from medssl_bench.data.orientation import from_ras
from medssl_bench.data.volume import Header
from medssl_bench.errors import BenchError

if TYPE_CHECKING:
    from medssl_bench.tasks.dicom_tree import DicomTree


def write_case(
    tree: DicomTree,
    number: str,
    place: int,
    image: NDArray[Any],
    label: NDArray[np.uint8],
    affine: NDArray[np.float64],
    out: Path,
) -> list[Path]:
    """Write a scan and its label; ``place`` among the samples decides which traps it has.

    Where the label is a SEG: its frames run backwards, other segments precede it and an RTSTRUCT
    lies beside; every third case has an RTSTRUCT alone, every third a slice twice; ids whose SEG
    is known to be wrong get one on another grid. Where it is a ``contours.json``: another structure
    comes second, and another contrast lies beside, with contours of its own. Folders are named by
    turns as the versions of the collection name them.

    Args:
        tree: Where and what to write.
        number: What stands for ``{id}``.
        place: The case's place among the samples.
        image: ``(X, Y, Z)`` in RAS.
        label: The same, 1 where the region lies.
        affine: RAS affine in whose storage order to write.
        out: The folder of the tree.
    """
    patient, samples = tree.patient_of(number), tree.samples
    voxels, mask = from_ras(image, affine), from_ras(label > 0, affine).astype(np.bool_)
    x, y, z = voxels.shape
    scan = Scan(patient, samples.scan, tree.modality, Header((x, y, z), affine))
    layout = samples.layouts[place % len(samples.layouts)]
    series = itertools.count()

    def files(count: int) -> list[Path]:
        """Name the files of one more series."""
        which = next(series)
        return [
            out / layout.format(patient=patient, series=which, file=file + 1)
            for file in range(count)
        ]

    first = files(z)
    if first[0].exists():
        raise BenchError(f"{first[0]} is already there; choose another --out")
    written = write_scan(scan, voxels.astype(np.int16), first)
    masks = {name: np.roll(mask, step, 0) for step, name in enumerate(samples.regions, 3)}
    for beside in masks.values():
        beside[:, :, np.flatnonzero(mask.any((0, 1)))[4:]] = False
    if tree.contours:
        masks = {samples.region: mask, **masks}
        file = out / tree.contours.replace("**/", "contours/").replace("{id}", number)
        written.append(write_contours_json(_outlines(masks, scan), file))
    else:
        masks = {**masks, samples.region: mask}
        if place % 3 == 2:
            written.append(first[1].with_name(f"copy-{first[1].name}"))
            written[-1].write_bytes(first[1].read_bytes())
        if place % 3 != 1:
            wrong = number in tree.wrong_segmentations
            cut = {name: one[4:] if wrong else one for name, one in masks.items()}
            written.append(write_segmentation(scan, cut, files(1)[0], backwards=True))
    written.append(write_structures(scan, _outlines(masks, scan), files(1)[0]))
    written += [write_companion(scan, one, files(1)[0]) for one in samples.objects]
    if samples.other_scan:
        other = Scan(patient, samples.other_scan, tree.modality, scan.header)
        written += write_scan(other, voxels[::-1].astype(np.int16), files(z))
        mirrored = _outlines({samples.region: mask[::-1]}, other)
        file = out / samples.other_contours.replace("{id}", number)
        written.append(write_contours_json(mirrored, file))
    return written


def _outlines(
    masks: Mapping[str, NDArray[np.bool_]], scan: Scan
) -> dict[str, list[NDArray[np.float64]]]:
    return {name: outlines(mask, scan) for name, mask in masks.items()}
