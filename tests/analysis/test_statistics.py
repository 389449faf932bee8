"""Tests equal SciPy, statsmodels and scikit-posthocs; what has no answer says so."""

import itertools
import math
from dataclasses import astuple

import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from medssl_bench.analysis.statistics.answer import ALL_ZERO, NO_SPREAD, ONE_CASE, settled
from medssl_bench.analysis.statistics.bootstrap import resampled_means, resampled_together
from medssl_bench.analysis.statistics.crossed import (
    compare_drawn,
    detectable_difference,
    p_values,
    paired_interval,
    paired_intervals,
    retraining_test,
    variance_of_mean,
)
from medssl_bench.analysis.statistics.friedman import alike_groups, mean_ranks
from medssl_bench.analysis.statistics.gaps import performance_gap, resampled_gaps
from medssl_bench.analysis.statistics.independent import compare_groups
from medssl_bench.analysis.statistics.multiplicity import benjamini_hochberg, holm
from medssl_bench.analysis.statistics.paired import (
    compare_cases,
    compare_checkpoints,
    flip_signs,
    median_interval,
    rank_biserial,
    wilcoxon,
)
from medssl_bench.analysis.statistics.panel import pair_by_case, panels
from medssl_bench.analysis.statistics.profiles import (
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
)
from medssl_bench.analysis.statistics.ranks import kendall_tau, rank_methods, ranks_of, square
from medssl_bench.errors import BenchError


def normal(*shape, seed=0, scale=1.0):
    return np.random.default_rng(seed).normal(0, scale, shape)


def series(values, names=None):
    return pd.Series(values, index=names or [f"case_{n}" for n in range(len(values))])


def test_wilcoxon_is_scipys_and_exact_without_ties():
    values = normal(12, seed=1) + 0.4
    found = compare_cases(values)
    assert found.p == stats.wilcoxon(values, method="exact").pvalue
    assert (found.n, found.n_zero, found.n_ties) == (12, 0, 0)


@pytest.mark.parametrize(("n", "least"), [(5, 0.0625), (6, 0.03125)])
def test_least_p_is_what_equal_signs_give(n, least):
    found = compare_cases(np.arange(1.0, n + 1))
    assert found.least_p == least == found.p == found.p_flip


def test_zeros_and_ties_are_counted():
    found = compare_cases(np.array([0.0, 0.0, 1.0, -1.0, 1.0, 2.0, 3.0]))
    assert (found.n, found.n_zero, found.n_ties) == (7, 2, 3)
    assert found.least_p == 2 / 2**5


@pytest.mark.parametrize("seed", range(5))
def test_sign_flips_equal_scipys_permutation_test(seed):
    values = normal(9, seed=seed) + 0.3
    expected = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert flip_signs(values) == pytest.approx(expected, abs=1e-12)
    assert flip_signs(np.append(values, [0.0, 0.0])) == flip_signs(values)


def test_many_sign_flips_are_sampled_near_the_t_test():
    values = normal(60, seed=3) + 0.25
    assert flip_signs(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)
    assert flip_signs(np.ones(60)) == 1 / 20_000


def test_rank_biserial_by_hand():
    """|d| ranks 1 to 4; the negative one has rank 2: (1 + 3 + 4 - 2) / 10."""
    assert rank_biserial(np.array([[0.1, -0.2, 0.3, 0.4]]))[0] == pytest.approx(0.6)
    assert math.isnan(rank_biserial(np.zeros((1, 3)))[0])


def test_the_medians_interval_is_that_of_order_statistics():
    """n = 10: the 2nd and 9th value cover with 1 - 2 (1 + 10) / 1024 = 97.9 %."""
    found = compare_cases(np.arange(1.0, 11.0))
    assert (found.median, found.median_low, found.median_high) == (5.5, 2.0, 9.0)


