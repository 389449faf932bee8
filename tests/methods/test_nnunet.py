"""nnU-Net as a method: its own training for real, on the harness's cases, into its records."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform

from medssl_bench.api import execute, make_plan
from medssl_bench.config import EvaluateSettings
from medssl_bench.data.cache import VolumeCache
from medssl_bench.data.reading import FileSource
from medssl_bench.errors import BenchError, CaseError
from medssl_bench.methods.nnunet import NNUNet
from medssl_bench.nnunet_dataset import description, write_case
from medssl_bench.plan import is_own_training
from medssl_bench.preparation import prepare_case
from medssl_bench.progress import Event
from medssl_bench.registry import methods
from medssl_bench.stages.evaluate import evaluate_label_maps, read_prediction
from medssl_bench.store import Store
from medssl_bench.task import Case, Preprocessing, Task

TASK = Task(
    name="toy",
    modality="MR",
    classes={1: "left", 2: "right"},
    preprocessing=Preprocessing(spacing=(1.5, 1.5, 1.5)),
)
CODES = ["RAS", "LPS", "PIR", "ASL"]
AFFINE = np.diag([1.5, 1.2, 2.0, 1.0])


def save(path: Path, array: np.ndarray, code: str) -> None:
    """Write a RAS array in another storage order."""
    volume = nib.Nifti1Image(array, AFFINE)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(code))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(volume.as_reoriented(turn), path)


def volumes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and a label that no flip or turn leaves as they are."""
    noise = np.random.default_rng(seed).normal(0, 10, (20, 18, 16))
    label = np.zeros(noise.shape, np.uint8)
    label[2:9, 3:12, 2:7] = 1
    label[12:18, 10:16, 8:14] = 2
    return (noise + 100 * label).astype(np.int16), label


def tree(folder: Path) -> Path:
    """Write five cases in several storage orders and their task.yaml."""
    for number in range(5):
        image, label = volumes(number)
        code = CODES[number % len(CODES)]
        save(folder / f"images/c{number}.nii.gz", image, code)
        save(folder / f"labels/c{number}.nii.gz", label, code)
    (folder / "toy.yaml").write_text(
        "name: toy\nimages: images\nlabels: labels\nsplit: {test: [c3, c4]}\nmodality: MR\n"
        "classes: {1: left, 2: right}\nregions: {both: [left, right], right: [right]}\n"
        "spacing: native\ncrop: [16, 16, 16]\n"
    )
    return folder / "toy.yaml"


def case_of(folder: Path, code: str) -> Case:
    image, label = volumes(0)
    save(folder / "image.nii.gz", image, code)
    save(folder / "label.nii.gz", label, code)
    return Case(
        "c", {"image": FileSource(folder / "image.nii.gz")}, FileSource(folder / "label.nii.gz")
    )


@pytest.mark.parametrize("code", CODES)
def test_a_label_map_written_for_nnunet_comes_back_to_its_place(tmp_path, code):
    """What nnU-Net would write were it perfect: the label, on the grid of the image it is given."""
    case = case_of(tmp_path, code)
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / name).mkdir()
    write_case(case, TASK, tmp_path)
    perfect = tmp_path / "labelsTr" / "c.nii.gz"
    np.testing.assert_array_equal(read_prediction(perfect, case, TASK).array, volumes(0)[1])
    prepared = prepare_case(VolumeCache(tmp_path / "cache"), TASK, case)
    found = evaluate_label_maps(
        {"c": perfect}, [prepared], {"c": case}, TASK, EvaluateSettings(), "t", lambda _: None, 1
    )
    rows = found.cases.set_index("target")
    assert list(rows["dice"]) == [1.0, 1.0]
    assert list(rows["hd95"]) == [0.0, 0.0]
    assert list(rows["dice_working"]) == [1.0, 1.0]
    voxel_ml = 1.5 * 1.2 * 2.0 / 1000
    assert rows.loc["left", "prediction_ml"] == pytest.approx(7 * 9 * 5 * voxel_ml)
    assert [*found.slices] == ["c.png"]


def test_a_prediction_elsewhere_is_refused(tmp_path):
    case = case_of(tmp_path, "LPS")
    save(tmp_path / "turned.nii.gz", volumes(0)[1], "RAS")
    with pytest.raises(CaseError, match="lies on another grid"):
        read_prediction(tmp_path / "turned.nii.gz", case, TASK)
    save(tmp_path / "unknown.nii.gz", volumes(0)[1] * 3, "LPS")
    with pytest.raises(CaseError, match="label ids 3, 6 are unknown"):
        read_prediction(tmp_path / "unknown.nii.gz", case, TASK)


def test_a_prediction_lies_on_the_grid_that_the_task_names(tmp_path):
    """Not on that of the first channel, which was resampled onto it."""
    case = case_of(tmp_path, "LPS")
    fine = nib.Nifti1Image(np.ones((40, 36, 32), np.int16), np.diag([0.75, 0.6, 1.0, 1.0]))
    nib.save(fine, tmp_path / "fine.nii.gz")
    named = TASK.model_copy(
        update={
            "channels": ("FLAIR", "DWI"),
            "preprocessing": TASK.preprocessing.model_copy(update={"grid": "DWI"}),
        }
    )
    images = {"FLAIR": FileSource(tmp_path / "fine.nii.gz"), "DWI": case.images["image"]}
    two = Case("c", images, case.label)
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / name).mkdir()
    write_case(two, named, tmp_path)
    found = read_prediction(tmp_path / "labelsTr" / "c.nii.gz", two, named)
    np.testing.assert_array_equal(found.array, volumes(0)[1])


