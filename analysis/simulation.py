"""Do the tests keep what they claim? ``python -m medssl_bench.analysis.simulation``.

Draws data in which the truth is known and counts. Each test is judged under the null that it
claims: a statement about checkpoints under "these weights are equally good", one about retraining
under "training again makes them equally good". Beside it stand the shortcuts in common use. Exit
code 1 where a claim is missed.

A difference of two methods is ``draw + seed(draw) + case + residual(draw, seed, case, organ)``,
each normal; the case's part is common to its organs, which correlates them by a half.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medssl_bench.analysis.statistics.bootstrap import percentile_interval, resampled_means
from medssl_bench.analysis.statistics.crossed import p_values, retraining_test
from medssl_bench.analysis.statistics.gaps import performance_gap
from medssl_bench.analysis.statistics.independent import compare_groups
from medssl_bench.analysis.statistics.multiplicity import holm
from medssl_bench.analysis.statistics.paired import wilcoxon
from medssl_bench.analysis.statistics.ranks import rank_methods, ranks_of, square

ALPHA = 0.05
MOST_FALSE = 0.06
"""What a test at 5 % may reach."""
LEAST_COVER = 0.94
CASES, ORGANS, SEEDS = 20, 15, 3
CASE_SD = RESIDUAL_SD = 0.03
RUN_SDS = ((0.01, 0.01), (0.02, 0.01), (0.01, 0.02), (0.02, 0.02))
"""SD of draws and of seeds."""
DRAWS = (3, 5)
FLIPS = 1_999
BOOTSTRAPS, MOST_BOOTSTRAPPED = 400, 1_000
"""Resamples of a data set, and how many of the data sets are resampled."""
METHOD_MEANS = np.array([0.80, 0.80, 0.79, 0.78, 0.76, 0.72])
"""True Dice of six methods, two of them equal."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Finding:
    """One rate that was counted."""

    question: str
    test: str
    draws: int
    draw_sd: float
    seed_sd: float
    rate: float
    limit: str
    """What the rate must keep, empty for a shortcut that is shown for comparison."""
    kept: bool


