"""What frozen features tell of crops: which targets are in them, by neighbours and by a linear map.

Crops of a case are not independent, so intervals come from resampling test cases, never crops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

NEIGHBOURS, TEMPERATURE = 20, 0.07
"""Of DINO's kNN evaluation (its public code, ``eval_knn.py``)."""

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse weights of the linear probe's L2 penalty (scikit-learn's ``C``) that it chooses from."""
FOLDS = 5


@dataclass(frozen=True)
class Probed:
    """How well one encoder's features tell targets apart, as ROC-AUC.

    ``mean`` is the mean over targets with its interval over test cases; ``gain`` is that mean minus
    the baseline's, paired by test case. NaN: missing.
    """

    mean: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    targets: Floats
    """AUC of each target, ``(L,)``."""


def knn_scores(
    train: Floats,
    present: Flags,
    test: Floats,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> Floats:
    """Score each target of each test crop by the training crops most alike.

    Features are standardised by the training crops; the score is the share of a crop's nearest
    neighbours by cosine that have the target, each weighted by ``exp(cosine / temperature)``.

    Args:
        train: Features ``(N, c)`` of training crops.
        present: Which of the L targets each training crop has, ``(N, L)``.
        test: Features ``(n, c)`` of test crops.
        neighbours: How many vote, at most N.
        temperature: The lower, the more the nearest ones count.

    Returns:
        Scores in [0, 1], ``(n, L)``; NaN for targets that all or none of the training crops have.
    """
    train, test = standardise(train, test)
    cosines = _unit(test) @ _unit(train).T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :neighbours]
    weights = np.exp(np.take_along_axis(cosines, nearest, axis=1) / temperature)
    scores = np.einsum("nk,nkl->nl", weights, present[nearest].astype(float))
    return np.where(varies(present), scores / weights.sum(axis=1, keepdims=True), np.nan)


def linear_scores(
    train: Floats, present: Flags, groups: NDArray[np.generic], test: Floats
) -> tuple[Floats, float]:
    """Score each target of each test crop by logistic regression on standardised features.

    The penalty is the one of ``STRENGTHS``, the same for all targets, whose mean AUC is highest in
    a cross-validation inside the training crops. Its folds keep a group's crops together; with a
    single group there is nothing to choose by, and the middle one is taken.

    Args:
        train: Features ``(N, c)`` of training crops.
        present: Which of the L targets each training crop has, ``(N, L)``.
        groups: The patient of each training crop, ``(N,)``.
        test: Features ``(n, c)`` of test crops.

    Returns:
        Scores ``(n, L)``, NaN for targets that all or none of the training crops have; and the
        strength that was chosen.
    """
    from sklearn.model_selection import GroupKFold

    parts = min(FOLDS, len(np.unique(groups)))
    strength = STRENGTHS[len(STRENGTHS) // 2]
    if parts > 1:
        folds = list(GroupKFold(parts).split(train, groups=groups))
        means = {
            strength: [
                macro(auc(present[out], _fitted(train[fit], present[fit], train[out], strength)))
                for fit, out in folds
            ]
            for strength in STRENGTHS
        }
        # A fold may have no target that can be scored; its mean is missing for every strength.
        found = {strength: macro(np.array(values)) for strength, values in means.items()}
        if np.isfinite(list(found.values())).all():
            strength = max(found, key=lambda name: found[name])
    return _fitted(train, present, test, strength), strength


def _fitted(train: Floats, present: Flags, test: Floats, strength: float) -> Floats:
    """Fit one logistic regression for each target and return its logits on ``test``."""
    from sklearn.linear_model import LogisticRegression

    train, test = standardise(train, test)
    scores = np.full((len(test), present.shape[1]), np.nan)
    for target in np.flatnonzero(varies(present)):
        model = LogisticRegression(C=strength, max_iter=10_000)
        scores[:, target] = model.fit(train, present[:, target]).decision_function(test)
    return scores


def standardise(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Give each feature mean 0 and deviation 1 over ``train``; a constant one becomes 0."""
    train, test = np.asarray(train, dtype=np.float64), np.asarray(test, dtype=np.float64)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    return (train - mean) * scale, (test - mean) * scale


