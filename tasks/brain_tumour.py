"""Brain tumours on four aligned MR contrasts: BraTS 2023 (children, metastases) and UPENN-GBM.

Label ids differ between editions: 2023 has 1 necrosis or non-enhancing core, 2 oedema, 3 enhancing;
UPENN-GBM, like BraTS until 2021, has 4 for enhancing and no 3. A later release of the children's
data has other meanings and a fourth id. An id that an edition does not define is refused as
unknown. Measured are the regions WT (1, 2, 3), TC (1, 3) and ET (3), plainly, as paper 003 does,
not lesion by lesion as the challenges of 2023.

Intensities are scaled from the 1st to the 99th percentile of the volume, as paper 003 states for
pretraining. Its code takes the 5th to 95th without clipping; clipped there, much of a
skull-stripped brain would be white, since four fifths of the volume are background.

Paper 003 splits 6:1:3 at random without lists; 30 % of the patients are tested here, by seed.
"""

from __future__ import annotations

from medssl_bench.data.labels import UNDEFINED
from medssl_bench.task import Intensity, Preprocessing
from medssl_bench.tasks.release import Release, Samples, Tree
from medssl_bench.tasks.split import Rounded

_PREPROCESSING = Preprocessing(
    spacing=(1.0, 1.0, 1.0), intensity=Intensity(rule="percentile", low=1.0, high=99.0)
)
CLASSES = {1: "core", 2: "oedema", 3: "enhancing"}
REGIONS = {"whole_tumour": (1, 2, 3), "tumour_core": (1, 3), "enhancing_tumour": (3,)}
CONTRASTS_2023 = ("t1n", "t1c", "t2w", "t2f")


def _brats2023(name: str, word: str, who: str, count: int) -> Release:
    case = f"BraTS-{word}-{{id}}"
    return Release(
        name=name,
        summary=f"Brain tumours of {who} of BraTS 2023 on four MR contrasts; 30 % tested",
        modality="MR",
        channels=CONTRASTS_2023,
        classes=CLASSES,
        regions=REGIONS,
        trees=(
            Tree(
                name="Synapse",
                images={word: f"**/{case}/{case}-{word}.nii*" for word in CONTRASTS_2023},
                label=f"**/{case}/{case}-seg.nii*",
                shown=(
                    f"ASNR-MICCAI-BraTS2023-{word}-Challenge-TrainingData/\n"
                    f"  BraTS-{word}-00002-000/BraTS-{word}-00002-000-t1n.nii.gz (t1c, t2w, t2f,"
                    " seg)\n"
                    "  ..."
                ),
            ),
        ),
        only_labelled=True,  # the challenge's validation cases, which may lie beside, have none
        case=case,
        patient=r"^BraTS-[A-Z]+-[0-9]+",
        split=Rounded(test=3, of=10),
        samples=Samples(numbers=("00002-000", "00003-000", "00003-001", "00004-000", "00005-000")),
        preprocessing=_PREPROCESSING,
        licence="terms of BraTS 2023",
        access="https://www.synapse.org/brats2023 (registration)",
        expected={"train": count - round(0.3 * count), "test": round(0.3 * count)},
    )


BRATS_PED = _brats2023("brats_ped", "PED", "children", 99)
BRATS_MET = _brats2023("brats_met", "MET", "metastases", 238)

UPENN_GBM = Release(
    name="upenn_gbm",
    version=2,
    summary="Glioblastoma of UPENN-GBM on four MR contrasts, manual labels; 30 % tested",
    modality="MR",
    channels=("T1", "T1GD", "T2", "FLAIR"),
    classes=CLASSES,
    remap={4: 3, 3: UNDEFINED},
    regions=REGIONS,
    trees=(
        Tree(
            name="TCIA",
            images={
                word: f"**/images_structural/UPENN-GBM-{{id}}_11/UPENN-GBM-{{id}}_11_{word}.nii.gz"
                for word in ("T1", "T1GD", "T2", "FLAIR")
            },
            label="**/images_segm/UPENN-GBM-{id}_11_segm.nii.gz",
            shown=(
                "NIfTI-files/\n"
                "  images_structural/UPENN-GBM-00002_11/UPENN-GBM-00002_11_T1.nii.gz (T1GD, T2,"
                " FLAIR)\n"
                "  images_segm/UPENN-GBM-00002_11_segm.nii.gz   (manual; baseline scans, _11)"
            ),
        ),
    ),
    only_labelled=True,
    case="UPENN-GBM-{id}_11",
    split=Rounded(test=3, of=10),
    samples=Samples(numbers=("00002", "00003", "00004", "00005"), codes=("LPS",)),
    preprocessing=_PREPROCESSING,
    licence="CC BY 4.0",
    access="TCIA collection UPENN-GBM (NIfTI through Aspera)",
)
