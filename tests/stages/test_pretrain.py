"""The pretraining stage for real, at small size: several processes, faults, signs of collapse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from medssl_bench import checkpoint, interrupt
from medssl_bench.claims import ClaimLost
from medssl_bench.config import load_settings
from medssl_bench.data.sampling import StepSlots
from medssl_bench.errors import BenchError, CaseError
from medssl_bench.plan import Plan, Request, build_plan
from medssl_bench.preparation import open_prepared
from medssl_bench.progress import Event
from medssl_bench.registry import load_plugin
from medssl_bench.stages.pretrain import Outcome, ProbeCases, Supplies, pretrain
from medssl_bench.store import Store
from medssl_bench.training import Compute
from medssl_bench.watch import COLLAPSED, FeatureWatch, collapsed, feature_std

SMALL = [
    "corpus_size=2",
    "pretrain.steps=4",
    "pretrain.batch=2",
    "pretrain.crop=[32, 32, 32]",
    "methods.smit.hidden=64",
    "methods.smit.out=32",
]
PLUGIN = Path(__file__).parents[1] / "plugins" / "small.py"
SPOILED = Path(__file__).parents[1] / "plugins" / "spoiled.py"


def plan_of(
    method: str,
    results: Path,
    devices: int = 1,
    plugins: tuple[Path, ...] = (),
    settings: tuple[str, ...] = (),
) -> Plan:
    chosen = load_settings("demo", {}, [*SMALL, *settings])
    request = Request((method,), (), ("full",), chosen, plugins=plugins)
    store = Store(results, read_only=True, missing_ok=True)
    return build_plan(request, Compute("cpu", "32-true", 1, devices), store)


def silent(_: Event) -> None:
    """Show nothing."""


def mine() -> None:
    """The claim is held."""


def lost() -> None:
    """The claim is not held any more."""
    raise ClaimLost("superseded")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def train(cache: Path, tmp_path: Path):
    def run(plan: Plan, name: str = "work", check=mine) -> Outcome:
        assert plan.corpus is not None
        work = tmp_path / name
        work.mkdir(exist_ok=True)
        cases = plan.corpus.cases
        volumes = open_prepared(plan.corpus.corpus, cases, cache).take([c.id for c in cases])
        (job,) = plan.pretrainings.values()
        probe = None
        if plan.probe is not None:
            found = open_prepared(plan.probe.task, plan.probe.cases, cache)
            labelled = found.take(plan.probe.ids("train"))
            probe = ProbeCases(labelled, len(plan.probe.task.classes))
        supplies = Supplies(volumes, work, check, 0.0, probe)
        return pretrain(job, supplies, plan.compute, silent, plan.request.plugins)

    return run


def test_two_processes_train_what_one_does(train, tmp_path: Path) -> None:
    one = plan_of("smit", tmp_path)
    two = plan_of("smit", tmp_path, devices=2)
    assert set(one.pretrainings) == set(two.pretrainings)  # devices are in no key
    alone, together = train(one, "alone"), train(two, "together")
    assert alone.samples == together.samples == 4 * 2 * 2
    for name, value in alone.state.items():
        torch.testing.assert_close(together.state[name], value, rtol=1e-3, atol=2e-5, msg=name)
    for mine_, theirs in zip(alone.history, together.history, strict=True):
        for name in ("loss", "mip", "mpd", "itd", "gradient_norm"):
            assert mine_[name] == pytest.approx(theirs[name], rel=1e-3), name


def test_a_run_goes_on_from_its_last_checkpoint(train, tmp_path: Path) -> None:
    plan = plan_of("simmim", tmp_path)
    whole = train(plan, "whole")
    with pytest.raises(ClaimLost, match="superseded"):
        train(plan, "broken", check=lost)
    assert not list((tmp_path / "broken").iterdir())  # nothing is written once the claim is lost
    again = train(plan, "whole")
    assert again.resumed == 1
    assert again.history == whole.history
    assert all(torch.equal(again.state[name], value) for name, value in whole.state.items())


def test_a_run_told_to_stop_between_two_points_ends_as_if_it_had_not_been(
    train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medssl_bench.history.POINTS", 1)
    plan = plan_of("simmim", tmp_path)
    whole = train(plan, "whole")
    for stops in (1, 2):
        monkeypatch.setattr(interrupt, "_word", "SIGUSR1")
        with pytest.raises(interrupt.Interrupted, match=f"stopped after step {stops}"):
            train(plan, "stopped")
    interrupt.tell(None)
    again = train(plan, "stopped")
    assert again.resumed == 2
    assert again.history == whole.history and "feature_std" in whole.history[-1]
    assert all(torch.equal(again.state[name], value) for name, value in whole.state.items())


def test_another_number_of_devices_does_not_go_on(
    train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupt, "_word", "SIGUSR1")
    with pytest.raises(interrupt.Interrupted):
        train(plan_of("simmim", tmp_path))
    interrupt.tell(None)
    with pytest.raises(CaseError, match="step 1 was reached on 1 devices, 2 would round otherwise"):
        train(plan_of("simmim", tmp_path, devices=2))


BRAIN = (
    "corpus=phantom_brain",
    "corpus_size=4",
    "methods.brainmvp.contrast_from=0.5",
    "methods.brainmvp.template_only=0.25",
)


def test_templates_go_on_where_a_run_stopped(train, tmp_path: Path) -> None:
    """Cases of different modalities; the contrast begins after the checkpoint that is resumed."""
    plan = plan_of("brainmvp", tmp_path, settings=BRAIN)
    assert plan.corpus is not None
    assert len({tuple(case.images) for case in plan.corpus.cases}) > 1
    whole = train(plan)
    work = tmp_path / "work"
    after_three = checkpoint.load(work)["method"]["templates.volumes"]
    max(work.iterdir()).unlink()
    after_two = checkpoint.load(work)["method"]["templates.volumes"]
    assert after_two.any() and not torch.equal(after_two, after_three)
    (job,) = plan.pretrainings.values()
    present = {name for case in plan.corpus.cases for name in case.images}
    for number, name in enumerate(job.config["modalities"]):
        assert name in present or not after_three[number].any()
    again = train(plan)
    assert again.resumed == 1
    assert torch.equal(checkpoint.load(work)["method"]["templates.volumes"], after_three)
    assert again.history == whole.history
    assert ["cl" in point for point in whole.history] == [False, False, True, True]
    learned = {n for i, n in enumerate(job.config["modalities"]) if after_three[i].any()}
    assert learned <= set(whole.extras) <= present
    assert all(torch.equal(again.extras[name], value) for name, value in whole.extras.items())
    assert again.pictures == whole.pictures
    steps = {int(re.findall(r"_(\d+)\.png", path)[0]) for path in whole.pictures}
    assert steps <= {1, 2, 3, 4} and 4 in steps
    assert all(torch.equal(again.state[name], value) for name, value in whole.state.items())


def test_batch_norms_are_not_left_to_each_of_several_processes(train, tmp_path: Path) -> None:
    plan = plan_of("simmim", tmp_path, 2, settings=("backbone=uniformer_tiny",))
    with pytest.raises(BenchError, match="batch norms of this backbone cannot be shared by 2"):
        train(plan)


def test_a_probe_follows_the_training_and_changes_nothing(train, tmp_path: Path) -> None:
    load_plugin(PLUGIN)
    plain = plan_of("simmim", tmp_path)
    followed = plan_of(
        "simmim", tmp_path, settings=("pretrain.probe=phantom_small", "pretrain.probe_every=3")
    )
    assert set(plain.pretrainings) == set(followed.pretrainings)
    assert followed.probe is not None and {c.pool for c in followed.probe.cases} == {"train"}
    without, with_probe = train(plain, "plain"), train(followed, "followed")
    probed = {p["step"]: p["probe_knn_auc"] for p in with_probe.history if "probe_knn_auc" in p}
    assert list(probed) == [3, 4]  # every third step, and the last one
    assert all(0 <= value <= 1 for value in probed.values())
    assert all(torch.equal(with_probe.state[name], value) for name, value in without.state.items())
    assert [p["loss"] for p in with_probe.history] == [p["loss"] for p in without.history]


@pytest.mark.parametrize("devices", [1, 2])
def test_a_loss_that_is_not_finite_stops_with_the_last_good_checkpoint(
    train, tmp_path: Path, devices: int
) -> None:
    load_plugin(SPOILED)
    plan = plan_of("spoiled", tmp_path, devices, (SPOILED,))
    with pytest.raises(CaseError, match=r"became nan at or just before step 3"):
        train(plan)
    kept = sorted(path.name for path in (tmp_path / "work").iterdir())
    assert [re.match(r"checkpoint-(\d+)", name)[1] for name in kept] == ["000001", "000002"]


def test_steps_are_shared_out_in_order() -> None:
    whole = [list(slots) for slots in StepSlots(2, 5, 6)]
    assert whole == [list(range(12, 18)), list(range(18, 24)), list(range(24, 30))]
    shares = [StepSlots(2, 5, 6, rank, 3) for rank in range(3)]
    assert len(shares[0]) == 3
    for step in range(3):
        assert [slot for share in shares for slot in share[step]] == whole[step]
    assert len(StepSlots(5, 5, 6)) == 0
    with pytest.raises(IndexError):
        StepSlots(5, 5, 6)[0]


def test_feature_std_is_one_for_directions_at_random_and_zero_for_one() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4000, 64, generator=generator)
    assert feature_std(features) == pytest.approx(1, abs=0.02)
    assert feature_std(features * torch.rand(4000, 1, generator=generator)) > 0.98
    assert feature_std(features[:1].repeat(10, 1)) == pytest.approx(0, abs=1e-6)
    shifted = features + 100
    unit = shifted / shifted.norm(dim=1, keepdim=True)
    by_hand = ((unit - unit.mean(0)) ** 2).mean(0).sqrt().mean() * 8
    assert feature_std(shifted) == pytest.approx(by_hand.item(), rel=1e-4)


def test_the_watch_sees_the_crops_of_training_alone() -> None:
    from medssl_bench.networks import build_encoder

    torch.manual_seed(0)
    encoder = build_encoder("swin_tiny").train()
    watch = FeatureWatch(encoder)
    assert watch.figures() == {}
    crops = torch.rand(4, 1, 16, 16, 16)
    with torch.no_grad():
        features = encoder(crops)[encoder.levels[-1].name].mean((2, 3, 4))
        encoder.eval()(crops + 1)
    assert watch.figures()["feature_std"] == pytest.approx(feature_std(features), rel=1e-5)
    assert watch.figures() == {}  # each figure is of its own stretch of steps


def test_collapse_is_told_from_the_last_figure() -> None:
    assert collapsed([{"step": 1, "loss": 1.0}]) is None
    assert collapsed([{"feature_std": COLLAPSED / 2}, {"feature_std": 0.1}, {"step": 3}]) is False
    assert collapsed([{"feature_std": 0.1}, {"feature_std": COLLAPSED / 2}]) is True
    assert collapsed([{"feature_std": 0.3}, {"feature_std": 0.01}]) is True
    assert collapsed([{"feature_std": 0.3}, {"feature_std": 0.04}]) is False


def test_an_untrained_encoder_is_not_called_collapsed() -> None:
    from medssl_bench.networks import build_encoder

    for name in ("swin_tiny", "swin_65m"):
        torch.manual_seed(0)
        encoder = build_encoder(name).eval()
        with torch.no_grad():
            features = encoder(torch.rand(6, 1, 32, 32, 32))[encoder.levels[-1].name]
        assert feature_std(features.mean((2, 3, 4))) > 10 * COLLAPSED


def test_devices_must_share_the_batch_evenly(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="pretrain.batch 2 cannot be shared by 3 devices"):
        plan_of("simmim", tmp_path, devices=3)
