import json
import os
import pickle
import resource
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest

from medssl_bench.data.cache import VolumeCache, disk_estimate
from medssl_bench.data.orientation import from_ras
from medssl_bench.data.prepared import Prepared
from medssl_bench.data.reading import FileSource
from medssl_bench.data.volume import Header
from medssl_bench.errors import DataError
from medssl_bench.task import Case, Intensity, Preprocessing

SHAPE = (70, 66, 30)
SETTINGS = Preprocessing(spacing=(1.0, 1.0, 2.0), intensity=Intensity(low=-500, high=500))
KEEP = SETTINGS.model_copy(update={"spacing": None})
CLASSES = {1: "liver", 2: "lesion"}
AFFINE = np.diag([-1.0, -1.0, 2.5, 1.0])


@pytest.fixture
def scan() -> np.ndarray:
    return np.random.default_rng(5).integers(-600, 600, SHAPE).astype(np.int16)


@pytest.fixture
def mask() -> np.ndarray:
    label = np.zeros(SHAPE, np.uint8)
    label[10:40, 20:60, 5:25] = 1
    label[20:24, 30:34, 10:12] = 2
    return label


@pytest.fixture
def make_case(tmp_path, save_nifti, scan, mask):
    def make(image=scan, label=mask, label_affine=AFFINE, **channels) -> Case:
        images = {"image": FileSource(save_nifti(tmp_path / "image.nii.gz", image, AFFINE))}
        for name, array in channels.items():
            images[name] = FileSource(save_nifti(tmp_path / f"{name}.nii.gz", array, AFFINE))
        source = None
        if label is not None:
            source = FileSource(save_nifti(tmp_path / "label.nii.gz", label, label_affine))
        return Case("case_1", images, source, patient="patient_1")

    return make


@pytest.fixture
def cache(tmp_path) -> VolumeCache:
    return VolumeCache(tmp_path / "cache")


def prepare(cache, case, settings=KEEP, **options) -> Prepared:
    options = {"channels": ["image"], "classes": CLASSES} | options
    return cache.prepare(case, settings, **options)


def entries(cache: VolumeCache) -> list[str]:
    return sorted(path.name for path in cache.root.glob("*/*"))


