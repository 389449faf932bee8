"""Labels beside a DICOM scan: written by other libraries from real scans, read back on its grid."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from skimage.measure import approximate_polygon, find_contours

from medssl_bench.data.dicom_labels import DicomLabel
from medssl_bench.data.dicom_writing import (
    Scan,
    outlines,
    write_companion,
    write_contours_json,
    write_scan,
    write_segmentation,
    write_structures,
)
from medssl_bench.data.itk import LPS_TO_RAS
from medssl_bench.data.orientation import to_ras
from medssl_bench.data.reading import FileSource
from medssl_bench.data.volume import Header
from medssl_bench.errors import DataError

SCANS = Path(os.environ.get("BENCH_TEST_SCANS", Path(__file__).parents[3] / "shared" / "data"))
"""Real scans, which are not part of the repository."""

REAL = [
    "LUNGTUMOR_CT_NSCLC/lung1_001",
    "LUNGTUMOR_CT_NSCLC/cancerdata_pat4",
    "ABDOMEN_CT_MULTIORGAN/ts_ct02",
]
SHAPE = (11, 9, 7)
UID = "1.2.826.0.1.3680043.2.1125.1"
PATIENT_AND_STUDY = (
    "PatientID PatientName PatientBirthDate PatientSex StudyID StudyDate StudyTime"
    " AccessionNumber ReferringPhysicianName"
).split()
"""What highdicom copies from a scan."""


@pytest.fixture(params=REAL, ids=lambda name: name.rpartition("/")[2])
def real(request: pytest.FixtureRequest) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """A real CT's voxels and its label 1, cut to where the label lies and a margin."""
    folder, _, name = request.param.partition("/")
    file = SCANS / folder / "images" / f"{name}.nii.gz"
    if not file.is_file():
        pytest.skip(f"no {request.param} in {SCANS}; set BENCH_TEST_SCANS to a folder with it")
    label = np.asarray(nib.load(SCANS / folder / "labels" / file.name).dataobj) == 1
    where = np.argwhere(label)
    low, high = np.maximum(where.min(0) - 9, 0), where.max(0) + 6
    cut = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return np.asarray(nib.load(file).dataobj)[cut].astype(np.int16), label[cut]


def write_highdicom(folder: Path, file: Path, masks: dict[str, NDArray], reverse: bool) -> None:
    """Write a SEG of the series in ``folder`` by highdicom; it leaves empty frames out."""
    slices = [pydicom.dcmread(one) for one in folder.iterdir()]
    slices.sort(key=lambda one: one.InstanceNumber, reverse=reverse)
    for one in slices:
        one.FrameOfReferenceUID, one.SliceThickness = UID + ".7", "2.5"
        for name in PATIENT_AND_STUDY:
            if name not in one:
                setattr(one, name, "")
    order = [int(one.InstanceNumber) for one in slices]
    pixels = np.stack([mask.transpose(2, 1, 0)[order] for mask in masks.values()], -1)
    segments = [
        highdicom.seg.SegmentDescription(number, name, codes.SCT.Tissue, codes.SCT.Tissue, "MANUAL")
        for number, name in enumerate(masks, 1)
    ]
    highdicom.seg.Segmentation(
        slices, pixels.astype(np.uint8), "BINARY", segments, UID + ".8", 1, UID + ".9", 1,
        "maker", "model", "1", "1", omit_empty_frames=True,
    ).save_as(file)  # fmt: skip