def test_identical_checkpoints_have_no_p():
    found = compare_cases(np.zeros(8))
    assert found.reason == ALL_ZERO
    assert math.isnan(found.p) and math.isnan(found.p_flip)
    assert compare_cases(np.ones(1)).reason == ONE_CASE


@pytest.mark.parametrize("values", [np.array([1.0, np.inf]), np.ones((3, 2)), np.array([])])
def test_what_is_not_one_finite_value_a_case_is_refused(values):
    with pytest.raises(ValueError, match="one a case"):
        compare_cases(values)


def test_pooled_rows_are_refused():
    twice = series([1.0, 2.0, 3.0], ["a", "b", "b"])
    with pytest.raises(BenchError, match="case 'b' stands 2 times.*average organs"):
        pair_by_case(twice, twice)
    with pytest.raises(BenchError, match="case 'c' has only one"):
        pair_by_case(series([1.0, 2.0], ["a", "b"]), series([1.0, 2.0, 3.0], ["a", "b", "c"]))
    paired = pair_by_case(series([1.0, 2.0], ["a", "b"]), series([5.0, 3.0], ["b", "a"]))
    assert paired.tolist() == [-2.0, -3.0]


def test_variance_of_mean_is_that_of_the_analysis_of_variance():
    table = normal(4, 7) + normal(4, 1, seed=1) * 2 + normal(1, 7, seed=2) * 2
    rows = [(d, c, table[d, c]) for d, c in itertools.product(range(4), range(7))]
    frame = pd.DataFrame(rows, columns=["draw", "case", "y"])
    squares = anova_lm(ols("y ~ C(draw) + C(case)", frame).fit())
    means = squares["mean_sq"]
    expected = (means["C(draw)"] + means["C(case)"] - means["Residual"]) / table.size
    assert float(variance_of_mean(table)[0]) == pytest.approx(expected)


