"""Attention deficit and autism on T1-weighted MR of the head: ADHD-200 and ABIDE I.

Scans lie in folders named by subject, classes in the phenotype table. ADHD-200's ``DX`` is 0 for
controls and 1, 2 or 3 for the subtypes; ``pending`` and withheld ones are passed over. In ABIDE,
``DX_GROUP`` 1 is autism, the positive class here, and 2 is control. Paper 003 has 767 subjects of
ADHD-200 and 819 of ABIDE by a rule that it does not state; all with a diagnosis are taken here.
"""

from __future__ import annotations

from medssl_bench.tasks.class_table import ClassTable
from medssl_bench.tasks.classified import BRAIN, ClassifiedByTable, Example
from medssl_bench.tasks.release import Tree

_SESSION = "session_1/anat_1/mprage"


def _tree(name: str, folder: str, site: str, subject: str, table: str) -> Tree:
    return Tree(
        name=name,
        images={"image": f"**/{{id}}/{_SESSION}.nii*"},
        shown=(
            f"{folder}/RawData/{site}/{subject}/{_SESSION}.nii.gz\n{folder}/{table}   (anywhere)"
        ),
    )


def _examples(folder: str, scans: tuple[tuple[str, str, int], ...]) -> tuple[Example, ...]:
    return tuple(
        Example(
            path=f"{folder}/RawData/{site}/{subject}/{_SESSION}.nii.gz", shows=shows, codes="PIR"
        )
        for site, subject, shows in scans
    )


ADHD200 = ClassifiedByTable(
    name="adhd200",
    summary="Attention deficit (ADHD-200) on T1-weighted MR of the head; 30 % tested",
    classes={0: "control", 1: "adhd"},
    table=ClassTable(
        file="**/adhd200_preprocessed_phenotypics.tsv",
        key="ScanDir ID",
        value="DX",
        meaning={"0": 0, "1": 1, "2": 1, "3": 1}
        | dict.fromkeys(("pending", "withheld", "-999", "N/A", "")),
        digits=7,
    ),
    trees=(_tree("NITRC", "ADHD200", "NYU", "0010001", "adhd200_preprocessed_phenotypics.tsv"),),
    examples={
        "NITRC": _examples(
            "ADHD200",
            (
                ("NYU", "0010001", 1),
                ("NYU", "0010002", 1),
                ("NYU", "0010003", 0),
                ("KKI", "1018959", 0),
                ("KKI", "1019436", 1),
                ("Peking_1", "1038415", 0),
                ("Peking_1", "1050345", 0),
                ("Brown", "0026001", 1),
            ),
        )
    },
    # Ids without their zeros, subtypes 1 to 3, one pending, and a subject without a scan.
    tables={
        "ADHD200/adhd200_preprocessed_phenotypics.tsv": (
            "ScanDir ID\tSite\tGender\tAge\tDX\tQC_Athena\n"
            "10001\t5\t0\t12.4\t3\t1\n"
            "10002\t5\t1\t14.1\t1\t1\n"
            "10003\t5\t1\t9.7\t0\t1\n"
            "1018959\t3\t0\t12.4\t0\t1\n"
            "1019436\t3\t1\t12.9\t2\t1\n"
            "1038415\t1\t1\t14.9\t0\t1\n"
            "1050345\t1\t1\t10.2\t0\t-999\n"
            "26001\t2\t1\t-999\tpending\t1\n"
            "1056121\t1\t1\t11.0\t0\t1\n"
        )
    },
    licence="terms of INDI",
    access="NITRC, fcon_1000.projects.nitrc.org/indi/adhd200 (login)",
    **BRAIN,
)

ABIDE1 = ClassifiedByTable(
    name="abide1",
    summary="Autism (ABIDE I) on T1-weighted MR of the head; 30 % tested",
    classes={0: "control", 1: "autism"},
    table=ClassTable(
        file="**/Phenotypic_V1_0b*.csv",
        key="SUB_ID",
        value="DX_GROUP",
        meaning={"1": 1, "2": 0},
        digits=7,
    ),
    trees=(_tree("NITRC", "ABIDE_Initiative", "Pitt", "0050002", "Phenotypic_V1_0b.csv"),),
    examples={
        "NITRC": _examples(
            "ABIDE_Initiative",
            (
                ("Pitt", "0050002", 1),
                ("Pitt", "0050003", 1),
                ("Pitt", "0050030", 0),
                ("Pitt", "0050031", 0),
                ("NYU", "0050952", 1),
                ("NYU", "0051036", 0),
            ),
        )
    },
    # 1 is autism and 2 control; one subject without a scan.
    tables={
        "ABIDE_Initiative/Phenotypic_V1_0b.csv": (
            "SITE_ID,SUB_ID,DX_GROUP,DSM_IV_TR,AGE_AT_SCAN,SEX\n"
            "PITT,50002,1,1,16.77,1\n"
            "PITT,50003,1,1,24.45,1\n"
            "PITT,50030,2,0,25.12,1\n"
            "PITT,50031,2,0,10.7,1\n"
            "NYU,50952,1,1,9.09,1\n"
            "NYU,51036,2,0,12.1,1\n"
            "NYU,51037,2,0,13.0,2\n"
        )
    },
    licence="terms of INDI",
    access="NITRC, fcon_1000.projects.nitrc.org/indi/abide (login), or its public S3 bucket",
    **BRAIN,
)