@pytest.mark.parametrize(
    ("real", "reverse"), zip(REAL, (False, True, True), strict=True), indirect=["real"]
)
def test_a_seg_of_a_real_scan_is_read_voxel_for_voxel(
    real: Any, reverse: bool, tmp_path: Path, save_dicom: Callable[..., NDArray]
) -> None:
    scan, mask = real
    affine = save_dicom(tmp_path / "ct", scan)
    lung = np.roll(mask, 7, 0)
    write_highdicom(tmp_path / "ct", tmp_path / "s.dcm", {"Lung": lung, "GTV-1": mask}, reverse)
    frames = int(pydicom.dcmread(tmp_path / "s.dcm").NumberOfFrames)
    assert frames == 2 * mask.any((0, 1)).sum()  # empty slices have none
    image = FileSource(tmp_path / "ct")
    for name, expected in (("GTV-1", mask), ("Lung", lung), ("*", mask | lung)):
        source = DicomLabel(tmp_path / "s.dcm", image, (name,))
        volume = source.read()
        np.testing.assert_array_equal(volume.array, expected)
        np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
        assert source.header().shape == image.header().shape == mask.shape
    np.testing.assert_array_equal(image.read().array, scan)


def test_an_rtstruct_of_a_real_tumour(
    real: Any, tmp_path: Path, save_dicom: Callable[..., NDArray]
) -> None:
    """Contours simplified as a person draws them enclose nearly the same voxels."""
    scan, mask = real
    affine = save_dicom(tmp_path / "ct", scan)
    contours = []
    for place in np.flatnonzero(mask.any((0, 1))):
        for line in find_contours(np.pad(mask[:, :, place], 1).astype(float), 0.5):
            few = approximate_polygon(line, 0.4)[:-1] - 1
            index = np.column_stack([few, np.full(len(few), place), np.ones(len(few))])
            contours.append((LPS_TO_RAS @ affine @ index.T).T[:, :3])
    file = structure_set(tmp_path / "rt.dcm", {"GTV-1": contours, "Lung": contours[:1]})
    read = DicomLabel(file, FileSource(tmp_path / "ct"), ("GTV-1",)).read().array > 0
    assert 2 * (read & mask).sum() / (read.sum() + mask.sum()) > 0.97


def structure_set(file: Path, regions: dict[str, list[NDArray]], series: str = UID) -> Path:
    """Write an RTSTRUCT with nothing but what is needed, by pydicom."""
    one = pydicom.Dataset()
    one.Modality, one.SeriesInstanceUID, one.PatientID = "RTSTRUCT", UID + ".5", "p"
    one.SOPClassUID, one.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", UID + ".6"
    reference, study, frame = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    reference.SeriesInstanceUID = series
    study.RTReferencedSeriesSequence = [reference]
    frame.RTReferencedStudySequence = [study]
    one.ReferencedFrameOfReferenceSequence = [frame]
    one.StructureSetROISequence, one.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(regions.items(), 7):
        roi, drawn = pydicom.Dataset(), pydicom.Dataset()
        roi.ROINumber, roi.ROIName = number, name
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for points in contours:
            contour = pydicom.Dataset()
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.ContourData = [f"{value:.3f}" for value in points.ravel()]
            drawn.ContourSequence.append(contour)
        one.StructureSetROISequence.append(roi)
        one.ROIContourSequence.insert(0, drawn)  # the order of the two need not agree
    one.file_meta = pydicom.dataset.FileMetaDataset()
    one.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    one.save_as(file, enforce_file_format=True)
    return file


@pytest.fixture
def scan(tmp_path: Path, oblique: NDArray) -> Scan:
    """An oblique series on disk in ``ct``."""
    rigid = np.array(oblique)
    sides, _ = np.linalg.qr(oblique[:3, :3])
    rigid[:3, :3] = sides * [0.9, 1.2, 2.5]
    if np.linalg.det(sides) * np.linalg.det(LPS_TO_RAS[:3, :3]) < 0:
        rigid[:3, 2] *= -1
    one = Scan("p", "ct", "CT", Header(SHAPE, rigid))
    voxels = np.random.default_rng(0).integers(-500, 500, SHAPE).astype(np.int16)
    write_scan(one, voxels, [tmp_path / "ct" / f"{z}.dcm" for z in range(SHAPE[2])])
    return one


