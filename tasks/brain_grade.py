"""High-grade against low-grade glioma on four aligned MR contrasts: BraTS 2018.

The folder is the class, HGG the positive one; 285 cases, which paper 003 (sections B.3 and C)
classifies. BraTS 2021 takes up cases of earlier editions, so that an encoder pretrained on it may
have seen the test; a mapping of their names comes with it.
"""

from __future__ import annotations

from medssl_bench.tasks.classified import BRAIN, ClassifiedByFolder, Example
from medssl_bench.tasks.release import Tree

_CASE = "**/{class}/{id}/{id}"

BRATS2018_CLS = ClassifiedByFolder(
    name="brats2018_cls",
    summary="High- against low-grade glioma of BraTS 2018 on four MR contrasts; 30 % tested",
    channels=("t1", "t1ce", "t2", "flair"),
    classes={0: "LGG", 1: "HGG"},
    class_folders={0: "LGG", 1: "HGG"},
    trees=(
        Tree(
            name="challenge",
            images={word: f"{_CASE}_{word}.nii*" for word in ("t1", "t1ce", "t2", "flair")},
            shown=(
                "MICCAI_BraTS_2018_Data_Training/\n"
                "  HGG/Brats18_2013_2_1/Brats18_2013_2_1_t1.nii.gz (t1ce, t2, flair; or .nii)\n"
                "  LGG/Brats18_2013_0_1/Brats18_2013_0_1_t1.nii.gz ..."
            ),
        ),
    ),
    examples={
        "challenge": tuple(
            Example(
                path=f"MICCAI_BraTS_2018_Data_Training/{grade}/{case}/{case}_{{channel}}{ending}",
                shows=int(grade == "HGG"),
                codes="LPS",
            )
            for grade, case, ending in (
                ("HGG", "Brats18_2013_2_1", ".nii.gz"),
                ("HGG", "Brats18_2013_3_1", ".nii"),
                ("HGG", "Brats18_CBICA_AAB_1", ".nii.gz"),
                ("HGG", "Brats18_TCIA01_131_1", ".nii.gz"),
                ("LGG", "Brats18_2013_0_1", ".nii"),
                ("LGG", "Brats18_TCIA09_141_1", ".nii.gz"),
                ("LGG", "Brats18_TCIA10_103_1", ".nii.gz"),
            )
        )
    },
    licence="terms of BraTS 2018",
    access="the organisers at CBICA, University of Pennsylvania (registration)",
    expected={"train": 199, "test": 86},
    **BRAIN,
)
