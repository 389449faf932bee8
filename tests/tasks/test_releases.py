"""Every published dataset: from a tree in its official layout to tested cases."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import aff2axcodes

from medssl_bench.data.cache import VolumeCache
from medssl_bench.data.hdf5 import Hdf5Source
from medssl_bench.data.labels import class_ids
from medssl_bench.data.orientation import to_ras
from medssl_bench.data.regrid import on_grid
from medssl_bench.data.synthetic import SHAPE, SPACING, draw, stored_affine, synthesise
from medssl_bench.draws import check_split
from medssl_bench.errors import BenchError, DataError
from medssl_bench.preparation import prepare_case
from medssl_bench.tasks import TASKS, load_task
from medssl_bench.tasks.kits import CASES
from medssl_bench.tasks.release import Release
from medssl_bench.verification import verify

RELEASES = [
    name
    for name in sorted(TASKS)
    if isinstance(task := load_task(name), Release) and not task.classifies
]


def release(name: str) -> Release:
    task = load_task(name)
    assert isinstance(task, Release)
    return task


def trees() -> list[tuple[str, str]]:
    return [(name, tree.name) for name in RELEASES for tree in release(name).trees]


@pytest.mark.parametrize(("name", "tree"), trees())
def test_what_is_read_is_what_was_drawn(name: str, tree: str, tmp_path: Path) -> None:
    """Voxel for voxel and in the same place, whatever the axis codes and the file format."""
    task = release(name)
    synthesise(task, tmp_path, tree)
    cases = {case.id: case for case in task.cases(tmp_path)}
    assert sorted(cases) == sorted(task.case.replace("{id}", n) for n in task.samples.numbers)
    check_split(list(cases.values()), name)
    for place, number in enumerate(task.samples.numbers):
        case = cases[task.case.replace("{id}", number)]
        images, label = draw(task, number)
        codes = task.samples.codes[place % len(task.samples.codes)]
        for channel, source in case.images.items():
            stored = source.read()
            if channel in task.samples.apart:
                lies = np.corrcoef(
                    to_ras(on_grid(stored, case, channel, task.preprocessing)).array.ravel(),
                    images[channel].ravel(),
                )[0, 1]
                assert stored.array.shape != SHAPE and lies > 0.97
                continue
            assert "".join(aff2axcodes(stored.affine)) == codes
            ras = to_ras(stored)
            np.testing.assert_array_equal(ras.array, images[channel])
            if not isinstance(source, Hdf5Source):  # which does not say where it lies
                np.testing.assert_allclose(ras.affine, stored_affine("RAS"), atol=1e-4)
        assert case.label is not None
        read = class_ids(to_ras(case.label.read()).array, task.remap, task.classes)
        assert sorted(np.unique(read)) == [0, *task.classes]
        for raw in np.unique(label):
            assert (read[label == raw] == task.remap.get(int(raw), int(raw))).all()


def test_the_volume_drawn_has_no_axis_like_another() -> None:
    assert len(set(SPACING)) == 3
    assert len(set(SHAPE)) == 3


def test_published_splits() -> None:
    lits = [f"liver_{number}" for number in range(131)]
    pools = release("lits").split.pools({case: case for case in lits})
    tested = [case for case in lits if pools[case] == "test"]
    assert len(tested) == 27
    assert sorted(tested)[:3] == ["liver_0", "liver_102", "liver_107"]  # as in MedCoSS's list
    kits = release("kits").split.pools({case: case for case in CASES})
    assert len(CASES) == 489 and list(kits.values()).count("test") == 91
    part = release("kits").split.pools({case: case for case in CASES[:60]})
    assert all(kits[case] == pool for case, pool in part.items())
    subjects = [n for n in range(1, 251) if n not in (39, 97, 130, 160, 168, 208, 219, 227)]
    vs = release("vs").split.pools({f"vs_gk_{n}": f"vs_gk_{n}" for n in subjects})
    assert (len(vs), list(vs.values()).count("test")) == (242, 46)


def test_follow_ups_of_a_patient_stay_on_one_side(tmp_path: Path) -> None:
    task = release("brats_ped")
    synthesise(task, tmp_path)
    cases = {case.id: case for case in task.cases(tmp_path)}
    both = [cases[f"BraTS-PED-00003-00{visit}"] for visit in (0, 1)]
    assert both[0].group == both[1].group == "BraTS-PED-00003"
    assert both[0].pool == both[1].pool


def test_decathlon_and_codalab_name_the_same_cases(tmp_path: Path) -> None:
    task = release("lits")
    for tree in task.trees:
        synthesise(task, tmp_path / tree.name, tree.name)
    first, second = (
        {(case.id, case.pool) for case in task.cases(tmp_path / tree.name)} for tree in task.trees
    )
    assert first == second


def test_a_tree_may_lie_in_its_own_folder(tmp_path: Path) -> None:
    task = release("lits")
    synthesise(task, tmp_path / "Task03_Liver", "Decathlon")
    assert len(task.cases(tmp_path)) == 6


def test_what_is_missing_is_named(faults, tmp_path: Path) -> None:
    task = release("la")
    with pytest.raises(DataError, match=r"no data folder given.*cardiacatlas.org"):
        task.cases(None)
    with pytest.raises(DataError, match=r"no cases in .*expected .*\{id\}/lgemri.nrrd"):
        task.cases(tmp_path)
    files = synthesise(task, tmp_path)
    files[1].unlink()
    (told,) = faults(task, tmp_path)
    assert told.startswith("06SR5RBREL16DQ6M8LWS: ") and "lgemri.nrrd: has no label" in told
    brats = release("brats_met")
    synthesise(brats, tmp_path / "brats")
    next((tmp_path / "brats").rglob("*00004-000-t2w*")).unlink()
    (told,) = faults(brats, tmp_path / "brats")
    assert told.startswith("BraTS-MET-00004-000: ") and "there is no t2w; unpack it" in told


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("kits", "case_00210/imaging.nii.gz"),
        ("brats_ped", "ValidationData/BraTS-PED-00100-000/BraTS-PED-00100-000-t1n.nii.gz"),
        ("lits", "LITS-Challenge-Test-Data/test-volume-0.nii"),
        ("lits", "Training Batch 1/._volume-0.nii"),
        ("lits", "Training Batch 1/volume-5.nii.part"),
        ("la", "Testing Set/AAAAAAAAAAAAAAAAAAAA/lgemri.nrrd"),
    ],
)
def test_images_that_have_no_label_in_the_release_are_passed_over(
    name: str, beside: str, tmp_path: Path
) -> None:
    task = release(name)
    files = synthesise(task, tmp_path)
    before = [case.id for case in task.cases(tmp_path)]
    (tmp_path / beside).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / beside).write_bytes(files[0].read_bytes())
    assert [case.id for case in task.cases(tmp_path)] == before


def test_cases_that_no_list_names_neither_train_nor_are_tested(faults, tmp_path: Path) -> None:
    task = release("lits")
    files = synthesise(task, tmp_path)
    before = [case.id for case in task.cases(tmp_path)]
    for file in files[:2]:
        file.with_name(file.name.replace(".nii", "-copy.nii")).write_bytes(file.read_bytes())
    assert [case.id for case in task.cases(tmp_path)] == before
    file = files[0]
    file.with_name(file.name + ".gz").write_bytes(b"another")
    assert faults(task, tmp_path) == [
        f"liver_0: {file}: {file}.gz has the same id 'liver_0'; remove one, or point --data at one"
        " tree"
    ]


def test_a_case_without_a_number_is_at_fault_alone(faults, tmp_path: Path) -> None:
    task = release("vs")
    files = synthesise(task, tmp_path)
    before = {case.id: case.pool for case in task.cases(tmp_path)}
    shutil.copytree(files[0].parent, tmp_path / "vs_gk_extra")
    after = {case.id: case.pool for case in task.cases(tmp_path)}
    assert {**after, **before} == after and after.keys() - before.keys() == {"vs_gk_extra"}
    (told,) = faults(task, tmp_path)
    assert told.startswith(f"vs_gk_extra: {tmp_path / 'vs_gk_extra'}")
    assert "'vs_gk_extra' has no number, by which train and test are told; rename it" in told


def test_an_id_that_the_release_lacks_is_found_and_not_trained_on(tmp_path: Path) -> None:
    """UPENN-GBM has 4 for enhancing tumour, which is class 3 here, and no 3."""
    task = release("upenn_gbm")
    file = next(one for one in synthesise(task, tmp_path) if "segm" in one.name)
    assert verify(task, {"": tmp_path}, lambda _: None)[1] == []
    image = nibabel.load(file)
    label = np.asarray(image.dataobj)
    assert {*np.unique(label)} == {0, 1, 2, 4}
    nibabel.save(nibabel.Nifti1Image(np.minimum(label, 3), image.affine), file)
    stock, findings = verify(task, {"": tmp_path}, lambda _: None)
    told = "label ids 3 are unknown here (known: 0, 1, 2, 4)"
    assert [(one.level, one.file, one.message.partition(";")[0]) for one in findings] == [
        ("error", str(file), told)
    ]
    (case,) = (case for case in stock.cases if case.id == findings[0].case)
    with pytest.raises(DataError, match=re.escape(told)):
        prepare_case(VolumeCache(tmp_path / "cache"), task, case)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    task = release("la")
    files = synthesise(task, tmp_path)
    before = files[0].read_bytes()
    with pytest.raises(BenchError, match="is already there"):
        synthesise(task, tmp_path)
    assert files[0].read_bytes() == before
    with pytest.raises(BenchError, match="no tree 'h5'; known are release"):
        synthesise(task, tmp_path / "new", "h5")
