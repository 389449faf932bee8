"""What audits say of plans and records: content tells volumes, whatever corpora are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from medssl_bench.audit.comparison import audit, fingerprint_cases
from medssl_bench.audit.exposure import audited_later, exposure, read_verdicts
from medssl_bench.audit.verdicts import add_to_verdict
from medssl_bench.data.digest_index import INDEX
from medssl_bench.data.reading import FileSource
from medssl_bench.planned_data import corpus_digest, data_digest
from medssl_bench.progress import Event
from medssl_bench.task import Case, Corpus, Preprocessing, Task


class Few(Corpus):
    """A corpus of the volumes it is given."""

    files: tuple[Path, ...]

    def cases(self, root: Path | None) -> list[Case]:
        """List each file by its name."""
        return [Case(file.stem, {"CT": FileSource(file)}) for file in self.files]


def corpus(name: str, *files: Path) -> Few:
    return Few(name=name, preprocessing={"CT": Preprocessing()}, files=files)


@pytest.fixture
def scans(tmp_path: Path) -> dict[str, Path]:
    INDEX.use(tmp_path)
    random, found = np.random.default_rng(0), {}
    for name in ("tested", "trained", "other"):
        array = 1000 * ndimage.gaussian_filter(random.normal(size=(40, 40, 40)), 2)
        found[name] = tmp_path / f"{name}.nii"
        nib.save(nib.Nifti1Image(array.astype(np.float32), np.eye(4)), found[name])
    return found


def labelled(scans: dict[str, Path]) -> list[Case]:
    return [
        Case("case_1", {"image": FileSource(scans["tested"])}, pool="test"),
        Case("case_2", {"image": FileSource(scans["trained"])}),
    ]


def look(root: Path, cases: list[Case], looked: Few, **tables: Any) -> None:
    def emit(event: Event) -> None:
        pass

    volumes = looked.cases(None)
    sides = {looked.name: fingerprint_cases(volumes, root, "fingerprint", emit)}
    digests = {looked.name: corpus_digest(looked, volumes)}
    found = audit("mine", cases, sides, tables, digests, root, emit)
    add_to_verdict(root, found.verdict)


def record(cases: list[Case], trained_on: Few, **leaks: Any) -> dict[str, Any]:
    return {
        "leaks": {"checked": False, "found": [], "evidence": [], **leaks},
        "digests": {"corpus": corpus_digest(trained_on, trained_on.cases(None))},
        "settings": {"data_digest": data_digest(cases)},
        "corpus": trained_on.name,
    }


def test_a_volume_that_two_corpora_have_stays_a_leak_of_both(tmp_path, scans) -> None:
    cases = labelled(scans)
    one = corpus("one", scans["tested"])
    two = corpus("two", scans["tested"], scans["other"])
    for looked in (one, two):
        look(tmp_path, cases, looked)
    for trained_on in (one, two):
        leaks = audited_later(read_verdicts(tmp_path), record(cases, trained_on))
        assert (leaks["checked"], leaks["found"]) == (True, ["case_1"])
        word = f"test case case_1 is tested of {trained_on.name}: the same content"
        assert leaks["evidence"] == [word]
        task = Task(name="mine", classes={1: "organ"})
        planned = exposure(tmp_path, task, cases, trained_on, trained_on.cases(None))
        assert [*map(str, planned.leaks)] == [word]


def test_another_corpus_of_the_same_name_lends_no_leak(tmp_path, scans) -> None:
    cases = labelled(scans)
    look(tmp_path, cases, corpus("ct", scans["tested"]))
    clean = corpus("ct", scans["other"])
    look(tmp_path, cases, clean)
    leaks = audited_later(read_verdicts(tmp_path), record(cases, clean))
    assert leaks == {"checked": True, "found": [], "evidence": []}


def test_what_a_later_audit_finds_is_added_to_a_checked_record(tmp_path, scans) -> None:
    cases, looked = labelled(scans), corpus("ct", scans["other"])
    look(tmp_path, cases, looked)
    checked = record(cases, looked, checked=True)
    assert audited_later(read_verdicts(tmp_path), checked)["found"] == []
    table = tmp_path / "mapping.csv"
    named = [Case("scan_9", cases[0].images, pool="test"), cases[1]]
    table.write_text("a,b\nscan_9,other_1\n")
    renamed = corpus("ct", scans["other"].rename(tmp_path / "other_1.nii"))
    look(tmp_path, named, renamed)
    checked = record(named, renamed, checked=True)
    look(tmp_path, named, renamed, ct=[table])
    assert audited_later(read_verdicts(tmp_path), checked)["found"] == ["scan_9"]
    look(tmp_path, named, renamed)  # without the table: what was known is not forgotten
    assert audited_later(read_verdicts(tmp_path), checked)["found"] == ["scan_9"]


def test_test_cases_of_equal_content_are_all_found(tmp_path, scans) -> None:
    first, trained = labelled(scans)
    cases = [first, Case("case_3", first.images, pool="test"), trained]
    looked = corpus("ct", scans["tested"])
    look(tmp_path, cases, looked)
    leaks = audited_later(read_verdicts(tmp_path), record(cases, looked))
    assert leaks["found"] == ["case_1", "case_3"]


@pytest.mark.parametrize("thin", ["tested", "other"])
def test_what_cannot_be_told_is_not_checked(tmp_path, scans, thin) -> None:
    """A slab of 24 x 24 x 6 mm has no landmark, in whichever of the two sets it is."""
    slab = 1000 * np.random.default_rng(1).normal(size=(24, 24, 6)).astype(np.float32)
    nib.save(nib.Nifti1Image(slab, np.eye(4)), scans[thin])
    cases, looked = labelled(scans), corpus("ct", scans["other"])
    look(tmp_path, cases, looked)
    assert not audited_later(read_verdicts(tmp_path), record(cases, looked))["checked"]
    task = Task(name="mine", classes={1: "organ"})
    assert not exposure(tmp_path, task, cases, looked, looked.cases(None)).checked
