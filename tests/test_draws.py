"""Draws: shots, nesting, patients kept whole, digests."""

import pytest

from medssl_bench.draws import Shots, check_split, draw_cases, split_digest
from medssl_bench.errors import BenchError, DataError
from medssl_bench.task import Case


def pool(size: int, scans_per_patient: int = 1) -> list[Case]:
    train = [
        Case(f"case_{number:03d}", {}, patient=f"p{number // scans_per_patient}")
        for number in range(size)
    ]
    return [*train, Case("tested", {}, patient="other", pool="test")]


@pytest.mark.parametrize(
    ("text", "canonical", "size", "count"),
    [
        ("5", "5", 40, 5),
        (" 05 ", "5", 40, 5),
        ("full", "full", 40, 40),
        ("FULL", "full", 7, 7),
        ("100%", "full", 7, 7),
        ("20%", "20%", 40, 8),
        ("20.0%", "20%", 40, 8),
        ("2.5 %", "2.5%", 40, 1),
        ("50%", "50%", 5, 3),  # 2.5 rounds up, where banker's rounding gives 2
        ("50%", "50%", 7, 4),
        ("1%", "1%", 3, 1),  # at least one
        ("100", "100", 40, 100),
    ],
)
def test_shots_are_canonical_and_count(text, canonical, size, count):
    shots = Shots.parse(text)
    assert str(shots) == canonical
    assert shots.count(size) == count
    assert Shots.parse(canonical) == shots


@pytest.mark.parametrize("text", ["", "five", "-5", "5.5", "0", "0%", "101%", "1e3", "20%%", "nan"])
def test_what_is_no_number_of_cases_is_refused(text):
    with pytest.raises(BenchError, match="--shots"):
        Shots.parse(text)


@pytest.mark.parametrize("validation", [0, 3])
@pytest.mark.parametrize("scans_per_patient", [1, 2, 3])
def test_draws_are_nested(validation, scans_per_patient):
    cases = pool(30, scans_per_patient)
    for draw in range(5):
        draws = [draw_cases(cases, shots, draw, "task", validation) for shots in ("5", "10", "20")]
        few, some, many = (set(one.train) for one in draws)
        assert few < some < many
        assert [len(few), len(some), len(many)] == [5, 10, 20]
        assert len({one.validation for one in draws}) == 1


@pytest.mark.parametrize("scans_per_patient", [1, 2, 3])
def test_train_validation_and_test_share_no_patient(scans_per_patient):
    cases = pool(30, scans_per_patient)
    patient = {case.id: case.group for case in cases}
    for shots in ("5", "50%", "full"):
        drawn = draw_cases(cases, shots, 0, "task", validation=4)
        sides = [drawn.train, drawn.validation, ("tested",)]
        groups = [{patient[case] for case in side} for side in sides]
        assert len(set().union(*groups)) == sum(map(len, groups))
        assert len(drawn.validation) == 4
        assert drawn.labelled == len(drawn.train) + 4


def test_draws_differ_by_draw_and_task_and_repeat():
    cases = pool(30)
    one = draw_cases(cases, "5", 0, "task")
    assert one == draw_cases(list(reversed(cases)), "5", 0, "task")
    others = [draw_cases(cases, "5", 1, "task"), draw_cases(cases, "5", 0, "task2")]
    assert all(one.digest != other.digest for other in others)


def test_every_case_is_drawn_about_equally_often():
    cases = pool(10)
    often = dict.fromkeys((case.id for case in cases), 0)
    for draw in range(400):
        for case in draw_cases(cases, "5", draw, "task").train:
            often[case] += 1
    del often["tested"]
    # Binomial(400, 1/2): six standard deviations are 60.
    assert all(140 <= count <= 260 for count in often.values())


def test_full_is_the_whole_pool_and_has_one_draw():
    cases = pool(7)
    assert sorted(draw_cases(cases, "full", 0, "task").train) == [c.id for c in cases[:7]]
    assert list(Shots.parse("full").draws(5)) == [0]
    assert list(Shots.parse("5").draws(3)) == [0, 1, 2]
    with pytest.raises(BenchError, match="full has draw 0 only"):
        draw_cases(cases, "full", 1, "task")