def test_channels_and_regions_are_told_as_nnunet_wants_them():
    mri = TASK.model_copy(update={"channels": ("T1", "FLAIR")})
    assert description(mri, [])["channel_names"] == {"0": "T1", "1": "FLAIR"}
    phases = mri.model_copy(update={"modality": "CT"})
    assert description(phases, [])["channel_names"] == {"0": "CT", "1": "CT"}
    nested = TASK.model_copy(update={"regions": {"right": (2,), "both": (1, 2)}})
    told = description(nested, [])
    assert told["labels"] == {"background": 0, "both": [1, 2], "right": [2]}
    assert told["regions_class_order"] == [1, 2]


def test_it_is_found_by_its_name_alone():
    assert methods.match("nnunet") == ["nnunet"]
    for pattern in ("all", "nn*", "n*"):
        found = []
        try:
            found = methods.match(pattern)
        except BenchError as refusal:
            assert "no method matches" in str(refusal)
        assert "nnunet" not in found
    assert [name for name in methods.entries() if is_own_training(name)] == ["nnunet"]


def test_without_nnunetv2_it_says_what_to_install(monkeypatch, tmp_path):
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(BenchError, match=r"pip install 'medssl-bench\[nnunet\]'"):
        make_plan("nnunet", "phantom_ct", "5", profile="demo", results=tmp_path)


@pytest.mark.parametrize("values", [{"epochs": 0}, {"iterations": 0}])
def test_a_training_has_steps(values, tmp_path):
    settings = {f"methods.nnunet.{name}": value for name, value in values.items()}
    with pytest.raises(BenchError, match="epochs and iterations are at least 1"):
        make_plan("nnunet", "phantom_ct", "5", profile="demo", results=tmp_path, settings=settings)


def test_its_protocol_is_its_own_and_its_draw_is_everybodys(tmp_path):
    pytest.importorskip("nnunetv2")

    def cells(**settings: object):
        plan, _, _ = make_plan(
            "nnunet,scratch", "phantom_ct", "5", profile="demo", results=tmp_path,
            settings=settings,
        )  # fmt: skip
        return {planned.cell.method: planned for planned in plan.cells}

    first = cells()
    own, scratch = first["nnunet"], first["scratch"]
    assert own.draw == scratch.draw
    assert own.cell.protocol != scratch.cell.protocol
    assert own.cell.backbone == NNUNet.network
    assert own.steps == 2 * 5
    common = cells(**{"finetune.steps": 7})
    assert common["nnunet"].cell == own.cell
    assert common["scratch"].cell != scratch.cell
    longer = cells(**{"methods.nnunet.epochs": 3})
    assert longer["nnunet"].cell != own.cell
    assert longer["scratch"].cell == scratch.cell


@pytest.mark.timeout(900)
def test_it_trains_goes_on_predicts_and_is_recorded(tmp_path, monkeypatch):
    """Two epochs of one step, interrupted after the first."""
    pytest.importorskip("nnunetv2")
    from medssl_bench.analysis.leaderboard.page import build_report

    monkeypatch.chdir(tmp_path)
    spec = tree(tmp_path)
    plan, root, cache = make_plan(
        "nnunet", str(spec), "2", profile="demo", results=tmp_path / "r", device="cpu",
        settings={"methods.nnunet.epochs": 2, "methods.nnunet.iterations": 1},
    )  # fmt: skip

    def interrupt(event: Event) -> None:
        if event.note.startswith("epoch 1 of 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(plan, root, cache, emit=interrupt)
    assert not list(Store(root, read_only=True).records())
    (folder,) = (root / "work").glob("cell-*/generation-000001")
    assert [path.name for path in folder.iterdir()] == ["nnunet-checkpoint.pth"]
    events: list[Event] = []
    assert execute(plan, root, cache, emit=events.append).failures == []
    assert ("nnU-Net: predicting", 2, 2) in {(one.note, one.done, one.total) for one in events}
    seen = [event.note for event in events]
    assert not any(note.startswith("epoch 1 of 2") for note in seen)
    assert any(note.startswith("epoch 2 of 2") for note in seen)
    (record,) = Store(root, read_only=True).records()
    (planned,) = plan.cells
    assert record.draw.cases == planned.draw.train
    assert record.split.test == ("c3", "c4")
    assert record.split.source == "the task's own, Split: 2 test listed"
    assert set(record.metrics) == {"both", "right", "mean"}
    assert record.metrics["both"]["dice_n"] == 2
    told = record.settings["own_training"]
    assert told["epochs"] == 2 and told["fold"] == "all" and told["configuration"] == "3d_fullres"
    planned_by_itself = told["planned"]
    assert planned_by_itself["normalization"] == ["ZScoreNormalization"]
    assert re.fullmatch("[0-9a-f]{64}", planned_by_itself["plans_digest"])
    assert sorted(planned_by_itself["spacing"]) == pytest.approx([1.2, 1.5, 2.0])
    assert "finetune" not in record.settings and "pretrain" not in record.settings
    assert record.libraries["nnunetv2"] == told["nnunetv2"]
    assert record.resumed == 1
    assert record.cost.steps == 2 and record.cost.crops == 2 * planned_by_itself["batch_size"]
    assert record.machine.precision == "32-true"
    assert not list((root / "work").glob("cell-*"))
    history = Store(root, read_only=True).histories()
    assert list(history["step"]) == [1, 2]
    assert np.isfinite(history["loss"]).all()
    page = build_report(root, tmp_path / "page").read_text("utf-8")
    assert "Not under that protocol: nnunet" in page
