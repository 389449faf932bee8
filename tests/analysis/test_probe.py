"""Probes of features and their ROC-AUC, against scikit-learn and hand cases."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from medssl_bench.analysis.probe import (
    STRENGTHS,
    CaseAUC,
    auc,
    compare,
    knn_scores,
    linear_scores,
    macro,
    standardise,
    varies,
)

CASES, EACH, TARGETS = 12, 8, 3


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def some_crops(rng: np.random.Generator, cases: int = CASES, signal: float = 1.0):
    """Features of which each of the first axes leans towards one target, labels and case names."""
    present = rng.random((cases * EACH, TARGETS)) < 0.4
    features = rng.normal(size=(cases * EACH, 6)) * [1, 20, 1, 5, 1, 1] + 7
    features[:, :TARGETS] += signal * present * [1, 20, 1]
    return features, present, np.repeat([f"case_{i}" for i in range(cases)], EACH)


def test_auc_of_a_hand_case() -> None:
    present = np.array([[True], [True], [False], [False]])
    # Of four pairs two are won, one is a tie, one is lost.
    scores = np.array([[0.9], [0.4], [0.4], [0.6]])
    assert auc(present, scores) == pytest.approx([2.5 / 4])


def test_auc_is_that_of_scikit_learn_with_ties(rng) -> None:
    present = rng.random((200, TARGETS)) < 0.3
    scores = np.round(rng.normal(size=(200, TARGETS)) + present, 1)
    expected = [roc_auc_score(present[:, t], scores[:, t]) for t in range(TARGETS)]
    assert auc(present, scores) == pytest.approx(expected, abs=1e-12)


def test_drawing_a_case_twice_is_having_its_crops_twice(rng) -> None:
    _, present, cases = some_crops(rng, cases=4)
    scores = rng.normal(size=present.shape).round(1)
    counts = np.array([[2.0, 0.0, 1.0, 3.0]])
    rows = np.concatenate(
        [
            np.flatnonzero(cases == f"case_{i}")
            for i, n in enumerate(counts[0])
            for _ in range(int(n))
        ]
    )
    expected = [roc_auc_score(present[rows, t], scores[rows, t]) for t in range(TARGETS)]
    assert CaseAUC(present, scores, cases)(counts)[0] == pytest.approx(expected, abs=1e-12)


def test_a_target_with_one_class_is_missing_and_not_one_half(rng) -> None:
    present = np.array([[True, False, True]] * 4 + [[True, False, False]] * 4)
    assert varies(present).tolist() == [False, False, True]
    found = auc(present, rng.normal(size=present.shape))
    assert np.isnan(found[:2]).all() and np.isfinite(found[2])
    assert macro(found) == found[2]
    assert np.isnan(macro(found[:2]))


@pytest.mark.parametrize("probe", ["linear", "knn"])
def test_a_target_that_training_never_shows_is_missing(rng, probe) -> None:
    train, present, groups = some_crops(rng)
    test, asked, _ = some_crops(rng)
    present[:, 1] = False
    scores = run(probe, train, present, groups, test)
    assert np.isnan(scores[:, 1]).all() and np.isfinite(scores[:, [0, 2]]).all()
    found = auc(asked, scores)
    assert np.isnan(found[1]) and np.isfinite(found[[0, 2]]).all()


def run(probe: str, train, present, groups, test) -> np.ndarray:
    if probe == "linear":
        return linear_scores(train, present, groups, test)[0]
    return knn_scores(train, present, test)


@pytest.mark.parametrize("probe", ["linear", "knn"])
def test_separable_features_score_one_and_noise_one_half(rng, probe) -> None:
    train, present, groups = some_crops(rng, cases=40, signal=30.0)
    test, asked, _ = some_crops(rng, cases=40, signal=30.0)
    assert auc(asked, run(probe, train, present, groups, test)) == pytest.approx(1.0, abs=0.01)
    noise, other = rng.normal(size=train.shape), rng.normal(size=test.shape)
    assert auc(asked, run(probe, noise, present, groups, other)) == pytest.approx(0.5, abs=0.12)


def test_neighbours_are_those_of_scikit_learn(rng) -> None:
    train, present, _ = some_crops(rng)
    test, _, _ = some_crops(rng)
    scores = knn_scores(train, present, test, neighbours=7, temperature=0.1)
    mean, deviation = train.mean(0), train.std(0)
    reference = KNeighborsClassifier(
        n_neighbors=7,
        metric="cosine",
        algorithm="brute",
        weights=lambda distance: np.exp((1 - distance) / 0.1),
    )
    for target in range(TARGETS):
        reference.fit((train - mean) / deviation, present[:, target])
        expected = reference.predict_proba((test - mean) / deviation)[:, 1]
        assert scores[:, target] == pytest.approx(expected, abs=1e-9)


def test_more_neighbours_than_crops_are_all_crops(rng) -> None:
    train, present, _ = some_crops(rng, cases=1)
    present[0], present[1] = True, False
    everyone = knn_scores(train, present, train, neighbours=EACH)
    assert np.array_equal(knn_scores(train, present, train, neighbours=500), everyone)


def test_the_linear_map_is_a_logistic_regression_of_the_strength_it_names(rng) -> None:
    train, present, groups = some_crops(rng)
    test, _, _ = some_crops(rng)
    scores, strength = linear_scores(train, present, groups, test)
    assert strength in STRENGTHS
    first, second = standardise(train, test)
    for target in range(TARGETS):
        model = LogisticRegression(C=strength, tol=1e-8, max_iter=10_000)
        expected = model.fit(first, present[:, target]).decision_function(second)
        assert scores[:, target] == pytest.approx(expected, abs=1e-2)


def test_the_strength_is_chosen_between_groups(rng) -> None:
    """Where features name the group, a strong penalty is good enough for groups that were seen.

    What holds for others as well is a small difference between features that vary together, which
    a strong penalty does not find.
    """
    present = np.repeat(rng.random((CASES, TARGETS)) < 0.5, EACH, axis=0)
    groups = np.repeat(np.arange(CASES), EACH)
    common = 5 * rng.normal(size=(len(groups), 1))
    features = np.hstack([np.eye(CASES)[groups], common + present, common])
    _, seen = linear_scores(features, present, np.arange(len(groups)), features)
    _, unseen = linear_scores(features, present, groups, features)
    assert unseen > seen


def test_one_group_takes_the_middle_strength(rng) -> None:
    train, present, groups = some_crops(rng)
    _, strength = linear_scores(train, present, np.zeros(len(groups)), train)
    assert strength == STRENGTHS[len(STRENGTHS) // 2]


def test_standardised_features_ignore_scale_and_constants(rng) -> None:
    train, _, _ = some_crops(rng)
    train[:, 5] = 3.0
    first, second = standardise(train, train * 1.0)
    assert np.allclose(first.mean(0), 0) and np.allclose(first[:, :5].std(0), 1)
    assert (first[:, 5] == 0).all() and np.array_equal(first, second)


def test_intervals_come_from_cases_and_differences_are_paired(rng) -> None:
    _, present, cases = some_crops(rng, cases=20)
    good = rng.normal(size=present.shape) + present
    better = good + 0.3 * present
    probed = compare(present, {"scratch": good, "better": better, "same": good}, cases, "scratch")
    for name, scores in (("scratch", good), ("better", better)):
        assert probed[name].targets == pytest.approx(auc(present, scores))
        assert probed[name].mean == pytest.approx(auc(present, scores).mean())
        assert probed[name].low < probed[name].mean < probed[name].high
    assert np.isnan(probed["scratch"].gain)
    assert probed["better"].gain == pytest.approx(probed["better"].mean - probed["scratch"].mean)
    # Paired: much narrower than either encoder's own interval.
    width = probed["better"].gain_high - probed["better"].gain_low
    assert 0 < probed["better"].gain_low and width < (probed["better"].high - probed["better"].low)
    assert (probed["same"].gain, probed["same"].gain_low, probed["same"].gain_high) == (0, 0, 0)

    # Crops of a case that are copies of one another bring no new cases.
    copies = np.repeat(np.arange(len(present)), 5)
    again = compare(present[copies], {"scratch": good[copies]}, cases[copies], "scratch")
    assert again["scratch"].low == pytest.approx(probed["scratch"].low, abs=1e-9)
    assert again["scratch"].high == pytest.approx(probed["scratch"].high, abs=1e-9)


def test_a_single_case_has_no_interval(rng) -> None:
    _, present, cases = some_crops(rng, cases=1)
    present[0], present[1] = True, False
    scores = rng.normal(size=present.shape)
    probed = compare(present, {"scratch": scores, "other": scores + 1}, cases, "scratch")["other"]
    assert np.isfinite(probed.mean)
    assert np.isnan([probed.low, probed.high, probed.gain_low, probed.gain_high]).all()