def test_one_draw_is_the_t_test_over_cases_and_no_statement_on_retraining():
    table = normal(1, 15) + 0.5
    interval = paired_interval(table)
    expected = stats.ttest_1samp(table[0], 0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    found = retraining_test(table)
    assert math.isnan(found.p) and "one draw" in found.reason


def test_tables_tested_together_are_tested_as_alone():
    tables = np.stack([normal(3, 9, seed=seed) + 0.5 for seed in range(4)])
    tables[2] = 0
    for one, table in zip(compare_drawn(tables, alpha=0.1), tables, strict=True):
        alone = retraining_test(table, alpha=0.1)
        expected = (alone.mean, alone.low, alone.high, alone.p)
        assert astuple(one)[:4] == pytest.approx(expected, nan_ok=True)
        assert one.reason == alone.reason
    single = compare_drawn(tables[:, :, :1])
    assert {one.reason for one in single} == {retraining_test(tables[0, :, :1]).reason}
    assert all(math.isnan(one.p) for one in single)


def test_true_ties_stay_ties_whatever_was_rounded_before():
    """Means of three targets in whole mm: 1/3 twice, though 3 - 8/3 and 5/3 - 4/3 differ."""
    first = np.array([[9, 4, 5], [8, 6, 7], [3, 2, 2], [5, 5, 6], [7, 9, 9], [4, 3, 3]])
    shifts = np.array([1, 3, -1, 0, 1, 5])
    second = first.copy()
    second[:, 0] -= shifts
    scores = [settled(table.mean(axis=1)) for table in (first, second)]
    (found,) = compare_checkpoints((scores[0] - scores[1])[None])
    signs = np.array([*itertools.product((-1, 1), repeat=5)])
    ranks = stats.rankdata(np.abs(shifts))[shifts != 0]
    sums = np.abs(signs @ ranks)
    expected = (sums >= abs((np.sign(shifts[shifts != 0]) * ranks).sum())).mean()
    assert compare_cases(scores[0] - scores[1]).p == found.p
    assert stats.wilcoxon(shifts, zero_method="pratt").pvalue == found.p
    assert found.p == pytest.approx(expected, abs=0.06)  # SciPy's is not exact with ties


def test_no_spread_is_no_evidence():
    constant = np.full((2, 3, 5), 0.1)
    for one in compare_drawn(constant):
        assert one.difference == pytest.approx(0.1) and math.isnan(one.p + one.low + one.high)
        assert one.reason == NO_SPREAD
    alone = retraining_test(constant[0])
    assert alone.reason == NO_SPREAD and math.isnan(alone.p + alone.low + alone.high)
    assert np.isnan(p_values(constant)).all()
    # What a sum in another order leaves is no difference.
    noise = normal(1, 3, 5, seed=3) * 1e-16
    assert compare_drawn(noise)[0].reason == ALL_ZERO == retraining_test(noise[0]).reason


def test_checkpoints_compared_together_are_compared_as_alone():
    rows = normal(4, 12) + 0.3
    rows[1] = 0
    rows[2, :3] = [0.0, 0.5, -0.5]  # a zero and a tie in one row alone
    for one, row in zip(compare_checkpoints(rows, alpha=0.1), rows, strict=True):
        alone = compare_cases(row, alpha=0.1)
        expected = (alone.median, alone.median_low, alone.median_high, alone.p)
        assert astuple(one)[:4] == pytest.approx(expected, nan_ok=True, abs=1e-11)
        assert one.reason == alone.reason
    assert compare_checkpoints(rows[:, :1])[0].reason == ONE_CASE


def test_groups_compared_together_are_compared_as_alone():
    first, second = normal(3, 2, 12), normal(3, 4, 20, seed=1) + 0.7
    first[1], second[1] = 0.5, 0.2  # no spread in one table alone
    together = compare_groups(first, second)
    for one, own, other in zip(together, first, second, strict=True):
        assert astuple(one) == pytest.approx(
            astuple(compare_groups(own[None], other[None])[0]), nan_ok=True
        )
    assert [bool(one.reason) for one in together] == [False, True, False]


@pytest.mark.parametrize("seed", range(20))
def test_the_interval_excludes_zero_where_p_is_small(seed):
    table = normal(3, 10, seed=seed) + normal(3, 1, seed=seed + 100) + 0.8
    found = retraining_test(table, alpha=0.1)
    assert (found.p < 0.1) == (found.low > 0 or found.high < 0)
    assert 1 <= found.freedom <= 11


def test_degrees_of_freedom_are_satterthwaites_at_the_limit_of_the_draws():
    """With 2 degrees of freedom the chi-squared quantile at 1/3 is -2 ln(2/3)."""
    table = normal(3, 20, seed=1) + normal(1, 20, seed=4) + normal(3, 1, seed=6)
    draws, cases, rest = _mean_squares(table)
    limit = draws * 2 / (-2 * math.log(2 / 3))
    expected = (limit + cases - rest) ** 2 / (limit**2 / 2 + cases**2 / 19 + rest**2 / 38)
    assert limit + cases - rest > max(limit, cases)
    assert float(variance_of_mean(table)[1]) == pytest.approx(expected)


def _mean_squares(table):
    of_draws = table.mean(1, keepdims=True) - table.mean()
    of_cases = table.mean(0, keepdims=True) - table.mean()
    rest = table - table.mean() - of_draws - of_cases
    d, c = table.shape
    return (
        c * (of_draws**2).sum() / (d - 1),
        d * (of_cases**2).sum() / (c - 1),
        (rest**2).sum() / ((d - 1) * (c - 1)),
    )


@pytest.mark.parametrize("n", [3, 5, 20, 200])
def test_detectable_difference_is_statsmodels(n):
    expected = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    assert detectable_difference(1 / math.sqrt(n), n - 1) == pytest.approx(expected, rel=1e-4)
    assert math.isnan(detectable_difference(0.0, n - 1))


@pytest.mark.parametrize(("ours", "theirs"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")])
def test_adjusted_p_are_statsmodels(ours, theirs):
    p = np.random.default_rng(0).uniform(0, 0.2, 30)
    np.testing.assert_allclose(ours(p), multipletests(p, method=theirs)[1])
    with_missing = np.insert(p, 4, np.nan)
    adjusted = ours(with_missing)
    assert math.isnan(adjusted[4])
    np.testing.assert_allclose(np.delete(adjusted, 4), ours(p))
    assert np.isnan(ours([np.nan, np.nan])).all()


def test_friedman_and_nemenyi_equal_scipy_and_scikit_posthocs():
    scores = normal(5, 30) + np.arange(5)[:, None] * 0.4
    found = mean_ranks(scores)
    expected = stats.friedmanchisquare(*scores)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    p = scikit_posthocs.posthoc_nemenyi_friedman(scores.T).to_numpy()
    apart = np.abs(found.mean_rank[:, None] - found.mean_rank) > found.critical_difference
    assert apart.any() and (apart == (p < 0.05)).all()
    np.testing.assert_allclose(found.mean_rank, stats.rankdata(-scores, axis=0).mean(1))


def test_the_critical_difference_is_demsars():
    """JMLR 2006, table 5a: q = 2.728 for 5 methods; section 3.2.2's formula for 30 sets."""
    found = mean_ranks(normal(5, 30))
    assert found.critical_difference == pytest.approx(2.728 * math.sqrt(5 * 6 / (6 * 30)), abs=1e-3)


def test_friedman_needs_three_methods_and_some_difference():
    assert "three methods" in mean_ranks(normal(2, 9)).reason
    assert "tie" in mean_ranks(np.ones((3, 9))).reason
    assert mean_ranks(normal(4, 1)).reason == ONE_CASE


def test_groups_are_the_longest_runs_of_methods_alike():
    alike = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], bool)
    assert alike_groups(np.array([1.0, 2.0, 3.0, 4.0]), alike) == [(0, 1), (1, 2)]
    everything = np.ones((3, 3), bool)
    assert alike_groups(np.array([3.0, 1.0, 2.0]), everything) == [(1, 2, 0)]


def test_ranks_and_tau_equal_scipys():
    scores = np.random.default_rng(0).integers(0, 5, (50, 7)).astype(float)
    np.testing.assert_array_equal(ranks_of(scores), stats.rankdata(-scores, axis=1))
    tau = kendall_tau(scores[0], scores)
    expected = [stats.kendalltau(scores[0], other).statistic for other in scores]
    np.testing.assert_allclose(tau, expected, atol=1e-12)


def test_rank_intervals_and_tiers_by_hand():
    """a > c only: a is 1 to 2 (c is shown worse), b anywhere, c 2 to 3 and a tier below."""
    p = square([(0, 1), (0, 2), (1, 2)], np.array([0.4, 0.01, 0.3]), 3)
    ranking = rank_methods(np.array([0.9, 0.8, 0.7]), p)
    assert ranking.rank.tolist() == [1, 2, 3]
    assert list(zip(ranking.low, ranking.high, strict=True)) == [(1, 2), (1, 3), (2, 3)]
    assert ranking.tier.tolist() == [1, 1, 2]
    lower = rank_methods(np.array([9.0, 8.0, 7.0]), p, higher_is_better=False)
    assert lower.rank.tolist() == [3, 2, 1] and lower.tier.tolist() == [2, 1, 1]


def test_methods_that_cannot_be_told_apart_share_the_first_tier():
    ranking = rank_methods(np.ones(3), np.full((3, 3), np.nan))
    assert ranking.rank.tolist() == [2, 2, 2] and ranking.tier.tolist() == [1, 1, 1]
    assert (ranking.low.tolist(), ranking.high.tolist()) == ([1, 1, 1], [3, 3, 3])


def test_the_bootstraps_variance_is_unbiased_for_cases_and_for_draws():
    """One draw: that of the mean of cases. One case: that of the mean of draws."""
    for shape in ((1, 1, 1, 40), (1, 30, 1, 1)):
        values = normal(*shape)
        sample = resampled_means(values, 40_000)
        assert sample.mean() == pytest.approx(values.mean(), abs=0.01)
        expected = values.var(ddof=1) / values.size
        assert sample.var() == pytest.approx(expected, rel=0.03)


def test_methods_and_tables_are_resampled_together():
    values = normal(1, 4, 2, 10)
    both = np.concatenate([values, values + 0.25])
    sample = resampled_means(both, 500)
    np.testing.assert_allclose(sample[:, 1] - sample[:, 0], 0.25)
    one = values.mean(axis=(1, 2), keepdims=True)
    first, second = resampled_together([one, one * 2], 500)
    np.testing.assert_allclose(second, 2 * first)


def test_a_single_draw_seed_and_case_is_not_resampled():
    assert (resampled_means(np.full((2, 1, 1, 1), 3.0), 10) == 3.0).all()


def test_the_gap_is_the_papers_formula_and_zero_for_the_best_itself():
    few, best = np.full((3, 4), 0.6), np.full((1, 4), 0.8)
    assert performance_gap(few, best).mean == pytest.approx(-25)
    own = performance_gap(best, best)
    assert (own.mean, own.low, own.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="no meaning"):
        performance_gap(few, np.zeros((1, 4)))
    sample = resampled_gaps(few[None, :, None], np.stack([best, best / 2])[:, :, None], resamples=9)
    np.testing.assert_allclose(sample, -25)


def test_the_gaps_interval_agrees_with_resampling():
    few, best = 0.6 + normal(8, 40, scale=0.05), 0.8 + normal(1, 40, seed=1, scale=0.05)
    interval = performance_gap(few, best)
    sample = resampled_gaps(few[None, :, None], best[None, :, None], resamples=4000)
    low, high = np.quantile(sample, [0.025, 0.975])
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.6)


