"""``--split``: a split is written, taken back, and read from published lists."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from medssl_bench.api import make_plan
from medssl_bench.draws import check_split, split_digest
from medssl_bench.errors import BenchError, DataError
from medssl_bench.record import Split
from medssl_bench.split_file import apply_split, parse_splits, read_split, rule_of
from medssl_bench.task import Case
from medssl_bench.tasks import load_task


def cases(*ids: str, patients: dict[str, str] | None = None) -> list[Case]:
    return [Case(name, {}, patient=(patients or {}).get(name, "")) for name in ids]


def sides(found: tuple[Case, ...]) -> dict[str, str]:
    return {case.id: case.pool for case in found}


def write(folder: Path, **files: str) -> list[Path]:
    paths = []
    for name, text in files.items():
        paths.append(folder / name.replace("__", "."))
        paths[-1].write_text(text)
    return paths


def plan_of(tmp_path: Path, *split: str):
    return make_plan(
        "scratch", "phantom_ct", "5", profile="demo", results=tmp_path / "r", split=split
    )[0]


def test_a_split_written_and_taken_back_is_the_same_cell(tmp_path, monkeypatch, bench_words):
    monkeypatch.chdir(tmp_path)
    assert bench_words("data", "split", "phantom_ct", "--out", "s.json") == 0
    document = json.loads((tmp_path / "s.json").read_text())
    own, taken = plan_of(tmp_path), plan_of(tmp_path, "s.json")
    train, test = own.tasks["phantom_ct"].ids("train"), own.tasks["phantom_ct"].ids("test")
    assert document["digest"] == split_digest(train, test) == own.tasks["phantom_ct"].split
    assert [row["case"] for row in document["train"]] == list(train)
    assert own.cells == taken.cells
    assert own.tasks["phantom_ct"].source == "the task's own"
    assert taken.tasks["phantom_ct"].source.startswith("s.json (sha256 ")


def test_another_split_is_another_cell_and_leaves_out_what_it_does_not_list(tmp_path):
    own = plan_of(tmp_path)
    train, test = own.tasks["phantom_ct"].ids("train"), own.tasks["phantom_ct"].ids("test")
    document = {"train": [*train[:9], "ghost"], "test": list(test[:3])}
    (tmp_path / "s.json").write_text(json.dumps(document))
    plan = plan_of(tmp_path, f"phantom_ct={tmp_path / 's.json'}")
    found = plan.tasks["phantom_ct"]
    assert (found.ids("train"), found.ids("test")) == (train[:9], test[:3])
    assert plan.cells[0].cell.key != own.cells[0].cell.key
    assert {*plan.cells[0].draw.train} <= {*train[:9]}
    lacking, left_out = plan.warnings
    assert lacking.startswith(
        "phantom_ct: 1 of 10 train cases that the split lists are not in the data: ghost"
    )
    assert "left out, for the split does not list them: phantom_ct_train_009" in left_out
    assert left_out.endswith("and 49 more")


@pytest.fixture
def bench_words(monkeypatch):
    """Run ``bench WORDS...`` in this process; returns the exit code."""
    import sys

    from medssl_bench.cli import main

    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["bench", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return call


def test_every_format_is_read_alike(tmp_path):
    ids = ("ct_1", "ct_2", "CT_3", "ct_4")
    wanted = {"ct_1": "train", "ct_2": "train", "CT_3": "test", "ct_4": "train"}
    folder = tmp_path
    nested = {
        "training": [
            {"image": ["ct_1/ct_1_adc.nii.gz", "ct_1/ct_1_dwi.nii.gz"], "label": "ct_1/m.nii.gz"},
            {"image": ["a/ct_2.nii.gz"]},
        ],
        "validation": ["ct_4"],
        "test": ["ct_3"],
    }
    spellings = [
        write(folder, a__json=json.dumps(nested)),
        write(folder, b__csv="ct_1,training\nct_2,training\nct_3,test\nct_4,validation\n"),
        write(
            folder, c__csv="fold;side;case\n1;Train;ct_1\n1;Train;ct_2\n2;TEST;ct_3\n3;val;ct_4\n"
        ),
        write(folder, x_train__list="ct_1\nct_2\nct_4\n", x_test__list="ct_3\n"),
        write(
            folder,
            d_train__txt="r/1A/ct_1.nii.gz 1\nr\\1A\\ct_2_0000.nii.gz 0\n",
            d_val__txt="ct_4/0001.nii 0\n",
            d_test__txt="r/1B/CT_3.NII.GZ 1\n\n",
        ),
    ]
    for paths in spellings:
        found, notes = apply_split("t", cases(*ids), read_split(paths))
        assert (sides(found), notes) == (wanted, []), paths


def test_a_patient_stands_for_all_its_cases(tmp_path):
    patients = {"p1_a": "p1", "p1_b": "p1", "p2_a": "p2"}
    files = write(tmp_path, train__txt="p1\n", test__txt="p2\n")
    found, _ = apply_split("t", cases(*patients, patients=patients), read_split(files))
    assert sides(found) == {"p1_a": "train", "p1_b": "train", "p2_a": "test"}


def test_patients_and_cases_on_both_sides_are_refused(tmp_path):
    patients = {"p1_a": "p1", "p1_b": "p1", "p2_a": "p2"}
    files = write(tmp_path, train__txt="p1_a\n", test__txt="p1_b\np2_a\n")
    found, _ = apply_split("t", cases(*patients, patients=patients), read_split(files))
    with pytest.raises(DataError, match="patient 'p1' is in both train and test"):
        check_split(found, "t")
    files = write(tmp_path, train__txt="p1_a\n", test__txt="p1_a.nii.gz\n")
    with pytest.raises(DataError, match="p1_a is in both train and test"):
        apply_split("t", cases(*patients), read_split(files))
    files = write(tmp_path, train__txt="p3\n", test__txt="p4\n")
    with pytest.raises(DataError, match="none of its cases is in the data, 'p3' for one"):
        apply_split("t", cases(*patients), read_split(files))


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"a__json": "{"}, "not JSON"),
        ({"a__json": '{"folds": []}'}, "expected lists under `train` and `test`"),
        ({"a__json": '{"train": [{}], "test": ["b"]}'}, "names no case"),
        ({"a__csv": "a,train\nb,train\n"}, "no test case; give both lists"),
        ({"a__csv": "fold,case_nr,side\n1,a,train\n2,b,test\n"}, "which column holds the ids"),
        ({"cases__txt": "a\n"}, "on which side are its cases"),
        ({"train_test__txt": "a\n"}, "on which side are its cases"),
        ({"train__txt": "a\n"}, "no test case; give both lists, joined by a comma"),
    ],
)
def test_an_unclear_file_is_one_line(tmp_path, files, fault):
    with pytest.raises(BenchError, match=fault) as refusal:
        read_split(write(tmp_path, **files))
    assert "\n" not in str(refusal.value)


def test_whose_split_a_file_is(tmp_path):
    (tmp_path / "a.json").write_text('{"task": "one", "train": ["a"], "test": ["b"]}')
    (tmp_path / "b.csv").write_text("a,train\nb,test\n")
    a, b = str(tmp_path / "a.json"), str(tmp_path / "b.csv")
    assert [*parse_splits([a, f"two={b}"], ["one", "two"])] == ["one", "two"]
    assert [*parse_splits([b], ["two"])] == ["two"]
    for words, tasks, fault in (
        ([b], ["one", "two"], "of which task"),
        ([a], ["two"], "it is of task one, which was not asked for"),
        ([f"tow={b}"], ["two"], "Did you mean 'two'"),
        ([b, b], ["two"], "two has a split already"),
        ([f"two={tmp_path}/gone.csv"], ["two"], "cannot be read"),
    ):
        with pytest.raises(BenchError, match=fault):
            parse_splits(words, tasks)


def test_a_record_from_before_the_source_was_kept_is_read():
    old = {"digest": "0" * 64, "train": ["a"], "test": ["b"]}
    assert Split.model_validate(old).source is None


PUBLISHED = Path(os.environ.get("BENCH_SPLITS", "")).absolute()
"""Folder of published lists, under the names below; they are not ours to pass on."""


@pytest.mark.skipif(
    "BENCH_SPLITS" not in os.environ, reason="BENCH_SPLITS names no folder of lists"
)
@pytest.mark.parametrize(
    ("task", "files", "train", "test"),
    [
        ("lits", ("lits_medcoss_train.txt", "lits_medcoss_test.txt"), 104, 27),
        ("vs", ("vs_split_TCIA.csv",), 196, 46),
        ("vs_t2", ("vs_split_TCIA.csv",), 196, 46),
        ("la", ("la_train.list", "la_test.list"), 80, 20),
    ],
)
def test_our_rules_are_the_published_lists(task, files, train, test):
    file = read_split([PUBLISHED / name for name in files])
    ids = [line for side in (file.train, file.test) for line in side]
    rule = load_task(task).split
    assert rule.pools({name: name for name in ids}) == {
        **dict.fromkeys(file.train, "train"),
        **dict.fromkeys(file.test, "test"),
    }
    found, notes = apply_split(task, cases(*ids), file)
    assert notes == []
    assert [case.pool for case in found].count("train") == train
    assert [case.pool for case in found].count("test") == test


@pytest.mark.skipif(
    "BENCH_SPLITS" not in os.environ, reason="BENCH_SPLITS names no folder of lists"
)
def test_published_paths_and_objects_are_read():
    ricord = read_split([PUBLISHED / f"ricord_{side}.txt" for side in ("train", "val", "test")])
    assert (len(ricord.train), len(ricord.test)) == (194 + 52, 84)
    isles = read_split([PUBLISHED / "isles22_brainmvp.json"])
    assert (len(isles.train), len(isles.test)) == (202, 36)
    rule = load_task("isles22").split
    ids = [*rule.train, *rule.test]
    found, notes = apply_split("isles22", cases(*ids), isles)
    assert notes == []
    assert sides(found) == rule.pools({name: name for name in ids})


def test_a_bids_name_calls_its_subject_and_every_missing_test_case_is_named(tmp_path):
    entry = "sub-0{0}_ses-1/sub-0{0}_ses-1_{1}.nii.gz"
    listed = {
        side: [
            {"image": [entry.format(n, "dwi")], "label": entry.format(n, "msk")} for n in numbers
        ]
        for side, numbers in (("training", range(1, 3)), ("test", range(3, 9)))
    }
    (tmp_path / "s.json").write_text(json.dumps(listed))
    found, notes = apply_split(
        "t", cases("sub-01", "sub-02", "sub-03"), read_split([tmp_path / "s.json"])
    )
    assert sides(found) == {"sub-01": "train", "sub-02": "train", "sub-03": "test"}
    (note,) = notes
    assert note.startswith("5 of 6 test cases that the split lists are not in the data: ")
    files = (entry.format(n, "msk").split("/")[1] for n in range(4, 9))
    assert note.endswith(": " + ", ".join(files))


def test_rules_are_named():
    assert rule_of(load_task("vs")) == "the task's own, FromNumber: first 202"
    assert rule_of(load_task("lits")) == "the task's own, Split: 27 test listed, 104 train listed"


def test_a_label_behind_a_path_does_not_call_in_the_folder(tmp_path):
    """The folder is the patient, of whom one scan is listed and another is not."""
    ids = ("p1_a", "p1_b", "p2_a", "p2_b")
    patients = {name: name[:2] for name in ids}
    paths = write(
        tmp_path, train__txt="p1/p1_a.nii.gz 1\n", test__txt="p2/p2_a.nii.gz 0\np2/p2_b.nii.gz 0\n"
    )
    found, notes = apply_split("t", cases(*ids, patients=patients), read_split(paths))
    assert sides(found) == {"p1_a": "train", "p2_a": "test", "p2_b": "test"}
    assert notes == ["left out, for the split does not list them: p1_b"]
