"""Left atrium of the 2018 challenge on gadolinium-enhanced MRI; Xiong et al., 2021.

100 labelled scans in NRRD; masks hold 255. Tested are the 20 scans of UA-MT's list (Yu et al.,
MICCAI 2019), which papers 000 and 001 use.

``la_uamt`` reads that group's h5 files instead, as papers 000 and 001 do: scaled, and cropped in
the axial plane around the label with random margins. The crop uses the label, of test cases too,
and so tells a network where the atrium is: its numbers come easier than those of ``la``, and are
not to be compared with them. The files do not say where they lie: 0.625 mm voxels in LPS are
assumed.
"""

from __future__ import annotations

from medssl_bench.task import Intensity, Preprocessing
from medssl_bench.tasks.release import Release, Samples, Tree
from medssl_bench.tasks.split import Split

TEST = (
    "UPT6DX9IQY9JAZ7HJKA7", "UTBUJIWZMKP64E3N73YC", "ULHWPWKKLTE921LQLH1P", "V0MZOWJ6MU3RMRCV9EXR",
    "VDOF02M8ZHEAADFMS6NP", "VG4C826RAAKVMV9BQLVD", "VIXBEFTNVHZWKAKURJBN", "VQ2L3WM8KEVF6L44E6G9",
    "WBG9WYZ1B25WDT5WAT8T", "WMDG2EFA6L2SNDZXIRU0", "WNPKE0W404QE9AELX1LR", "WSJB9P4JCXUVHBOYFVWL",
    "WW8F5CO4S4K5IM5Z7EXX", "X18LU5AOBNNDMLTA0JZL", "XYDLYJ5CS19FDBVLJIPI", "Y7ZU0B2APPF54WG6PDMF",
    "YDKD1HVHSME6NVMA8I39", "Z9GMG63CJLL0VW893BB1", "ZIJLJAVQV3FJ6JSQOH1E", "ZQPMJ4XEC5A4BISD45P1",
)  # fmt: skip

LA = Release(
    name="la",
    summary="Left atrium of the 2018 challenge on LGE-MRI; test = UA-MT's 20",
    modality="MR",
    classes={1: "left_atrium"},
    remap={255: 1},
    trees=(
        Tree(
            name="release",
            images={"image": "**/2018LA_Seg_Training Set/{id}/lgemri.nrrd"},
            label="**/2018LA_Seg_Training Set/{id}/laendo.nrrd",
            shown=(
                "2018LA_Seg_Training Set/\n"
                "  <20 characters>/lgemri.nrrd   <20 characters>/laendo.nrrd\n"
                "  ..."
            ),
        ),
        Tree(
            name="its training folder",
            images={"image": "{id}/lgemri.nrrd"},
            label="{id}/laendo.nrrd",
            shown="<20 characters>/lgemri.nrrd   <20 characters>/laendo.nrrd   (as --data)",
        ),
    ),
    split=Split(test=TEST),
    samples=Samples(numbers=("06SR5RBREL16DQ6M8LWS", "0RZDK210BSMWAA6467LU", *TEST[:2])),
    preprocessing=Preprocessing(intensity=Intensity(rule="percentile", low=5.0, high=95.0)),
    licence="terms of the 2018 Atrial Segmentation Challenge",
    access="https://www.cardiacatlas.org/atriaseg2018-challenge",
    expected={"train": 80, "test": 20},
)

LA_UAMT = Release(
    name="la_uamt",
    summary="Left atrium cropped around its label, as UA-MT's h5 files have it: easier than la",
    modality="MR",
    classes={1: "left_atrium"},
    trees=(
        Tree(
            name="UA-MT",
            images={"image": "**/2018LA_Seg_Training Set/{id}/mri_norm2.h5"},
            label="**/2018LA_Seg_Training Set/{id}/mri_norm2.h5",
            shown="data/2018LA_Seg_Training Set/\n  <20 characters>/mri_norm2.h5\n  ...",
            inside={"image": "image", "label": "label"},
            affine=(
                (-0.625, 0.0, 0.0, 0.0),
                (0.0, -0.625, 0.0, 0.0),
                (0.0, 0.0, 0.625, 0.0),
                (0.0, 0.0, 0.0, 1.0),
            ),
        ),
    ),
    split=Split(test=TEST),
    samples=LA.samples.model_copy(update={"codes": ("LPS",)}),
    preprocessing=LA.preprocessing,
    licence=LA.licence,
    access="github.com/yulequan/UA-MT (data/2018LA_Seg_Training Set)",
    expected={"train": 80, "test": 20},
)
