"""Folders and files that may not be read are named, and what else there is is looked at."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medssl_bench.corpus_inventory import take_corpus_stock
from medssl_bench.data.faulty import CLOSED
from medssl_bench.data.synthetic import synthesise
from medssl_bench.inventory import take_stock
from medssl_bench.task import Corpus, Task
from medssl_bench.tasks import load_task
from medssl_bench.tasks.corpora import load_corpus

NOBODY = 65534


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Permissions do not bind the superuser; act as another one where the tests run as that."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder that any user may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def look(owner: Task | Corpus, root: Path) -> tuple[list[str], list[str]]:
    """Return the faults, and the cases that have none."""
    take: Callable = take_stock if isinstance(owner, Task) else take_corpus_stock
    take(owner, {"": root})  # imports what it needs, which another user may not be able to
    with ordinary_user():
        stock = take(owner, {"": root})
    assert not stock.reason
    faults = [str(one) for one in stock.findings if one.level == "error"]
    return faults, [c.id for c in stock.cases if c.id not in {f.case for f in stock.findings}]


@contextmanager
def shut(path: Path, mode: int = 0) -> Iterator[None]:
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


@pytest.mark.parametrize("listing", [True, False])
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_amos(root: Path, listing: bool, mode: int) -> None:
    task = load_task("amos_mri")
    task.write_samples(root)
    if not listing:
        (root / "dataset.json").unlink()
    with shut(root / "imagesTr", mode):
        faults, sound = look(task, root)
    assert faults == [f"imagesTr: {root / 'imagesTr'}: {CLOSED}"]
    assert sound == ["amos_0555", "amos_0556"]


@pytest.mark.parametrize("name", ["isles22", "brats_ped", "kits"])
def test_releases(root: Path, name: str) -> None:
    task = load_task(name)
    synthesise(task, root)
    whole = {case.id for case in task.cases(root)}
    case = sorted(whole)[1]
    folder = min((p for p in root.rglob(f"*{case}*") if p.is_dir()), key=lambda p: len(p.parts))
    with shut(folder):
        faults, sound = look(task, root)
    inside = folder.relative_to(root).as_posix()
    assert faults == [f"{inside}: {folder}: {CLOSED}"]
    assert {*sound} == whole - {case}


@pytest.mark.parametrize("name", ["abide1", "adni", "ricord", "lung_ct"])
def test_classified_and_dicom(root: Path, name: str) -> None:
    task = load_task(name)
    task.write_samples(root)
    whole = task.cases(root)
    case = whole[-1]
    folder = Path(str(case.images["image"])).parent
    with shut(folder):
        faults, sound = look(task, root)
    assert len(faults) == 1 and faults[0].endswith(f": {folder}: {CLOSED}")
    assert {*sound} == {c.id for c in whole} - {case.id}


@pytest.mark.parametrize("name", ["brats2021", "deeplesion", "ct_public", "adni"])
def test_published_corpora(root: Path, name: str) -> None:
    corpus = load_corpus(name)
    corpus.write_samples(root)
    whole = {case.id: case for case in corpus.cases(root)}
    name, case = list(whole.items())[-1]
    source = next(iter(case.images.values()))
    folder = source.path
    folder = folder if folder.is_dir() else folder.parent
    with shut(folder):
        faults, sound = look(corpus, root)
    assert len(faults) == 1 and str(folder) in faults[0]
    assert name not in sound and sound


def test_a_folder_and_a_file_of_a_folder_corpus(root: Path, write) -> None:
    write(root / "CT" / "a.nii.gz")
    write(root / "CT" / "closed" / "b.nii.gz")
    write(root / "CT" / "c.nii.gz")
    with shut(root / "CT/closed"), shut(root / "CT/c.nii.gz"):
        faults, sound = look(load_corpus(f"folder:{root}"), root)
        (root / "corpus.yaml").write_text('exclude: ["**/closed/**"]\n')
        again, _ = look(load_corpus(f"folder:{root}"), root)
    file = f"CT/c: {root / 'CT/c.nii.gz'}: no permission to read it"
    assert sorted(faults) == [file, f"CT/closed: {root / 'CT/closed'}: {CLOSED}"]
    assert sound == ["CT/a"] and again == [file]


def test_a_slice_that_may_not_be_read(root: Path) -> None:
    corpus = load_corpus("ct_public")
    corpus.write_samples(root, "Pancreas-CT")
    file = sorted(root.rglob("PANCREAS_0001/*/*/*"))[3]
    with shut(file):
        faults, _ = look(corpus, root)
    assert len(faults) == 1 and file.name in faults[0] and "no permission" in faults[0]


def test_a_task_of_ones_own(root: Path, write) -> None:
    for number in range(4):
        for kind in ("images", "labels"):
            write(root / f"{kind}/site {number // 2}/{number}.nii.gz")
    (root / "task.yaml").write_text(
        "{name: mine, images: images, labels: labels, split: {test: 1}, classes: [a], modality: MR}"
    )
    with shut(root / "images/site 1"):
        faults, sound = look(load_task(str(root / "task.yaml")), root)
    assert faults == [f"images/site 1: {root / 'images/site 1'}: {CLOSED}"]
    assert sorted(sound) == ["0", "1"]
