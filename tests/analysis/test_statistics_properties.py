"""What must hold of any scores: order of cases and methods, bystanders and twins change nothing."""

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medssl_bench.analysis.statistics.multiplicity import benjamini_hochberg, holm
from medssl_bench.analysis.statistics.panel import Panel
from medssl_bench.analysis.studies.outcome import Options
from medssl_bench.analysis.studies.ranking import rank
from medssl_bench.analysis.studies.retraining import compare_pairs as over_retraining
from medssl_bench.analysis.studies.significance import compare_pairs as over_cases

OPTIONS = Options(resamples=100)
SCORES = st.integers(2, 4).flatmap(
    lambda methods: arrays(
        float, (methods, 3, 2, 6), elements=st.integers(0, 40).map(lambda one: one / 40)
    )
)
quick = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[phase for phase in Phase if phase is not Phase.shrink],
)


def panel(values, names=None):
    names = names or [f"method_{number}" for number in range(len(values))]
    return Panel(
        task="organs",
        shots="5",
        metric="dice",
        protocol="one",
        methods=tuple(names),
        identities=tuple({"method": name} for name in names),
        draws=("0", "1", "2"),
        cases=tuple(f"case_{number}" for number in range(values.shape[-1])),
        values=values,
    )


def by_pair(table):
    """Numbers of each pair whatever its order; of one turned round the signed ones turn."""
    found = {}
    for row in table.to_dict("records"):
        turned = row["first"] > row["second"]
        key = tuple(sorted((row["first"], row["second"])))
        signed = {name: -row[name] if turned else row[name] for name in ("mean",)}
        found[key] = (row["p"], signed["mean"], row.get("n_zero"), row.get("n_ties"))
    return found


def same(first, second):
    assert first.keys() == second.keys()
    for key in first:
        ours, theirs = (np.array([np.nan if one is None else one for one in found[key]], float)
                        for found in (first, second))  # fmt: skip
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@given(SCORES, st.randoms(use_true_random=False))
@quick
def test_the_order_of_cases_and_draws_changes_nothing(values, random):
    cases, draws = list(range(values.shape[-1])), list(range(values.shape[1]))
    random.shuffle(cases)
    random.shuffle(draws)
    moved = values[:, draws][..., cases]
    for compare in (over_cases, over_retraining):
        same(by_pair(compare(panel(values), OPTIONS)), by_pair(compare(panel(moved), OPTIONS)))


@given(SCORES, st.randoms(use_true_random=False))
@quick
def test_the_order_of_methods_changes_only_the_order(values, random):
    order = list(range(len(values)))
    random.shuffle(order)
    names = [f"method_{number}" for number in order]
    for compare in (over_cases, over_retraining):
        moved = compare(panel(values[order], names), OPTIONS)
        same(by_pair(compare(panel(values), OPTIONS)), by_pair(moved))
    ours = rank(panel(values), OPTIONS)[0].set_index("method")
    theirs = rank(panel(values[order], names), OPTIONS)[0].set_index("method").loc[ours.index]
    for column in ("rank_value", "low", "high"):
        np.testing.assert_array_equal(ours[column], theirs[column])


@given(SCORES, st.integers(0, 40))
@quick
def test_a_constant_method_changes_no_other_pairs_p(values, level):
    constant = np.full((1, *values.shape[1:]), level / 40)
    for compare in (over_cases, over_retraining):
        before = by_pair(compare(panel(values), OPTIONS))
        after = by_pair(compare(panel(np.concatenate([values, constant])), OPTIONS))
        same(before, {key: after[key] for key in before})


@given(SCORES)
@quick
def test_identical_methods_tie(values):
    twins = panel(np.concatenate([values, values[:1]]))
    last = len(values)
    for compare in (over_cases, over_retraining):
        row = compare(twins, OPTIONS).query(f"first == 'method_0' and second == 'method_{last}'")
        assert row["mean"].item() == 0 and np.isnan(row["p"].item()) and row["reason"].item()
    ranks = rank(twins, OPTIONS)[0]
    for column in ("rank_value", "low", "high"):
        assert ranks[column].iloc[0] == ranks[column].iloc[last]


@given(arrays(float, st.integers(1, 30), elements=st.floats(0, 1)))
@quick
def test_adjusting_keeps_the_order_and_never_helps(p):
    for adjust in (holm, benjamini_hochberg):
        adjusted = adjust(p)
        assert (adjusted >= p - 1e-15).all() and (adjusted <= 1).all()
        order = np.argsort(p, kind="stable")
        assert (np.diff(adjusted[order]) >= -1e-15).all()
    assert (holm(p) >= benjamini_hochberg(p) - 1e-12).all()
