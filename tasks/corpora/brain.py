"""Brains on several MR contrasts, the corpora of paper 003 (BrainMVP): BraTS, UCSF-PDGM and IXI.

A case has all contrasts of one exam, on one grid; a method of one channel meets one of them in a
step. Working grid 1 mm, each contrast from its 1st to its 99th percentile, as paper 003 states for
pretraining. Contrasts have the same names in all of them: T1, T1c, T2, FLAIR and so on.

BraTS 2021 holds cases of earlier editions, and of UCSF-PDGM: 298 of its exams, which the column
``BraTS21 ID`` of UCSF-PDGM's table names. Take one of the two, and none whose cases are tested.

IXI's contrasts lie on grids of their own and are refused as they are; ``ixi:T1`` resamples the
others of a case onto T1's grid. Only the cases with all four are taken, as in paper 003.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from medssl_bench.data.folders import match
from medssl_bench.errors import DataError
from medssl_bench.task import Case, Intensity, Preprocessing
from medssl_bench.tasks.corpora.published import Part, Published

RULE = Preprocessing(
    spacing=(1.0, 1.0, 1.0), intensity=Intensity(rule="percentile", low=1.0, high=99.0)
)
SUFFIXES_2021 = {"T1": "_t1", "T1c": "_t1ce", "T2": "_t2", "FLAIR": "_flair"}
SUFFIXES_2023 = {"T1": "-t1n", "T1c": "-t1c", "T2": "-t2w", "FLAIR": "-t2f"}

FOLLOW_UPS = {
    "0138": "0429", "0175": "0396", "0181": "0409", "0278": "0431", "0289": "0391", "0315": "0433",
}  # fmt: skip
"""UCSF-PDGM's second exams under the ids of its first versions -> the patient; later versions call
them by the patient's id with ``_FU`` and days behind it."""


def _brats(
    name: str,
    summary: str,
    prefix: str,
    suffixes: dict[str, str],
    count: int,
    samples: str,
    of: str,
) -> Published:
    case = f"{prefix}{{id}}"
    first, *others = suffixes.values()
    example = prefix + samples.split()[0]
    return Published(
        name=name,
        summary=summary,
        preprocessing=dict.fromkeys(suffixes, RULE),
        parts=(
            Part(
                name="Synapse",
                images={m: f"**/{case}/{case}{end}.nii*" for m, end in suffixes.items()},
                case=case,
                shown=f"{example}/{example}{first}.nii.gz ({', '.join(others)})\n...",
                expected=count,
                samples=tuple(samples.split()),
                codes="LPS",
            ),
        ),
        patient=rf"^({prefix}[0-9]+)",
        licence=f"terms of {of}",
        access=f"Synapse, {of} (registration)",
    )


BRATS2021 = _brats(
    "brats2021",
    "Gliomas of BraTS 2021 on four MR contrasts, training and validation cases",
    "BraTS2021_",
    SUFFIXES_2021,
    1251 + 219,
    "00000 00002 00003 00005",
    "BraTS 2021",
)
BRATS2023_SSA = _brats(
    "brats2023_ssa",
    "Gliomas of BraTS 2023 from sub-Saharan Africa on four MR contrasts",
    "BraTS-SSA-",
    SUFFIXES_2023,
    60 + 15,
    "00002-000 00007-000 00008-000 00010-000",
    "BraTS 2023 SSA",
)
BRATS2023_MEN = _brats(
    "brats2023_men",
    "Meningiomas of BraTS 2023 on four MR contrasts",
    "BraTS-MEN-",
    SUFFIXES_2023,
    1000 + 141,
    "00000-000 00002-000 00004-000 00004-001",
    "BraTS 2023 MEN",
)


class UcsfPdgm(Published):
    """UCSF-PDGM, whose table writes ids with three digits and whose folders have four."""

    def cases(self, root: Path | None) -> list[Case]:
        """List the exams; ``info`` says which are in BraTS 2021 where the table is at hand."""
        known = _brats_ids(root) if root is not None else {}
        return [
            replace(case, info={**case.info, "BraTS21 ID": known[case.id]})
            if case.id in known
            else case
            for case in super().cases(root)
        ]

    def patient_of(self, case: str) -> str:
        """Return the patient: six exams are follow-ups, under one of two ids."""
        number = case.removeprefix("UCSF-PDGM-")[:4]
        return f"UCSF-PDGM-{FOLLOW_UPS.get(number, number)}"

    def write_samples(self, out: Path, tree: str | None = None) -> list[Path]:
        """Write the exams with their table, whose ids have three digits, and a file of no use."""
        from medssl_bench.data.synthetic import make_way

        files = super().write_samples(out, tree)
        twin = out / "UCSF-PDGM-0004_nifti" / "UCSF-PDGM-0004_T1_bias.nii.gz"
        twin.write_bytes(files[0].read_bytes())
        table = out / "UCSF-PDGM-metadata_v2.csv"
        make_way(table)
        ids = [number.lstrip("0").zfill(3) for number in self.parts[0].samples]
        rows = [f"UCSF-PDGM-{number},{'' if place else 'BraTS2021_00097'}"
                for place, number in enumerate(ids)]  # fmt: skip
        table.write_text("\n".join(["ID,BraTS21 ID", *rows]) + "\n", "utf-8")
        return [*files, twin, table]

    def sample_path(self, part: Part, modality: str, number: str) -> str:
        """Return where a sample lies; its files are called by the patient's id alone."""
        short = number.partition("_")[0]
        return f"UCSF-PDGM-{number}_nifti/UCSF-PDGM-{short}_{modality}.nii.gz"


