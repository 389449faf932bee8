"""``bench data export-nnunet``: nnU-Net takes what it writes, and learns from the same cases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medssl_bench.data.synthetic import draw, synthesise
from medssl_bench.draws import draw_cases
from medssl_bench.nnunet_dataset import region_order
from medssl_bench.tasks import load_task


@pytest.fixture
def exported(bench, tmp_path: Path) -> Path:
    synthesise(load_task("kits"), tmp_path / "kits")
    outcome = bench("data", "export-nnunet", "kits", "--data", tmp_path / "kits", "--out",
                    tmp_path / "raw", "--id", "501", "--shots", "2", "--draws", "2")  # fmt: skip
    assert outcome.code == 0
    return tmp_path / "raw" / "Dataset501_kits"


def test_every_case_is_where_it_belongs(exported: Path, tmp_path: Path) -> None:
    cases = load_task("kits").cases(tmp_path / "kits")
    for case in cases:
        side = "Tr" if case.pool == "train" else "Ts"
        image = nib.load(exported / f"images{side}" / f"{case.id}_0000.nii.gz")
        label = nib.load(exported / f"labels{side}" / f"{case.id}.nii.gz")
        images, raw = draw(load_task("kits"), case.id.removeprefix("case_"))
        turned = nib.as_closest_canonical(image)
        np.testing.assert_array_equal(np.asanyarray(turned.dataobj), images["image"])
        np.testing.assert_array_equal(np.asanyarray(nib.as_closest_canonical(label).dataobj), raw)
        np.testing.assert_array_equal(image.affine, label.affine)
    described = json.loads((exported / "dataset.json").read_text())
    assert described["numTraining"] == sum(case.pool == "train" for case in cases)
    assert described["channel_names"] == {"0": "CT"}
    folds = json.loads((exported / "splits_final.json").read_text())
    pool = {case.id for case in cases if case.pool == "train"}
    for number, fold in enumerate(folds):
        assert set(fold["train"]) == set(draw_cases(cases, "2", number, "kits").train)
        assert {*fold["train"]} | {*fold["val"]} == pool
        assert not {*fold["train"]} & {*fold["val"]}
    assert len(folds) == 2


def test_nnunet_itself_takes_it(exported: Path, tmp_path: Path) -> None:
    """Its own check of the dataset, and its fingerprint of all training cases."""
    folders = {
        f"nnUNet_{name}": str(tmp_path / name) for name in ("raw", "preprocessed", "results")
    }
    code = (
        "from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints\n"
        "if __name__ == '__main__':\n"
        "    extract_fingerprints([501], num_processes=1, check_dataset_integrity=True)\n"
    )
    script = tmp_path / "take.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)], env={**os.environ, **folders}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = tmp_path / "preprocessed" / exported.name / "dataset_fingerprint.json"
    assert len(json.loads(found.read_text())["spacings"]) == 4


def test_regions_become_those_of_nnunet_where_they_are_nested() -> None:
    assert region_order(load_task("brats_ped")) == {
        "whole_tumour": 2,
        "tumour_core": 1,
        "enhancing_tumour": 3,
    }
    assert region_order(load_task("kits")) == {"kidney_and_mass": 1, "mass": 3, "tumour": 2}
    assert region_order(load_task("lits")) == {"liver": 1, "tumour": 2}
    assert region_order(load_task("la")) is None


def test_a_finished_dataset_is_not_overwritten(bench, exported: Path, tmp_path: Path) -> None:
    words = ("data", "export-nnunet", "kits", "--data", tmp_path / "kits", "--out",
             tmp_path / "raw", "--id", "501")  # fmt: skip
    outcome = bench(*words, "--plain")
    assert outcome.code == 2 and "is there already" in outcome.line
    outcome = bench(*words[:-1], "502", "--shots", "9", "--plain")
    assert outcome.code == 2 and "only 4 training cases" in outcome.line
    assert not (tmp_path / "raw" / "Dataset502_kits").exists()


def test_what_is_written_stays_when_it_goes_on(bench, exported: Path, tmp_path: Path) -> None:
    (exported / "dataset.json").unlink()
    kept = exported / "imagesTr" / "case_00000_0000.nii.gz"
    gone = exported / "labelsTr" / "case_00000.nii.gz"
    before = kept.stat().st_mtime_ns
    gone.unlink()
    outcome = bench("data", "export-nnunet", "kits", "--data", tmp_path / "kits", "--out",
                    tmp_path / "raw", "--id", "501", "--plain")  # fmt: skip
    assert outcome.code == 0 and gone.exists() and kept.stat().st_mtime_ns == before
    assert (exported / "dataset.json").exists()


def test_an_id_is_used_once(bench, exported: Path, tmp_path: Path) -> None:
    exported.rename(exported.with_name("Dataset501_livers"))
    outcome = bench("data", "export-nnunet", "kits", "--data", tmp_path / "kits", "--out",
                    tmp_path / "raw", "--id", "501")  # fmt: skip
    assert outcome.code == 2
    assert "Dataset501_livers has the id 501 already" in outcome.line