@pytest.fixture
def masks() -> dict[str, NDArray[np.bool_]]:
    rng = np.random.default_rng(1)
    found = {name: rng.random(SHAPE) < 0.4 for name in ("GTV-1", "GTV-2", "Heart")}
    found["GTV-1"][:, :, [0, 4]] = False
    return found


def write(kind: str, scan: Scan, masks: dict[str, NDArray], tmp_path: Path) -> Path:
    if kind == "SEG":
        return write_segmentation(scan, masks, tmp_path / "label.dcm", backwards=True)
    regions = {name: outlines(mask, scan) for name, mask in masks.items()}
    return write_structures(scan, regions, tmp_path / "label.dcm")


def refusal(file: Path, tmp_path: Path, names: tuple[str, ...] = ("GTV-1",)) -> str:
    """Return what is said before a run starts, and again by reading."""
    source = DicomLabel(file, FileSource(tmp_path / "ct"), names)
    with pytest.raises(DataError) as caught:
        source.header()
    with pytest.raises(DataError) as again:
        source.read()
    message = str(caught.value)
    assert message == str(again.value) and message.startswith(str(file)) and "\n" not in message
    return message


@pytest.mark.parametrize("kind", ["SEG", "RTSTRUCT"])
class TestBoth:
    def test_regions_alone_and_united(self, kind, scan, masks, tmp_path) -> None:
        file = write(kind, scan, masks, tmp_path)
        image = FileSource(tmp_path / "ct")
        np.testing.assert_allclose(image.header().affine, scan.header.affine, atol=1e-5)
        for names, expected in (
            (("GTV-1",), masks["GTV-1"]),
            (("GTV-2",), masks["GTV-2"]),
            (("GTV-*",), masks["GTV-1"] | masks["GTV-2"]),
            (("GTV-1", "Heart"), masks["GTV-1"] | masks["Heart"]),
        ):
            volume = DicomLabel(file, image, names).read()
            np.testing.assert_array_equal(volume.array, expected)
            assert volume.array.dtype == np.uint8

    def test_label_and_scan_turn_together(self, kind, scan, masks, tmp_path) -> None:
        """A landmark drawn in both is one point in RAS."""
        landmark = np.zeros(SHAPE, bool)
        landmark[7, 2, 5] = True
        file = write(kind, scan, {"GTV-1": landmark}, tmp_path)
        turned = to_ras(DicomLabel(file, FileSource(tmp_path / "ct"), ("GTV-1",)).read())
        (voxel,) = np.argwhere(turned.array)
        point = (turned.affine @ [*voxel, 1])[:3]
        tags = pydicom.dcmread(tmp_path / "ct" / "5.dcm")  # the standard's equation C.7.6.2.1-1
        row, column = np.reshape(tags.ImageOrientationPatient, (2, 3)).astype(float)
        down, across = map(float, tags.PixelSpacing)
        lps = np.array(tags.ImagePositionPatient, float) + 7 * across * row + 2 * down * column
        np.testing.assert_allclose(point, lps * [-1, -1, 1], atol=1e-4)

    def test_absent_region_names_what_there_is(self, kind, scan, masks, tmp_path) -> None:
        message = refusal(write(kind, scan, masks, tmp_path), tmp_path, ("GTV",))
        assert "GTV; there is GTV-1, GTV-2, Heart" in message

    def test_of_another_series(self, kind, scan, masks, tmp_path) -> None:
        other = Scan("p", "another", "CT", scan.header)
        message = refusal(write(kind, other, masks, tmp_path), tmp_path)
        assert f"refers to series {other.series}, but" in message
        assert f"{tmp_path / 'ct'} is series {scan.series}" in message

    def test_truncated(self, kind, scan, masks, tmp_path) -> None:
        file = write(kind, scan, masks, tmp_path)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
        source = DicomLabel(file, FileSource(tmp_path / "ct"), ("GTV-1",))
        with pytest.raises(DataError, match=str(file)):
            source.read()

    def test_without_a_tag(self, kind, scan, masks, tmp_path) -> None:
        file = write(kind, scan, masks, tmp_path)
        dataset = pydicom.dcmread(file)
        if kind == "SEG":
            del dataset.SegmentSequence
            assert "no SegmentSequence" in refusal_of(dataset, file, tmp_path)
        else:
            del dataset.ROIContourSequence
            assert "no region GTV-1; there is none" in refusal_of(dataset, file, tmp_path)

    def test_digest_is_of_file_and_names(self, kind, scan, masks, tmp_path) -> None:
        image = FileSource(tmp_path / "ct")
        file = write(kind, scan, masks, tmp_path)
        one = DicomLabel(file, image, ("GTV-1",)).digest()
        assert one != DicomLabel(file, image, ("GTV-2",)).digest()
        file.unlink()
        masks["GTV-1"][0, 0, 0] ^= True
        write(kind, scan, masks, tmp_path)
        assert one != DicomLabel(file, image, ("GTV-1",)).digest()


