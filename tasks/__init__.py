"""Tasks: labelled datasets, one file per family. This table imports neither numpy nor torch."""

from __future__ import annotations

from medssl_bench.registry import Entry

_PHANTOM_ORGANS = [
    "liver",
    "spleen",
    "right_kidney",
    "left_kidney",
    "aorta",
    "stomach",
    "pancreas",
]

TASKS: dict[str, Entry] = {
    "phantom_ct": Entry(
        "medssl_bench.tasks.phantom:phantom_ct",
        "Procedural abdominal CT: eight organs and liver lesions; nothing to download",
        {
            "family": "phantom",
            "modality": "CT",
            "kind": "organs",
            "classes": [*_PHANTOM_ORGANS, "bladder", "lesion"],
            "train": 40,
            "test": 24,
            "needs_data": False,
        },
    ),
    "phantom_mri": Entry(
        "medssl_bench.tasks.phantom:phantom_mri",
        "Procedural upper-abdominal MR of the same anatomy: seven organs and liver lesions",
        {
            "family": "phantom",
            "modality": "MR",
            "kind": "organs",
            "classes": [*_PHANTOM_ORGANS, "lesion"],
            "train": 40,
            "test": 24,
            "needs_data": False,
        },
    ),
}
