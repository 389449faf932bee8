"""Mild cognitive impairment against normal controls on T1-weighted MR of the head: ADNI.

The collection's CSV is joined by ``Image Data ID`` to the last folder of a download. Each subject
has one scan, the latest by the folder's date, with the group of that image: CN is normal; MCI, EMCI
and LMCI are the positive class; subjects of other groups are left out. Paper 003 has 1,348 subjects
without a list.
"""

from __future__ import annotations

import re
from pathlib import Path

from medssl_bench.data.faulty import CLOSED, FaultySource
from medssl_bench.data.folders import match, names_in
from medssl_bench.data.reading import EXTENSIONS, FileSource
from medssl_bench.data.volume import Source
from medssl_bench.errors import DataError
from medssl_bench.tasks.class_table import meaning_of, read_table
from medssl_bench.tasks.classified import BRAIN, Classified, Example, Scan
from medssl_bench.tasks.release import Tree

IMAGE, SUBJECT, GROUP = "Image Data ID", "Subject", "Group"
MEANING: dict[str, int | None] = {
    "CN": 0,
    **dict.fromkeys(("MCI", "EMCI", "LMCI"), 1),
    **dict.fromkeys(("AD", "SMC", "Patient", "")),
}


class Adni(Classified):
    """Scans in ``<subject>/<processing>/<date>/<image id>/``, NIfTI or DICOM."""

    def scans(self, base: Path, tree: Tree, closed: list[Path]) -> list[Scan]:
        """Return the latest scan of every subject, where its group is asked for."""
        path, groups = self._groups(base)
        latest: dict[str, tuple[str, str, Path]] = {}
        for folder in _image_folders(base, closed):
            if folder in closed:
                continue
            subject, date, image = folder.parts[-4], folder.parts[-2], folder.name
            latest[subject] = max(latest.get(subject, ("", "", folder)), (date, image, folder))
        found = []
        for subject, (_, image, folder) in sorted(latest.items()):
            owner, group = groups.get(image, ("", ""))
            class_id: int | FaultySource | None
            if image not in groups:
                message = f"column {IMAGE!r} has no row for {image}, which is there: {folder}"
                class_id = FaultySource(path, message)
            elif owner != subject:
                message = f"{image} is of {SUBJECT} {owner!r}, but lies in {folder}"
                class_id = FaultySource(path, message)
            else:
                class_id = meaning_of(path, GROUP, group, MEANING, image)
            if isinstance(class_id, FaultySource):
                found.append(Scan(subject, {"image": class_id}, subject, None))
            elif class_id is not None:
                found.append(Scan(subject, {"image": _volume(folder)}, subject, class_id))
        return found

    def holds(self, base: Path, tree: Tree, closed: list[Path]) -> bool:
        """Tell whether there is a folder of an image."""
        return bool(_image_folders(base, closed))

    def _groups(self, base: Path) -> tuple[Path, dict[str, tuple[str, str]]]:
        """Return the collection's CSV, and image id -> (subject, group)."""
        tables = match(base, "**/*.csv", [])  # the scans' listing says what may not be read
        for path in tables:
            with path.open(encoding="utf-8", errors="replace") as stream:
                if IMAGE not in stream.readline():
                    continue
            table = read_table(self.name, path, (IMAGE, SUBJECT, GROUP))
            rows = zip(table[IMAGE], table[SUBJECT], table[GROUP], strict=True)
            return path, {f"I{image.lstrip('I')}": (owner, group) for image, owner, group in rows}
        raise DataError(
            f"{self.name}: no CSV with a column {IMAGE!r} in {base}; download the collection's CSV"
            " and put it there"
        )


def _image_folders(base: Path, closed: list[Path]) -> list[Path]:
    return [
        path
        for path in match(base, "**/*_S_*/*/*/I*", closed)
        if path.is_dir()
        and re.fullmatch(r"I[0-9]+", path.name)
        and re.fullmatch(r"[0-9]{3}_S_[0-9]+", path.parts[-4])
    ]


def _volume(folder: Path) -> Source:
    """Return the one volume in a folder: a file, or the folder itself where it holds DICOM."""
    try:
        files = [name for name in names_in(folder) if name.lower().endswith(EXTENSIONS)]
    except DataError:
        return FaultySource(folder, CLOSED)
    if len(files) > 1:
        return FaultySource(folder, f"it holds {len(files)} volumes, one is expected")
    return FileSource(folder / files[0] if files else folder)


def _place(subject: str, date: str, image: str) -> str:
    name = f"ADNI_{subject}_MR_MPR__GradWarp__B1_Correction__N3__Scaled_Br_{date[:4]}_{image}.nii"
    return f"ADNI/{subject}/MPR__GradWarp__B1_Correction__N3__Scaled/{date}/{image}/{name}"


_VISITS = (
    ("002_S_0295", "2006-04-18_08_20_30.0", "I13722", "CN"),
    ("002_S_0295", "2011-06-02_07_56_36.0", "I240811", "CN"),
    ("002_S_0413", "2006-05-02_12_31_52.0", "I14436", "CN"),
    ("002_S_0559", "2006-06-27_18_28_33.0", "I40674", "CN"),
    ("002_S_0729", "2006-08-02_07_02_23.0", "I48617", "MCI"),
    ("002_S_1155", "2006-12-14_16_50_24.0", "I54181", "LMCI"),
    ("003_S_2374", "2011-06-13_11_40_28.0", "I240400", "EMCI"),
    ("002_S_0816", "2006-08-30_11_23_17.0", "I49671", "AD"),
)

ADNI = Adni(
    name="adni",
    summary="Mild cognitive impairment (ADNI) on T1-weighted MR of the head; 30 % tested",
    classes={0: "NC", 1: "MCI"},
    trees=(
        Tree(
            name="LONI",
            images={"image": "**/*_S_*/*/*/I*"},
            shown=(
                "ADNI/002_S_0295/MPR__GradWarp__B1_Correction__N3__Scaled/2006-11-02_08_16_44.0/"
                "I40966/\n  ADNI_002_S_0295_MR_..._I40966.nii   (or .dcm files)\n"
                "<collection>.csv   (anywhere; Image Data ID, Subject, Group)"
            ),
        ),
    ),
    examples={
        "LONI": tuple(
            Example(path=_place(*visit), shows=int(group.endswith("MCI")), codes="PIL")
            for *visit, group in _VISITS
        )
    },
    # A subject with two visits, one with Alzheimer's disease, and an image that is not there.
    tables={
        "collection_7_01_2024.csv": '"Image Data ID","Subject","Group","Sex","Age","Visit"\n'
        + "".join(
            f'"{image}","{subject}","{group}","F","74","1"\n'
            for subject, _, image, group in (*_VISITS, ("941_S_1311", "", "I97327", "MCI"))
        )
    },
    licence="ADNI data use agreement",
    access="https://ida.loni.usc.edu (application)",
    **BRAIN,
)