def main(words: Sequence[str] | None = None) -> int:
    """Count, print, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m medssl_bench.analysis.simulation",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument("--runs", type=int, default=4_000, help="data sets of each kind [4000]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON lines instead of a table")
    given = parser.parse_args(words)
    began, kept = time.perf_counter(), True
    for finding in simulate(given.runs, given.seed):
        kept &= finding.kept
        print(json.dumps(asdict(finding)) if given.json else _line(finding), flush=True)
    if not given.json:
        print(
            f"{given.runs} data sets each, {CASES} cases, {ORGANS} organs, {SEEDS} seeds;"
            f" {time.perf_counter() - began:.0f} s. "
            + ("Every claim is kept." if kept else "A claim is MISSED.")
        )
    return 0 if kept else 1


def simulate(runs: int, seed: int = 0) -> Iterator[Finding]:
    """Yield every rate."""
    random = np.random.default_rng(seed)
    for draws in DRAWS:
        for sds in RUN_SDS:
            here = (draws, *sds)
            yield from _fixed_checkpoints(random, runs, here)
            yield from _retraining(random, runs, here)
    for draws in DRAWS:
        yield from _groups(random, runs, (draws, 0.02, 0.02))
        yield from _gaps(random, runs, (draws, 0.02, 0.02))
        yield from _ranks(random, runs, (draws, 0.02, 0.02))


Setting = tuple[int, float, float]
"""Draws, SD of draws, SD of seeds."""


def differences(
    random: np.random.Generator, runs: int, setting: Setting, *, given: bool, mean: float = 0.0
) -> Array:
    """Return differences of two methods, ``(runs, draws, seeds, cases, organs)``.

    With ``given`` the checkpoints are what the statement is about: the effects of their draws and
    seeds are part of how good they are, and sum to nothing.
    """
    draws, draw_sd, seed_sd = setting
    of_runs = random.normal(0, draw_sd, (runs, draws, 1, 1, 1))
    of_runs = of_runs + random.normal(0, seed_sd, (runs, draws, SEEDS, 1, 1))
    if given:
        of_runs -= of_runs.mean(axis=(1, 2), keepdims=True)
    of_cases = random.normal(0, CASE_SD, (runs, 1, 1, CASES, 1))
    rest = random.standard_normal((runs, draws, SEEDS, CASES, ORGANS), np.float32) * RESIDUAL_SD
    rest += (mean + of_runs + of_cases).astype(np.float32)
    return rest.astype(np.float64)


def _fixed_checkpoints(
    random: np.random.Generator, runs: int, setting: Setting
) -> Iterator[Finding]:
    question = "false positives about these checkpoints"
    found = differences(random, runs, setting, given=True)
    cases = found.mean(axis=(1, 2, 4))
    yield _false(question, "Wilcoxon on case means", setting, wilcoxon(cases))
    yield _false(question, "sign flips of case means", setting, _flips(random, cases))
    organs = found.mean(axis=(1, 2)).reshape(runs, -1)
    yield _shown(question, "Wilcoxon, organs pooled", setting, wilcoxon(organs))
    pooled = found.mean(axis=4).reshape(runs, -1)
    yield _shown(question, "Wilcoxon, draws and seeds pooled", setting, wilcoxon(pooled))
    yield _shown(question, "Wilcoxon, all pooled", setting, wilcoxon(found.reshape(runs, -1)))


def _flips(random: np.random.Generator, cases: Array) -> Array:
    signs = random.choice([-1.0, 1.0], (FLIPS, CASES))
    reached = np.abs(cases @ signs.T) >= np.abs(cases.sum(axis=1))[:, None]
    result: Array = (reached.sum(axis=1) + 1) / (FLIPS + 1)
    return result


def _retraining(random: np.random.Generator, runs: int, setting: Setting) -> Iterator[Finding]:
    question = "false positives about retraining"
    found = differences(random, runs, setting, given=False).mean(axis=4, dtype=np.float64)
    crossed = found.mean(axis=2)
    yield _false(question, "draws x cases", setting, p_values(crossed))
    yield _shown(question, "Wilcoxon on case means", setting, wilcoxon(crossed.mean(axis=1)))
    pooled = wilcoxon(found.reshape(runs, -1))
    yield _shown(question, "Wilcoxon, draws and seeds pooled", setting, pooled)
    one = wilcoxon(found[:, 0].mean(axis=1))
    yield _shown(question, "Wilcoxon, one draw", setting, one)
    outside = _bootstrap_misses(found[:MOST_BOOTSTRAPPED])
    yield Finding(question, "percentile bootstrap", *setting, outside, "", True)
    for mean in (0.02, 0.04):
        shifted = p_values(crossed + mean)
        yield _shown(f"power, true difference {mean}", "draws x cases", setting, shifted)
    seen = [retraining_test(table).detectable for table in crossed[:200]]
    power = float((p_values(crossed + float(np.median(seen))) < ALPHA).mean())
    question = f"power at the median detectable difference, {np.median(seen):.3f}"
    yield Finding(question, "draws x cases", *setting, power, "", True)


def _bootstrap_misses(found: Array) -> float:
    """Share of data sets whose percentile interval leaves zero out; each is a method here."""
    outside = 0
    for table in found:
        low, high = percentile_interval(resampled_means(table[None], BOOTSTRAPS), 1 - ALPHA)
        outside += bool(low[0] > 0 or high[0] < 0)
    return outside / len(found)


def _groups(random: np.random.Generator, runs: int, setting: Setting) -> Iterator[Finding]:
    """Two sets of different patients, as CT and MRI; also the method x modality interaction."""
    question = "false positives between different patients"
    first, second = (
        differences(random, runs, setting, given=False).mean(axis=(2, 4), dtype=np.float64)
        for _ in range(2)
    )
    p = np.array([one.p for one in compare_groups(first, second)])
    yield _false(question, "Welch over draws and cases", setting, p)
    between = stats.mannwhitneyu(first.mean(axis=1), second.mean(axis=1), axis=1).pvalue
    yield _shown(question, "Mann-Whitney on case means", setting, between)


def _gaps(random: np.random.Generator, runs: int, setting: Setting) -> Iterator[Finding]:
    """Gap of a method with true Dice 0.6 to a reference of 0.8 tested on the same cases."""
    few = 0.6 + differences(random, runs, setting, given=False).mean(axis=(2, 4), dtype=np.float64)
    best = 0.8 + differences(random, runs, (1, 0.0, 0.0), given=True).mean(
        axis=(2, 4), dtype=np.float64
    )
    truth, inside = 100 * (0.6 / 0.8 - 1), 0
    for ours, theirs in zip(few, best, strict=True):
        interval = performance_gap(ours, theirs)
        inside += interval.low <= truth <= interval.high
    yield _covers("gap's interval holds the true gap", "delta method", setting, inside / runs)


def _ranks(random: np.random.Generator, runs: int, setting: Setting) -> Iterator[Finding]:
    methods, pairs = len(METHOD_MEANS), list(combinations(range(len(METHOD_MEANS)), 2))
    draws, draw_sd, seed_sd = setting
    half = 1 / np.sqrt(2)
    """A difference of two methods then has the SDs of a setting."""
    shape = (runs, methods, draws, SEEDS, CASES)
    scores = random.normal(0, RESIDUAL_SD * half / np.sqrt(ORGANS), shape)
    scores += random.normal(0, draw_sd * half, (runs, methods, draws, 1, 1))
    scores += random.normal(0, seed_sd * half, (runs, methods, draws, SEEDS, 1))
    scores += random.normal(0, CASE_SD * half, (runs, methods, 1, 1, CASES))
    scores += METHOD_MEANS[:, None, None, None]
    crossed = scores.mean(axis=3)
    places = np.array(pairs)
    p = p_values(crossed[:, places[:, 0]] - crossed[:, places[:, 1]])
    # Methods that tie in truth hold all the ranks they share.
    first = 1 + (METHOD_MEANS[None] > METHOD_MEANS[:, None]).sum(axis=1)
    last = methods - (METHOD_MEANS[None] < METHOD_MEANS[:, None]).sum(axis=1)
    held = np.zeros((runs, methods), bool)
    width = 0.0
    for run in range(runs):
        adjusted = square(pairs, holm(p[run]), methods)
        ranking = rank_methods(crossed[run].mean(axis=(1, 2)), adjusted, alpha=ALPHA)
        held[run] = (ranking.low <= first) & (last <= ranking.high)
        width += float((ranking.high - ranking.low).mean()) / runs
    question = "rank intervals hold the true ranks"
    name = f"adjusted pairs, mean width {width:.1f}"
    yield _covers(question + " of all methods", name, setting, held.all(axis=1).mean())
    yield _covers(question + ", one method", name, setting, held.mean())
    sample = [
        percentile_interval(ranks_of(resampled_means(one, BOOTSTRAPS)), 1 - ALPHA)
        for one in scores[: min(runs, MOST_BOOTSTRAPPED)]
    ]
    inside = np.array([(low <= first) & (last <= high) for low, high in sample])
    width = float(np.mean([high - low for low, high in sample]))
    name = f"bootstrap, mean width {width:.1f}"
    for of, rate in (
        (" of all methods", inside.all(axis=1).mean()),
        (", one method", inside.mean()),
    ):
        yield Finding(question + of, name, *setting, float(rate), "", True)


def _false(question: str, test: str, setting: Setting, p: Array) -> Finding:
    rate = float((p < ALPHA).mean())
    limit = f"<= {MOST_FALSE:.0%}"
    return Finding(question, test, *setting, rate, limit, rate <= MOST_FALSE)


def _covers(question: str, test: str, setting: Setting, rate: float) -> Finding:
    limit = f">= {LEAST_COVER:.0%}"
    return Finding(question, test, *setting, float(rate), limit, bool(rate >= LEAST_COVER))


def _shown(question: str, test: str, setting: Setting, p: Array) -> Finding:
    return Finding(question, test, *setting, float((p < ALPHA).mean()), "", True)


def _line(one: Finding) -> str:
    where = f"{one.draws} draws, SD {one.draw_sd:g}/{one.seed_sd:g}"
    verdict = (f"{one.limit} " + ("kept" if one.kept else "MISSED")) if one.limit else ""
    return f"{one.question:<52} {one.test:<34} {where:<24} {one.rate:6.1%}  {verdict}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
