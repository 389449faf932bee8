"""Datasets in DICOM: which scan and which label are taken, whatever the folders are called."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

from medssl_bench.cli.data_command import command
from medssl_bench.data.dicom_labels import DicomLabel
from medssl_bench.data.dicom_writing import Scan, outlines, write_scan, write_structures
from medssl_bench.data.synthetic import draw, synthesise
from medssl_bench.data.volume import Header
from medssl_bench.errors import DataError
from medssl_bench.tasks import load_task
from medssl_bench.tasks.release import Release
from medssl_bench.verification import verify


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lung_ct")
    synthesise(lung(), folder)
    return folder


@pytest.fixture
def tree(written: Path, tmp_path: Path) -> Path:
    """A tree of one's own to change, of three cases."""
    for patient in ("LUNG1-001", "LUNG1-002", "LUNG1-014"):
        found = next(written.rglob(patient))
        shutil.copytree(found, tmp_path / "data" / found.relative_to(written))
    return tmp_path / "data"


def lung(name: str = "lung_ct") -> Release:
    task = load_task(name)
    assert isinstance(task, Release)
    return task


def modality(file: Path) -> str:
    return str(pydicom.dcmread(file, stop_before_pixels=True).Modality)


def objects(tree: Path, patient: str, kind: str) -> list[Path]:
    files = sorted(next(tree.rglob(patient)).rglob("*.dcm"))
    return [file for file in files if modality(file) == kind]


def fails(task: Release, tree: Path) -> list[str]:
    """Return what verify finds wrong, by case."""
    _, findings = verify(task, {"": tree}, lambda event: None)
    return [str(finding) for finding in findings]


def test_seg_before_rtstruct_unless_it_is_known_to_be_wrong(written: Path) -> None:
    read = {}
    for case in lung().cases(written):
        assert isinstance(case.label, DicomLabel)
        read[case.id] = modality(case.label.path)
    assert read["LUNG1-001"] == read["LUNG1-003"] == "SEG"
    assert read["LUNG1-002"] == read["LUNG1-014"] == "RTSTRUCT"
    assert objects(written, "LUNG1-001", "RTSTRUCT") and objects(written, "LUNG1-014", "SEG")


def test_the_traps_are_there(written: Path) -> None:
    (seg,) = objects(written, "LUNG1-001", "SEG")
    dataset = pydicom.dcmread(seg)
    names = [one.SegmentDescription for one in dataset.SegmentSequence]
    assert names == ["Lung-Left", "Spinal-Cord", "GTV-1"]
    heights = [
        float(frame.PlanePositionSequence[0].ImagePositionPatient[2])
        for frame in dataset.PerFrameFunctionalGroupsSequence
        if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 3
    ]
    assert heights == sorted(heights, reverse=True)
    assert list(written.rglob("copy-*.dcm"))
    parents = {file.parent.parent.name for file in written.rglob("*.dcm")}
    assert parents == {"09-18-2008-StudyID-NA-69331", "09-18-2008-StudyID-69331"}


def test_folder_names_mean_nothing(tree: Path) -> None:
    """TCIA's classic names are UIDs; here they even lie about what is inside."""
    before = [(case.id, case.pool) for case in lung().cases(tree)]
    ct = objects(tree, "LUNG1-001", "CT")[0].parent
    rtstruct = objects(tree, "LUNG1-001", "RTSTRUCT")[0].parent
    ct.rename(ct.with_name("RTSTRUCT"))
    rtstruct.rename(rtstruct.with_name("CT"))
    shutil.move(tree / "NSCLC-Radiomics" / "LUNG1-002", tree / "LUNG1-422")
    shutil.move(tree / "NSCLC-Radiomics", tree / "other")
    assert [(case.id, case.pool) for case in lung().cases(tree)] == before
    assert fails(lung(), tree) == []


def test_patients_without_tumour_are_left_out_by_name(tree: Path) -> None:
    ids = [case.id for case in lung().cases(tree)]
    for file in objects(tree, "LUNG1-002", "CT"):
        dataset = pydicom.dcmread(file)
        dataset.PatientID = "LUNG1-128"
        dataset.SeriesInstanceUID = "1.2.128"
        to = tree / "128" / file.name
        to.parent.mkdir(exist_ok=True)
        dataset.save_as(to)
    assert [case.id for case in lung().cases(tree)] == ids
    told = CliRunner().invoke(command, ["status", "lung_ct", "--data", str(tree)]).output
    assert "left out  LUNG1-128: it has no usable tumour" in told


