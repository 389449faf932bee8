"""Headers of NIfTI files are read without `nibabel.load`, with what it says of them."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medssl_bench.data import nifti
from medssl_bench.data.reading import FileSource
from medssl_bench.errors import DataError

RNG = np.random.default_rng(0)
VOXELS = RNG.integers(-1000, 1000, (7, 6, 5)).astype(np.int16)

FIELDS: dict[str, dict[str, object]] = {
    "as saved": {},
    "placed by its quaternion": {"sform_code": 0},
    "placed by nothing": {"sform_code": 0, "qform_code": 0},
    "unknown codes": {"sform_code": 77, "qform_code": 78},
    "a voxel of no size": {"sform_code": 0, "pixdim": [1, 0, 2, 3, 0, 0, 0, 0]},
    "a negative size": {"sform_code": 0, "pixdim": [-1, 1, -2, 3, 0, 0, 0, 0]},
    "no such sign": {"sform_code": 0, "pixdim": [7, 1, 2, 3, 0, 0, 0, 0]},
    "an affine that places nothing": {"srow_x": 0, "srow_y": np.nan},
    "said to be a pair of files": {"magic": b"ni1"},
    "said to be nothing": {"magic": b"abc"},
    "wrong size of the header": {"sizeof_hdr": 300},
    "wrong bits": {"bitpix": 64},
    "no such kind of voxel": {"datatype": 5},
    "colours": {"datatype": 128, "bitpix": 24},
    "an endless slope": {"scl_slope": np.inf},
    "no intercept": {"scl_slope": 2, "scl_inter": np.nan},
    "voxels that begin later": {"vox_offset": 400},
    "voxels within the header": {"vox_offset": 100},
    "two dimensions": {"dim": [2, 7, 6, 1, 1, 1, 1, 1]},
    "a long side as FreeSurfer has it": {"dim": [3, -1, 1, 1, 1, 1, 1, 1], "glmin": 210},
}


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("comment", [b"", b"by a scanner"])
@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_a_header_is_read_or_refused_as_nibabel_does(
    tmp_path, monkeypatch, oblique, extension, order, comment, fields
):
    image = nib.Nifti1Image(VOXELS, oblique, nib.Nifti1Header(endianness=order))
    if comment:
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", comment))
    content = image.to_bytes()
    header = nib.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    assert header.endianness == order
    content = header.binaryblock + content[348:]
    path = tmp_path / f"scan{extension}"
    path.write_bytes(gzip.compress(content) if extension == ".nii.gz" else content)
    check_like_nibabel(path, monkeypatch)


@pytest.mark.parametrize("length", [10, 347, 348, 351, 352, 500, 1023, 1024, 2000])
def test_a_short_or_damaged_file_is_refused_as_nibabel_does(tmp_path, monkeypatch, length):
    noise = RNG.integers(-1000, 1000, (30, 30, 30)).astype(np.int16)
    whole = nib.Nifti1Image(noise, np.eye(4)).to_bytes()
    packed = gzip.compress(whole)
    files = {
        "cut.nii": whole[:length],
        "cut_before.nii.gz": gzip.compress(whole[:length]),
        "cut_after.nii.gz": packed[:length],
        "damaged.nii.gz": packed[:length] + bytes(100) + packed[length + 100 :],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        check_like_nibabel(tmp_path / name, monkeypatch)


def test_usual_files_are_not_left_to_nibabel(tmp_path, save_nifti):
    for name in ("a.nii", "a.nii.gz"):
        assert nifti._plain_header(save_nifti(tmp_path / name, VOXELS)) is not None


def check_like_nibabel(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare a header with that of nibabel.load, or a refusal with what is made of its own."""
    found = header_or_refusal(path)
    with monkeypatch.context() as patch:
        patch.setattr(nifti, "_plain_header", lambda path: None)
        assert found == header_or_refusal(path)
    if not isinstance(found, str):
        image = nib.load(path)
        assert found == (image.shape, image.affine.tolist())


def header_or_refusal(path: Path) -> object:
    try:
        header = FileSource(path).header()
    except DataError as error:
        return str(error)
    return header.shape, header.affine.tolist()