def refusal_of(dataset: pydicom.Dataset, file: Path, tmp_path: Path) -> str:
    dataset.save_as(file)
    return refusal(file, tmp_path)


class TestSegmentation:
    def test_of_another_size(self, scan, masks, tmp_path) -> None:
        cut = {name: mask[1:] for name, mask in masks.items()}
        message = refusal(write("SEG", scan, cut, tmp_path), tmp_path)
        assert "frames have 10x9 voxels, the scan's slices 11x9" in message

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_shifted_by_half_a_voxel(self, axis, scan, masks, tmp_path) -> None:
        affine = scan.header.affine.copy()
        affine[:3, 3] += affine[:3, axis] / 2
        moved = Scan(scan.patient, scan.name, "CT", Header(SHAPE, affine))
        message = refusal(write("SEG", moved, masks, tmp_path), tmp_path)
        assert "does not lie voxel on voxel on a slice" in message and "0.50 voxels" in message

    def test_on_the_flipped_grid(self, scan, masks, tmp_path) -> None:
        flipped = scan.header.affine @ np.diag([-1, -1, 1, 1])
        flipped[:3, 3] += scan.header.affine[:3, :2] @ [SHAPE[0] - 1, SHAPE[1] - 1]
        moved = Scan(scan.patient, scan.name, "CT", Header(SHAPE, flipped))
        message = refusal(write("SEG", moved, masks, tmp_path), tmp_path)
        assert "does not lie voxel on voxel" in message

    def test_beyond_the_scan(self, scan, masks, tmp_path) -> None:
        file = write("SEG", scan, masks, tmp_path)
        (tmp_path / "ct" / "6.dcm").unlink()
        assert "beyond the scan's last slice" in refusal(file, tmp_path)

    def test_two_frames_on_one_slice(self, scan, masks, tmp_path) -> None:
        file = write("SEG", scan, masks, tmp_path)
        dataset = pydicom.dcmread(file)
        frames = dataset.PerFrameFunctionalGroupsSequence
        frames[1].PlanePositionSequence = frames[0].PlanePositionSequence
        assert "frames 1 and 2 of one segment lie on one slice" in refusal_of(
            dataset, file, tmp_path
        )

    def test_fractional(self, scan, masks, tmp_path) -> None:
        file = write("SEG", scan, masks, tmp_path)
        dataset = pydicom.dcmread(file)
        dataset.SegmentationType = "FRACTIONAL"
        assert "type FRACTIONAL; BINARY is read" in refusal_of(dataset, file, tmp_path)


