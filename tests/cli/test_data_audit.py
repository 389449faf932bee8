"""``bench data audit``: test cases are found again in a corpus, and different patients are not."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from medssl_bench.data.phantoms import PhantomSource, phantom_seeds
from medssl_bench.data.synthetic import save_series
from medssl_bench.data.volume import Volume

SEEDS = phantom_seeds(("tests", "audit"), 9)
TASK = """\
name: mine
modality: CT
images: images
labels: labels
classes: {1: liver, 2: spleen, 3: right_kidney, 4: left_kidney, 5: aorta, 6: stomach, 7: pancreas,
  8: bladder, 9: lesion}
split: {test: [case_0, case_1, case_2, case_3], train: [case_4, case_5]}
"""


def phantom(number: int, part: str = "image") -> Volume:
    """A part of some 12 cm of a phantom's trunk, which is soon looked at."""
    whole = PhantomSource(SEEDS[number], "CT", part).read()
    x, y, z = (side // 2 for side in whole.array.shape)
    return Volume(whole.array[x - 20 : x + 18, y - 18 : y + 18, z - 12 : z + 14], whole.affine)


def save(path: Path, volume: Volume) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ascontiguousarray(volume.array), volume.affine), path)


def resampled(volume: Volume) -> Volume:
    """Other voxels of the same body, brighter and with less contrast."""
    factors = np.array([1.2, 1.1, 0.8])
    array = 0.3 * ndimage.zoom(volume.array.astype(np.float32), factors, order=1) + 100
    scale = np.array(volume.array.shape) / array.shape
    return Volume(array.astype(np.float32), volume.affine @ np.diag([*scale, 1]))


