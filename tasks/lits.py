"""LiTS: liver and liver tumours on CT; Bilic et al., Medical Image Analysis 2023.

131 labelled scans; the labels of the 70 test scans are not public. As the challenge does, ``liver``
is measured with its tumours. ``lits_tumour`` is paper 004's task: the tumour alone, by Dice+BCE.

Tested is every fifth of all names in alphabetic order, as in the MOTS lists of MedCoSS (papers 000
and 001): 27 cases, 104 train. Paper 004 states 101 and 30 without a list.
"""

from __future__ import annotations

from medssl_bench.task import Intensity, Preprocessing
from medssl_bench.tasks.release import Release, Samples, Tree
from medssl_bench.tasks.split import Split

CASES = tuple(sorted(f"liver_{number}" for number in range(131)))
TEST = CASES[::5]

TREES = (
    Tree(
        name="CodaLab",
        images={"image": "**/volume-{id}.nii*"},
        label="**/segmentation-{id}.nii*",
        shown=(
            "Training Batch 1/volume-0.nii ...   Training Batch 1/segmentation-0.nii ...\n"
            "Training Batch 2/volume-28.nii ...  Training Batch 2/segmentation-28.nii ..."
        ),
        ending=".nii",
    ),
    Tree(
        name="Decathlon",
        images={"image": "imagesTr/liver_{id}.nii*"},
        label="labelsTr/liver_{id}.nii*",
        shown="Task03_Liver/\n  imagesTr/liver_0.nii.gz ...   labelsTr/liver_0.nii.gz ...",
    ),
)

_SHARED = {
    "modality": "CT",
    "trees": TREES,
    "folders": ("Task03_Liver",),
    "case": "liver_{id}",
    "split": Split(test=TEST, train=tuple(sorted({*CASES} - {*TEST}))),
    "samples": Samples(numbers=("0", "1", "2", "10", "28", "130"), codes=("RAS", "LPS")),
    "preprocessing": Preprocessing(intensity=Intensity(rule="clip", low=-175.0, high=250.0)),
    "licence": "CC BY-NC-ND 4.0",
    "access": "https://competitions.codalab.org/competitions/17094 (Training_Batch1.zip and 2), or"
    " medicaldecathlon.com (Task03_Liver.tar)",
    "expected": {"train": 104, "test": 27},
}

LITS = Release(
    name="lits",
    summary="Liver and its tumours of LiTS on CT; test = every fifth name",
    classes={1: "liver", 2: "tumour"},
    regions={"liver": (1, 2), "tumour": (2,)},
    **_SHARED,
)

LITS_TUMOUR = Release(
    name="lits_tumour",
    summary="Liver tumours of LiTS on CT, the task of paper 004; test = every fifth name",
    kind="tumour",
    classes={1: "tumour"},
    remap={1: 0, 2: 1},
    **_SHARED,
)
