"""MRBrainS13: brain tissue on T1, T1-IR and FLAIR of MR at 3 T; Mendrik et al., 2015.

Five labelled cases, whose ``LabelsForTesting`` (1 cerebrospinal fluid, 2 grey matter, 3 white
matter) are used; T1, T1-IR and T2-FLAIR are aligned, ``T1_1mm`` is on another grid and not used.
Paper 003 names a contrast-enhanced T1 among its channels: the release has none, it is T1-IR.

Paper 003 trains on the five and tests the challenge's fifteen, whose labels are not in the release.
Who has them puts them into ``TestLabels`` as ``1.nii`` to ``15.nii``: then the five train and those
fifteen are tested. Without them, cases 1 to 3 of the five train and 4 and 5 are tested.

Scans are not skull-stripped. Working grid 1 mm, intensities from the 1st to the 99th percentile.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from medssl_bench.data.faulty import FaultySource, closed_cases
from medssl_bench.task import Case, Intensity, Preprocessing
from medssl_bench.tasks.layout import list_volumes
from medssl_bench.tasks.release import Release, Samples, Tree
from medssl_bench.tasks.split import Split

CHANNELS = ("T1", "T1_IR", "T2_FLAIR")
TEST = ("train_4", "train_5")
"""Tested where the labels of the challenge's test cases are not there."""


class MRBrainS(Release):
    """The five labelled cases, and the challenge's test cases where their labels are at hand."""

    def cases(self, root: Path | None) -> list[Case]:
        """List the five cases, and the test cases that have a label."""
        five = super().cases(root)
        base, _ = self._find(root)
        labels = list_volumes(base, "**/TestLabels/{id}.nii*")
        channels = {
            channel: list_volumes(base, f"**/TestData/{{id}}/{channel}.nii*")
            for channel in CHANNELS
        }
        tested = []
        for number, label in labels.sources().items():
            images = {
                channel: found.sources().get(number)
                or FaultySource(
                    base / "TestData" / number / f"{channel}.nii",
                    f"there is no {channel}, but a label, {label}; unpack TestData completely",
                )
                for channel, found in channels.items()
            }
            name = f"test_{number}"
            tested.append(Case(name, images, label, name, "test", {"tree": "release"}))
        tested += closed_cases(base, labels.closed, self.channels)
        return [*(replace(case, pool="train") for case in five), *tested] if tested else five

    def write_samples(self, out: Path, tree: str | None = None) -> list[Path]:
        """Write the five cases, with the files beside them that are not used."""
        from medssl_bench.data.synthetic import draw, save_apart, save_volume, stored_affine

        files = super().write_samples(out, tree)
        for number in self.samples.numbers:
            folder = out / "TrainingData" / number
            images, label = draw(self, number)
            fine = np.where(label > 0, label + 5, 0).astype(np.uint8)
            files.append(save_apart(folder / "T1_1mm.nii", images["T1"]))
            files.append(save_volume(folder / "LabelsForTraining.nii", fine, stored_affine("RAS")))
        return files


MRBRAINS13 = MRBrainS(
    name="mrbrains13",
    summary="Brain tissue of MRBrainS13 on T1, T1-IR and FLAIR; 15 tested, or 2 of the 5",
    modality="MR",
    channels=CHANNELS,
    classes={1: "csf", 2: "grey_matter", 3: "white_matter"},
    trees=(
        Tree(
            name="release",
            images={name: f"**/TrainingData/{{id}}/{name}.nii*" for name in CHANNELS},
            label="**/TrainingData/{id}/LabelsForTesting.nii*",
            shown=(
                "MRBrainS13DataNii/\n"
                "  TrainingData/1/T1.nii (T1_IR, T2_FLAIR, LabelsForTesting) ... 5\n"
                "  TestData/1/T1.nii (T1_IR, T2_FLAIR) ... 15\n"
                "  TestLabels/1.nii ... 15   (where they are at hand)"
            ),
            ending=".nii",
        ),
    ),
    folders=("MRBrainS13DataNii",),
    case="train_{id}",
    split=Split(test=TEST),
    samples=Samples(numbers=("1", "2", "3", "4", "5"), codes=("LPS",)),
    preprocessing=Preprocessing(
        spacing=(1.0, 1.0, 1.0), intensity=Intensity(rule="percentile", low=1.0, high=99.0)
    ),
    licence="terms of the MRBrainS challenge",
    access="https://doi.org/10.34894/645ZIN (DataverseNL)",
    expected={"train": 5, "test": 15},
)
