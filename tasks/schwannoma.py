"""Vestibular schwannoma on contrast-enhanced T1 or on T2; Shapey et al., Scientific Data 2021.

242 subjects (1-250 without eight). Read is what the authors' 3D Slicer script writes from the
TCIA download: an image and a mask for each contrast, on that contrast's own grid. Tested are the
subjects from 202 on, as in the authors' ``split_TCIA.csv``; its 20 validation subjects train here.
"""

from __future__ import annotations

from medssl_bench.task import Intensity, Preprocessing
from medssl_bench.tasks.release import Release, Samples, Tree
from medssl_bench.tasks.split import FromNumber


def _task(name: str, contrast: str, words: str) -> Release:
    return Release(
        name=name,
        summary=f"Vestibular schwannoma on {words}; test = subjects from 202 on",
        modality="MR",
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
        ),
        case="vs_gk_{id}",
        split=FromNumber(first=202),
        samples=Samples(numbers=("1", "2", "10", "201", "202", "250"), codes=("LPS",)),
        preprocessing=Preprocessing(intensity=Intensity(rule="percentile", low=5.0, high=95.0)),
        licence="CC BY 4.0",
        access="TCIA collection Vestibular-Schwannoma-SEG",
        expected={"train": 196, "test": 46},
    )


VS = _task("vs", "t1", "contrast-enhanced T1")
VS_T2 = _task("vs_t2", "t2", "T2")
