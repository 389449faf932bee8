"""``bench submit``: what it writes, and metrics measured again from predictions."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medssl_bench.store import Store


def manifest(bundle: Path) -> dict:
    """Return a bundle's manifest."""
    return json.loads(zipfile.ZipFile(bundle).read("manifest.json"))


@pytest.fixture
def submit(bench, results, tmp_path):
    """Run ``bench submit`` on ``results``."""
    return lambda *words: bench(
        "submit", "--results", results, "--out", tmp_path / "b.zip", "--plain", *words
    )


def test_the_manifest_says_who_and_what(submit, results, tmp_path):
    done = submit("--name", 'Ann <b>"Lee"', "--licence", "CC-BY-4.0", "--notes", "two draws")
    assert done.code == 0 and "wrote" in done.out and "4 records" in done.out
    said = manifest(tmp_path / "b.zip")
    assert said["submitter"] == {
        "name": 'Ann <b>"Lee"', "licence": "CC-BY-4.0", "notes": "two draws"
    }  # fmt: skip
    keys = {record.key for record in Store(results, read_only=True).records()}
    assert {one["key"] for one in said["records"]} == keys
    assert said["format"] == said["record_schema"] == 1
    assert said["made_by"].startswith("medssl-bench ")


def test_json_says_where_and_which(submit, tmp_path):
    said = json.loads(submit("--json").out)
    assert said["records"] == 4 and said["findings"] == []
    assert said["bundle"] == str(tmp_path / "b.zip") and len(said["sha256"]) == 64


def test_one_task_of_several(submit, make, results, tmp_path):
    make(results).cell("scratch", 0, cell={"task": "others"})
    assert submit().code == 1  # one of two draws
    assert submit("--tasks", "cubes").code == 0
    assert len(manifest(tmp_path / "b.zip")["records"]) == 4
    assert "no record of this task. Did you mean 'cubes'?" in submit("--tasks", "cube").line


def test_numbers_are_measured_again_from_predictions(submit, label_maps, tmp_path):
    predictions, references = label_maps
    done = submit("--predictions", predictions, "--references", references)
    assert done.code == 0 and "4 measured again from predictions" in done.out
    assert all(one["predictions"] for one in manifest(tmp_path / "b.zip")["records"])
    names = zipfile.ZipFile(tmp_path / "b.zip").namelist()
    assert not [name for name in names if name.endswith(".nii.gz")]


def test_predictions_of_some_cells_only(submit, label_maps, tmp_path):
    predictions, references = label_maps
    folder = sorted(predictions.iterdir())[0]
    folder.rename(folder.with_name("of_another_run"))
    done = submit("--predictions", predictions, "--references", f"cubes={references}", "--json")
    assert json.loads(done.out)["measured_from_predictions"] == 3
    again = [one["predictions"] for one in manifest(tmp_path / "b.zip")["records"]]
    assert sorted(again) == [False, True, True, True]


def test_a_prediction_that_gives_other_numbers_is_refused(submit, label_maps, tmp_path):
    predictions, references = label_maps
    path = sorted(predictions.glob("simmim*draw-0*"))[0] / "t0.nii.gz"
    image = nib.load(path)
    labels = np.asarray(image.dataobj).copy()
    labels[2, 2, 2] = 0
    nib.save(nib.Nifti1Image(labels, image.affine), path)
    done = submit("--predictions", predictions, "--references", references)
    assert done.code == 1 and not (tmp_path / "b.zip").exists()
    assert "dice of 1 rows is not what the predictions give: t0 cube 1.0 recorded, 0.99" in done.out


def test_a_prediction_or_reference_that_is_missing(submit, label_maps, tmp_path):
    predictions, references = label_maps
    next(predictions.glob("simmim*draw-0*/t1.nii.gz")).unlink()
    done = submit("--predictions", predictions, "--references", references)
    assert done.code == 1 and "no files for case t1; expected t1.nii.gz" in done.out
    done = submit("--predictions", predictions, "--references", f"other={references}")
    assert done.code == 1 and done.out.count("no --references cubes=DIR") == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--predictions", "x"), "belong together"),
        (("--references", "."), "belong together"),
        (("--predictions", "x", "--references", "."), "--predictions x: no such folder"),
        (("--predictions", ".", "--references", "x"), "--references x: no such folder"),
        (("--predictions", ".", "--references", "."), "no folder of a cell in it, such as"),
        (("--name", ""), "--name: "),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing(submit, tmp_path, words, said):
    refused = submit(*words)
    assert refused.code == 2 and said in refused.line
    assert not (tmp_path / "b.zip").exists()


def test_no_results(bench, tmp_path):
    assert "no results in nowhere" in bench("submit", "--results", "nowhere", "--out", "b.zip").line
    assert bench("submit").code == 2
    assert "Examples:" in bench("submit", "--help").out
