"""AMOS 2022: abdominal organs on CT (15) and MRI (13); Ji et al., NeurIPS 2022.

Trained on ``Tr`` and tested on ``Va``: the labels of ``Ts`` are not public. The modality is told by
the number in a case's name. Preprocessing is that of paper 004 (section 4): 1.5x1.5x2.0 mm, CT
clipped to [-175, 250] HU, MR to its 5th-95th percentile.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from medssl_bench.data.faulty import FaultySource, closed_cases
from medssl_bench.data.folders import match, names_in
from medssl_bench.data.reading import FileSource
from medssl_bench.errors import BenchError, DataError
from medssl_bench.task import Case, Intensity, Preprocessing, Task

ORGANS = {
    1: "spleen",
    2: "right_kidney",
    3: "left_kidney",
    4: "gall_bladder",
    5: "esophagus",
    6: "liver",
    7: "stomach",
    8: "aorta",
    9: "inferior_vena_cava",
    10: "pancreas",
    11: "right_adrenal",
    12: "left_adrenal",
    13: "duodenum",
    14: "bladder",
    15: "prostate_uterus",
}

GROUPS: dict[str, tuple[str, ...]] = {
    "large": ("liver", "spleen", "right_kidney", "left_kidney"),
    "gi": ("stomach", "duodenum", "pancreas", "esophagus"),
    "small": ("right_adrenal", "left_adrenal"),
    "vessels": ("aorta", "inferior_vena_cava"),
}

SOURCE = "https://zenodo.org/records/7262581 (amos22.zip)"

POOLS: dict[Literal["train", "test"], tuple[str, str]] = {
    "train": ("Tr", "training"),
    "test": ("Va", "validation"),
}
"""Suffix of the folders and key of ``dataset.json``."""


class Amos(Task):
    """One modality of AMOS 2022 in its official layout."""

    gall_bladder: Literal["small", "gi"] = "small"
    """Its organ group: paper 004 has it in ``small`` (Fig. 3) and in ``gi`` (section 4.1)."""
    licence: str = "stated as CC BY 4.0 and as CC BY-NC in different places; read the release"
    access: str = SOURCE

    @model_validator(mode="before")
    @classmethod
    def _place_gall_bladder(cls, values: dict[str, Any]) -> dict[str, Any]:
        chosen = values.get("gall_bladder", "small")
        groups = {
            name: tuple(organ for organ in organs if organ != "gall_bladder")
            for name, organs in values.get("groups", GROUPS).items()
        }
        if chosen in groups:
            groups[chosen] += ("gall_bladder",)
        return {**values, "groups": groups}

    def cases(self, root: Path | None) -> list[Case]:
        """List the labelled cases of this modality: ``Tr`` trains, ``Va`` is tested.

        ``dataset.json`` decides which files belong where it is there, else the folders do. An image
        without its label is faulty, and so is a label without its image; of what is listed and has
        neither (a partial download), see :meth:`absent`.

        Raises:
            DataError: no tree, or no case of a pool.
        """
        tree = find_tree(root, self.name)
        found: list[Case] = []
        for pool, (suffix, _) in POOLS.items():
            part = list(self._part(tree, pool))
            if not part:
                raise DataError(
                    f"{self.name}: no cases under {tree / f'images{suffix}'}; expected"
                    f" amos22/images{suffix}/amos_{'0507' if self.modality == 'MR' else '0001'}"
                    f".nii.gz; see `bench data status {self.name}`"
                )
            found += part
        return found

    def absent(self, root: Path | None) -> dict[str, str]:
        """Return the cases that ``dataset.json`` lists and of which there is nothing."""
        tree = find_tree(root, self.name)
        return {
            _case_of(image): f"{image}: listed in dataset.json, but neither it nor its label is"
            " there; the case is left out"
            for suffix, key in POOLS.values()
            for folders in [_Folders(tree, suffix)]
            if not folders.closed
            for image, label in _pairs(folders, key)
            if modality_of(image.name) == self.modality
            and image not in folders
            and label not in folders
        }

    def _part(self, tree: Path, pool: Literal["train", "test"]) -> Iterator[Case]:
        suffix, key = POOLS[pool]
        folders = _Folders(tree, suffix)
        for image, label in _pairs(folders, key):
            there = image in folders, label in folders
            if modality_of(image.name) != self.modality or not any(there):
                continue
            if folders.closed and not all(there):
                continue  # what is not seen may lie there; that is said once
            name = _case_of(image)
            images = {
                "image": FileSource(image)
                if there[0]
                else FaultySource(
                    image, f"not there, but its label {label} is; unpack {image.parent.name} again"
                )
            }
            drawn = (
                FileSource(label)
                if there[1]
                else FaultySource(
                    image, f"has no label {label}; unpack {label.parent.name} completely"
                )
            )
            yield Case(name, images, drawn, name, pool)
        for case in closed_cases(tree, folders.closed, self.channels):
            yield replace(case, pool=pool)

    def write_samples(self, out: Path, tree: str | None = None) -> list[Path]:
        """Write both modalities with ``dataset.json``, and what is passed over.

        That is number 500, which is of neither modality, the unlabelled CT from 5000 on, ``Ts``
        without labels, and MRI in which ids 14 and 15 stray.
        """
        from medssl_bench.data.synthetic import draw_bodies, make_way, save_volume, stored_affine

        if tree is not None:
            raise BenchError(f"{self.name}: no tree {tree!r}; there is one alone")
        affine = stored_affine("LAS")
        files = []
        listed: dict[str, list[dict[str, str]]] = {key: [] for _, key in POOLS.values()}
        for suffix, key, numbers in (
            ("Tr", "training", (1, 2, 4, 500, 507, 508, 510)),
            ("Va", "validation", (8, 13, 555, 556)),
            ("Ts", "test", (3, 5000)),
        ):
            for number in numbers:
                name = f"amos_{number:04d}.nii.gz"
                images, label = draw_bodies(
                    ("amos", str(number)), ["image"], [*ORGANS], ct=not 500 < number <= 600
                )
                files.append(save_volume(out / f"images{suffix}" / name, images["image"], affine))
                listed.setdefault(key, []).append({"image": f"./images{suffix}/{name}"})
                if suffix != "Ts":
                    files.append(save_volume(out / f"labels{suffix}" / name, label, affine))
        make_way(out / "dataset.json")
        labels = {"0": "background", **{str(number): name for number, name in ORGANS.items()}}
        (out / "dataset.json").write_text(json.dumps({"labels": labels, **listed}, indent=1))
        return [*files, out / "dataset.json"]

    def tree(self) -> str:
        """Return the official layout."""
        return (
            "amos22/\n"
            "  dataset.json\n"
            "  imagesTr/amos_0001.nii.gz ...   labelsTr/amos_0001.nii.gz ...   (train)\n"
            "  imagesVa/amos_0008.nii.gz ...   labelsVa/amos_0008.nii.gz ...   (test)\n"
            "CT: numbers below 500; MRI: 501 to 600. imagesTs and numbers from 5000 are not used."
        )


def find_tree(root: Path | None, task: str) -> Path:
    """Return the folder that holds ``imagesTr``: ``root``, or ``amos22`` (any case) in it.

    Raises:
        DataError: naming what was expected where.
    """
    if root is None:
        raise DataError(
            f"{task}: no data folder given; use --data DIR or BENCH_DATA with DIR/amos22 from"
            f" {SOURCE}; see `bench data status {task}`"
        )
    named = [root / name for name in names_in(root) if name.lower() in ("amos22", "amos", task)]
    for folder in (root, *named):
        if {"imagesTr", "imagesVa"} & {*names_in(folder)}:
            return folder
    raise DataError(
        f"{task}: no cases under {root / 'imagesTr'}; expected amos22/imagesTr, labelsTr, imagesVa"
        f" and labelsVa there, from {SOURCE}; see `bench data status {task}`"
    )


def modality_of(name: str) -> str:
    """Return ``CT``, ``MR``, or nothing for a file that belongs to neither task.

    Numbers 1-499 are CT and 501-600 MRI; those from 5000 are the unlabelled CT archives.
    """
    match = re.fullmatch(r"amos_(\d+)\.nii(\.gz)?", name)
    number = int(match[1]) if match else 0
    if 0 < number < 500:
        return "CT"
    return "MR" if 500 < number <= 600 else ""


def _case_of(image: Path) -> str:
    return image.name.removesuffix(".gz").removesuffix(".nii")


class _Folders:
    """The folders of one part, and the files that are in them."""

    def __init__(self, tree: Path, suffix: str) -> None:
        self.tree = tree
        self.images, self.labels = tree / f"images{suffix}", tree / f"labels{suffix}"
        self.closed: list[Path] = []
        self.files = {
            file
            for folder in (self.images, self.labels)
            for file in match(folder, "amos_*.nii*", self.closed)
        }

    def __contains__(self, file: Path) -> bool:
        return file in self.files


def _pairs(folders: _Folders, key: str) -> list[tuple[Path, Path]]:
    """Return (image, label) paths of one part, as listed or as found, in the order of names."""
    listing = folders.tree / "dataset.json"
    entries = _read_listing(listing).get(key) if listing.is_file() else None
    if entries is None:
        found = sorted({file.name for file in folders.files})
        return [(folders.images / name, folders.labels / name) for name in found]
    try:
        names = [Path(entry["image"] if isinstance(entry, dict) else entry) for entry in entries]
    except (TypeError, KeyError) as error:
        raise DataError(f"{listing}: {key!r} is no list of images; unpack it again") from error
    return sorted((folders.images / one.name, folders.labels / one.name) for one in names)


def _read_listing(listing: Path) -> dict[str, Any]:
    try:
        values = json.loads(listing.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{listing}: cannot be read ({error}); unpack it again") from error
    if not isinstance(values, dict):
        raise DataError(f"{listing}: not AMOS's dataset.json; unpack it again")
    return values


_SUMMARY = "Abdominal organs of AMOS 2022 on {}; train = Tr, test = Va"

AMOS_CT = Amos(
    name="amos_ct",
    summary=_SUMMARY.format("CT"),
    modality="CT",
    classes=ORGANS,
    groups={**GROUPS, "pelvic": ("bladder", "prostate_uterus")},
    preprocessing=Preprocessing(intensity=Intensity(rule="clip", low=-175.0, high=250.0)),
    expected={"train": 200, "test": 100},
)

AMOS_MRI = Amos(
    name="amos_mri",
    summary=_SUMMARY.format("MRI"),
    modality="MR",
    classes={number: organ for number, organ in ORGANS.items() if number <= 13},
    remap={14: 0, 15: 0},
    preprocessing=Preprocessing(intensity=Intensity(rule="percentile", low=5.0, high=95.0)),
    expected={"train": 40, "test": 20},
)