def cropped(volume: Volume) -> Volume:
    """The middle of it, in another storage order, clipped to a window."""
    x, y, z = (slice(side // 8, side - side // 8) for side in volume.array.shape)
    array = np.clip(volume.array[x, y, z], -175, 250)[::-1].transpose(2, 0, 1)
    sides = np.array(volume.header.spacing)[[2, 0, 1]]
    return Volume(array, np.diag([*sides, 1.0]))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task of six phantoms, and a corpus that shows three of its test cases."""
    root = tmp_path_factory.mktemp("audit")
    for number in range(6):
        save(root / f"mine/images/case_{number}.nii.gz", phantom(number))
        save(root / f"mine/labels/case_{number}.nii.gz", phantom(number, "label"))
    (root / "mine/task.yaml").write_text(TASK)
    corpus = root / "corpus/CT"
    save(corpus / "a.nii.gz", resampled(phantom(0)))
    save(corpus / "b.nii.gz", cropped(phantom(1)))
    whole = phantom(2)
    save_series(corpus / "c", whole.array.astype(np.int16), whole.affine)
    for number in (6, 7, 8):
        save(corpus / f"other_{number}.nii.gz", phantom(number))
    return root


def test_planted_test_cases_are_found_and_no_other(bench, place: Path) -> None:
    """Resampled, cropped and stored otherwise, and as DICOM; never by name."""
    done = bench(
        *("data", "audit", place / "mine/task.yaml", "--corpus", f"folder:{place}/corpus"),
        *("--results", place / "results", "--json", "--pictures", place / "pictures"),
    )
    assert done.code == 1
    (found,) = json.loads(done.out)
    pairs = {(leak["case"], leak["volume"], leak["source"]) for leak in found["leaks"]}
    assert pairs == {
        ("case_0", "CT/a", "folder:corpus"),
        ("case_1", "CT/b", "folder:corpus"),
        ("case_2", "CT/c", "folder:corpus"),
    }
    assert found["unreadable"] == {} and found["too_little_to_tell"] == {}
    assert len([*(place / "pictures").glob("*.png")]) == 3


SMALL = (
    *("--profile", "demo", "--methods", "scratch,simmim", "--shots", "2"),
    *("--set", "pretrain.steps=2", "--set", "pretrain.batch=2", "--set", "finetune.steps=2"),
    *(
        "--set",
        "tracking=false",
        "--set",
        "similarity=false",
        "--set",
        "corpus_size=null",
        "--set",
        "example_slices=0",
    ),
    *("--set", "evaluate.overlap=0", "--set", "draws=1", "--plain"),
)


def test_leaks_are_in_plan_record_and_page_and_can_be_left_out(bench, place: Path) -> None:
    """Before an audit the plan says that nobody looked; after it, what was found."""
    results, task = place / "run", place / "mine/task.yaml"
    asked = (
        *("run", "--tasks", task, "--corpus", f"folder:{place}/corpus"),
        *("--results", results, *SMALL),
    )
    before = bench(*asked, "--dry-run")
    assert "leaks: not looked for in folder:corpus" in before.out
    refused = bench(*asked, "--exclude-leaks")
    assert refused.code == 2 and "nobody has looked for the test cases of mine" in refused.err
    assert bench(*asked).code == 0
    audit = ("data", "audit", task, "--corpus", f"folder:{place}/corpus", "--results", results)
    assert bench(*audit, "--plain").code == 1

    plan = bench(*asked, "--dry-run")
    assert "leak: 3 of 4 test cases of mine are in the corpus" in plan.out
    page = bench("report", "--results", results)
    assert page.code == 0
    text = (results / "report" / "index.html").read_text()
    assert "3 of 4 test cases were in folder:corpus" in text
    board = pd.read_csv(results / "report" / "tables" / "leaderboard.csv").set_index("method")
    assert board.loc["simmim", "leaks"] == 3
    answer = bench("analyze", "ranks", "--results", results)
    assert answer.code == 0
    assert "leak: mine: 3 of 4 test cases were in folder:corpus" in answer.out

    planned = json.loads(bench(*asked, "--exclude-leaks", "--dry-run", "--json").out)
    assert planned["corpus"]["cases"] == 3
    assert planned["tasks"]["mine"]["leaks"] == {"checked": True, "found": []}
    assert bench(*asked, "--exclude-leaks").code == 0
    records = [json.loads(path.read_text()) for path in results.glob("records/*/*/record.json")]
    leaks = {
        (record["cell"]["method"], record["settings"]["exclude_leaks"]): record["leaks"]
        for record in records
    }
    assert leaks["simmim", False] == {"checked": False, "found": [], "evidence": []}
    assert leaks["simmim", True] == {"checked": True, "found": [], "evidence": []}
    assert leaks["scratch", False]["checked"]


def test_the_same_scan_among_training_and_test_cases_is_found(bench, tmp_path: Path) -> None:
    for number in range(6):
        volume = resampled(phantom(0)) if number == 4 else phantom(number)
        save(tmp_path / f"images/case_{number}.nii.gz", volume)
        label = phantom(0 if number == 4 else number, "label")
        if number == 4:
            array = ndimage.zoom(label.array, np.array([1.2, 1.1, 0.8]), order=0)
            label = Volume(array, volume.affine)
        save(tmp_path / f"labels/case_{number}.nii.gz", label)
    (tmp_path / "task.yaml").write_text(TASK)
    done = bench("data", "audit", tmp_path / "task.yaml", "--results", tmp_path / "r", "--plain")
    assert done.code == 1
    assert "1 of 4 test cases found among its training cases" in done.out
    assert "test case case_0 is case_4 of train" in done.out
    plan = bench(
        *("run", "--methods", "scratch", "--tasks", tmp_path / "task.yaml", "--shots", "2"),
        *("--results", tmp_path / "r", "--profile", "demo", "--dry-run"),
    )
    assert "warning: mine: test case case_0 is case_4 of train" in plan.out


def test_a_table_that_names_both_is_a_known_overlap(bench, place: Path, tmp_path: Path) -> None:
    """Ids are compared without zeros and case; a row that names only one says nothing."""
    table = tmp_path / "overlaps.csv"
    table.write_text("New ID,Old ID,Age\nOTHER-0006,Case_03,3\nother_7,nobody,1\n")
    done = bench(
        *("data", "audit", place / "mine/task.yaml", "--corpus", f"folder:{place}/corpus"),
        *("--results", tmp_path / "results", "--json", "--mapping", table),
    )
    (found,) = json.loads(done.out)
    known = [leak for leak in found["leaks"] if leak["how"] == "known overlap"]
    assert [(leak["case"], leak["volume"]) for leak in known] == [("case_3", "CT/other_6")]
    assert known[0]["evidence"] == "overlaps.csv names both in row 2"


def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_looked_at(
    bench, place: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus/CT"
    save(corpus / "a.nii.gz", resampled(phantom(0)))
    (corpus / "broken.nii.gz").write_bytes((corpus / "a.nii.gz").read_bytes()[:2000])
    done = bench(
        *("data", "audit", place / "mine/task.yaml", "--corpus", f"folder:{tmp_path}/corpus"),
        *("--results", tmp_path / "results", "--plain"),
    )
    assert done.code == 1
    assert "test case case_0 is CT/a" in done.out
    assert "not looked at: folder:corpus" in done.out and "broken.nii.gz" in done.out


def test_a_corpus_is_no_task(bench, tmp_path: Path) -> None:
    done = bench("data", "audit", "corpus:ixi", "--results", tmp_path / "results")
    assert done.code == 2 and "--corpus" in done.err and done.err.count("\n") == 1
