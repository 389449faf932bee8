"""KiTS: kidneys, tumours and cysts on CT; Heller et al., KiTS19 and KiTS23.

KiTS23 has 489 labelled cases (00000-00299 and 00400-00588), KiTS19 210, without cysts, which count
as kidney there. Measured are KiTS23's hierarchical regions. Volumes are stored slices first with
flipped axes ("IPL"); they are turned by their affine. ``kits_tumour`` is paper 004's task: the
tumour alone, by Dice+BCE.

Paper 004 states 400 and 91 cases of 489 without a list: 91 of all 489 are tested here, by seed.
"""

from __future__ import annotations

from medssl_bench.task import Intensity, Preprocessing
from medssl_bench.tasks.release import Release, Samples, Tree
from medssl_bench.tasks.split import Split

CASES = tuple(f"case_{number:05d}" for number in (*range(300), *range(400, 589)))
TEST = tuple(
    case
    for case, pool in Split(test=91, seed=0).pools({case: case for case in CASES}).items()
    if pool == "test"
)

TREES = (
    Tree(
        name="KiTS",
        images={"image": "**/case_{id}/imaging.nii.gz"},
        label="**/case_{id}/segmentation.nii.gz",
        shown=(
            "kits23/dataset/   (KiTS19: kits19/data/)\n"
            "  case_00000/imaging.nii.gz   case_00000/segmentation.nii.gz\n"
            "  ..."
        ),
    ),
)

_SHARED = {
    "modality": "CT",
    "trees": TREES,
    "folders": ("kits23", "kits19"),
    "only_labelled": True,  # KiTS19's cases from 00210 on have none
    "case": "case_{id}",
    "split": Split(test=TEST, train=tuple(sorted({*CASES} - {*TEST}))),
    "samples": Samples(
        numbers=("00000", "00001", "00299", "00400", "00401", "00588"), codes=("IPL",)
    ),
    "preprocessing": Preprocessing(intensity=Intensity(rule="clip", low=-175.0, high=250.0)),
    "licence": "CC BY-NC-SA 4.0",
    "access": "https://github.com/neheller/kits23 (kits23_download_data)",
    "expected": {"train": 398, "test": 91},
}

KITS = Release(
    name="kits",
    summary="Kidneys, masses and tumours of KiTS23 (or KiTS19) on CT; 91 tested",
    classes={1: "kidney", 2: "tumour", 3: "cyst"},
    regions={"kidney_and_mass": (1, 2, 3), "mass": (2, 3), "tumour": (2,)},
    **_SHARED,
)

KITS_TUMOUR = Release(
    name="kits_tumour",
    summary="Kidney tumours of KiTS23 (or KiTS19) on CT, the task of paper 004; 91 tested",
    kind="tumour",
    classes={1: "tumour"},
    remap={1: 0, 2: 1, 3: 0},
    **_SHARED,
)