class TestStructures:
    def test_contours_between_slices(self, scan, masks, tmp_path) -> None:
        regions = {"GTV-1": [one + scan.lps[:3, 2] / 2 for one in outlines(masks["Heart"], scan)]}
        file = write_structures(scan, regions, tmp_path / "label.dcm")
        with pytest.raises(DataError, match="GTV-1: contour 1 of .* lies on no slice"):
            DicomLabel(file, FileSource(tmp_path / "ct"), ("GTV-1",)).read()

    def test_contours_that_say_how_they_combine(self, scan, masks, tmp_path) -> None:
        file = write("RTSTRUCT", scan, masks, tmp_path)
        label = DicomLabel(file, FileSource(tmp_path / "ct"), ("GTV-1",))
        expected = label.read().array
        dataset = pydicom.dcmread(file)
        for contour in dataset.ROIContourSequence[0].ContourSequence:
            contour.ContourGeometricType = "CLOSEDPLANAR_XOR"
        dataset.save_as(file)
        assert expected.any()
        np.testing.assert_array_equal(label.read().array, expected)

    def test_open_contours(self, scan, masks, tmp_path) -> None:
        file = write("RTSTRUCT", scan, masks, tmp_path)
        dataset = pydicom.dcmread(file)
        dataset.ROIContourSequence[0].ContourSequence[0].ContourGeometricType = "OPEN_PLANAR"
        dataset.save_as(file)
        with pytest.raises(DataError, match="GTV-1: a contour is OPEN_PLANAR"):
            DicomLabel(file, FileSource(tmp_path / "ct"), ("GTV-1",)).read()

    def test_other_objects(self, scan, tmp_path) -> None:
        file = write_companion(scan, "RTDOSE", tmp_path / "dose.dcm")
        assert "modality RTDOSE; SEG or RTSTRUCT expected" in refusal(file, tmp_path)


class TestContoursJson:
    def test_only_the_first_structure_counts(self, scan, masks, tmp_path) -> None:
        regions = {"AN": outlines(masks["GTV-1"], scan), "Cochlea": outlines(masks["Heart"], scan)}
        file = write_contours_json(regions, tmp_path / "contours.json")
        read = DicomLabel(file, FileSource(tmp_path / "ct")).read()
        np.testing.assert_array_equal(read.array, masks["GTV-1"])

    @pytest.mark.parametrize("text", ["[", "[]", "{}", '["TV"]'])
    def test_no_structures(self, text, scan, tmp_path) -> None:
        file = tmp_path / "contours.json"
        file.write_text(text)
        assert "no JSON" in (message := refusal(file, tmp_path)) or "no list" in message

    @pytest.mark.parametrize("points", ["null", "[[1, 2, 3]]", '[[["a", 2, 3]]]', "[[[1, 2]]]"])
    def test_no_points(self, points, scan, tmp_path) -> None:
        file = tmp_path / "contours.json"
        file.write_text(f'[{{"structure_name": "tv", "LPS_contour_points": {points}}}]')
        assert "tv has no contours of points (x, y, z)" in refusal(file, tmp_path)


class TestCopiesOfSlices:
    def test_are_read_once(self, scan, tmp_path) -> None:
        before = FileSource(tmp_path / "ct").read()
        (tmp_path / "ct" / "copy.dcm").write_bytes((tmp_path / "ct" / "3.dcm").read_bytes())
        after = FileSource(tmp_path / "ct").read()
        np.testing.assert_array_equal(after.array, before.array)
        np.testing.assert_array_equal(after.affine, before.affine)

    def test_that_differ_are_refused(self, scan, tmp_path) -> None:
        dataset = pydicom.dcmread(tmp_path / "ct" / "3.dcm")
        dataset.SOPInstanceUID = UID + ".4"
        dataset.PixelData = dataset.PixelData[::-1]
        dataset.save_as(tmp_path / "ct" / "copy.dcm")
        with pytest.raises(DataError) as caught:
            FileSource(tmp_path / "ct").header()
        assert str(caught.value).startswith(f"{tmp_path / 'ct'}: ")
        assert "3.dcm" in str(caught.value) and "copy.dcm" in str(caught.value)
        assert "lie on one slice position and differ" in str(caught.value)
