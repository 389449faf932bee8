"""Settings: profiles, ``--set``, and what is refused."""

from __future__ import annotations

import math

import pytest

from medssl_bench.config import (
    FinetuneSettings,
    Settings,
    load_settings,
    profile_names,
    profile_values,
    setting_keys,
)
from medssl_bench.errors import BenchError


@pytest.mark.parametrize("name", ["demo", "quick", "paper", "brainmvp"])
def test_profiles_are_whole(name):
    settings = load_settings(name)
    assert settings.profile == name and name in profile_names()
    assert profile_values(name)["summary"]
    assert Settings.model_validate(settings.model_dump()) == settings


def test_the_paper_profile_is_the_published_protocol():
    """Paper 004, sections 3.3 and 4, as far as its settings are told by number."""
    paper = load_settings("paper")
    assert paper.backbone == "swin_65m"
    assert paper.pretrain.crop == (96, 96, 96)
    assert (paper.pretrain.lr, paper.finetune.lr) == (2e-4, 2e-4)
    assert paper.pretrain.warmup_fraction == pytest.approx(30 / 500)
    assert paper.finetune.epochs is not None
    assert (paper.finetune.epochs.few, paper.finetune.epochs.full) == (3000, 1000)
    assert paper.evaluate.overlap == 0.5


@pytest.mark.parametrize("key", [key for key in setting_keys() if key != "profile"])
def test_every_key_can_be_set_to_what_it_is(key):
    values = load_settings("demo").model_dump(mode="json")
    for part in key.split("."):
        values = values[part] if values is not None else None
    if key.startswith("finetune.epochs"):
        values = {"few": 3, "full": 2} if key == "finetune.epochs" else 3
    changed = load_settings("demo", assignments=[f"{key}={_yaml(values)}"])
    if not key.startswith("finetune.epochs"):
        assert changed == load_settings("demo")


def _yaml(value: object) -> str:
    import yaml

    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()


def test_later_words_win():
    given = {"draws": 4, "finetune": {"lr": 0.5}}
    settings = load_settings("demo", given, ["finetune.lr=0.25", "finetune.lr=0.125"])
    assert (settings.draws, settings.finetune.lr) == (4, 0.125)
    assert settings.finetune.batch == load_settings("demo").finetune.batch


def test_a_group_changes_what_it_names_and_keeps_the_rest():
    demo = load_settings("demo")
    changed = load_settings(
        "demo", assignments=["finetune={steps: 3, augmentation: {intensity: 0}}"]
    )
    augmentation = demo.finetune.augmentation.model_copy(update={"intensity": 0.0})
    update = {"steps": 3, "augmentation": augmentation}
    assert changed.finetune == demo.finetune.model_copy(update=update)
    smit = load_settings("demo", assignments=["methods={smit: {out: 8}}"]).methods["smit"]
    assert smit == demo.methods["smit"] | {"out": 8}


def test_numbers_as_people_write_them():
    assert load_settings("demo", assignments=["finetune.lr=1e-3"]).finetune.lr == 1e-3
    assert (
        load_settings("demo", assignments=["pretrain.crop=[96,96,96]"]).pretrain.crop == (96,) * 3
    )
    assert load_settings("demo", assignments=["tracking=false"]).tracking is False
    assert (
        load_settings("demo", assignments=["finetune.clip_gradient="]).finetune.clip_gradient
        is None
    )


def test_steps_and_epochs_replace_each_other():
    by_epochs = load_settings("demo", assignments=["finetune.epochs.few=30"]).finetune
    assert by_epochs.steps is None and by_epochs.epochs is not None
    assert (by_epochs.epochs.few, by_epochs.epochs.full) == (30, 1000)
    by_steps = load_settings("paper", assignments=["finetune.steps=7"]).finetune
    assert (by_steps.steps, by_steps.epochs) == (7, None)
    with pytest.raises(BenchError, match="exactly one of finetune.steps and finetune.epochs"):
        load_settings("demo", assignments=["finetune.steps=null"])


@pytest.mark.parametrize("cases", [1, 2, 5, 40])
@pytest.mark.parametrize("shots", ["5", "20%", "full"])
def test_a_budget_in_epochs_sees_every_case_that_often(shots, cases):
    settings = FinetuneSettings.model_validate({"epochs": {"few": 30, "full": 7}, "batch": 3})
    steps, epochs = settings.budget(shots, cases), 7 if shots == "full" else 30
    assert steps == math.ceil(epochs * cases / 3)
    assert epochs <= settings.epochs_of(steps, cases) < epochs + 3 / cases


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("finetun.lr=1", "'finetune.lr'"),
        ("finetune.lr=0", "finetune.lr: Input should be greater than 0"),
        ("finetune.lr=fast", "finetune.lr"),
        ("precision=half", "precision"),
        ("evaluate.overlap=1", "evaluate.overlap"),
        ("pretrain.crop=96", "pretrain.crop: expected a list, such as [96, 96, 96] (got 96)"),
        ("finetune={step: 3}", "'finetune.steps'"),
        ("keep=everything", "keep"),
        ("profile=paper", "--profile"),
        ("finetune.lr", "expected key.path=value"),
        ("finetune.lr={", "not YAML"),
        ("methods=5", "methods"),
    ],
)
def test_wrong_settings_are_refused_by_name(assignment, told):
    with pytest.raises(BenchError) as error:
        load_settings("demo", assignments=[assignment])
    assert told in str(error.value) and "\n" not in str(error.value)


def test_wrong_keys_of_given_settings_are_refused():
    with pytest.raises(BenchError, match=r"unknown setting 'finetune.lrr'.*'finetune.lr'"):
        load_settings("demo", {"finetune": {"lrr": 1}})
    with pytest.raises(BenchError, match="unknown profile 'papr'.*'paper'.*demo, quick, paper"):
        load_settings("papr")