def _brats_ids(root: Path) -> dict[str, str]:
    """Return case -> id in BraTS 2021, from the table of the release (ids of three digits)."""
    found = {}
    for table in match(root, "**/UCSF-PDGM-metadata*.csv", []):
        try:
            rows = list(csv.DictReader(table.read_text("utf-8-sig").splitlines()))
            for row in (row for row in rows if (row["BraTS21 ID"] or "").strip()):
                number, *visit = row["ID"].removeprefix("UCSF-PDGM-").split("_")
                case = "_".join([f"UCSF-PDGM-{int(number):04d}", *visit])
                found[case] = row["BraTS21 ID"].strip()
        except (OSError, ValueError, KeyError, csv.Error) as error:
            raise DataError(
                f"{table}: expected the columns ID and BraTS21 ID ({error!r}); fetch it again"
            ) from error
    return found


_UCSF = ("T1", "T1c", "T2", "FLAIR", "DWI", "ADC")

UCSF_PDGM = UcsfPdgm(
    name="ucsf_pdgm",
    summary="Diffuse gliomas of UCSF-PDGM on six MR contrasts; 501 exams of 495 patients",
    preprocessing=dict.fromkeys(_UCSF, RULE),
    parts=(
        Part(
            name="TCIA",
            images={name: f"**/UCSF-PDGM-{{id}}_nifti/UCSF-PDGM-*_{name}.nii.gz" for name in _UCSF},
            ids="[0-9]{4}(_FU[0-9]+d)?",
            case="UCSF-PDGM-{id}",
            shown=(
                "UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_T1.nii.gz (T1c, T2, FLAIR, DWI, ADC)\n"
                "...   (files that end in _bias are not used)"
            ),
            expected=501,
            samples=("0004", "0005", "0433", "0433_FU007d"),
            codes="LPS",
        ),
    ),
    folders=("UCSF-PDGM", "UCSF-PDGM-v3", "UCSF-PDGM-v5"),
    licence="terms of the collection on TCIA",
    access="TCIA collection UCSF-PDGM (NIfTI through Aspera)",
)


class Ixi(Published):
    """IXI, whose contrasts are not on one grid."""

    def write_samples(self, out: Path, tree: str | None = None) -> list[Path]:
        """Write T1 on one grid, the others on another, and a case that has no MRA."""
        from medssl_bench.data.synthetic import draw_bodies, save_apart, save_volume, stored_affine

        (part,) = self.parts
        files = []
        for number in part.samples:
            images, _ = draw_bodies((self.name, number), [*part.images], ct=False)
            for modality, image in images.items():
                path = out / self.sample_path(part, modality, number)
                if modality == "T1":
                    files.append(save_volume(path, image, stored_affine(part.codes)))
                elif not (modality == "MRA" and number == part.samples[-1]):
                    files.append(save_apart(path, image))
        return files


IXI = Ixi(
    name="ixi",
    summary="Healthy brains of IXI on T1, T2, PD and MRA; `ixi:T1` to resample onto T1's grid",
    preprocessing=dict.fromkeys(("T1", "T2", "PD", "MRA"), RULE),
    parts=(
        Part(
            name="IXI",
            images={name: f"**/IXI{{id}}-{name}.nii*" for name in ("T1", "T2", "PD", "MRA")},
            ids="[0-9]{3}-[A-Za-z]+-[0-9]+",
            case="IXI{id}",
            shown="IXI002-Guys-0828-T1.nii.gz (T2, PD, MRA; one folder, or one for each)\n...",
            expected=568,
            samples=(
                "002-Guys-0828", "012-HH-1211", "013-HH-1212", "014-HH-1236", "015-HH-1258",
            ),
            codes="PSR",
        ),
    ),
    patient="^IXI[0-9]+",
    only_complete=True,
    licence="CC BY-SA 3.0",
    access="https://brain-development.org/ixi-dataset (IXI-T1.tar, -T2, -PD, -MRA)",
)  # fmt: skip
