"""One ranking over all tasks: what counts as one method, and places against ranks by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medssl_bench.analysis.leaderboard.overall import ACROSS, matrix_table, overall_tables, places
from medssl_bench.analysis.leaderboard.standings import Key, Standing
from medssl_bench.analysis.statistics.panel import Panel
from medssl_bench.analysis.tables import IDENTITY, ROW

MEANS = {"scratch": 0.5, "simmim": 0.6, "brainmvp": 0.7}


def identity(method: str, task: str, tuning: str = "") -> dict[str, str]:
    known = {"method": method, "backbone": "uniformer_tiny", "profile": "demo", "tuning": tuning}
    return {**dict.fromkeys(IDENTITY, ""), **known, "protocol": f"of {task}"}


def panel(task: str, *variants: tuple[str, str]) -> Panel:
    identities = tuple(identity(method, task, tuning) for method, tuning in variants)
    spread = np.random.default_rng(0).normal(0, 0.01, (3, 1, 6))
    values = np.stack([MEANS[method] + spread for method, _ in variants])
    return Panel(
        task, "5", "dice", "", tuple(method for method, _ in variants), identities,
        ("0", "1", "2"), tuple("abcdef"), values,
    )  # fmt: skip


def rows(panels: list[Panel]) -> dict[tuple[str, str], tuple[float, int]]:
    (found,) = places(panels, {}, resamples=50)
    return {(p.identity["method"], p.identity["tuning"]): (p.mean, p.boards) for p in found}


def test_a_method_that_adds_something_on_some_tasks_only_is_one_method():
    brain = panel("brain", ("scratch", ""), ("simmim", ""), ("brainmvp", "templates"))
    ct = panel("ct", ("scratch", ""), ("simmim", ""), ("brainmvp", ""))
    assert rows([brain, ct]) == {
        ("brainmvp", ""): (1.0, 2), ("simmim", ""): (2.0, 2), ("scratch", ""): (3.0, 2)
    }  # fmt: skip


def test_two_ways_on_one_board_stay_two_methods():
    brain = panel("brain", ("scratch", ""), ("brainmvp", "templates"), ("brainmvp", ""))
    ct = panel("ct", ("scratch", ""), ("brainmvp", ""))
    found = rows([brain, ct])
    assert found["brainmvp", ""] == (1.0, 2)  # ranked among those that have every board
    assert np.isnan(found["brainmvp", "templates"][0]) and found["brainmvp", "templates"][1] == 1


def test_what_adds_one_thing_here_and_another_there_stays_two_methods():
    brain = panel("brain", ("scratch", ""), ("simmim", ""), ("brainmvp", "templates"))
    head = panel("head", ("scratch", ""), ("simmim", ""), ("brainmvp", "templates replaced=1"))
    found = rows([brain, head])
    assert found["simmim", ""] == (1.0, 2)
    assert {found["brainmvp", name][1] for name in ("templates", "templates replaced=1")} == {1}


def test_boards_of_two_trainings_are_ranked_apart_where_no_two_methods_have_all_of_them():
    brain = panel("brain", ("scratch", ""), ("simmim", ""))
    ct = panel("ct", ("scratch", ""), ("simmim", ""))
    longer = panel("long", ("scratch", ""), ("brainmvp", ""))
    alike = {"of brain": "short", "of ct": "short", "of long": "long"}
    (found,) = places([brain, ct, longer], alike, resamples=50)
    assert [(one.identity["method"], one.mean, one.boards, one.of) for one in found] == [
        ("simmim", 1.0, 2, 2), ("scratch", 2.0, 2, 2)
    ]  # fmt: skip
    assert found[0].group.boards == [("brain", "5"), ("ct", "5")] and not found[0].group.whole
    # Trained otherwise, but run by the same methods: one ranking over all.
    another = panel("long", ("scratch", ""), ("simmim", ""))
    (found,) = places([brain, ct, another], alike, resamples=50)
    assert {(one.of, one.group.whole) for one in found} == {(3, True)}
    # A task run in two ways does not count twice.
    again = replace(panel("ct", ("scratch", ""), ("simmim", "")), identities=longer.identities)
    groups = places([brain, ct, again], alike, resamples=50)
    assert [one[0].group.boards for one in groups] == [[("brain", "5"), ("ct", "5")]]


def test_boards_of_other_pretrainings_are_ranked_apart():
    def pretrained(task: str, corpus: str, shots: str = "5") -> Panel:
        one = panel(task, ("scratch", ""), ("simmim", ""), ("brainmvp", ""))
        known = [{**who, "corpus": corpus} for who in one.identities[1:]]
        return replace(one, shots=shots, identities=(one.identities[0], *known))

    brains = [pretrained("brain", "MR", shots) for shots in ("5", "full")]
    trunks = [pretrained(task, "CT") for task in ("liver", "spleen")]
    groups = places([brains[0], trunks[0], brains[1], trunks[1]], {}, resamples=50)
    assert [one[0].group.boards for one in groups] == [
        [("brain", "5"), ("brain", "full")], [("liver", "5"), ("spleen", "5")]
    ]  # fmt: skip
    assert [[(p.identity["method"], p.mean, p.first) for p in one] for one in groups] == [
        [("brainmvp", 1.0, 2), ("simmim", 2.0, 0), ("scratch", 3.0, 0)]
    ] * 2


def test_several_groups_have_a_table_each_that_names_its_boards():
    short = [panel(task, ("scratch", ""), ("simmim", "")) for task in ("brain", "ct")]
    long = [panel(task, ("scratch", ""), ("brainmvp", "")) for task in ("head", "neck")]
    alike = {"of brain": "a", "of ct": "a", "of head": "b", "of neck": "b"}
    tables = overall_tables(places([*short, *long], alike, resamples=50), dict.fromkeys(MEANS))  # type: ignore[arg-type]
    assert [(table.id, table.caption.split(": ")[1]) for table in tables] == [
        ("overall", "brain (5); ct (5); protocols of brain, of ct"),
        ("overall-1", "head (5); neck (5); protocols of head, of neck"),
    ]  # fmt: skip
    assert [row.label for row in tables[1].rows] == ["brainmvp", "scratch"]


def test_means_side_by_side_are_in_one_row():
    brain = panel("brain", ("scratch", ""), ("brainmvp", "templates"))
    ct = panel("ct", ("scratch", ""), ("brainmvp", ""))
    standings: dict[Key, Standing] = {}
    for one in (brain, ct):
        for words, mean in zip(one.identities, one.means, strict=True):
            known = {**words, "task": one.task, "shots": one.shots}
            standings[tuple(known[name] for name in ROW)] = Standing(float(mean))
    (order,) = places([brain, ct], {}, resamples=50)
    table = matrix_table(standings, order, {"scratch": None, "brainmvp": None})  # type: ignore[dict-item]
    assert table is not None and "tuning" in ACROSS
    assert [(row.label, len(row.cells)) for row in table.rows] == [("brainmvp", 2), ("scratch", 2)]
    assert all(value.text for row in table.rows for value in row.cells)


def test_boards_of_one_task_are_resampled_with_the_same_test_cases():
    """Two boards alike: their ranks move together, so half of the resamples have rank 1 twice."""
    random = np.random.default_rng(1)
    one = panel("brain", ("scratch", ""), ("simmim", ""))
    values = np.stack([np.zeros((3, 1, 6)), np.zeros((3, 1, 6)) + random.normal(0, 1, 6)])
    values[1] -= values[1].mean()
    few = replace(one, values=values)
    ((first, _),) = places([few, replace(few, shots="full")], {}, resamples=2000)
    assert (first.low, first.high) == (1.0, 2.0)
    # Of one run each there is no interval at all.
    alone = replace(few, draws=("0",), values=values[:, :1])
    ((single, _),) = places([alone, replace(alone, shots="full")], {}, resamples=200)
    assert np.isnan(single.low) and np.isnan(single.high)
    (table,) = overall_tables([[single]], dict.fromkeys(MEANS))  # type: ignore[arg-type]
    assert "test cases alone" in (table.rows[0].cells[1].missing or "")
