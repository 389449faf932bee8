"""``bench evaluate`` scores what it is given, and refuses what cannot be compared."""

from __future__ import annotations

import csv
import json
import math

import nibabel as nib
import numpy as np
import pytest

from medssl_bench.analysis.metrics import case_metrics

SPACING = (1.0, 1.0, 2.0)


def save(path, labels, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*SPACING, 1.0]) if affine is None else affine
    nib.save(nib.Nifti1Image(labels.astype(np.uint8), affine), path)


def organs(shift=0, lesion=True):
    labels = np.zeros((20, 18, 12), np.uint8)
    labels[2 + shift : 8 + shift, 3:9, 2:8] = 1
    labels[11:16, 9:15, 3:9] = 3
    labels[17:19, 2:4, 2:4] = 7 * lesion
    return labels


@pytest.fixture
def folders(tmp_path):
    for number in range(3):
        save(tmp_path / "ref" / f"case_{number}.nii.gz", organs(lesion=number != 2))
        save(tmp_path / "pred" / f"case_{number}.nii.gz", organs(number, lesion=number == 0))
    return ("--predictions", tmp_path / "pred", "--references", tmp_path / "ref")


def test_json_has_a_row_for_each_case_and_target(bench, folders):
    done = bench("evaluate", *folders, "--json")
    assert done.code == 0 and done.err == ""
    rows = json.loads(done.out)
    assert [(row["case"], row["target"]) for row in rows] == [
        (f"case_{number}", target) for number in range(3) for target in ("1", "3", "7")
    ]
    found = {(row["case"], row["target"]): row for row in rows}
    expected = case_metrics(
        organs(), organs(1, lesion=False), SPACING, {1: "1", 3: "3", 7: "7"}, more=True
    )
    for row in expected:
        ours = found["case_1", row["target"]]
        assert ours["status"] == row["status"]
        for name in ("dice", "hd95", "hd95_pooled", "hd95_surfel", "nsd", "assd", "diagonal_mm"):
            if math.isfinite(row[name]):
                assert ours[name] == pytest.approx(row[name])
            else:
                assert ours[name] is None
    assert found["case_1", "7"]["status"] == "pred_empty" and found["case_1", "7"]["dice"] == 0
    assert found["case_2", "7"]["status"] == "both_empty" and found["case_2", "7"]["dice"] is None


def test_names_and_regions_come_from_a_file(bench, folders, tmp_path):
    names = tmp_path / "dataset.json"
    names.write_text(
        json.dumps({"labels": {"background": 0, "liver": 1, "spleen": 3, "tumour": 7}})
    )
    rows = json.loads(bench("evaluate", *folders, "--labels", names, "--json").out)
    assert [row["target"] for row in rows[:3]] == ["liver", "spleen", "tumour"]
    regions = tmp_path / "regions.yaml"
    regions.write_text("whole: [1, 3, 7]\ncore: [7]\n")
    rows = json.loads(bench("evaluate", *folders, "--labels", regions, "--json").out)
    (whole,) = case_metrics(
        (organs() > 0).astype(int), (organs(1, False) > 0).astype(int), SPACING, {1: "whole"}
    )
    assert rows[2]["target"] == "whole" and rows[2]["dice"] == pytest.approx(whole["dice"])


def test_several_processes_give_the_same_csv(bench, folders, tmp_path):
    tables = []
    for workers in ("1", "2"):
        path = tmp_path / f"{workers}.csv"
        done = bench("evaluate", *folders, "--workers", workers, "--csv", path)
        assert done.code == 0 and f"wrote {path}" in done.out
        tables.append(path.read_text())
    assert tables[0] == tables[1]
    assert len(list(csv.DictReader(tables[0].splitlines()))) == 9


def test_the_summary_counts_misses(bench, folders):
    out = bench("evaluate", *folders).out
    (line,) = [line for line in out.splitlines() if line.startswith("7 ")]
    assert line.split()[1] == "0.5000" and line.split()[-4:] == ["2", "1", "1", "0"]


