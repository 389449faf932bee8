"""Headers, disk and folders are checked before anything starts."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medssl_bench.data.reading import FileSource
from medssl_bench.errors import BenchError, DataError
from medssl_bench.task import Case, Task
from medssl_bench.validation import check_cases, check_disk, check_writable, raise_errors


def volume(path: Path, shape=(4, 5, 6), shift_mm=0.0) -> FileSource:
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[0, 3] = shift_mm
    nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), affine), path)
    return FileSource(path)


def task(*channels: str) -> Task:
    return Task(name="livers", classes={1: "liver"}, channels=channels or ("image",))


def test_a_sound_case_has_no_finding(tmp_path):
    case = Case("a", {"image": volume(tmp_path / "a.nii.gz")}, volume(tmp_path / "b.nii.gz"))
    assert check_cases([case] * 20, task()) == []


def test_label_of_another_shape_is_an_error_with_both_shapes(tmp_path):
    image = volume(tmp_path / "a.nii.gz")
    label = volume(tmp_path / "label.nii.gz", (4, 5, 7))
    (finding,) = check_cases([Case("a", {"image": image}, label)], task())
    assert finding.level == "error"
    assert finding.file == str(tmp_path / "label.nii.gz")
    assert "4x5x7" in finding.message and "4x5x6" in finding.message


def test_channels_of_different_shape_are_an_error(tmp_path):
    images = {"T1": volume(tmp_path / "1.nii"), "T2": volume(tmp_path / "2.nii", (4, 5, 5))}
    (finding,) = check_cases([Case("a", images)], task("T1", "T2"))
    assert finding.level == "error" and "T2 has shape" in finding.message


def test_a_missing_channel_is_an_error(tmp_path):
    case = Case("a", {"T1": volume(tmp_path / "1.nii")})
    (finding,) = check_cases([case], task("T1", "FLAIR"))
    assert finding.level == "error" and "'FLAIR' is missing" in finding.message


def test_what_cannot_be_read_is_named_and_the_others_still_checked(tmp_path):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no header")
    cases = [
        Case("a", {"image": FileSource(broken)}),
        Case("b", {"image": FileSource(tmp_path / "gone.nii.gz")}),
        Case("c", {"image": volume(tmp_path / "c.nii.gz")}),
    ]
    findings = check_cases(cases, task())
    assert [(finding.level, finding.case) for finding in findings] == [
        ("error", "a"),
        ("error", "b"),
    ]
    assert findings[1].file == str(tmp_path / "gone.nii.gz")
    with pytest.raises(DataError, match=r"livers: case a: .*broken.nii.gz: .*and 1 more") as raised:
        raise_errors(findings, "livers")
    assert "\n" not in str(raised.value)


def test_affines_that_differ_warn_with_the_distance(tmp_path):
    image, label = volume(tmp_path / "a.nii"), volume(tmp_path / "b.nii", shift_mm=2.5)
    findings = check_cases([Case("a", {"image": image}, label)], task())
    assert [finding.level for finding in findings] == ["warning"]
    assert "2.5 mm" in findings[0].message
    assert raise_errors(findings, "livers") == findings


def test_affines_within_rounding_do_not_warn(tmp_path):
    image, label = volume(tmp_path / "a.nii"), volume(tmp_path / "b.nii", shift_mm=0.05)
    assert check_cases([Case("a", {"image": image}, label)], task()) == []


def test_a_full_disk_is_refused_with_sizes(tmp_path):
    check_disk(tmp_path / "not" / "yet", 1)
    with pytest.raises(BenchError, match=r"results: 1048576.0 GiB needed, \d+\.\d GiB free"):
        check_disk(tmp_path / "results", 2**50)


def test_a_writable_folder_is_left_as_it_was(tmp_path):
    check_writable(tmp_path / "a" / "b")
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write"):
        check_writable(tmp_path / "file" / "results")
