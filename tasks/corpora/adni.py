"""ADNI: T1-weighted brains, every scan; the corpus of papers 000 and 001 has 3,789 of ADNI-1/2/GO.

Scans are told by the folders of a download: ``<subject>/<series>/<date>/I<image>``, as NIfTI or as
DICOM. Which ones are there is what was downloaded; two images of a subject are two cases of one
patient. Clipped to the 0.2nd to 99.8th percentile as there, of the whole scan, on a 1 mm grid.
"""

from __future__ import annotations

import re
from pathlib import Path

from medssl_bench.data.faulty import CLOSED, FaultySource, closed_cases
from medssl_bench.data.reading import FileSource, find_volumes
from medssl_bench.data.volume import Source
from medssl_bench.errors import DataError
from medssl_bench.task import Case, Corpus, Intensity, Preprocessing

PLACE = re.compile(r"(?P<subject>[0-9]{3}_S_[0-9]{4,5})/(?:[^/]+/)*I(?P<image>[0-9]+)(?:/[^/]+)?$")


class AdniCorpus(Corpus):
    """Scans below the folders of ADNI's downloads."""

    def cases(self, root: Path | None) -> list[Case]:
        """List every scan, by subject and image id.

        An image id that has two scans is faulty.

        Raises:
            DataError: No scan is there.
        """
        if root is None:
            raise DataError(
                f"{self.name}: no data folder given; use --data DIR or BENCH_DATA, with what is"
                f" had from {self.access}; see `bench data status corpus:{self.name}`"
            )
        closed: list[Path] = []
        found: dict[str, Case] = {}
        for path in find_volumes(root, closed):
            place = PLACE.search(path.as_posix())
            if place is None:
                continue
            name = f"{place['subject']}_I{place['image']}"
            source: Source = FileSource(path)
            if name in found:
                message = f"{found[name].images['T1']} is the same image; remove one of them"
                source = FaultySource(path, message)
            found[name] = Case(name, {"T1": source}, None, place["subject"])
        if not found and closed:
            raise DataError(f"{self.name}: {closed[0]}: {CLOSED}")
        if not found:
            raise DataError(
                f"{self.name}: no scans in {root}; expected {self.tree()} there, from"
                f" {self.access}; see `bench data status corpus:{self.name}`"
            )
        return [*found.values(), *closed_cases(root, closed, ("T1",))]

    def tree(self) -> str:
        """Return the layout of a download."""
        return "ADNI/002_S_0295/<series>/2006-11-02_08_16_44.0/I40966/*.nii (or *.dcm)"

    def write_samples(self, out: Path, tree: str | None = None) -> list[Path]:
        """Write four scans of three subjects."""
        from medssl_bench.data.synthetic import draw_bodies, save_volume, stored_affine

        del tree
        files = []
        for subject, image in (
            ("002_S_0295", "40966"),
            ("002_S_0295", "45108"),
            ("002_S_0413", "45117"),
            ("005_S_0222", "22301"),
        ):
            series = "MPR__GradWarp__B1_Correction__N3__Scaled"
            folder = out / "ADNI" / subject / series / f"2006-11-0{image[0]}_08_16_44.0"
            file = folder / f"I{image}" / f"ADNI_{subject}_MR_{series}_Br_S21856_I{image}.nii"
            drawn, _ = draw_bodies((self.name, image), ["T1"], ct=False)
            files.append(save_volume(file, drawn["T1"], stored_affine("PSR")))
        return files


ADNI = AdniCorpus(
    name="adni",
    summary="T1-weighted brains of ADNI, every scan that was downloaded",
    preprocessing={
        "T1": Preprocessing(
            spacing=(1.0, 1.0, 1.0), intensity=Intensity(rule="percentile", low=0.2, high=99.8)
        )
    },
    licence="ADNI's data use agreement",
    access="https://adni.loni.usc.edu (application)",
)