def test_lesions_are_scored_by_a_challenges_rules(bench, folders):
    rows = json.loads(bench("evaluate", *folders, "--lesions", "met", "--json").out)
    lesion = {row["case"]: row for row in rows if row["target"] == "7"}
    assert lesion["case_0"]["lesion_dice"] == 1 and lesion["case_0"]["lesions"] == 1
    assert lesion["case_1"]["lesions_missed"] == 1 and lesion["case_1"]["lesion_hd95"] == 374
    assert lesion["case_2"]["lesion_dice"] == 1 and lesion["case_2"]["lesions"] == 0


def test_a_missing_case_is_named(bench, folders, tmp_path):
    (tmp_path / "pred" / "case_1.nii.gz").unlink()
    done = bench("evaluate", *folders)
    assert done.code == 2 and "1 of 3 cases missing: case_1" in done.line
    (tmp_path / "ref" / "case_1.nii.gz").unlink()
    (tmp_path / "ref" / "case_2.nii.gz").unlink()
    done = bench("evaluate", *folders)
    assert done.code == 2 and "references" in done.line and "case_2" in done.line


@pytest.mark.parametrize(
    ("labels", "affine", "words"),
    [
        (np.zeros((20, 18, 11)), None, "shape 20x18x11, its reference"),
        (organs(), np.diag([1.0, 1.0, 3.0, 1.0]), "its grid lies up to 11.0 mm"),
        (organs(), np.diag([-1.0, 1.0, 2.0, 1.0]), "origin, spacing or direction differ"),
    ],
)
def test_another_grid_is_refused(bench, folders, tmp_path, labels, affine, words):
    save(tmp_path / "pred" / "case_1.nii.gz", labels, affine)
    done = bench("evaluate", *folders)
    assert done.code == 2 and words in done.line and "case_1" in done.line


def test_unknown_labels_are_refused(bench, folders, tmp_path):
    names = tmp_path / "names.yaml"
    names.write_text("1: liver\n3: spleen\n")
    done = bench("evaluate", *folders, "--labels", names)
    assert done.code == 2
    assert "label ids 7 are unknown" in done.line and "--labels" in done.line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("liver", "give `id: name` pairs"),
        ("a: [", "neither JSON nor YAML"),
        ("liver: 300", "not an id from 0 to 255"),
        ("background: 0", "names no label"),
        ("1: liver\n2: liver", "'liver' stands twice"),
    ],
)
def test_a_file_of_names_that_says_something_else(bench, folders, tmp_path, content, words):
    path = tmp_path / "names.yaml"
    path.write_text(content)
    done = bench("evaluate", *folders, "--labels", path)
    assert done.code == 2 and words in done.line


def test_folders_that_cannot_be_scored(bench, folders, tmp_path):
    (tmp_path / "empty").mkdir()
    done = bench("evaluate", "--predictions", tmp_path / "none", *folders[2:])
    assert done.code == 2 and "no such folder" in done.line
    done = bench("evaluate", "--predictions", tmp_path / "empty", *folders[2:])
    assert done.code == 2 and "no .nii" in done.line
    save(tmp_path / "pred" / "case_0.nii", organs())
    done = bench("evaluate", *folders)
    assert done.code == 2 and "which of them is meant" in done.line


def test_two_names_of_one_id_are_two_targets(bench, folders, tmp_path):
    (tmp_path / "names.json").write_text(
        '{"labels": {"background": 0, "organ": 1, "whole": [1], "other": 3, "lesion": 7}}'
    )
    done = bench("evaluate", *folders, "--labels", tmp_path / "names.json", "--json")
    rows = [row for row in json.loads(done.out) if row["case"] == "case_1"]
    assert [row["target"] for row in rows] == ["organ", "whole", "other", "lesion"]
    assert {**rows[0], "target": ""} == {**rows[1], "target": ""}
