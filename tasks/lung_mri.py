"""Lung tumours on T2-weighted MRI, paper 004's private set, for whoever has one like it.

``images/<id>.nii.gz`` and ``labels/<id>.nii.gz`` with 1 for tumour. The paper tests 17 of 81; so
large a share is tested here, by seed. For other layouts or a split of one's own see
docs/add-a-task.md.
"""

from __future__ import annotations

from medssl_bench.task import Intensity, Preprocessing
from medssl_bench.tasks.release import Release, Tree
from medssl_bench.tasks.split import Rounded

LUNG_MRI = Release(
    name="lung_mri",
    summary="Lung tumours on T2-weighted MRI of one's own, the task of paper 004; 21 % tested",
    modality="MR",
    kind="tumour",
    classes={1: "tumour"},
    trees=(
        Tree(
            name="folders",
            images={"image": "images/{id}.nii.gz"},
            label="labels/{id}.nii.gz",
            shown="images/<id>.nii.gz ...   labels/<id>.nii.gz ...   (1 = tumour)",
        ),
    ),
    split=Rounded(test=17, of=81),
    preprocessing=Preprocessing(intensity=Intensity(rule="clip", low=0.0, high=400.0)),
    licence="yours",
    access="your own scans (paper 004's are not public)",
)
