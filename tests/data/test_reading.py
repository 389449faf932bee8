import gzip
import os
import pickle
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medssl_bench.data.reading import FileSource, find_volumes
from medssl_bench.errors import DataError

RNG = np.random.default_rng(0)
VOXELS = RNG.integers(-1000, 1000, (7, 6, 5)).astype(np.int16)


def refusal(source: FileSource, call: str = "read") -> str:
    with pytest.raises(DataError) as caught:
        getattr(source, call)()
    message = str(caught.value)
    assert message.startswith(str(source.path)) and "\n" not in message
    return message


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_nifti_returns_what_was_saved(tmp_path, oblique, extension, kind):
    path = tmp_path / f"scan{extension}"
    nib.save(kind(VOXELS, oblique), path)
    source = FileSource(path)
    volume = source.read()
    np.testing.assert_array_equal(volume.array, VOXELS)
    np.testing.assert_allclose(volume.affine, oblique, atol=1e-5)
    assert volume.array.dtype == np.int16
    assert source.header().shape == VOXELS.shape
    np.testing.assert_array_equal(source.header().affine, volume.affine)


def test_nifti_values_are_scaled_by_slope_and_intercept(tmp_path):
    image = nib.Nifti1Image(VOXELS, np.eye(4))
    image.header.set_slope_inter(0.5, -7.0)
    path = tmp_path / "scan.nii.gz"
    image.to_filename(path)
    raw = gzip.decompress(path.read_bytes())
    slope, intercept = struct.unpack("<2f", raw[112:120])
    stored = np.frombuffer(raw[352:], "<i2").reshape(VOXELS.shape, order="F")
    volume = FileSource(path).read()
    np.testing.assert_allclose(volume.array, stored * slope + intercept, atol=1e-4)
    assert volume.array.dtype == np.float32


def test_big_endian_and_trailing_axis_of_one(tmp_path):
    path = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(VOXELS[..., None].astype(">i2"), np.eye(4)), path)
    array = FileSource(path).read().array
    assert array.dtype.isnative and array.shape == VOXELS.shape
    np.testing.assert_array_equal(array, VOXELS)


def test_gzip_in_several_members_with_padding(tmp_path, save_nifti):
    plain = save_nifti(tmp_path / "plain.nii", VOXELS).read_bytes()
    path = tmp_path / "scan.nii.gz"
    members = gzip.compress(plain[:1000]) + gzip.compress(plain[1000:])
    path.write_bytes(members + bytes(512))
    np.testing.assert_array_equal(FileSource(path).read().array, VOXELS)
    path.write_bytes(members + b"left over")
    refusal(FileSource(path))


