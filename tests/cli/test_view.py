"""Predictions as they are kept, and ``bench view``: what the page holds, what is refused."""

import base64
import gzip
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medssl_bench.api import make_plan
from medssl_bench.config import EvaluateSettings
from medssl_bench.data.cache import VolumeCache
from medssl_bench.data.volume import Volume
from medssl_bench.estimate import VOXELS_PER_BYTE, storage_bytes
from medssl_bench.label_maps import encode, file_name
from medssl_bench.preparation import prepare_case
from medssl_bench.stages.evaluate import evaluate_label_maps
from medssl_bench.tasks import load_task
from medssl_bench.viewer.chosen import median_case, view_path
from medssl_bench.viewer.page import errors, scan_bytes

SPACING = (1.0, 1.5, 2.0)  # R, A, S of the cases in conftest.py


def in_ras(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.as_closest_canonical(nib.load(path))
    return np.asarray(image.dataobj), image.affine


def volume(html: str, name: str) -> nib.Nifti1Image:
    (text,) = re.findall(rf'id="{name}-data">([^<]*)</script>', html)
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def cases_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "cases.parquet")


# Predictions


def test_evaluating_the_files_gives_the_numbers_of_the_record(recorded, bench, tmp_path):
    references = tmp_path / "references"
    references.mkdir()
    rows = cases_of(recorded.folder)
    for case in rows["case"].unique():
        shutil.copy(recorded.root / "labels" / f"{case}.nii.gz", references / file_name(case))
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({"cube": 1, "second <b>": 2}))
    done = bench(
        "evaluate", "--predictions", recorded.folder / "predictions", "--references", references,
        "--labels", labels, "--json",
    )  # fmt: skip
    names = {file_name(case).removesuffix(".nii.gz"): case for case in rows["case"]}
    found = {(names[row["case"]], row["target"]): row for row in json.loads(done.out)}
    assert len(found) == len(rows) == 4
    assert rows["dice"].between(0.05, 0.999).any()  # neither empty nor perfect: it says something
    for row in rows.to_dict("records"):
        again = found[row["case"], row["target"]]
        assert again["status"] == row["status"]
        for metric in ("dice", "hd95", "nsd"):
            value = math.nan if again[metric] is None else again[metric]
            # Distances are float32 inside, and here along axes in another order.
            within = 0 if metric == "dice" else 1e-6
            assert value == pytest.approx(row[metric], abs=within, rel=0, nan_ok=True)


def test_a_prediction_lies_on_its_scan_s_own_grid_and_is_sealed(recorded):
    for case in cases_of(recorded.folder)["case"].unique():
        found = nib.load(recorded.folder / "predictions" / file_name(case))
        scan = nib.load(recorded.root / "images" / f"{case}.nii.gz")
        assert found.shape == scan.shape
        assert np.array_equal(found.affine, scan.affine)
        assert np.array_equal(found.header.get_qform(), scan.affine)
        assert nib.aff2axcodes(found.affine) == ("L", "I", "P")
        assert found.get_data_dtype() == np.uint8
    sums = (recorded.folder / "SHA256SUMS").read_text()
    assert len(re.findall(r"  predictions/[^\n]*\.nii\.gz$", sums, re.MULTILINE)) == 2
    checked = subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=recorded.folder, check=False
    )
    assert checked.returncode == 0


def test_label_maps_of_a_training_of_its_own_are_kept_alike(recorded, tmp_path):
    task = load_task(str(recorded.task))
    listed = {case.id: case for case in task.cases(None)}
    rows = cases_of(recorded.folder)
    names = list(rows["case"].unique())
    paths = {name: recorded.folder / "predictions" / file_name(name) for name in names}
    tests = [prepare_case(VolumeCache(tmp_path), task, listed[name]) for name in names]
    found = evaluate_label_maps(
        paths, tests, listed, task, EvaluateSettings(), "", lambda event: None, 0,
        keep_predictions=True,
    )  # fmt: skip
    assert found.predictions == {path.name: path.read_bytes() for path in paths.values()}
    columns = ["case", "target", "dice", "hd95", "nsd", "status"]
    pd.testing.assert_frame_equal(found.cases[columns], rows[columns], check_exact=True)


def test_bytes_depend_on_labels_and_grid_alone():
    labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    content = encode(labels, affine)
    assert content == encode(np.asfortranarray(labels), affine)
    assert content[4:8] == bytes(4)  # gzip's time
    assert np.array_equal(nib.Nifti1Image.from_bytes(gzip.decompress(content)).dataobj, labels)


