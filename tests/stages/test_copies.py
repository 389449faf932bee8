"""Fine-tuning on the copies of a method, against a computation copy by copy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from medssl_bench import interrupt
from medssl_bench.config import Augmentation, FinetuneSettings, load_settings
from medssl_bench.data.prepared import Prepared
from medssl_bench.method import Place
from medssl_bench.methods.parts.template_tuning import TemplateTuning, TemplateTuningConfig
from medssl_bench.networks import build_classifier, build_encoder, build_segmentor
from medssl_bench.preparation import open_prepared
from medssl_bench.registry import load_plugin, tasks
from medssl_bench.stages.copies import Copies
from medssl_bench.stages.finetune import FinetuneJob, Tuned, finetune
from medssl_bench.stages.loss import supervised_loss
from medssl_bench.tables import check_columns
from medssl_bench.task import Task
from medssl_bench.training import Compute

PLUGIN = Path(__file__).parents[1] / "plugins" / "small_brain.py"
CONTRASTS = ("T1", "T1c", "T2", "FLAIR")
SETTINGS = FinetuneSettings(
    steps=4, batch=2, crop=(16, 16, 16), augmentation=Augmentation(rotate90=0.5, intensity=0.5)
)


def templates() -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(2)
    return {name: torch.rand((28, 34, 30), generator=source) for name in CONTRASTS}


def tuning(**changes: object) -> TemplateTuning:
    return TemplateTuning(
        TemplateTuningConfig(**changes), CONTRASTS, templates(), (6.0, 6.0, 6.0), (16, 16, 16)
    )


@pytest.mark.parametrize("kind", ["deep", "plain", "classes"])
def test_the_loss_is_the_sum_over_copies_and_their_distance(kind: str) -> None:
    torch.manual_seed(0)
    encoder = build_encoder("swin_tiny", in_channels=4)
    network: torch.nn.Module
    if kind == "classes":
        network, truth = build_classifier(encoder, 2), torch.tensor([0, 1])
        loss_of = supervised_loss("classification", 2)
    else:
        deep = {"deep_supervision": kind == "deep", "subpixel": False}
        network = build_segmentor("swin_tiny", 4, 3, encoder=encoder, **deep)
        truth = torch.randint(0, 4, (2, 1, 32, 32, 32))
        loss_of = supervised_loss("tumour", 3)
    network.train()
    images = torch.rand(2, 4, 32, 32, 32)
    places = [Place((0, 0, 0), (28, 34, 30), (6.0, 6.0, 6.0))] * 2
    part = tuning()
    copies = Copies(part, encoder)
    joined, count = copies.joined(images, places, np.random.default_rng(1))
    assert count == 2 and joined.shape == (2, 8, 32, 32, 32)
    assert not torch.equal(joined[:, :4], joined[:, 4:])
    found, noted = copies.loss(network, loss_of, joined, count, truth)
    level, features, losses = encoder.levels[-1].name, [], []
    for one in (joined[:, :4], joined[:, 4:]):  # no batch norm: copies are apart
        features.append(encoder(one)[level])
        losses.append(loss_of(network(one), truth))
    apart = (features[0] - features[1]).double().flatten(1)
    by_hand = losses[0] + losses[1] + 0.1 * apart.pow(2).sum(1).sqrt().mean()
    assert found.item() == pytest.approx(by_hand.item(), rel=1e-4)
    assert noted["loss"].item() == pytest.approx((losses[0] + losses[1]).item() / 2, rel=1e-4)
    assert (2 * noted["loss"] + noted["tuning_term"]).item() == pytest.approx(
        found.item(), rel=1e-6
    )


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, Sequence[Prepared]]:
    load_plugin(PLUGIN)
    task = tasks.load("brain_small")
    found = task.cases(None)[:2]
    prepared = open_prepared(task, found, tmp_path_factory.mktemp("cache"))
    return task, prepared.take([case.id for case in found])


def train(found: tuple[Task, Sequence[Prepared]], work: Path, part: TemplateTuning | None) -> Tuned:
    task, prepared = found
    job = FinetuneJob(
        "cell", task, "uniformer_tiny", "2", 0, SETTINGS, load_settings("demo").evaluate, "last",
        tuning=part,
    )  # fmt: skip
    work.mkdir(exist_ok=True)
    return finetune(
        job, prepared, [], None, Compute("cpu", "32-true", 1), work, lambda _: None, lambda: None,
        3600.0,
    )  # fmt: skip


def weights(tuned: Tuned) -> dict[str, Tensor]:
    return tuned.model.state_dict()


def test_a_cell_with_templates_goes_on_exactly_where_it_stopped(
    cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(cases, tmp_path / "whole", tuning())
    monkeypatch.setattr(interrupt, "_word", "SIGUSR1")
    with pytest.raises(interrupt.Interrupted, match="stopped after step 1"):
        train(cases, tmp_path / "stopped", tuning())
    interrupt.tell(None)
    again = train(cases, tmp_path / "stopped", tuning())
    assert again.resumed == 1 and again.history == whole.history
    assert all(torch.equal(weights(again)[name], value) for name, value in weights(whole).items())
    without = train(cases, tmp_path / "without", None)
    assert without.history != whole.history


def test_templates_change_neither_the_crops_nor_what_is_drawn_for_them(cases, tmp_path) -> None:
    """Without replacement and distance, two equal copies have the loss of the batch each.

    What is trained on is their sum, which has twice the gradient.
    """
    alone = train(cases, tmp_path / "alone", None)
    twice = train(cases, tmp_path / "twice", tuning(replaced=0, consistency=0.0))
    check_columns(pd.DataFrame(twice.history), ("step", "loss", "tuning_term"))
    first, second = alone.history[0], twice.history[0]
    assert second["loss"] == pytest.approx(first["loss"], rel=1e-4)
    assert second["gradient_norm"] == pytest.approx(2 * first["gradient_norm"], rel=1e-3)
