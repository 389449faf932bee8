"""ISLES 2022 and MRBrainS13: names, splits, and channels on a grid of their own."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medssl_bench.data.orientation import to_ras
from medssl_bench.data.regrid import on_grid
from medssl_bench.data.synthetic import draw
from medssl_bench.preparation import open_prepared
from medssl_bench.tasks.isles import ISLES22, LEFT_OUT, TEST, TRAIN
from medssl_bench.tasks.mrbrains import MRBRAINS13
from medssl_bench.validation import check_cases


def test_isles_is_split_as_in_paper_003() -> None:
    assert (len(TRAIN), len(TEST), len(LEFT_OUT)) == (202, 36, 12)
    assert len({*TRAIN, *TEST, *LEFT_OUT}) == 250
    every = [f"sub-strokecase{number:04d}" for number in range(1, 251)]
    pools = ISLES22.split.pools({case: case for case in every})
    assert [case for case in every if case not in pools] == list(LEFT_OUT)
    assert [case for case in every if pools.get(case) == "test"] == list(TEST)
    assert TEST[:2] == ("sub-strokecase0005", "sub-strokecase0020")


def test_both_trees_of_isles_hold_the_same_cases(tmp_path: Path) -> None:
    found = {}
    for tree in ISLES22.trees:
        ISLES22.write_samples(tmp_path / tree.name, tree.name)
        cases = ISLES22.cases(tmp_path / tree.name)
        assert check_cases(cases, ISLES22) == []
        found[tree.name] = [
            (case.id, case.pool, [source.digest() for source in case.images.values()])
            for case in cases
        ]
    assert found["Zenodo"] == found["challenge"]


def test_isles_names_in_any_case(tmp_path: Path) -> None:
    ISLES22.write_samples(tmp_path)
    before = [case.id for case in ISLES22.cases(tmp_path)]
    for path in sorted(tmp_path.rglob("*_adc.nii.gz")):
        path.rename(path.with_name(path.name.replace("_adc", "_ADC")))
    for path in sorted(tmp_path.rglob("*_FLAIR.nii.gz")):
        path.rename(path.with_name(path.name.replace("_FLAIR", "_flair")))
    assert [case.id for case in ISLES22.cases(tmp_path)] == before


def test_isles_is_prepared_on_the_grid_of_dwi(tmp_path: Path) -> None:
    ISLES22.write_samples(tmp_path / "data")
    case = next(c for c in ISLES22.cases(tmp_path / "data") if c.id == "sub-strokecase0005")
    sizes = {name: source.header().shape for name, source in case.images.items()}
    assert sizes["DWI"] == sizes["ADC"] != sizes["FLAIR"]
    prepared = open_prepared(ISLES22, [case], tmp_path / "cache").cases[case.id]
    images, label = draw(ISLES22, "0005")
    np.testing.assert_array_equal(prepared.native_label(), label)
    flair = on_grid(case.images["FLAIR"].read(), case, "FLAIR", ISLES22.preprocessing)
    inside = to_ras(flair).array
    assert np.corrcoef(inside.ravel(), images["FLAIR"].ravel())[0, 1] > 0.95
    # The lesion is brighter than the rest in every channel, so it lies where the label says.
    working = prepared.image().astype(np.float32)
    lesion = prepared.label() == 1
    assert all(c[lesion].mean() > 1.5 * c[~lesion & (c > 0.1)].mean() for c in working)


def test_mrbrains_without_test_labels_tests_two_of_five(tmp_path: Path) -> None:
    MRBRAINS13.write_samples(tmp_path)
    cases = MRBRAINS13.cases(tmp_path)
    assert {case.id: case.pool for case in cases} == {
        "train_1": "train",
        "train_2": "train",
        "train_3": "train",
        "train_4": "test",
        "train_5": "test",
    }
    files = {Path(str(source)).name for case in cases for source in case.images.values()}
    assert files == {"T1.nii", "T1_IR.nii", "T2_FLAIR.nii"}  # T1_1mm is on another grid
    assert {Path(str(case.label)).name for case in cases} == {"LabelsForTesting.nii"}
    assert check_cases(cases, MRBRAINS13) == []


def test_mrbrains_with_test_labels_tests_those(faults, tmp_path: Path) -> None:
    MRBRAINS13.write_samples(tmp_path)
    for number in ("1", "2"):
        one = tmp_path / "TrainingData" / number
        folder = tmp_path / "TestData" / number
        folder.mkdir(parents=True)
        for name in MRBRAINS13.channels:
            (folder / f"{name}.nii").write_bytes((one / f"{name}.nii").read_bytes())
    labels = tmp_path / "TestLabels"
    labels.mkdir()
    assert [c.pool for c in MRBRAINS13.cases(tmp_path)].count("test") == 2  # of the five
    (labels / "2.nii").write_bytes((one / "LabelsForTesting.nii").read_bytes())
    pools = {case.id: case.pool for case in MRBRAINS13.cases(tmp_path)}
    assert pools == {**{f"train_{n}": "train" for n in range(1, 6)}, "test_2": "test"}
    (tmp_path / "TestData" / "2" / "T1_IR.nii").unlink()
    file = tmp_path / "TestData/2/T1_IR.nii"
    assert faults(MRBRAINS13, tmp_path) == [
        f"test_2: {file}: there is no T1_IR, but a label, {labels / '2.nii'}; unpack TestData"
        " completely"
    ]


def test_a_task_yaml_may_ask_for_a_grid(tmp_path: Path) -> None:
    from medssl_bench.errors import BenchError
    from medssl_bench.tasks import load_task

    ISLES22.write_samples(tmp_path / "isles")
    values = {
        "name": "mine",
        "images": {
            "FLAIR": "isles/**/sub-{id}_ses-0001_FLAIR.nii.gz",
            "DWI": "isles/**/sub-{id}_ses-0001_dwi.nii.gz",
        },
        "labels": "isles/**/sub-{id}_ses-0001_msk.nii.gz",
        "split": {"test": 2},
        "classes": {1: "lesion"},
        "modality": "MR",
        "spacing": "native",
    }
    file = tmp_path / "task.yaml"
    file.write_text(json.dumps(values))
    task = load_task(str(file))
    errors = check_cases(task.cases(None), task)
    assert {error.level for error in errors} == {"error"} and "`grid: FLAIR`" in str(errors[0])
    file.write_text(json.dumps({**values, "grid": "DWI"}))
    task = load_task(str(file))
    cases = task.cases(None)
    assert check_cases(cases, task) == []
    prepared = open_prepared(task, cases, tmp_path / "cache").cases[cases[0].id]
    assert prepared.native_shape == to_ras(cases[0].images["DWI"].read()).array.shape
    assert prepared.channels == ("FLAIR", "DWI")
    file.write_text(json.dumps({**values, "grid": "FLAR"}))
    with pytest.raises(BenchError, match=r"grid: 'FLAR' is no channel. Did you mean 'FLAIR'"):
        load_task(str(file))


def test_an_nnunet_dataset_has_all_channels_on_one_grid(tmp_path: Path) -> None:
    from medssl_bench.nnunet_dataset import write_case

    ISLES22.write_samples(tmp_path / "data")
    case = ISLES22.cases(tmp_path / "data")[0]
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / name).mkdir()
    write_case(case, ISLES22, tmp_path)
    written = [nib.load(path) for path in sorted(tmp_path.glob("*/*_000?.nii.gz"))]
    label = nib.load(next(tmp_path.glob("labels*/*.nii.gz")))
    assert len(written) == 3
    for image in written:
        assert image.shape == label.shape
        np.testing.assert_allclose(image.affine, label.affine, atol=1e-4)
    flair = on_grid(case.images["FLAIR"].read(), case, "FLAIR", ISLES22.preprocessing).array
    np.testing.assert_allclose(np.asarray(written[2].dataobj), flair, rtol=1e-5, atol=1e-2)