def test_different_patients_are_compared_by_welch():
    first, second = normal(1, 12), normal(1, 20, seed=1) * 2 + 0.7
    found = compare_groups(first[None], second[None])[0]
    expected = stats.ttest_ind(first[0], second[0], equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert compare_groups(first[None, :, :1], second[None])[0].reason
    constant = compare_groups(np.ones((1, 1, 3)), np.zeros((1, 1, 3)))[0]
    assert constant.reason == "no spread in either group" and math.isnan(constant.p)


def test_interquartile_mean_and_profiles_by_hand():
    scores = np.array([[0.0, 0.2, 0.4, 0.6], [0.1, 0.1, 0.9, 0.9]])
    np.testing.assert_allclose(interquartile_mean(scores), [0.3, 0.5])
    found = performance_profile(scores, np.array([0.0, 0.2, 0.61]))
    assert found.tolist() == [[1, 0.75, 0], [1, 0.5, 0.5]]
    lower = performance_profile(scores, np.array([0.1, 1.0]), higher_is_better=False)
    assert lower.tolist() == [[0.25, 1], [0.5, 1]]


def test_a_tie_is_half_an_improvement():
    first, second = np.array([[0.5, 0.9, 0.1, 0.4]]), np.array([[0.5, 0.1, 0.2, 0.3]])
    found = probability_of_improvement(first, second)
    assert found.mean == pytest.approx(2.5 / 4)
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert probability_of_improvement(first, second, higher_is_better=False).mean == 1.5 / 4


def test_panels_hold_what_can_be_compared(case_table):
    found = panels(case_table)
    assert [(one.task, one.shots) for one in found] == [
        (task, shots) for task in ("phantom_ct", "phantom_mri") for shots in ("5", "full")
    ]
    first = found[0]
    assert first.methods == ("scratch", "simmim", "smit")
    assert first.values.shape == (3, 2, 1, 4)
    mine = case_table.query(
        "task == 'phantom_ct' and shots == '5' and method == 'smit' and case == 'case_03'"
    )
    expected = mine[mine["status"] == "ok"].groupby("draw")["dice"].mean()
    np.testing.assert_allclose(first.values[2, :, 0, 2], expected)


def test_a_missed_targets_distance_is_the_diagonal(case_table):
    (panel,) = panels(case_table, "hd95", task="phantom_ct", shots="full", targets=["lesion"])
    assert panel.values[0, 0, 0, list(panel.cases).index("case_03")] == 240.0
    assert "case_02" not in panel.cases
    assert panel.left_out == ("1 cases without any of the targets in their reference",)


def test_panels_keep_the_runs_that_most_methods_have(case_table):
    gone = (case_table["method"] == "smit") & (case_table["draw"] == 1)
    found = panels(case_table[~gone], task="phantom_ct", shots="5")[0]
    assert found.methods == ("scratch", "simmim") and found.draws == ("0", "1")
    assert found.left_out == ("smit: lacks draws or seeds that most methods have",)
    two = case_table[~gone & (case_table["method"] != "simmim")]
    found = panels(two, task="phantom_ct", shots="5")[0]  # of two there is no half
    assert found.methods == ("scratch", "smit") and found.draws == ("0",)
    assert "scratch: 1 runs of draws or seeds that smit lacks" in found.left_out
    cut = case_table[~((case_table["method"] == "smit") & (case_table["case"] == "case_01"))]
    found = panels(cut, task="phantom_ct", shots="5")[0]
    assert found.methods == ("scratch", "simmim")
    assert found.left_out == ("smit: tested on other cases than most methods",)
    own = case_table[(case_table["method"] == "smit") & (case_table["case"] == "case_01")]
    own = own.assign(case="case_99")
    more = panels(pd.concat([case_table, own]), task="phantom_ct", shots="5")[0]
    assert more.left_out == found.left_out  # its case is not one without targets


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"metric": "dise"}, "unknown metric 'dise'. Did you mean 'dice'"),
        ({"task": "phantom_c"}, "no task 'phantom_c' in the records. Did you mean 'phantom_ct'"),
        ({"targets": ["livr"]}, "no target 'livr'.*liver"),
        ({"shots": "10"}, "There are: 5, full"),
        ({"metric": "nsd"}, "the records hold no nsd"),
    ],
)
def test_unknown_words_are_refused(case_table, words, message):
    with pytest.raises(BenchError, match=message):
        panels(case_table, **words)


