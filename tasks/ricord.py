"""COVID-19 on chest CT: MIDRC-RICORD 1A (positive) and 1B (negative); Tsai et al., Radiology 2021.

A case is a series, named as in MedCoSS's lists: ``ID<patient>_date<study>_<series folder>``. Read
are TCIA's folders of DICOM series and NIfTI files of these names. TCIA holds more series than the
330 of papers 000 and 001, reformats and scouts among them; 30 % of the patients are tested here, by
seed. The papers' lists are long and not included; with them, ``Split(test=..., train=...)`` leaves
out what they do not name.

As in paper 001 (Table S1 and section B), a volume is clipped to [-1024, 325] HU and resized to
64x192x192, which the network sees whole.
"""

from __future__ import annotations

from pathlib import Path

from medssl_bench.data.folders import match
from medssl_bench.data.reading import NIFTI, FileSource
from medssl_bench.task import Intensity, Preprocessing
from medssl_bench.tasks.classified import Classified, Example, Scan
from medssl_bench.tasks.layout import first_group, stem
from medssl_bench.tasks.release import Tree
from medssl_bench.tasks.split import Stratified

COLLECTIONS = {"MIDRC-RICORD-1B": 0, "MIDRC-RICORD-1A": 1}


class Ricord(Classified):
    """Series in folders or files below the folder of each collection."""

    def scans(self, base: Path, tree: Tree, closed: list[Path]) -> list[Scan]:
        """List the series of both collections."""
        found = []
        for collection, class_id in COLLECTIONS.items():
            for name, path in series(base, collection, tree.name, closed):
                patient = first_group(self.patient, name)
                found.append(Scan(name, {"image": FileSource(path)}, patient, class_id))
        return found

    def holds(self, base: Path, tree: Tree, closed: list[Path]) -> bool:
        """Tell whether either collection has a series in this layout."""
        return any([series(base, collection, tree.name, closed) for collection in COLLECTIONS])


def series(base: Path, collection: str, tree: str, closed: list[Path]) -> list[tuple[str, Path]]:
    """Return list name and path of a collection's series, as NIfTI files or as DICOM folders.

    What may not be read goes to ``closed``.
    """
    if tree == "NIfTI":
        paths = match(base, f"**/{collection}/ID*", closed)
        return [(stem(path.name), path) for path in paths if path.name.endswith(NIFTI)]
    found = []
    for path in match(base, f"**/{collection}/{collection}-*/*/*", closed):
        if match(path, "*.dcm", closed):
            patient, study = path.parts[-3], path.parts[-2]
            number = patient.removeprefix(f"{collection}-")
            name = f"ID{number}_date{study[:10]}_{path.name.replace(' ', '-')}"
            found.append((name, path))
    return found


_SERIES = (
    ("1A", "419639-000082", "08-02-2002-NA-CT CHEST WITHOUT CONTRAST-04614",
     "3.000000-0.625mm bone alg-26970"),
    ("1A", "419639-000082", "08-02-2002-NA-CT CHEST WITHOUT CONTRAST-04614",
     "4.000000-CORONAL-94217"),
    ("1A", "660042-000149", "10-19-2004-NA-CT CHEST-36469", "3.000000-NA-36469"),
    ("1A", "660042-000073", "06-24-2005-NA-CT CHEST-17177", "4.000000-NA-17177"),
    ("1B", "419639-000310", "11-02-2003-NA-CT CHEST-50001", "2.000000-LUNG-50002"),
    ("1B", "660042-000301", "01-12-2004-NA-CT CHEST-50003", "3.000000-NA-50004"),
    ("1B", "SITE2-000302", "05-30-2004-NA-CT CHEST-50005", "3.000000-NA-50006"),
)  # fmt: skip

RICORD = Ricord(
    name="ricord",
    summary="COVID-19 (MIDRC-RICORD 1A against 1B) on chest CT; 30 % of patients tested",
    modality="CT",
    classes={0: "negative", 1: "positive"},
    trees=(
        Tree(
            name="TCIA",
            images={"image": "**/MIDRC-RICORD-1*/MIDRC-RICORD-1*-*/*/*/*.dcm"},
            shown=(
                "MIDRC-RICORD-1A/MIDRC-RICORD-1A-419639-000082/<study>/<series>/1-001.dcm ...\n"
                "MIDRC-RICORD-1B/MIDRC-RICORD-1B-.../<study>/<series>/1-001.dcm ..."
            ),
        ),
        Tree(
            name="NIfTI",
            images={"image": "**/MIDRC-RICORD-1*/ID*.nii*"},
            shown=(
                "RICORD_nii/MIDRC-RICORD-1A/ID419639-000906_date10-23-2002_3.000000-0.625mm-bone-"
                "alg-94216.nii.gz\nRICORD_nii/MIDRC-RICORD-1B/ID..."
            ),
        ),
    ),
    patient=r"^ID([^_]+)_date",
    split=Stratified(test=3, of=10),
    preprocessing=Preprocessing(
        spacing=None,
        shape=(192, 192, 64),
        intensity=Intensity(rule="clip", low=-1024.0, high=325.0),
    ),
    crop=(192, 192, 64),
    examples={
        "TCIA": tuple(
            Example(
                path=f"MIDRC-RICORD-{part}/MIDRC-RICORD-{part}-{patient}/{study}/{name}",
                shows=int(part == "1A"),
                codes="LPS",
                dicom=True,
            )
            for part, patient, study, name in _SERIES
        ),
        "NIfTI": tuple(
            Example(
                path=f"RICORD_nii/MIDRC-RICORD-{part}/ID{patient}_date{study[:10]}_"
                f"{name.replace(' ', '-')}.nii.gz",
                shows=int(part == "1A"),
                codes="LPS",
            )
            for part, patient, study, name in _SERIES
        ),
    },
    licence="CC BY-NC 4.0",
    access="TCIA collections MIDRC-RICORD-1A and MIDRC-RICORD-1B",
)
