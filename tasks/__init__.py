"""Tasks: labelled datasets, one file per family. This table imports neither numpy nor torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medssl_bench.errors import BenchError
from medssl_bench.registry import Entry

if TYPE_CHECKING:
    from medssl_bench.task import Task

_PHANTOM_ORGANS = [
    "liver",
    "spleen",
    "right_kidney",
    "left_kidney",
    "aorta",
    "stomach",
    "pancreas",
]

_AMOS_ORGANS = [
    "spleen",
    "right_kidney",
    "left_kidney",
    "gall_bladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "inferior_vena_cava",
    "pancreas",
    "right_adrenal",
    "left_adrenal",
    "duodenum",
]

_BRAIN_TUMOUR = ["core", "oedema", "enhancing"]


def _release(
    target: str,
    summary: str,
    modality: str,
    kind: str,
    classes: list[str],
    train: int | None = None,
    test: int | None = None,
    family: str | None = None,
) -> Entry:
    """Describe a published dataset; its counts are those of the whole release."""
    info = {
        "family": family or target.partition(":")[2].lower(),
        "modality": modality,
        "kind": kind,
        "classes": classes,
        "train": train,
        "test": test,
        "needs_data": True,
    }
    return Entry(f"medssl_bench.tasks.{target}", summary, info)


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
    "phantom_fluid": Entry(
        "medssl_bench.tasks.phantom_fluid:phantom_fluid",
        "Procedural abdominal CT with free fluid or without; nothing to download",
        {
            "family": "phantom",
            "modality": "CT",
            "kind": "classification",
            "classes": ["healthy", "ascites"],
            "train": 40,
            "test": 40,
            "needs_data": False,
        },
    ),
    "phantom_brain_tumor": Entry(
        "medssl_bench.tasks.phantom_brain:phantom_brain_tumor",
        "Procedural brains on four MR contrasts: regions of a glioma; nothing to download",
        {
            "family": "phantom_brain",
            "modality": "MR",
            "kind": "organs",
            "classes": _BRAIN_TUMOUR,
            "train": 40,
            "test": 24,
            "needs_data": False,
        },
    ),
    "phantom_brain_grade": Entry(
        "medssl_bench.tasks.phantom_brain:phantom_brain_grade",
        "Procedural brains on four MR contrasts: a glioma of low grade or high",
        {
            "family": "phantom_brain",
            "modality": "MR",
            "kind": "classification",
            "classes": ["low_grade", "high_grade"],
            "train": 40,
            "test": 24,
            "needs_data": False,
        },
    ),
    "amos_ct": Entry(
        "medssl_bench.tasks.amos:AMOS_CT",
        "Abdominal organs of AMOS 2022 on CT; train = Tr, test = Va",
        {
            "family": "amos",
            "modality": "CT",
            "kind": "organs",
            "classes": [*_AMOS_ORGANS, "bladder", "prostate_uterus"],
            "train": 200,
            "test": 100,
            "needs_data": True,
        },
    ),
    "amos_mri": Entry(
        "medssl_bench.tasks.amos:AMOS_MRI",
        "Abdominal organs of AMOS 2022 on MRI; train = Tr, test = Va",
        {
            "family": "amos",
            "modality": "MR",
            "kind": "organs",
            "classes": _AMOS_ORGANS,
            "train": 40,
            "test": 20,
            "needs_data": True,
        },
    ),
    "lits": _release(
        "lits:LITS",
        "Liver and its tumours of LiTS on CT; test = every fifth name",
        "CT", "organs", ["liver", "tumour"], 104, 27,
    ),
    "lits_tumour": _release(
        "lits:LITS_TUMOUR",
        "Liver tumours of LiTS on CT, the task of paper 004; test = every fifth name",
        "CT", "tumour", ["tumour"], 104, 27, family="lits",
    ),
    "kits": _release(
        "kits:KITS",
        "Kidneys, masses and tumours of KiTS23 (or KiTS19) on CT; 91 tested",
        "CT", "organs", ["kidney", "tumour", "cyst"], 398, 91,
    ),
    "kits_tumour": _release(
        "kits:KITS_TUMOUR",
        "Kidney tumours of KiTS23 (or KiTS19) on CT, the task of paper 004; 91 tested",
        "CT", "tumour", ["tumour"], 398, 91, family="kits",
    ),
    "la": _release(
        "left_atrium:LA",
        "Left atrium of the 2018 challenge on LGE-MRI; test = UA-MT's 20",
        "MR", "organs", ["left_atrium"], 80, 20,
    ),
    "la_uamt": _release(
        "left_atrium:LA_UAMT",
        "Left atrium cropped around its label, as UA-MT's h5 files have it: easier than la",
        "MR", "organs", ["left_atrium"], 80, 20,
    ),
    "vs": _release(
        "schwannoma:VS",
        "Vestibular schwannoma on contrast-enhanced T1; test = subjects from 202 on",
        "MR", "tumour", ["tumour"], 196, 46,
    ),
    "vs_t2": _release(
        "schwannoma:VS_T2",
        "Vestibular schwannoma on T2; test = subjects from 202 on",
        "MR", "tumour", ["tumour"], 196, 46, family="vs",
    ),
    "lung_ct": _release(
        "lung_ct:LUNG_CT",
        "Primary lung tumours of NSCLC-Radiomics on CT; 43 of its 420 patients tested",
        "CT", "tumour", ["tumour"], 377, 43,
    ),
    "lung_ct_all": _release(
        "lung_ct:LUNG_CT_ALL",
        "All contoured lung tumours of NSCLC-Radiomics on CT; 43 of its 420 patients tested",
        "CT", "tumour", ["tumour"], 377, 43, family="lung_ct",
    ),
    "lung_mri": _release(
        "lung_mri:LUNG_MRI",
        "Lung tumours on T2-weighted MRI of one's own, the task of paper 004; 21 % tested",
        "MR", "tumour", ["tumour"],
    ),
    "brats_ped": _release(
        "brain_tumour:BRATS_PED",
        "Brain tumours of children of BraTS 2023 on four MR contrasts; 30 % tested",
        "MR", "organs", _BRAIN_TUMOUR, 69, 30, family="brats",
    ),
    "brats_met": _release(
        "brain_tumour:BRATS_MET",
        "Brain tumours of metastases of BraTS 2023 on four MR contrasts; 30 % tested",
        "MR", "organs", _BRAIN_TUMOUR, 167, 71, family="brats",
    ),
    "upenn_gbm": _release(
        "brain_tumour:UPENN_GBM",
        "Glioblastoma of UPENN-GBM on four MR contrasts, manual labels; 30 % tested",
        "MR", "organs", _BRAIN_TUMOUR, family="brats",
    ),
    "isles22": _release(
        "isles:ISLES22",
        "Stroke lesions of ISLES 2022 on DWI, ADC and FLAIR; test = paper 003's 36",
        "MR", "tumour", ["lesion"], 202, 36,
    ),
    "mrbrains13": _release(
        "mrbrains:MRBRAINS13",
        "Brain tissue of MRBrainS13 on T1, T1-IR and FLAIR; 15 tested, or 2 of the 5",
        "MR", "organs", ["csf", "grey_matter", "white_matter"], 5, 15,
    ),
    "brats2018_cls": _release(
        "brain_grade:BRATS2018_CLS",
        "High- against low-grade glioma of BraTS 2018 on four MR contrasts; 30 % tested",
        "MR", "classification", ["LGG", "HGG"], 199, 86, family="brats",
    ),
    "adni": _release(
        "adni:ADNI",
        "Mild cognitive impairment (ADNI) on T1-weighted MR of the head; 30 % tested",
        "MR", "classification", ["NC", "MCI"],
    ),
    "adhd200": _release(
        "psychiatry:ADHD200",
        "Attention deficit (ADHD-200) on T1-weighted MR of the head; 30 % tested",
        "MR", "classification", ["control", "adhd"], family="adhd200",
    ),
    "abide1": _release(
        "psychiatry:ABIDE1",
        "Autism (ABIDE I) on T1-weighted MR of the head; 30 % tested",
        "MR", "classification", ["control", "autism"], family="abide1",
    ),
    "ricord": _release(
        "ricord:RICORD",
        "COVID-19 (MIDRC-RICORD 1A against 1B) on chest CT; 30 % of patients tested",
        "CT", "classification", ["negative", "positive"],
    ),
}  # fmt: skip


def load_task(spec: str) -> Task:
    """Return the task of a registered name, or of a path that ends in ``.yaml`` or ``.yml``.

    Raises:
        BenchError: an unknown name, or a fault in the YAML (its file and key are named).
    """
    from medssl_bench.registry import tasks

    if not _is_file(spec):
        found = tasks.load(spec)
        task: Task = found() if callable(found) else found
        return task
    from medssl_bench.tasks.custom import read_task

    custom = read_task(Path(spec).expanduser())
    if custom.name in tasks.entries():
        raise BenchError(f"{spec}: name: {custom.name!r} is a registered task; choose another name")
    return custom


def load_tasks(specs: Sequence[str]) -> list[Task]:
    """Return the tasks of names, wildcards, ``all``, ``family:X`` and paths of ``task.yaml`` files.

    Raises:
        BenchError: none given, an unknown one, or one that is given twice.
    """
    from medssl_bench.registry import tasks

    found: dict[str, Task] = {}
    for spec in specs:
        for name in [spec] if _is_file(spec) else tasks.match(spec):
            task = load_task(name)
            if task.name in found:
                raise BenchError(f"task {task.name!r} is asked for twice")
            found[task.name] = task
    if not found:
        raise BenchError("no tasks given; see `bench list tasks`")
    return list(found.values())


def _is_file(spec: str) -> bool:
    return spec.lower().endswith((".yaml", ".yml"))
