"""Datasets of classified volumes: from a tree in the official layout to measured probabilities."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from medssl_bench.api import load_results, run
from medssl_bench.data.orientation import to_ras
from medssl_bench.data.synthetic import stored_affine
from medssl_bench.data.synthetic_scans import draw_scan, synthesise_scans
from medssl_bench.draws import check_split
from medssl_bench.errors import BenchError, DataError
from medssl_bench.nnunet_dataset import export_nnunet
from medssl_bench.plan_checks import check_probed
from medssl_bench.task import Preprocessing, Task
from medssl_bench.tasks import TASKS, load_task, phantom_fluid
from medssl_bench.tasks.classified import Classified
from medssl_bench.tasks.ricord import RICORD
from medssl_bench.tasks.split import Split, Stratified
from medssl_bench.verification import verify

CLASSIFIED = [name for name in sorted(TASKS) if isinstance(load_task(name), Classified)]

FOUND = {
    "abide1": {"0050002": "autism", "0050003": "autism", "0050952": "autism",
               "0050030": "control", "0050031": "control", "0051036": "control"},
    "adhd200": {"0010001": "adhd", "0010002": "adhd", "1019436": "adhd", "0010003": "control",
                "1018959": "control", "1038415": "control", "1050345": "control"},
    "adni": {"002_S_0295": "NC", "002_S_0413": "NC", "002_S_0559": "NC", "002_S_0729": "MCI",
             "002_S_1155": "MCI", "003_S_2374": "MCI"},
    "brats2018_cls": {"Brats18_2013_2_1": "HGG", "Brats18_2013_3_1": "HGG",
                      "Brats18_CBICA_AAB_1": "HGG", "Brats18_TCIA01_131_1": "HGG",
                      "Brats18_2013_0_1": "LGG", "Brats18_TCIA09_141_1": "LGG",
                      "Brats18_TCIA10_103_1": "LGG"},
    "ricord": {"ID419639-000082_date08-02-2002_3.000000-0.625mm-bone-alg-26970": "positive",
               "ID419639-000082_date08-02-2002_4.000000-CORONAL-94217": "positive",
               "ID660042-000149_date10-19-2004_3.000000-NA-36469": "positive",
               "ID660042-000073_date06-24-2005_4.000000-NA-17177": "positive",
               "ID419639-000310_date11-02-2003_2.000000-LUNG-50002": "negative",
               "ID660042-000301_date01-12-2004_3.000000-NA-50004": "negative",
               "IDSITE2-000302_date05-30-2004_3.000000-NA-50006": "negative"},
}  # fmt: skip
"""By hand from what is written: ids padded, DX_GROUP 1 autism, pending and AD left out."""


def classified(name: str) -> Classified:
    task = load_task(name)
    assert isinstance(task, Classified)
    return task


@pytest.mark.parametrize(
    ("name", "tree"), [(name, tree.name) for name in CLASSIFIED for tree in classified(name).trees]
)
def test_cases_have_the_classes_written_down(name: str, tree: str, tmp_path: Path) -> None:
    task = classified(name)
    synthesise_scans(task, tmp_path, tree)
    cases = task.cases(tmp_path)
    assert {case.id: task.classes[case.class_id] for case in cases} == FOUND[name]
    assert not any(case.label for case in cases)
    check_split(cases, name)
    for pool in ("train", "test"):
        assert {case.class_id for case in cases if case.pool == pool} == {0, 1}


@pytest.mark.parametrize(
    ("name", "tree"), [(name, tree.name) for name in CLASSIFIED for tree in classified(name).trees]
)
def test_what_is_read_is_what_was_drawn(name: str, tree: str, tmp_path: Path) -> None:
    task = classified(name)
    synthesise_scans(task, tmp_path, tree)
    files = {
        source.path: (channel, source, case.class_id)
        for case in task.cases(tmp_path)
        for channel, source in case.images.items()
    }
    compared = 0
    for example in task.examples[tree]:
        for channel, array in draw_scan(task, example).items():
            path = tmp_path / example.path.replace("{channel}", channel)
            channel_read, source, class_id = files.get(path, (None, None, None))
            if source is None:  # an earlier visit, or a class that is not asked for
                continue
            assert (channel_read, class_id) == (channel, example.shows)
            read = to_ras(source.read())
            np.testing.assert_array_equal(read.array, array)
            np.testing.assert_allclose(read.affine, stored_affine("RAS"), atol=1e-3)
            compared += 1
    assert compared == len(FOUND[name]) * len(task.channels)


def test_a_subject_has_its_latest_scan(tmp_path: Path) -> None:
    task = classified("adni")
    synthesise_scans(task, tmp_path)
    (case,) = (case for case in task.cases(tmp_path) if case.id == "002_S_0295")
    assert case.images["image"].path.parent.name == "I240811"


@pytest.mark.parametrize("name", ["brats2018_cls"])
def test_a_dataset_goes_all_the_way(name: str, tmp_path: Path) -> None:
    """Verified, prepared on one grid, two steps from scratch and pretrained, every case scored."""
    task = classified(name)
    synthesise_scans(task, tmp_path / "data")
    stock, findings = verify(task, {"": tmp_path / "data"}, lambda event: None)
    assert stock.state == "found" and findings == []
    changes = ["finetune.steps=2", "finetune.batch=1", "pretrain.steps=1", "pretrain.batch=2"]
    done = run(
        "scratch,simmim",
        name,
        "2",
        profile="demo",
        corpus_size=2,
        data=tmp_path / "data",
        results=tmp_path / "results",
        assignments=[*changes, "tracking=false", "similarity=false"],
        emit=lambda event: None,
    )
    assert done.ok
    cases = load_results(tmp_path / "results")
    tested = {case.id for case in stock.cases if case.pool == "test"}
    assert {*cases["case"]} == tested and {*cases["method"]} == {"scratch", "simmim"}
    assert {case: true for case, true in zip(cases["case"], cases["true"], strict=True)} == {
        case: name_ for case, name_ in FOUND[name].items() if case in tested
    }
    sums = cases.groupby(["method", "case"])["probability"].sum()
    np.testing.assert_allclose(sums, 1, atol=1e-9)
    records = [json.loads(p.read_bytes()) for p in (tmp_path / "results").rglob("record.json")]
    assert len({record["cell"]["protocol"] for record in records}) == 1
    for record in records:
        assert record["settings"]["finetune"]["channels"] == "repeat"
        assert record["metrics"]["all"]["n"] == len(tested)
        assert len({FOUND[name][case] for case in record["draw"]["cases"]}) == 2  # one of each
        assert "binary" in record["definitions"]["auc"] and "dice" not in record["definitions"]
    grids = {tuple(json.loads(p.read_bytes())["shape"]) for p in (tmp_path).rglob("meta.json")}
    assert task.preprocessing.shape in grids


def test_generated_cases_are_classified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phantom_fluid, "TRAIN", 4)
    monkeypatch.setattr(phantom_fluid, "TEST", 2)
    done = run(
        "scratch",
        "phantom_fluid",
        "2",
        profile="demo",
        select="validation",
        results=tmp_path,
        assignments=["finetune.steps=2", "finetune.validation_every=1", "tracking=false"],
        emit=lambda event: None,
    )
    assert done.ok
    (path,) = tmp_path.rglob("record.json")
    record = json.loads(path.read_bytes())
    assert record["draw"]["labelled_total"] == 4  # two to train, two to choose by
    assert record["metrics"]["healthy"]["n"] == record["metrics"]["ascites"]["n"] == 1


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "said"),
    [
        ("adhd200", "phenotypics.tsv", "\tDX\t", "\tDx code\t", r"no column 'DX'.*It has ScanDir"),
        ("adhd200", "phenotypics.tsv", "1018959\t", "1018958\t",
         r"phenotypics.tsv: column 'ScanDir ID' has no row for case 1018959"),
        ("adhd200", "phenotypics.tsv", "\t2\t1\n", "\t7\t1\n",
         r"column 'DX' says '7' of case 1019436"),
        ("abide1", "0b.csv", "DX_GROUP", "DX", r"no column 'DX_GROUP'"),
        ("abide1", "0b.csv", "NYU,51037,2", "NYU,50002,2",
         r"case 0050002 has two values of DX_GROUP, 1 and 2"),
        ("adni", "2024.csv", '"Group"', '"Research group"', r"no column 'Group'"),
        ("adni", "2024.csv", '"I14436"', '"I14437"', r"'Image Data ID' has no row for I14436"),
        ("adni", "2024.csv", '"I14436","002_S_0413"', '"I14436","002_S_0414"',
         r"I14436 is of Subject '002_S_0414', but lies in"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_one_clear_line(
    faults, name: str, file: str, old: str, new: str, said: str, tmp_path: Path
) -> None:
    task = classified(name)
    (path,) = (p for p in synthesise_scans(task, tmp_path) if p.name.endswith(file))
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    (told,) = faults(task, tmp_path)
    assert re.search(said, told) and str(path) in told and "\n" not in told


def test_what_is_missing_is_named(faults, tmp_path: Path) -> None:
    for name in CLASSIFIED:
        with pytest.raises(DataError, match=f"^{name}: no cases in .* from "):
            classified(name).cases(tmp_path)
    task = classified("abide1")
    (table,) = (path for path in synthesise_scans(task, tmp_path) if path.suffix == ".csv")
    table.unlink()
    with pytest.raises(DataError, match="says the classes; put it there"):
        task.cases(tmp_path)
    grades = classified("brats2018_cls")
    synthesise_scans(grades, tmp_path / "grades")
    next((tmp_path / "grades").rglob("*CBICA_AAB_1_flair*")).unlink()
    (told,) = faults(grades, tmp_path / "grades")
    assert told.startswith("Brats18_CBICA_AAB_1: ") and "there is no flair; unpack it" in told


def test_a_case_of_two_classes_is_refused(faults, tmp_path: Path) -> None:
    task = classified("brats2018_cls")
    synthesise_scans(task, tmp_path)
    high = next(tmp_path.rglob("HGG")) / "Brats18_2013_2_1"
    high.rename(high.parents[1] / "LGG" / high.name)
    assert task.cases(tmp_path)
    copy = high.parents[1] / "HGG" / "Brats18_2013_0_1"
    copy.mkdir()
    for path in (high.parents[1] / "LGG" / "Brats18_2013_0_1").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (told,) = faults(task, tmp_path)
    assert re.search("LGG.*HGG.* is Brats18_2013_0_1 too; remove one", told)


def test_splits_are_stratified_by_class_and_made_by_patient() -> None:
    classes = {f"case_{n}": int(n % 10 == 0) for n in range(200)}
    patients = {case: f"p{case}" for case in classes}
    pools = Stratified(test=3, of=10).pools_of(patients, classes)
    tested = [case for case, pool in pools.items() if pool == "test"]
    assert [sum(classes[case] == k for case in tested) for k in (0, 1)] == [54, 6]
    pairs = {f"case_{n}": f"p{n // 2}" for n in range(200)}
    pools = Stratified(test=3, of=10).pools_of(pairs, dict.fromkeys(pairs, 0))
    assert all(pools[f"case_{n}"] == pools[f"case_{n + 1}"] for n in range(0, 200, 2))


def test_a_published_split_is_given_as_lists(tmp_path: Path) -> None:
    synthesise_scans(RICORD, tmp_path, "NIfTI")
    names = [*FOUND["ricord"]]
    listed = Split(test=(names[2],), train=(names[0], names[4]))
    cases = RICORD.model_copy(update={"split": listed}).cases(tmp_path)
    assert {case.id: case.pool for case in cases} == {
        names[0]: "train", names[4]: "train", names[2]: "test",
    }  # fmt: skip


def test_what_needs_label_volumes_refuses(tmp_path: Path) -> None:
    task = classified("abide1")
    with pytest.raises(BenchError, match="abide1 classifies whole volumes; nnU-Net segments"):
        export_nnunet(task, [], tmp_path, 501, "full", 1, lambda event: None)
    with pytest.raises(BenchError, match="abide1 classifies whole volumes and has no labels"):
        check_probed("bench probe", task)


def test_classes_are_numbered_from_0() -> None:
    words = {"name": "x", "kind": "classification"}
    for classes in ({1: "a", 2: "b"}, {0: "a"}, {0: "a", 2: "b"}):
        with pytest.raises(ValueError, match="numbered from 0"):
            Task(classes=classes, **words)
    with pytest.raises(ValueError, match="no remap"):
        Task(classes={0: "a", 1: "b"}, remap={1: 0}, **words)
    with pytest.raises(ValueError, match="not both"):
        Preprocessing(shape=(8, 8, 8))
    assert "shape" not in Preprocessing().model_dump()