def test_keeping_predictions_changes_no_key_and_counts_on_disk(recorded, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    plans = {}
    for keep in (True, False):
        plan, _, cache = make_plan(
            "scratch", str(recorded.task), profile="demo", device="cpu", keep_predictions=keep
        )
        plans[keep] = ([one.cell.key for one in plan.cells], storage_bytes(plan, cache)[1])
    assert plans[True][0] == plans[False][0]
    assert plans[True][1] - plans[False][1] == 2 * 44 * 30 * 36 // VOXELS_PER_BYTE


@pytest.mark.parametrize(
    "case",
    ["amos_0507", "../../x", "a/b", "a b", "a-b", "..", "", "-", "x" * 300, "é", "<b>", "\udcff"],
)
def test_a_case_names_one_file_in_its_folder(case):
    name = file_name(case)
    assert re.fullmatch(r"[A-Za-z0-9_+~-][A-Za-z0-9._+~-]*\.nii\.gz", name) and len(name) < 140
    others = {"a/b", "a b", "a-b", "a:b", "-", "", "..", "x" * 300, "x" * 299, "x" * 100} - {case}
    assert name not in {file_name(other) for other in others}


def test_plain_ids_are_their_own_names():
    assert file_name("BraTS-GLI_00001.2+a") == "BraTS-GLI_00001.2+a.nii.gz"


# The page


def test_the_page_holds_scan_reference_prediction_and_errors(recorded, bench, tmp_path):
    out = tmp_path / "t1.html"
    done = bench(*recorded.words("t1", "--out", out))
    assert done.code == 0, done.err
    assert done.out == f"t1: {out} ({out.stat().st_size / 1e6:.1f} MB)\n"
    html = out.read_text("utf-8")
    scan, affine = in_ras(recorded.root / "images" / "t1.nii.gz")
    truth, _ = in_ras(recorded.root / "labels" / "t1.nii.gz")
    found, _ = in_ras(recorded.folder / "predictions" / "t1.nii.gz")
    for name, expected in {"scan": scan, "reference": truth, "prediction": found}.items():
        embedded = volume(html, name)
        assert np.array_equal(np.asarray(embedded.dataobj), expected)
        assert embedded.get_data_dtype() == (np.int16 if name == "scan" else np.uint8)
        assert np.allclose(embedded.affine, affine)
    wrong = np.asarray(volume(html, "errors").dataobj)
    assert np.array_equal(wrong > 0, truth != found)
    assert np.array_equal(wrong == 2, (truth > 0) & (found == 0))
    for row in cases_of(recorded.folder).query("case == 't1' and status == 'ok'").itertuples():
        assert f"<td>{row.dice:.3f}</td><td>{row.hd95:.1f}</td>" in html
    assert 'style="background: #e69f00"' in html  # the report's first colour
    assert not re.search(r'(?:src|href)="?(?:https?:)?//', html[: html.index('id="settings"')])


def test_hostile_names_are_text(recorded, bench, tmp_path):
    hostile = cases_of(recorded.folder)["case"].iloc[0]
    assert "<img" in hostile
    done = bench(*recorded.words(hostile))
    assert done.code == 0, done.err
    (page,) = recorded.root.glob("results/views/cubes/*/*.html")
    html = page.read_text("utf-8")
    assert "<img src" not in html and "second <b>" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html and "second &lt;b&gt;" in html


def test_without_a_case_it_is_the_median_and_said(recorded, bench, tmp_path):
    done = bench(*recorded.words("--out", tmp_path / "view.html"))
    means = cases_of(recorded.folder).groupby("case")["dice"].mean()
    assert done.out.startswith(f"{means.idxmin()}, the case of median Dice: ")  # lower of two


@pytest.mark.parametrize("length", [3, 12, 40, 64])
def test_a_cell_is_found_by_its_key(recorded, bench, tmp_path, length):
    key = json.loads((recorded.folder / "record.json").read_text())["key"]
    words = (key[:length], "t1", "--task", recorded.task, "--out", tmp_path / "view.html")
    done = bench("view", *words, "--results", recorded.root / "results")
    assert done.code == 0, done.err


def test_thinned_only_on_request_and_said(recorded, bench, tmp_path):
    out = tmp_path / "thin.html"
    bench(*recorded.words("t1", "--max-size", "20", "--out", out))
    html = out.read_text("utf-8")
    assert "every 3x2x2th voxel" in html
    whole, affine = in_ras(recorded.root / "labels" / "t1.nii.gz")
    thin = volume(html, "reference")
    places = np.argwhere(np.ones(thin.shape))
    where = nib.affines.apply_affine(np.linalg.inv(affine) @ thin.affine, places)
    voxels = np.rint(where).astype(int)
    assert np.allclose(where, voxels, atol=1e-4)
    assert np.array_equal(np.asarray(thin.dataobj).ravel(), whole[tuple(voxels.T)])


def test_fractions_keep_a_65535th_of_their_range():
    array = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    image = nib.Nifti1Image.from_bytes(gzip.decompress(scan_bytes(Volume(array, np.eye(4)))))
    assert image.get_data_dtype() == np.int16
    assert np.abs(image.get_fdata() - array).max() <= 0.51 * np.ptp(array) / 65535


def test_errors_by_kind():
    reference = np.array([0, 0, 1, 1, 1, 2], np.uint8)
    prediction = np.array([0, 1, 1, 0, 2, 2], np.uint8)
    assert errors(reference, prediction).tolist() == [0, 1, 0, 2, 3, 0]


def test_median_case_leaves_absent_targets_out():
    rows = [("a", 0.9, "ok"), ("a", 0.0, "ref_empty"), ("b", 0.5, "ok"), ("b", 0.0, "pred_empty"),
            ("c", 0.3, "ok"), ("c", np.nan, "both_empty"), ("d", 0.0, "ref_empty")]  # fmt: skip
    table = pd.DataFrame(rows, columns=["case", "dice", "status"])
    assert median_case(table) == "c"  # of 0.9, 0.25, 0.3
    assert median_case(table[table["case"] == "d"]) == "d"


def test_a_page_lies_beside_the_records(recorded):
    inside = view_path(recorded.folder, "t1").relative_to(recorded.root / "results")
    assert inside.as_posix() == f"views/cubes/{recorded.folder.name}/t1.html"
    assert view_path(recorded.folder, "t1", "T2").name == "t1_T2.html"


# What is refused


def test_unknown_cells_and_cases_offer_near_ones(recorded, bench):
    results = ("--results", recorded.root / "results")
    done = bench("view", "scrach_shots-full_draw-0", *results)
    assert done.code == 2 and f"Did you mean '{recorded.folder.name}'" in done.line
    assert f"Did you mean {recorded.folder.name}?" in bench("view", "scratch", *results).line
    assert "no cell ''" in bench("view", "", *results).line
    assert "no records in nowhere" in bench("view", "x", "--results", "nowhere").line
    done = bench(*recorded.words("t2"))
    assert done.code == 2 and "no test case 't2'. Did you mean 't1'?" in done.line
    done = bench(*recorded.words("t1", "--channel", "imgae"))
    assert done.code == 2 and "no channel 'imgae'. Did you mean 'image'? It has image" in done.line


def test_a_key_that_several_begin_with(recorded, bench, tmp_path):
    for key in ("abc100000000", "abc200000000"):
        (tmp_path / "records/cubes" / f"scratch_{key}").mkdir(parents=True)
        (tmp_path / "records/cubes" / f"scratch_{key}/record.json").touch()
    line = bench("view", "abc", "--results", tmp_path).line
    assert "2 keys begin so: scratch_abc100000000, scratch_abc200000000" in line


def test_no_predictions_kept_says_how_to_get_them(recorded, bench, tmp_path):
    folder = tmp_path / "records" / "cubes" / recorded.folder.name
    shutil.copytree(recorded.folder, folder, ignore=shutil.ignore_patterns("predictions"))
    line = bench("view", folder, "--task", recorded.task).line
    assert "no predictions were kept" in line and "--keep-predictions" in line


def test_a_prediction_that_was_altered_is_refused(recorded, bench, tmp_path):
    folder = tmp_path / "records" / "cubes" / recorded.folder.name
    shutil.copytree(recorded.folder, folder)
    path = folder / "predictions" / "t1.nii.gz"
    path.write_bytes(path.read_bytes() + b"x")
    line = bench("view", folder, "t1", "--task", recorded.task).line
    assert "predictions/t1.nii.gz is not as it was written" in line


def test_other_labels_than_the_record_s_are_refused(recorded, bench, tmp_path):
    shutil.copytree(recorded.root, tmp_path / "other", ignore=shutil.ignore_patterns("results"))
    path = tmp_path / "other" / "labels" / "t1.nii.gz"
    label = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(label.dataobj)[::-1], label.affine), path)
    line = bench("view", recorded.folder, "t1", "--task", tmp_path / "other" / "task.yaml").line
    assert "Dice of cube is" in line and "have changed since" in line


def test_missing_data_and_unknown_tasks(recorded, bench, tmp_path):
    line = bench("view", recorded.folder).line
    assert "task cubes is not among those" in line and "--task" in line
    shutil.copy(recorded.task, tmp_path / "task.yaml")
    done = bench("view", recorded.folder, "--task", tmp_path / "task.yaml")
    assert done.code == 2 and "images" in done.line


def test_a_missing_package_names_the_extra(recorded, bench, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    line = bench(*recorded.words("t1")).line
    assert line.endswith("pip install 'medssl-bench[view]'")


def test_an_out_that_cannot_be_written(recorded, bench, tmp_path):
    (tmp_path / "file").touch()
    line = bench(*recorded.words("t1", "--out", tmp_path / "file" / "view.html")).line
    assert "--out" in line and "cannot be written" in line
