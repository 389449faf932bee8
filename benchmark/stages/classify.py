"""Evaluation of volume classification: the class probabilities of every test case, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from medssl_bench import interrupt
from medssl_bench.analysis.classification import CLASSIFIED
from medssl_bench.data.crops import centred_start
from medssl_bench.errors import DivergedError
from medssl_bench.progress import Emit, Event
from medssl_bench.stages.evaluate import Evaluation
from medssl_bench.task import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from medssl_bench.data.cache import Prepared


@torch.inference_mode()
def class_probabilities(
    model: torch.nn.Module, case: Prepared, crop: tuple[int, int, int], fabric: Fabric
) -> NDArray[np.float64]:
    """Return the probabilities ``(K,)`` of a case's classes from its centre crop (paper 003, B.3).

    Raises:
        DivergedError: They are not finite.
    """
    middle = [side // 2 for side in case.shape]
    image = np.asarray(case.image_crop(centred_start(case.shape, crop, middle), crop))
    batch = torch.from_numpy(image).float()[None].to(fabric.device)
    logits = model(batch.contiguous(memory_format=torch.channels_last_3d))
    found = logits.double().softmax(1)[0].cpu().numpy()
    if not np.isfinite(found).all():
        raise DivergedError(
            "the network's probabilities are not finite (did the training diverge?)"
        )
    return np.asarray(found)


def classify(
    model: torch.nn.Module,
    tests: Sequence[Prepared],
    truth: Mapping[str, int],
    task: Task,
    fabric: Fabric,
    title: str,
    emit: Emit,
) -> Evaluation:
    """Classify every test case once; the table's columns are those of ``analysis.classification``.

    ``truth`` has the class id of every case.
    """
    model.eval()
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(tests):
        found = class_probabilities(model, case, task.crop, fabric)
        rows += [
            {
                "case": case.id,
                "target": name,
                "status": CLASSIFIED,
                "probability": float(found[place]),
                "predicted": task.classes[int(found.argmax())],
                "true": task.classes[truth[case.id]],
            }
            for place, name in sorted(task.classes.items())
        ]
        emit(Event(title, number + 1, len(tests), "evaluating"))
        interrupt.check()
    return Evaluation(pd.DataFrame(rows))


def mean_log_loss(
    model: torch.nn.Module,
    cases: Sequence[Prepared],
    truth: Mapping[str, int],
    task: Task,
    fabric: Fabric,
) -> float:
    """Return the mean over cases of minus the logarithm of the true class's probability."""
    model.eval()
    least = np.finfo(np.float64).eps
    found = [class_probabilities(model, case, task.crop, fabric)[truth[case.id]] for case in cases]
    return float(-np.log(np.maximum(found, least)).mean())