def _unit(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def varies(present: Flags) -> Flags:
    """Tell which targets some crops have and others have not: ``(N, L)`` gives ``(L,)``."""
    return np.logical_and(present.any(axis=0), np.logical_not(present.all(axis=0)))


class CaseAUC:
    """ROC-AUC of scores, for any number of times that each test case is drawn.

    The AUC of a target is the share of pairs of a crop with it and one without in which the first
    has the higher score (a tie counts half), so counting pairs once by their two cases is enough.
    """

    def __init__(self, present: Flags, scores: Floats, cases: NDArray[np.generic]) -> None:
        """Count for ``n`` test crops: ``present`` and ``scores`` ``(n, L)``, ``cases`` ``(n,)``."""
        names, place = np.unique(cases, return_inverse=True)
        member = np.eye(len(names))[place]
        self.cases = len(names)
        self._with = member.T @ present
        self._without = member.T @ ~present
        self._won = np.stack(
            [_won(has, score, member) for has, score in zip(present.T, scores.T, strict=True)]
        )

    def __call__(self, counts: Floats) -> Floats:
        """Return AUCs ``(R, L)`` for R draws of the cases in their sorted order, ``(R, cases)``.

        NaN where a draw has a target in all crops or in none, and where its scores are NaN.
        """
        won = np.einsum("rc,lcd,rd->rl", counts, self._won, counts, optimize=True)
        pairs = (counts @ self._with) * (counts @ self._without)
        return np.divide(won, pairs, out=np.full_like(won, np.nan), where=pairs > 0)

    def whole(self) -> Floats:
        """Return the AUCs ``(L,)`` of all cases, each once."""
        return self(np.ones((1, self.cases)))[0]


def _won(has: Flags, score: Floats, member: Floats) -> Floats:
    """Return how many pairs crops of one case win against those of another, ``(cases, cases)``."""
    if np.isnan(score).any():
        return np.full((member.shape[1], member.shape[1]), np.nan)
    first, second = score[has][:, None], score[~has][None]
    wins = (first > second) + 0.5 * (first == second)
    return member[has].T @ wins @ member[~has]


def auc(present: Flags, scores: Floats) -> Floats:
    """Return the ROC-AUC of each target over all crops, ``(L,)``; NaN where it has one class."""
    return CaseAUC(present, scores, np.zeros(len(present))).whole()


def macro(values: Floats) -> float:
    """Return the mean of what is not missing; NaN where all is."""
    return float(_macro(values[None])[0])


def _macro(rows: Floats) -> Floats:
    """Return :func:`macro` of each row."""
    there = np.isfinite(rows)
    count = there.sum(axis=1)
    total = np.where(there, rows, 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(rows), np.nan), where=count > 0)


def compare(
    present: Flags,
    scores: Mapping[str, Floats],
    cases: NDArray[np.generic],
    baseline: str,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Probed]:
    """Measure every encoder's scores, and the difference of each to the baseline's.

    Test cases are drawn with replacement; all encoders see the same draws, so differences are
    paired. A target that a draw has in all of its crops or in none is left out of that draw's mean.
    With fewer than two cases there are no intervals.

    Args:
        present: Which of the L targets each test crop has, ``(n, L)``.
        scores: Scores ``(n, L)`` by name of the encoder.
        cases: The case of each test crop, ``(n,)``.
        baseline: Name of the encoder that differences are taken to.
        level: Coverage of the intervals.
        resamples: How many draws are taken.
        seed: Seed of the draws.
    """
    counted = {name: CaseAUC(present, found, cases) for name, found in scores.items()}
    number = counted[baseline].cases
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(number, np.full(number, 1 / number), size=resamples).astype(float)
    whole = {name: found.whole() for name, found in counted.items()}
    drawn = {name: _macro(found(counts)) for name, found in counted.items()}

    def interval(values: Floats) -> tuple[float, float]:
        values = values[np.isfinite(values)]
        if number < 2 or not len(values):
            return np.nan, np.nan
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    probed = {}
    for name in scores:
        gain, bounds = np.nan, (np.nan, np.nan)
        if name != baseline:
            gain = macro(whole[name]) - macro(whole[baseline])
            bounds = interval(drawn[name] - drawn[baseline])
        probed[name] = Probed(
            macro(whole[name]), *interval(drawn[name]), gain, *bounds, targets=whole[name]
        )
    return probed
