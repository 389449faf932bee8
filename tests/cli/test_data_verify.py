"""``bench data verify``, ``synth`` and ``show``: every fault is found and named."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medssl_bench.data.synthetic import synthesise
from medssl_bench.tasks import load_task


@pytest.fixture
def kits(tmp_path: Path) -> Path:
    root = tmp_path / "kits"
    synthesise(load_task("kits"), root)
    return root


def change(path: Path, how) -> None:
    """Write a volume anew with other voxels, affine or type."""
    image = nib.load(path)
    array, affine = np.asanyarray(image.dataobj).copy(), image.affine.copy()
    array, affine = how(array, affine)
    nib.save(nib.Nifti1Image(array, affine), path)


def part(root: Path, case: str, name: str = "imaging") -> Path:
    return root / f"case_{case}" / f"{name}.nii.gz"


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_nan(array, affine):
    array = array.astype(np.float32)
    array[3, 4, 5] = np.nan
    return array, affine


def with_id_7(array, affine):
    array[0, 0, 0] = 7
    return array, affine


def halved(array, affine):
    return array.astype(np.float32) / 2, affine


def shifted(array, affine):
    affine[0, 3] += 5
    return array, affine


def nearly_empty(array, affine):
    array = array * 0
    array[:2, 0, 0] = 900
    return array, affine


FAULTS = {
    "truncated": ("imaging", cut_short, "error", "cannot be read"),
    "not an image": ("imaging", lambda p: p.write_bytes(b"<html>"), "error", "cannot be read"),
    "empty": ("segmentation", lambda p: p.write_bytes(b""), "error", "the file is empty"),
    "NaN": ("imaging", lambda p: change(p, with_nan), "error", "1 voxels are not finite"),
    "constant": (
        "imaging",
        lambda p: change(p, lambda a, b: (a * 0, b)),
        "error",
        "every voxel is 0: there is no image",
    ),
    "unknown id": ("segmentation", lambda p: change(p, with_id_7), "error", "label ids 7 are unkn"),
    "fractions": ("segmentation", lambda p: change(p, halved), "error", "no whole number"),
    "shape": (
        "segmentation",
        lambda p: change(p, lambda a, b: (a[:-1], b)),
        "error",
        "has shape",
    ),
    "affine": (
        "segmentation",
        lambda p: change(p, shifted),
        "error",
        "differ by up to 5.0 mm; that of image is used: is the label of another case?",
    ),
    "no foreground": (
        "segmentation",
        lambda p: change(p, lambda a, b: (a * 0, b)),
        "note",
        "the label has no foreground",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_once_and_named(bench, kits: Path, fault: str) -> None:
    name, spoil, level, words = FAULTS[fault]
    path = part(kits, "00001", name)
    spoil(path)
    outcome = bench("data", "verify", "kits", "--data", kits, "--json")
    (row,) = json.loads(outcome.out)
    assert outcome.code == (0 if level == "note" else 1)
    assert (row["name"], row["cases"]) == ("kits", 6)
    (finding,) = row["findings"]
    assert row[f"{level}s"] == 1
    assert finding["level"] == level and finding["case"] == "case_00001"
    assert finding["file"] == str(path) and words in finding["message"]


def test_a_sound_tree_is_said_to_be_sound(bench, kits: Path) -> None:
    outcome = bench("data", "verify", "kits", "--data", kits, "--plain")
    assert outcome.code == 0
    assert outcome.out.strip() == "kits: 6 cases, all is well"


def test_the_same_scan_on_both_sides_is_a_leak(bench, kits: Path) -> None:
    """Told by voxels in space, not by bytes: the copy has other axis codes and no compression."""
    image = nib.load(part(kits, "00000"))
    turned = nib.as_closest_canonical(image)
    nib.save(turned, part(kits, "00001"))  # case_00001 is tested, case_00000 trains
    change(part(kits, "00001", "segmentation"), lambda a, b: (a, b))
    outcome = bench("data", "verify", "kits", "--data", kits, "--json")
    findings = [f for f in json.loads(outcome.out)[0]["findings"] if "voxels as" in f["message"]]
    assert outcome.code == 1
    (finding,) = findings
    assert finding["level"] == "error" and finding["case"] == "case_00001"
    assert "the same voxels as case_00000 (train), but this case is in test" in finding["message"]


def test_the_same_scan_twice_on_one_side_is_a_warning(bench, kits: Path) -> None:
    part(kits, "00400").write_bytes(part(kits, "00000").read_bytes())
    outcome = bench("data", "verify", "kits", "--data", kits, "--json")
    (finding,) = json.loads(outcome.out)[0]["findings"]
    assert (outcome.code, finding["level"]) == (1, "warning")


def test_what_stops_a_run_is_an_error(bench, tmp_path: Path) -> None:
    """Almost all background: there is no window between the percentiles."""
    synthesise(load_task("brats_ped"), tmp_path / "data")
    path = next((tmp_path / "data").rglob("BraTS-PED-00004-000-t2w.nii.gz"))
    change(path, nearly_empty)
    outcome = bench("data", "verify", "brats_ped", "--data", tmp_path / "data", "--json")
    (row,) = json.loads(outcome.out)
    (finding,) = row["findings"]
    assert (outcome.code, row["state"], finding["file"]) == (1, "faulty", str(path))
    assert "has no width" in finding["message"]


def test_data_that_is_not_there(bench, tmp_path: Path) -> None:
    outcome = bench("data", "verify", "la", "--data", tmp_path, "--plain")
    assert outcome.code == 1
    assert "la: 0 cases, 1 error" in outcome.out and "/{id}/lgemri.nrrd" in outcome.out


def test_generated_data_needs_no_look(bench) -> None:
    outcome = bench("data", "verify", "phantom_ct")
    assert (outcome.code, outcome.out.strip()) == (0, "phantom_ct: generated, nothing to verify")


def test_synth_says_what_to_do_next_and_it_works(bench, tmp_path: Path) -> None:
    outcome = bench("data", "synth", "la", "--out", tmp_path / "la")
    assert outcome.code == 0 and "wrote 8 files" in outcome.out
    assert bench(*outcome.out.split("next: bench ")[1].split()).code == 0


def test_synth_of_what_has_no_layout(bench, tmp_path: Path) -> None:
    outcome = bench("data", "synth", "phantom_ct", "--out", tmp_path / "x")
    assert outcome.code == 2 and "no layout to write" in outcome.line
    outcome = bench("data", "synth", "kitz", "--out", tmp_path / "x")
    assert outcome.code == 2 and "'kits'" in outcome.line


def test_show_draws_every_channel(bench, tmp_path: Path) -> None:
    from PIL import Image

    synthesise(load_task("brats_ped"), tmp_path / "data")
    case = "BraTS-PED-00002-000"
    outcome = bench("data", "show", "brats_ped", case, "--data", tmp_path / "data")
    assert outcome.code == 0
    sheet = np.asarray(Image.open(tmp_path / f"{case}.png"))
    grey = (sheet[..., 0] == sheet[..., 1]) & (sheet[..., 1] == sheet[..., 2])
    rows = sheet.shape[0] // 8
    coloured = [(~grey[i * rows + 40 : (i + 1) * rows - 20]).sum() for i in range(8)]
    # A plain row and a labelled one for each of the four channels.
    assert all(labelled > 10 * max(plain, 1) for plain, labelled in
               zip(coloured[::2], coloured[1::2], strict=True))  # fmt: skip
    outcome = bench("data", "show", "brats_ped", "BraTS-PED-00002", "--data", tmp_path / "data")
    assert outcome.code == 2 and "no case 'BraTS-PED-00002'" in outcome.line


def test_show_places_the_label_as_training_does(bench, kits: Path) -> None:
    """By the image's affine, whatever the label's says."""
    assert bench("data", "show", "kits", "case_00000", "--data", kits, "--out", "a.png").code == 0

    def mirrored(array, affine):
        affine[:3, 2] *= -1
        return array, affine

    change(part(kits, "00000", "segmentation"), mirrored)
    assert bench("data", "show", "kits", "case_00000", "--data", kits, "--out", "b.png").code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("show", "lits*", "liver_0"), "2 tasks; name one"),
        (("show", "all", "liver_0"), "tasks; name one"),
        (("show", "kits", "case_00000", "--out", "file/a.png"), "cannot write"),
        (("synth", "lits", "--out", "file/x"), "cannot write"),
    ],
)
def test_wrong_words_are_one_line(bench, kits: Path, words, told: str) -> None:
    Path("file").write_text("")
    data = ("--data", kits) if words[0] == "show" else ()
    outcome = bench("data", *words, *data)
    assert outcome.code == 2 and told in outcome.line


def test_prepare_does_what_a_run_would_and_only_once(bench, kits: Path) -> None:
    words = ("data", "prepare", "kits", "--data", kits, "--results", "r", "--json")
    (row,) = json.loads(bench(*words, "--dry-run").out)
    assert (row["cases"], row["missing"], row["faults"]) == (6, 6, {}) and row["bytes"] > 0
    outcome = bench(*words)
    assert outcome.code == 0 and json.loads(outcome.out)[0]["missing"] == 6
    (again,) = json.loads(bench(*words).out)
    assert (again["missing"], again["bytes"]) == (0, 0)
    plan = bench("run", "--methods", "scratch", "--tasks", "kits", "--data", kits, "--results", "r",
                 "--profile", "demo", "--dry-run")  # fmt: skip
    assert "at most 0 MiB of cache" in plan.out


def test_prepare_names_what_is_faulty_and_does_the_rest(bench, kits: Path) -> None:
    change(part(kits, "00001", "segmentation"), with_id_7)
    outcome = bench("data", "prepare", "kits", "--data", kits, "--results", "r", "--plain")
    assert outcome.code == 1
    assert "kits: 6 cases, 6 to prepare, at most" in outcome.out
    assert "error: kits: case_00001: " in outcome.out and "label ids 7 are unknown" in outcome.out
    (row,) = json.loads(
        bench(
            "data", "prepare", "kits", "--data", kits, "--results", "r", "--dry-run", "--json"
        ).out
    )
    assert row["missing"] == 1


def test_one_fault_hides_no_other_case(bench, kits: Path) -> None:
    """A missing image, a missing label and a header: each is named, and the rest is read."""
    part(kits, "00001", "segmentation").unlink()
    part(kits, "00299").write_bytes(b"<html>")
    change(part(kits, "00400", "segmentation"), with_id_7)
    part(kits, "00588").unlink()
    words = ("--data", kits, "--plain")
    (row,) = json.loads(bench("data", "verify", "kits", *words, "--json").out)
    assert {f["case"] for f in row["findings"]} == {"case_00299", "case_00400", "case_00588"}
    plan = bench("run", "--methods", "scratch", "--tasks", "kits", *words, "--profile", "demo")
    assert plan.code == 2 and "kits: case case_00299: " in plan.line and "and 1 more" in plan.line
    prepared = bench("data", "prepare", "kits", *words, "--results", "r")
    exported = bench("data", "export-nnunet", "kits", *words, "--out", "raw", "--id", "7")
    for done in (prepared, exported):
        assert done.code == 1
        told = [line.split(": ")[2] for line in done.out.splitlines() if line.startswith("error")]
        assert sorted(told) == ["case_00299", "case_00400", "case_00588"]
    folder = Path("raw/Dataset007_kits")
    assert len([*folder.glob("labels*/*.nii.gz")]) == 2 and not (folder / "dataset.json").exists()
    split = bench("data", "split", "kits", "--data", kits, "--out", "s.json")
    assert split.code == 2 and "case_00588" in split.line


def test_a_label_of_another_case_with_the_same_shape(bench, kits: Path) -> None:
    wrong, right = part(kits, "00400", "segmentation"), part(kits, "00000", "segmentation")
    wrong.write_bytes(right.read_bytes())
    (row,) = json.loads(bench("data", "verify", "kits", "--data", kits, "--json").out)
    assert [(f["level"], f["case"], f["message"]) for f in row["findings"]] == [
        (
            "error",
            "case_00400",
            "the same voxels as the label of case_00000: one of them is of another case",
        )
    ]
    shown = bench("data", "show", "kits", "case_00400", "--data", kits)
    assert shown.code == 0 and f"the same bytes as {right}, the label of case_00000" in shown.line
    change(wrong, shifted)
    shown = bench("data", "show", "kits", "case_00400", "--data", kits)
    assert shown.code == 0 and "differ by up to 5.0 mm" in shown.line


def test_a_name_that_tells_the_wrong_packing(bench, tmp_path: Path) -> None:
    synthesise(load_task("lits"), tmp_path / "lits")
    first, second = sorted((tmp_path / "lits").rglob("volume-1*.nii"))[:2]
    import gzip

    first.with_name(first.name + ".gz").write_bytes(first.read_bytes())
    first.unlink()
    second.write_bytes(gzip.compress(second.read_bytes()))
    (row,) = json.loads(bench("data", "verify", "lits", "--data", tmp_path, "--json").out)
    assert sorted(f["message"] for f in row["findings"]) == [
        "a gzip file named .nii; rename it to .nii.gz, or unpack it",
        "not compressed, although named .nii.gz; rename it to .nii",
    ]


def test_an_archive_is_to_be_unpacked_first(bench, tmp_path: Path) -> None:
    (tmp_path / "amos22.zip").write_bytes(b"PK")
    for words in (["--data", "amos22.zip"], ["--data", "amos_ct=amos22.zip"]):
        line = bench("data", "verify", "amos_ct", *words).line
        assert line.endswith("amos22.zip is an archive; unpack it first, and give the folder")
