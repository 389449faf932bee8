"""Evaluation: sliding-window inference, restoration to original space, metrics per case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medssl_bench import interrupt
from medssl_bench.analysis.metrics import CaseRow, case_metrics
from medssl_bench.config import EvaluateSettings
from medssl_bench.data.labels import class_ids
from medssl_bench.data.orientation import to_ras
from medssl_bench.data.preprocess import preprocess_label, restore_labels
from medssl_bench.data.reading import FileSource
from medssl_bench.data.regrid import ruling_source
from medssl_bench.data.volume import Volume
from medssl_bench.errors import CaseError, DataError
from medssl_bench.label_maps import file_name, prediction
from medssl_bench.progress import Emit, Event
from medssl_bench.stages.loss import probabilities
from medssl_bench.stages.slices import overlay
from medssl_bench.task import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from medssl_bench.data.cache import Prepared
    from medssl_bench.task import Case


@dataclass
class Evaluation:
    """One row per (case, target), pictures of the first cases, and label maps where kept."""

    cases: pd.DataFrame
    slices: dict[str, bytes] = field(default_factory=dict)
    predictions: dict[str, bytes] = field(default_factory=dict)
    """File name -> compressed NIfTI."""


@torch.inference_mode()
def predict(
    model: torch.nn.Module,
    image: np.ndarray[Any, Any],
    task: Task,
    crop: tuple[int, int, int],
    settings: EvaluateSettings,
    fabric: Fabric,
) -> Tensor:
    """Class probabilities ``(K, X, Y, Z)`` float32 of one image ``(C, X, Y, Z)``.

    Windows overlap by ``settings.overlap``; logits are blended, then turned into probabilities.
    Volumes smaller than a window are padded with 0, the lower end of the intensity range.
    """
    from monai.inferers import sliding_window_inference

    logits = sliding_window_inference(
        torch.from_numpy(np.asarray(image)).float()[None].to(fabric.device),
        roi_size=crop,
        sw_batch_size=settings.batch,
        predictor=lambda windows: model(
            windows.contiguous(memory_format=torch.channels_last_3d)
        ).float(),
        overlap=settings.overlap,
        mode=settings.blending,
        padding_mode="constant",
        cval=0.0,
    )
    assert isinstance(logits, Tensor)
    return probabilities(logits, task.kind)[0]


def evaluate(
    model: torch.nn.Module,
    tests: Sequence[Prepared],
    task: Task,
    crop: tuple[int, int, int],
    settings: EvaluateSettings,
    fabric: Fabric,
    title: str,
    emit: Emit,
    example_slices: int,
    keep_predictions: bool = False,
) -> Evaluation:
    """Evaluate every test case once, in original space.

    Columns: ``case, target, dice, hd95, hd95_pooled, nsd, status, reference_ml, prediction_ml,
    diagonal_mm, dice_working``. On a GPU, metrics are computed while the next case is inferred.
    """
    model.eval()
    background = task.kind == "organs"
    rows: list[dict[str, Any]] = []
    slices: dict[str, bytes] = {}
    pending: list[Future[list[dict[str, Any]]]] = []
    kept: dict[str, Future[bytes]] = {}
    with ThreadPoolExecutor(2 if fabric.device.type == "cuda" else 1) as pool:
        for number, case in enumerate(tests):
            scores = predict(model, case.image(), task, crop, settings, fabric)
            working = _labels(scores, background)
            native = restore_labels(scores, case.native_shape, background=background)
            if keep_predictions:
                kept[file_name(case.id)] = pool.submit(prediction, native, case)
            pending.append(pool.submit(_rows, case, task, settings, native, working))
            if number < example_slices:
                slices[file_name(case.id, ".png")] = _picture(case, working)
            while len(pending) > 2:
                rows += pending.pop(0).result()
            emit(Event(title, number + 1, len(tests), "evaluating"))
            interrupt.check()
        for future in pending:
            rows += future.result()
    maps = {name: future.result() for name, future in kept.items()}
    return Evaluation(pd.DataFrame(rows), slices, maps)


def evaluate_label_maps(
    predictions: Mapping[str, Path],
    tests: Sequence[Prepared],
    cases: Mapping[str, Case],
    task: Task,
    settings: EvaluateSettings,
    title: str,
    emit: Emit,
    example_slices: int,
    keep_predictions: bool = False,
) -> Evaluation:
    """Evaluate label maps that lie on the grids of the cases' own files; columns as above.

    The label map is turned to RAS as the case's label was, and measured voxel by voxel there.

    Raises:
        CaseError: A map cannot be read, lies on another grid, or holds an unknown class.
    """
    rows: list[dict[str, Any]] = []
    slices: dict[str, bytes] = {}
    kept: dict[str, bytes] = {}
    for number, case in enumerate(tests):
        native = read_prediction(predictions[case.id], cases[case.id], task)
        working = np.asarray(preprocess_label(native, case.shape).array)
        labels = np.asarray(native.array)
        rows += _rows(case, task, settings, labels, working)
        if keep_predictions:
            kept[file_name(case.id)] = prediction(labels, case)
        if number < example_slices:
            slices[file_name(case.id, ".png")] = _picture(case, working)
        emit(Event(title, number + 1, len(tests), "evaluating"))
        interrupt.check()
    return Evaluation(pd.DataFrame(rows), slices, kept)


def read_prediction(path: Path, case: Case, task: Task) -> Volume:
    """Read a label map that was predicted on a case's grid, as RAS.

    That is the first channel's, or the one that the task names.

    Raises:
        CaseError: It cannot be read, lies on another grid, or holds an unknown class.
    """
    grid = ruling_source(case, task.preprocessing, task.channels).header()
    try:
        volume = FileSource(path).read()
        labels = class_ids(volume.array, classes=task.classes)
    except DataError as error:
        raise CaseError(f"prediction of {case.id}: {error}") from None
    if labels.shape != grid.shape or not np.allclose(volume.affine, grid.affine, atol=1e-2):
        raise CaseError(
            f"prediction of {case.id}: {path} lies on another grid than the case's image"
        )
    return to_ras(Volume(labels, grid.affine))


def _picture(case: Prepared, prediction: np.ndarray[Any, Any]) -> bytes:
    """Draw an example of a case; ``prediction`` is on its working grid."""
    images = dict(zip(case.channels, np.asarray(case.image()), strict=True))
    return overlay(images, np.asarray(case.label()), prediction, case.spacing)


def _labels(scores: Tensor, background: bool) -> np.ndarray[Any, Any]:
    """Label map ``(X, Y, Z)`` uint8 on the grid of ``scores``."""
    if background:
        return scores.argmax(0).to(torch.uint8).cpu().numpy()
    best, index = scores.max(0)
    return torch.where(best > 0.5, index + 1, 0).to(torch.uint8).cpu().numpy()


def _rows(
    case: Prepared,
    task: Task,
    settings: EvaluateSettings,
    native: np.ndarray[Any, Any],
    working: np.ndarray[Any, Any],
) -> list[dict[str, Any]]:
    rows = target_rows(np.asarray(case.native_label()), native, case.native_spacing, task, settings)
    inside = working_dice(np.asarray(case.label()), working, task)
    return [
        {"case": case.id, **row, "dice_working": float(value)}
        for row, value in zip(rows, inside, strict=True)
    ]


def target_rows(
    reference: np.ndarray[Any, Any],
    prediction: np.ndarray[Any, Any],
    spacing: tuple[float, float, float],
    task: Task,
    settings: EvaluateSettings,
) -> list[CaseRow]:
    """Measure every target of a case; regions one after another, for they may overlap."""
    tolerance = settings.nsd_tolerance_mm
    if not task.regions:
        return case_metrics(reference, prediction, spacing, task.classes, tolerance_mm=tolerance)
    rows = []
    for name, ids in task.regions.items():
        member = np.zeros(256, dtype=np.uint8)
        member[list(ids)] = 1
        masks = (member[reference], member[prediction])
        rows += case_metrics(*masks, spacing, {1: name}, tolerance_mm=tolerance)
    return rows


def working_dice(
    reference: np.ndarray[Any, Any], prediction: np.ndarray[Any, Any], task: Task
) -> np.ndarray[Any, Any]:
    """Dice of every target on the working grid; NaN where both are empty."""
    count = len(task.classes) + 1
    pairs = np.bincount(
        reference.ravel().astype(np.int64) * count + prediction.ravel(), minlength=count**2
    ).reshape(count, count)
    dice = []
    for ids in map(list, task.targets.values()):
        both = pairs[ids].sum() + pairs[:, ids].sum()
        dice.append(2 * pairs[np.ix_(ids, ids)].sum() / both if both else np.nan)
    return np.array(dice)


def mean_working_dice(
    model: torch.nn.Module,
    cases: Sequence[Prepared],
    task: Task,
    crop: tuple[int, int, int],
    settings: EvaluateSettings,
    fabric: Fabric,
) -> float:
    """Validation score: mean over cases of the mean Dice of the targets in the reference."""
    model.eval()
    means = []
    for case in cases:
        scores = predict(model, case.image(), task, crop, settings, fabric)
        reference = np.asarray(case.label())
        dice = working_dice(reference, _labels(scores, task.kind == "organs"), task)
        present = np.array([np.isin(reference, ids).any() for ids in task.targets.values()])
        if present.any():
            means.append(float(dice[present].mean()))
    return float(np.mean(means)) if means else 0.0