class TestContent:
    def test_arrays_are_those_of_the_files_in_ras(self, cache, make_case, scan, mask):
        prepared = prepare(cache, make_case())
        expected = np.clip((scan[::-1, ::-1].astype(np.float64) + 500) / 1000, 0, 1)
        image = prepared.image()
        assert image.shape == (1, *SHAPE) and image.dtype == np.float16
        np.testing.assert_allclose(image[0], expected, atol=5e-4)
        np.testing.assert_array_equal(prepared.label(), mask[::-1, ::-1])
        np.testing.assert_array_equal(prepared.native_label(), mask[::-1, ::-1])
        np.testing.assert_array_equal(from_ras(prepared.label(), prepared.original_affine), mask)
        assert (prepared.id, prepared.patient) == ("case_1", "patient_1")
        assert prepared.channels == ("image",) and prepared.labelled

    def test_working_and_native_grids(self, cache, make_case):
        prepared = prepare(cache, make_case(), SETTINGS)
        assert prepared.shape == (70, 66, round(30 * 2.5 / 2)) == prepared.label().shape
        assert prepared.native_shape == SHAPE == prepared.native_label().shape
        np.testing.assert_allclose(prepared.native_spacing, (1, 1, 2.5))
        np.testing.assert_allclose(prepared.spacing, (1, 1, 30 * 2.5 / 38))

    def test_channels_in_the_order_asked_for(self, cache, make_case, scan):
        case = make_case(second=(scan // 2).astype(np.int16))
        both = prepare(cache, case, channels=["second", "image"]).image()
        np.testing.assert_array_equal(both[1], prepare(cache, case).image()[0])
        alone = prepare(cache, case, channels=["second"]).image()
        np.testing.assert_array_equal(both[0], alone[0])

    def test_foreground_voxels_carry_their_class(self, cache, make_case, mask):
        prepared = prepare(cache, make_case())
        label = prepared.label()
        assert {name: len(rows) for name, rows in prepared.foreground.items()} == {1: 2000, 2: 32}
        for name, rows in prepared.foreground.items():
            assert len(np.unique(rows, axis=0)) == len(rows)
            assert (label[tuple(rows.T)] == name).all()

    def test_unlabelled_cases(self, cache, make_case):
        prepared = prepare(cache, make_case(label=None))
        assert not prepared.labelled and prepared.foreground == {}
        with pytest.raises(DataError, match="no label"):
            prepared.label_crop((0, 0, 0), (4, 4, 4))

    @pytest.mark.parametrize(
        ("start", "size"),
        [
            ((3, 5, 7), (20, 21, 22)),
            ((60, 60, 20), (16, 16, 16)),
            ((-5, -6, -7), (16, 16, 16)),
            ((-13, -15, -33), (96, 96, 96)),
            ((80, 0, 0), (8, 8, 8)),
            ((-20, 0, 0), (8, 8, 8)),
        ],
    )
    def test_crops_equal_slices_of_the_padded_volume(self, cache, make_case, start, size):
        prepared = prepare(cache, make_case())
        margin = 100
        where = tuple(slice(s + margin, s + margin + n) for s, n in zip(start, size, strict=True))
        image = np.pad(prepared.image()[0], margin)[where]
        np.testing.assert_array_equal(prepared.image_crop(start, size)[0], image)
        np.testing.assert_array_equal(
            prepared.label_crop(start, size), np.pad(prepared.label(), margin)[where]
        )

    def test_travels_to_another_process(self, cache, make_case):
        prepared = prepare(cache, make_case())
        crop = prepared.image_crop((0, 0, 0), (8, 8, 8))
        copy = pickle.loads(pickle.dumps(prepared))
        np.testing.assert_array_equal(copy.image_crop((0, 0, 0), (8, 8, 8)), crop)


class TestKey:
    def test_depends_on_content_and_settings_only(self, cache, make_case, scan):
        key = prepare(cache, make_case()).digest
        assert prepare(cache, make_case()).digest == key
        assert len(entries(cache)) == 1
        others = [
            prepare(cache, make_case(), SETTINGS).digest,
            prepare(cache, make_case(), remap={2: 1}).digest,
            prepare(cache, make_case(), classes=CLASSES | {3: "cyst"}).digest,
            prepare(cache, make_case(image=scan + 1)).digest,
            prepare(cache, make_case(label=None)).digest,
        ]
        assert len({key, *others}) == 6

    def test_an_entry_is_read_and_not_built_again(self, cache, make_case):
        folder = prepare(cache, make_case()).folder
        before = folder.stat().st_mtime_ns
        prepare(cache, make_case(), verify=True)
        assert folder.stat().st_mtime_ns == before

    def test_building_twice_gives_the_same_arrays(self, tmp_path, make_case):
        first = prepare(VolumeCache(tmp_path / "one"), make_case(), SETTINGS)
        second = prepare(VolumeCache(tmp_path / "two"), make_case(), SETTINGS)
        np.testing.assert_array_equal(first.image(), second.image())
        np.testing.assert_array_equal(first.label(), second.label())
        for name, voxels in first.foreground.items():
            np.testing.assert_array_equal(voxels, second.foreground[name])


class TestDamage:
    @pytest.mark.parametrize("name", ["image.b2nd", "label.b2nd", "meta.json", "foreground.npy"])
    @pytest.mark.parametrize("damage", ["remove", "truncate", "alter"])
    def test_is_found_and_rebuilt(self, cache, make_case, name, damage):
        prepared = prepare(cache, make_case())
        image, folder = prepared.image(), prepared.folder
        content = (folder / name).read_bytes()
        if damage == "remove":
            (folder / name).unlink()
        elif damage == "truncate":
            (folder / name).write_bytes(content[: len(content) // 2])
        else:
            middle = len(content) // 2
            (folder / name).write_bytes(content[:middle] + b"\x00\xff\x00" + content[middle + 3 :])
        with pytest.warns(UserWarning, match="built anew"):
            again = prepare(cache, make_case())
        assert again.folder == folder
        np.testing.assert_array_equal(again.image(), image)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            prepare(cache, make_case(), verify=True)
        assert len(entries(cache)) == 1

    def test_bits_that_rotted_without_a_trace_are_found_by_verify(self, cache, make_case):
        prepared = prepare(cache, make_case())
        path = prepared.folder / "image.b2nd"
        status = path.stat()
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x10
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.warns(UserWarning, match="bytes have changed"):
            prepare(cache, make_case(), verify=True)

    def test_chunks_that_cannot_be_decompressed_are_rebuilt_while_reading(self, cache, make_case):
        prepared = prepare(cache, make_case())
        image = prepared.image()
        path = prepared.folder / "image.b2nd"
        status = path.stat()
        path.write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        fresh = prepare(cache, make_case())
        with pytest.warns(UserWarning, match="built anew"):
            crop = fresh.image_crop((0, 0, 0), (32, 32, 16))
        np.testing.assert_array_equal(crop, image[:, :32, :32, :16])

    def test_a_build_that_was_killed_leaves_no_entry(self, cache, make_case):
        prepared = prepare(cache, make_case())
        left = prepared.folder.with_name(".building-left")
        prepared.folder.rename(left)
        np.testing.assert_array_equal(prepare(cache, make_case()).label().shape, SHAPE)
        os.utime(left, (0, 0))
        prepare(cache, make_case(), SETTINGS)
        for parent in cache.root.iterdir():
            for path in parent.iterdir():
                assert json.loads((path / "meta.json").read_text())["key"]


class TestRefusals:
    def refusal(self, cache, case, **options) -> str:
        with pytest.raises(DataError) as caught:
            prepare(cache, case, **options)
        assert not [path for path in cache.root.rglob("*") if path.is_file()]
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_shape_mismatch_names_both_files(self, cache, make_case, mask):
        message = self.refusal(cache, make_case(label=mask[:-1]))
        assert "label.nii.gz" in message and "image.nii.gz" in message

    def test_channels_of_different_shape(self, cache, make_case, scan):
        case = make_case(second=scan[1:])
        message = self.refusal(cache, case, channels=["image", "second"])
        assert "second.nii.gz" in message and "image.nii.gz" in message

    def test_missing_channel(self, cache, make_case):
        assert "no channel t2" in self.refusal(cache, make_case(), channels=["t2"])

    def test_nan_in_the_image(self, cache, make_case, scan):
        image = scan.astype(np.float32)
        image[3, 4, 5] = np.nan
        message = self.refusal(cache, make_case(image=image))
        assert "image.nii.gz" in message and "not finite" in message

    def test_nan_in_the_label(self, cache, make_case, mask):
        label = mask.astype(np.float32)
        label[3, 4, 5] = np.nan
        message = self.refusal(cache, make_case(label=label))
        assert "label.nii.gz" in message and "NaN" in message

    def test_unknown_ids_are_named(self, cache, make_case, mask):
        label = mask.astype(np.int16)
        label[0, 0, 0], label[0, 0, 1] = 7, 300
        message = self.refusal(cache, make_case(label=label))
        assert "label.nii.gz" in message and "7, 300" in message

    def test_interpolated_label(self, cache, make_case, mask):
        message = self.refusal(cache, make_case(label=mask * np.float32(0.5)))
        assert "label.nii.gz" in message and "no whole number" in message

    def test_truncated_voxels(self, cache, make_case):
        case = make_case()
        path = case.images["image"].path
        path.write_bytes(path.read_bytes()[:-1000])
        assert "image.nii.gz" in self.refusal(cache, case)

    def test_cache_that_cannot_be_written(self, tmp_path, make_case):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(DataError, match="cannot write the cache entry of case_1"):
            prepare(VolumeCache(tmp_path / "file"), make_case())

    def test_a_full_disk_leaves_nothing_behind(self, cache, make_case):
        """A limit on file size stands for the full disk: the write fails in the same place."""
        case = make_case()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        try:
            assert "cannot write the cache entry of case_1" in self.refusal(cache, case)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert entries(cache) == []


def test_a_label_of_another_affine_than_the_image_is_warned_of(cache, make_case, mask):
    with pytest.warns(UserWarning, match="affine differs"):
        prepared = prepare(cache, make_case(label_affine=np.diag([1, 1, 2.5, 1.0])))
    np.testing.assert_array_equal(prepared.label(), mask[::-1, ::-1])


def test_two_processes_prepare_the_same_case(tmp_path, make_case):
    root = tmp_path / "shared"
    code = textwrap.dedent(
        f"""
        import pickle, sys, time, warnings
        from pathlib import Path
        import medssl_bench.data.preprocess
        from medssl_bench.data.cache import VolumeCache
        warnings.simplefilter("error")
        case, settings = pickle.loads({pickle.dumps((make_case(), KEEP))!r})
        print("ready", flush=True)
        sys.stdin.readline()
        prepared = VolumeCache(Path({str(root)!r})).prepare(case, settings, channels=["image"])
        import hashlib
        print(hashlib.sha256(prepared.image().tobytes()).hexdigest())
        """
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", code], **pipes) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    digests = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(digests) == 1
    assert len(entries(VolumeCache(root))) == 1
    prepare(VolumeCache(root), make_case(), classes=None, verify=True)


def test_disk_estimate_is_cautious(cache, make_case):
    """Of a scan with a body in air and noise of 10 HU, the estimate is 1 to 4 times the truth."""
    x, y, _ = np.ogrid[-1:1:70j, -1:1:66j, -1:1:30j]
    noise = 10 * np.random.default_rng(0).standard_normal(SHAPE)
    image = np.rint(np.where(x**2 + y**2 < 0.5, 40, -1000) + noise).astype(np.int16)
    prepared = prepare(cache, make_case(image=image), SETTINGS)
    written = sum(path.stat().st_size for path in prepared.folder.iterdir())
    header = Header(SHAPE, AFFINE)
    estimate = disk_estimate([header], SETTINGS, labelled=True)
    assert written <= estimate <= 4 * written
    assert disk_estimate([header] * 10, SETTINGS, labelled=True) == 10 * estimate


def test_reading_crops_needs_neither_torch_nor_readers():
    code = "import sys, medssl_bench.data.cache; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not {"torch", "SimpleITK", "nibabel"} & set(loaded.stdout.split())