@pytest.mark.parametrize(
    ("shots", "validation"), [("8", 0), ("5", 3), ("90%", 3), ("full", 7), ("1", 9)]
)
def test_more_shots_than_cases_names_task_asked_and_available(shots, validation):
    with pytest.raises(BenchError, match=rf"livers: --shots {shots}.* only \d training cases"):
        draw_cases(pool(7), shots, 0, "livers", validation)


def test_split_digest_knows_sides_but_not_order():
    assert split_digest(["a", "b"], ["c"]) == split_digest(["b", "a"], ["c"])
    assert split_digest(["a", "b"], ["c"]) != split_digest(["a"], ["b", "c"])


def test_a_patient_on_both_sides_is_refused():
    cases = [Case("a1", {}, patient="anna"), Case("a2", {}, patient="anna", pool="test")]
    with pytest.raises(DataError, match="'anna' is in both train and test"):
        check_split(cases, "task")


@pytest.mark.parametrize(("left", "missing"), [("train", "test"), ("test", "train")])
def test_an_empty_side_is_refused(left, missing):
    with pytest.raises(DataError, match=f"no {missing} case"):
        check_split([Case("a", {}, pool=left), Case("b", {}, pool=left)], "task")


def test_a_repeated_case_is_refused():
    with pytest.raises(DataError, match="'a' is listed twice"):
        check_split([Case("a", {}), Case("a", {})], "task")


def graded(sizes: dict[int, int], scans_per_patient: int = 1) -> list[Case]:
    """Cases of each class, so many as ``sizes`` says; patients have one class."""
    return [
        Case(f"c{name}_{number}", {}, patient=f"c{name}_p{number // scans_per_patient}",
             class_id=name)
        for name, size in sizes.items()
        for number in range(size)
    ]  # fmt: skip


def of_class(ids: tuple[str, ...], name: int) -> int:
    return sum(1 for case in ids if case.startswith(f"c{name}_"))


@pytest.mark.parametrize("draw", range(3))
def test_classes_have_their_share_of_every_draw(draw):
    cases = graded({0: 60, 1: 30, 2: 10})
    before: set[str] = set()
    for shots in (3, 4, 5, 10, 20, 40, 70, 100):
        train = draw_cases(cases, str(shots), draw, "task").train
        assert before < set(train)
        before = set(train)
        counts = [of_class(train, name) for name in (0, 1, 2)]
        assert min(counts) >= 1
        if shots >= 10:
            assert all(
                abs(count - shots * share) <= 1
                for count, share in zip(counts, (0.6, 0.3, 0.1), strict=True)
            )
    assert draw_cases(cases, "20", draw, "task").train != draw_cases(cases, "20", 9, "task").train


def test_one_shot_is_of_the_largest_class_and_a_rare_one_is_drawn_early():
    cases = graded({0: 3, 1: 97})
    assert of_class(draw_cases(cases, "1", 0, "task").train, 1) == 1
    assert of_class(draw_cases(cases, "2", 0, "task").train, 0) == 1


def test_stratified_draws_keep_patients_whole_and_out_of_validation():
    cases = graded({0: 20, 1: 20}, scans_per_patient=2)
    drawn = draw_cases(cases, "8", 0, "task", validation=4)
    patient = {case.id: case.patient for case in cases}
    assert not {patient[c] for c in drawn.train} & {patient[c] for c in drawn.validation}
    assert of_class(drawn.train, 0) == of_class(drawn.train, 1) == 4
    assert of_class(drawn.validation, 0) == of_class(drawn.validation, 1) == 2


def test_cases_without_classes_are_drawn_as_ever():
    drawn = draw_cases(pool(12), "5", 0, "task")
    assert drawn.train == ("case_010", "case_002", "case_007", "case_008", "case_011")
