"""Vestibular schwannoma on contrast-enhanced T1 or on T2; Shapey et al., Scientific Data 2021.

242 subjects (1-250 without eight). Read is the TCIA download itself, or what the authors' 3D Slicer
script writes from it: an image and a mask for each contrast, on that contrast's own grid. In the
download, T1 and T2 are told as the authors tell them, by ``t1_`` and ``t2_`` in SeriesDescription,
and the label is the first structure of ``contours/vs_gk_<n>_t1/contours.json``, whatever it is
called; the second, where there is one, is a cochlea or the like. A voxel belongs to the tumour
where its centre lies within: at the border, masks differ from those of 3D Slicer.

Tested are the subjects from 202 on, as in the authors' ``split_TCIA.csv``; its 20 validation
subjects train here.
"""

from __future__ import annotations

from medssl_bench.task import Intensity, Preprocessing
from medssl_bench.tasks.dicom_tree import DicomSamples, DicomTree
from medssl_bench.tasks.release import Release, Samples, Tree
from medssl_bench.tasks.split import FromNumber


def _dicom(contrast: str, other: str) -> DicomTree:
    return DicomTree(
        name="TCIA",
        modality="MR",
        patient="VS-SEG-{id}",
        digits=3,
        description=f"(?i){contrast}_",
        contours=f"**/vs_gk_{{id}}_{contrast}/contours.json",
        shown=(
            "Vestibular-Schwannoma-SEG/VS-SEG-001/<study>/<series>/*.dcm\n"
            f"contours/vs_gk_1_{contrast}/contours.json\n"
            "..."
        ),
        samples=DicomSamples(
            layouts=("Vestibular-Schwannoma-SEG/{patient}/study/{series}/1-{file:03}.dcm",),
            scan=f"{contrast}_mpr_sag_we_RFMT",
            region="TV",
            regions=("Cochlea",),
            objects=("RTPLAN", "RTDOSE"),
            other_scan=f"{other}_ci3d_tra",
            other_contours=f"contours/vs_gk_{{id}}_{other}/contours.json",
        ),
    )


def _task(name: str, contrast: str, other: str, words: str) -> Release:
    return Release(
        name=name,
        summary=f"Vestibular schwannoma on {words}; test = subjects from 202 on",
        modality="MR",
        contrasts=("T1c" if contrast == "t1" else "T2",),
        kind="tumour",
        classes={1: "tumour"},
        trees=(
            Tree(
                name="3D Slicer script",
                images={"image": f"**/vs_gk_{{id}}/vs_gk_{contrast}_ref{contrast.upper()}.nii.gz"},
                label=f"**/vs_gk_{{id}}/vs_gk_seg_ref{contrast.upper()}.nii.gz",
                shown=(
                    f"vs_gk_1/vs_gk_{contrast}_ref{contrast.upper()}.nii.gz"
                    f"   vs_gk_1/vs_gk_seg_ref{contrast.upper()}.nii.gz\n"
                    "...\n"
                    "as written from the TCIA download by github.com/KCL-BMEIS/VS_Seg"
                ),
            ),
            _dicom(contrast, other),
        ),
        case="vs_gk_{id}",
        split=FromNumber(first=202),
        samples=Samples(numbers=("1", "2", "10", "201", "202", "250"), codes=("LPS",)),
        preprocessing=Preprocessing(intensity=Intensity(rule="percentile", low=5.0, high=95.0)),
        licence="CC BY 4.0",
        access="TCIA collection Vestibular-Schwannoma-SEG",
        expected={"train": 196, "test": 46},
    )


VS = _task("vs", "t1", "t2", "contrast-enhanced T1")
VS_T2 = _task("vs_t2", "t2", "t1", "T2")