@pytest.mark.parametrize("extension", [".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_itk_formats_keep_voxels_and_place(tmp_path, sitk_image, extension, compressed):
    image, affine = sitk_image(VOXELS)
    path = tmp_path / f"scan{extension}"
    sitk.WriteImage(image, str(path), useCompression=compressed)
    source = FileSource(path)
    volume = source.read()
    np.testing.assert_array_equal(volume.array, VOXELS)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
    np.testing.assert_allclose(source.header().affine, affine, atol=1e-4)
    assert source.header().shape == VOXELS.shape


def test_itk_and_nibabel_agree_on_where_a_nifti_lies(tmp_path, sitk_image):
    image, affine = sitk_image(VOXELS)
    path = tmp_path / "scan.nii.gz"
    sitk.WriteImage(image, str(path))
    volume = FileSource(path).read()
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
    np.testing.assert_array_equal(volume.array, VOXELS)


def test_sources_travel_between_processes(tmp_path, save_nifti):
    source = FileSource(save_nifti(tmp_path / "a.nii", VOXELS))
    assert pickle.loads(pickle.dumps(source)) == source


class TestRefusals:
    def test_missing(self, tmp_path):
        assert "no such file" in refusal(FileSource(tmp_path / "none.nii.gz"), "header")

    def test_unknown_extension(self, tmp_path):
        path = tmp_path / "scan.jpg"
        path.write_bytes(b"x" * 100)
        assert "unknown extension" in refusal(FileSource(path), "header")

    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd"])
    def test_empty(self, tmp_path, name):
        path = tmp_path / name
        path.touch()
        assert "empty" in refusal(FileSource(path), "header")

    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd"])
    def test_corrupt_header(self, tmp_path, name):
        path = tmp_path / name
        path.write_bytes(RNG.bytes(3000))
        assert "cannot be read" in refusal(FileSource(path), "header")

    def test_detached_header_without_its_voxels(self, tmp_path, sitk_image):
        path = tmp_path / "scan.mhd"
        sitk.WriteImage(sitk_image(VOXELS)[0], str(path))
        (tmp_path / "scan.raw").unlink()
        assert "scan.raw, is missing" in refusal(FileSource(path), "header")

    @pytest.mark.parametrize("extension", ["nii", "nii.gz", "nrrd", "mha"])
    def test_truncated_voxels(self, tmp_path, sitk_image, extension):
        path = tmp_path / f"scan.{extension}"
        noise = RNG.integers(-1000, 1000, (30, 30, 30)).astype(np.int16)
        sitk.WriteImage(sitk_image(noise)[0], str(path), useCompression=extension != "mha")
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * 2 // 3])
        refusal(FileSource(path))

    def test_truncation_of_plain_nifti_shows_in_the_header_already(self, tmp_path, save_nifti):
        path = save_nifti(tmp_path / "scan.nii", VOXELS)
        path.write_bytes(path.read_bytes()[:-10])
        assert "truncated" in refusal(FileSource(path), "header")

    def test_gzip_checksum(self, tmp_path, save_nifti):
        path = save_nifti(tmp_path / "scan.nii.gz", VOXELS)
        content = bytearray(path.read_bytes())
        content[-7] ^= 0xFF
        path.write_bytes(content)
        refusal(FileSource(path))

    def test_four_dimensions(self, tmp_path, save_nifti):
        path = save_nifti(tmp_path / "scan.nii.gz", np.zeros((4, 4, 4, 2), np.int16))
        assert "three-dimensional" in refusal(FileSource(path), "header")

    def test_four_dimensions_in_nrrd(self, tmp_path):
        path = tmp_path / "scan.nrrd"
        sitk.WriteImage(sitk.Image([4, 4, 4, 2], sitk.sitkInt16), str(path))
        assert "three-dimensional" in refusal(FileSource(path), "header")

    def test_colours(self, tmp_path):
        path = tmp_path / "scan.mha"
        sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkVectorUInt8, 3), str(path))
        assert "3 numbers per voxel" in refusal(FileSource(path), "header")

    def test_singular_affine(self, tmp_path):
        path = tmp_path / "scan.nii"
        image = nib.Nifti1Image(VOXELS, np.eye(4))
        image.header["srow_z"] = 0
        image.header["sform_code"] = 1
        nib.Nifti1Image.from_bytes(image.to_bytes())
        raw = bytearray(image.to_bytes())
        raw[280 + 32 : 280 + 48] = struct.pack("<4f", 0, 0, 0, 0)
        raw[254:256] = struct.pack("<h", 1)
        path.write_bytes(raw)
        assert "affine" in refusal(FileSource(path), "header")

    @pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
    def test_no_permission(self, tmp_path, save_nifti):
        path = save_nifti(tmp_path / "scan.nii.gz", VOXELS)
        path.chmod(0)
        user = os.geteuid()
        for folder in [tmp_path, *tmp_path.parents][:4]:
            if user == 0 and folder.owner() == "root" and folder != Path("/tmp"):
                folder.chmod(0o755)
        if user == 0:
            FileSource(save_nifti(tmp_path / "other.nii.gz", VOXELS)).header()
            os.seteuid(65534)
        try:
            assert "permission" in refusal(FileSource(path), "header")
            assert "permission" in refusal(FileSource(path), "digest")
        finally:
            os.seteuid(user)