def test_the_scan_that_the_label_refers_to_is_taken(tree: Path) -> None:
    """A second CT of the patient, in a folder that comes first."""
    header = Header((8, 8, 8), np.diag([-1.0, -1.0, 1.0, 1.0]))
    folder = tree / "NSCLC-Radiomics" / "0"
    other = Scan("LUNG1-001", "another", "CT", header)
    write_scan(other, np.zeros((8, 8, 8), np.int16), [folder / f"{z}.dcm" for z in range(8)])
    case = lung().cases(tree)[0]
    assert case.id == "LUNG1-001" and case.images["image"].header().shape == (44, 40, 28)
    objects(tree, "LUNG1-001", "SEG")[0].unlink()
    objects(tree, "LUNG1-001", "RTSTRUCT")[0].unlink()
    (told,) = fails(lung(), tree)
    assert told.startswith("LUNG1-001: ") and "LUNG1-001 has 2 scans and 0 labels" in told


def test_a_label_of_another_series_is_one_error_and_the_rest_goes_on(tree: Path) -> None:
    (file,) = objects(tree, "LUNG1-002", "RTSTRUCT")
    dataset = pydicom.dcmread(file)
    frame = dataset.ReferencedFrameOfReferenceSequence[0]
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    series.SeriesInstanceUID = "1.2.3"
    dataset.save_as(file)
    (found,) = fails(lung(), tree)
    assert found.startswith(f"LUNG1-002: {file}: refers to series 1.2.3, but the scan in")


def test_a_seg_on_another_grid_is_named(tree: Path) -> None:
    (file,) = objects(tree, "LUNG1-014", "SEG")
    task = lung()
    (dicom,) = task.trees
    trusting = dicom.model_copy(update={"wrong_segmentations": ()})
    found = fails(task.model_copy(update={"trees": (trusting,)}), tree)
    words = "its frames have 40x40 voxels, the scan's slices 44x40"
    assert found == [f"LUNG1-014: {file}: {words}"]


@pytest.mark.parametrize("fault", ["two series", "a slice is missing"])
def test_a_faulty_scan_is_named_and_the_rest_goes_on(tree: Path, fault: str) -> None:
    slices = objects(tree, "LUNG1-002", "CT")
    if fault == "a slice is missing":
        slices[9].unlink()
    else:
        for file in slices[:2]:
            dataset = pydicom.dcmread(file)
            dataset.SeriesInstanceUID = "1.2.3"
            dataset.save_as(file.with_name(f"other-{file.name}"))
    found = fails(lung(), tree)
    words = "2 series, one expected" if fault == "two series" else fault
    assert len(found) == 1 and found[0].startswith("LUNG1-002: ")
    assert words in found[0] and str(slices[0].parent) in found[0]


def test_a_patient_without_a_label_is_an_error(tree: Path) -> None:
    objects(tree, "LUNG1-002", "RTSTRUCT")[0].unlink()
    (told,) = fails(lung(), tree)
    assert told.startswith("LUNG1-002: ") and "has no label, expected SEG or" in told


def test_no_dicom(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no cases in .*; expected DICOM CT of PatientID LUNG1-"):
        lung().cases(tmp_path)


def test_several_tumours_alone_and_united(tree: Path) -> None:
    (file,) = objects(tree, "LUNG1-002", "RTSTRUCT")
    case = next(case for case in lung().cases(tree) if case.id == "LUNG1-002")
    assert case.label is not None
    first = case.label.read()
    second = np.roll(first.array, 9, 1)
    scan = Scan("LUNG1-002", "", "CT", first.header)
    both = {"GTV-2": outlines(second > 0, scan), "GTV-1": outlines(first.array > 0, scan)}
    write_structures(scan, both, file)
    for name, expected in (("lung_ct", first.array), ("lung_ct_all", first.array | second)):
        case = next(case for case in lung(name).cases(tree) if case.id == "LUNG1-002")
        assert case.label is not None
        np.testing.assert_array_equal(case.label.read().array, expected)


def test_hold_out_of_the_whole_collection() -> None:
    patients = {f"LUNG1-{n:03}": f"LUNG1-{n:03}" for n in range(1, 423) if n not in (128, 412)}
    pools = lung().split.pools(patients)
    assert len(pools) == 420 and list(pools.values()).count("test") == 43
    assert lung("lung_ct_all").split.pools(patients) == pools


def test_t1_and_t2_of_one_download(tmp_path: Path) -> None:
    """Each contrast has its own scan and contours, though both lie in one tree."""
    t1, t2 = lung("vs"), lung("vs_t2")
    synthesise(t1, tmp_path, "TCIA")
    images, label = draw(t1, "1")
    image = images["image"]
    for task, turned in ((t1, False), (t2, True)):
        case = task.cases(tmp_path)[0]
        assert case.id == "vs_gk_1" and case.label is not None
        flip = -1 if not turned else 1  # stored LPS; the other contrast is drawn mirrored
        scan, mask = case.images["image"].read().array, case.label.read().array
        np.testing.assert_array_equal(scan, image[::flip, ::-1])
        np.testing.assert_array_equal(mask, label[::flip, ::-1])
    kinds = {modality(file) for file in tmp_path.rglob("*.dcm")}
    assert kinds == {"MR", "RTSTRUCT", "RTPLAN", "RTDOSE"}