def test_a_row_has_the_p_it_has_alone_whatever_the_others_are():
    rows = np.random.default_rng(3).standard_normal((6, 9))
    rows[1, 0], rows[4, 2] = 0.0, -rows[4, 3]  # a zero, a tie
    alone = [stats.wilcoxon(row, zero_method="pratt").pvalue for row in rows]
    assert np.array_equal(wilcoxon(rows), alone)
    assert np.array_equal(wilcoxon(rows.reshape(2, 3, 9)), np.reshape(alone, (2, 3)))


@pytest.mark.parametrize("n", [1, 5, 6, 17, 60])
def test_the_interval_of_a_median_is_scipys(n):
    values = np.round(np.random.default_rng(n).standard_normal(n), 1)
    found = stats.quantile_test(values, q=float(np.median(values)), p=0.5)
    expected = found.confidence_interval(0.95)
    assert np.array_equal(median_interval(values), [expected.low, expected.high], equal_nan=True)


def test_intervals_of_many_tables_are_those_of_each():
    tables = np.random.default_rng(0).standard_normal((4, 3, 7))
    for table, found in zip(tables, paired_intervals(tables), strict=True):
        alone = paired_interval(table)
        variance, freedom = variance_of_mean(table)
        reach = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
        assert (found.mean, found.low, found.high) == pytest.approx(
            (table.mean(), table.mean() - reach, table.mean() + reach), rel=1e-12
        )
        assert (alone.low, alone.high) == pytest.approx((found.low, found.high), rel=1e-12)