class TestDicom:
    def test_series_keeps_voxels_and_place(self, tmp_path, save_dicom):
        affine = save_dicom(tmp_path / "ct", VOXELS)
        source = FileSource(tmp_path / "ct")
        volume = source.read()
        np.testing.assert_array_equal(volume.array, VOXELS)
        np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
        np.testing.assert_allclose(source.header().affine, affine, atol=1e-4)
        assert source.header().shape == VOXELS.shape

    def test_values_are_rescaled(self, tmp_path, save_dicom):
        save_dicom(tmp_path / "ct", VOXELS, slope=2.0, intercept=-1024.0)
        volume = FileSource(tmp_path / "ct").read()
        for z in range(VOXELS.shape[2]):
            file = next((tmp_path / "ct").glob(f"*_{(z * 7) % 97:02d}.dcm"))
            # The pixels of an uncompressed object are its last bytes, row by row.
            stored = np.frombuffer(file.read_bytes()[-2 * 42 :], "<i2").reshape(6, 7).T
            np.testing.assert_allclose(volume.array[:, :, z], stored * 2.0 - 1024.0)

    def test_two_series_are_named(self, tmp_path, save_dicom):
        save_dicom(tmp_path / "ct", VOXELS, uid="1.2.826.0.1.3680043.2.1125.1")
        save_dicom(tmp_path / "ct", VOXELS, uid="1.2.826.0.1.3680043.2.1125.2", modality="MR")
        message = refusal(FileSource(tmp_path / "ct"), "header")
        assert "1125.1 (CT, 5 files)" in message and "1125.2 (MR, 5 files)" in message
        picked = FileSource(tmp_path / "ct", series="1.2.826.0.1.3680043.2.1125.2")
        np.testing.assert_array_equal(picked.read().array, VOXELS)

    def test_segmentations_beside_the_scan_are_passed_over(self, tmp_path, save_dicom):
        save_dicom(tmp_path / "ct", VOXELS)
        save_dicom(tmp_path / "ct", VOXELS * 0, uid="1.2.826.0.1.3680043.2.1125.3", modality="SEG")
        np.testing.assert_array_equal(FileSource(tmp_path / "ct").read().array, VOXELS)

    def test_missing_slice(self, tmp_path, save_dicom):
        save_dicom(tmp_path / "ct", VOXELS, skip=(2,))
        message = refusal(FileSource(tmp_path / "ct"), "header")
        assert "2.5 mm apart but 5 mm" in message

    @pytest.mark.parametrize("place", [0, 2, 4])
    @pytest.mark.parametrize("keep", [0, 200, -30])
    def test_damaged_slice_is_named_wherever_it_is(self, tmp_path, save_dicom, place, keep):
        save_dicom(tmp_path / "ct", VOXELS)
        file = sorted((tmp_path / "ct").iterdir())[place]
        file.write_bytes(file.read_bytes()[:keep])
        assert file.name in refusal(FileSource(tmp_path / "ct"), "header")

    def test_structure_sets_have_no_pixels_and_are_passed_over(self, tmp_path, save_dicom):
        save_dicom(tmp_path / "ct", VOXELS)
        save_dicom(tmp_path / "rt", VOXELS[:, :, :1], modality="RTSTRUCT")
        one = next((tmp_path / "rt").iterdir())
        content = one.read_bytes()
        pixels = content.rindex(b"\xe0\x7f\x10\x00")
        (tmp_path / "ct" / "rtstruct.dcm").write_bytes(content[:pixels])
        np.testing.assert_array_equal(FileSource(tmp_path / "ct").read().array, VOXELS)

    def test_folder_without_series(self, tmp_path):
        (tmp_path / "readme.txt").write_text("nothing here")
        assert "no DICOM image series" in refusal(FileSource(tmp_path), "header")


class TestDigest:
    def test_is_of_the_content(self, tmp_path, save_nifti):
        first = save_nifti(tmp_path / "a.nii", VOXELS)
        second = tmp_path / "deeper" / "b.nii"
        second.parent.mkdir()
        second.write_bytes(first.read_bytes())
        assert FileSource(first).digest() == FileSource(second).digest()
        save_nifti(second, VOXELS + 1)
        assert FileSource(first).digest() != FileSource(second).digest()

    def test_of_a_series_does_not_depend_on_names(self, tmp_path, save_dicom):
        save_dicom(tmp_path / "ct", VOXELS)
        before = FileSource(tmp_path / "ct").digest()
        for number, file in enumerate(sorted((tmp_path / "ct").iterdir())):
            file.rename(file.with_name(f"IM{number:04d}"))
        assert FileSource(tmp_path / "ct").digest() == before

    def test_of_a_detached_header_covers_its_voxels(self, tmp_path, sitk_image):
        path = tmp_path / "scan.mhd"
        sitk.WriteImage(sitk_image(VOXELS)[0], str(path))
        before = FileSource(path).digest()
        raw = tmp_path / "scan.raw"
        raw.write_bytes(raw.read_bytes()[:-2] + b"\x01\x02")
        assert FileSource(path).digest() != before


def test_find_volumes_in_a_mixed_tree(tmp_path, save_nifti, save_dicom, sitk_image):
    expected = [
        save_nifti(tmp_path / "CT" / "a.nii.gz", VOXELS),
        save_nifti(tmp_path / "CT" / "deep" / "b.nii", VOXELS),
    ]
    for name in ("c.nrrd", "d.mha", "e.mhd"):
        (tmp_path / "MR").mkdir(exist_ok=True)
        sitk.WriteImage(sitk_image(VOXELS)[0], str(tmp_path / "MR" / name))
        expected.append(tmp_path / "MR" / name)
    save_dicom(tmp_path / "CT" / "patient" / "series", VOXELS)
    expected.append(tmp_path / "CT" / "patient" / "series")
    save_dicom(tmp_path / "CT" / "patient" / "seg", VOXELS, modality="SEG")
    (tmp_path / "CT" / "._a.nii.gz").write_bytes(b"resource fork")
    (tmp_path / "CT" / "notes.txt").write_text("no volume")
    (tmp_path / "CT" / "loop").symlink_to(tmp_path / "CT")
    assert find_volumes(tmp_path) == sorted(expected)
    assert find_volumes(tmp_path / "CT" / "patient" / "series") == expected[-1:]


def test_find_volumes_refuses_what_is_no_folder(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        find_volumes(tmp_path / "none")
