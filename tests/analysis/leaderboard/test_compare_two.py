"""Two methods case by case, against the case table averaged anew with pandas."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon
from sklearn.metrics import roc_auc_score

from .conftest import Made, Visit, grid

pytestmark = pytest.mark.browser


def case_means(report: Made, method: str, task: str, shots: str, metric: str) -> pd.Series:
    """Average present targets of a case, then seeds, then draws."""
    table = report.table("cases")
    mine = table[
        (table["method"] == method) & (table["task"] == task) & (table["shots"] == shots)
        & (table["profile"] == "demo") & table["status"].isin(["ok", "pred_empty"])
    ]  # fmt: skip
    value = mine[metric].where(mine["status"] == "ok", 0.0 if metric == "dice" else 240.0)
    mine = mine.assign(value=value.astype(float))
    per_run = mine.groupby(["draw", "seed", "case"])["value"].mean()
    return per_run.groupby(["draw", "case"]).mean().groupby("case").mean()


def choose(page: Any, **chosen: str) -> None:
    for name, word in chosen.items():
        select = page.locator(f"#pair select[name={name}]")
        if name in ("a", "b"):
            select.select_option(label=word)
        else:
            select.select_option(word)


def fact(page: Any, name: str) -> str:
    text: str = page.locator(f"#compared dl div:has(dt:text-is('{name}')) dd").inner_text()
    return text.replace("\u2212", "-")


def number(text: str | None) -> float:
    assert text is not None
    return float(text.replace("\u2212", "-"))


@pytest.mark.parametrize("metric", ["dice", "hd95"])
def test_every_number_is_that_of_the_case_table(report: Made, visit: Visit, metric: str) -> None:
    page = visit(report, "#compare")
    half = 0.5e-3 if metric == "dice" else 0.05
    close = {"abs": half * 1.01}
    sign = 1 if metric == "dice" else -1
    for task, shots in (("amos_ct", "5"), ("phantom_mri", "5"), ("amos_ct", "full")):
        names = ["scratch", "swinunetr", "inpainting"]
        for first, second in permutations(names, 2):
            choose(page, task=task, shots=shots)
            choose(page, a=first, b=second, by=metric)
            page.wait_for_selector("#compared-cases")
            ours, theirs = (case_means(report, m, task, shots, metric) for m in (first, second))
            assert number(fact(page, f"Mean of {first}")) == pytest.approx(ours.mean(), **close)
            assert number(fact(page, f"Mean of {second}")) == pytest.approx(theirs.mean(), **close)
            rows = {str(row[0]): row[1:] for row in grid(page.locator("#compared-cases"))}
            assert sorted(rows) == sorted(ours.index) == sorted(theirs.index)
            for case, (mine, other, gap) in rows.items():
                assert number(mine) == pytest.approx(ours[case], **close)
                assert number(other) == pytest.approx(theirs[case], **close)
                assert number(gap) == pytest.approx(ours[case] - theirs[case], **close)
            gaps = sign * (ours - theirs)
            counts = (int((gaps > 0).sum()), int((gaps == 0).sum()), int((gaps < 0).sum()))
            told = fact(page, f"{first} better, equal, worse")
            assert told == ", ".join(map(str, counts))
            assert int(fact(page, "Test cases")) == len(ours)
            assert page.locator("#compared circle").count() == len(ours)
            assert page.locator("#compared rect").count() == len(ours)


def test_the_test_is_that_of_all_pairs_whichever_comes_first(report: Made, visit: Visit) -> None:
    page = visit(report, "#compare")
    table = page.locator("#compare details table").first
    page.locator("#compare details summary").first.click()
    pairs = {(row[0], row[1]): row for row in grid(table)}
    assert len(pairs) == 10
    for first, second in [("swinunetr", "smit"), ("smit", "swinunetr")]:
        choose(page, task="amos_ct", shots="5")
        choose(page, a=first, b=second, by="dice")
        page.wait_for_selector("#compared-cases")
        row = pairs.get((first, second)) or pairs[second, first]
        turn = 1 if (first, second) in pairs else -1
        mean = str(row[2]).split(" [")[0]
        assert number(fact(page, "Mean difference, 95 %").split(" [")[0]) == turn * number(mean)
        low, high = (
            number(end)
            for end in fact(page, "Mean difference, 95 %")[:-1].split(" [")[1].split(", ")
        )
        ends = [turn * number(end) for end in str(row[2])[:-1].split(" [")[1].split(", ")]
        assert [low, high] == sorted(ends)
        assert number(fact(page, "Effect (rank-biserial)")) == turn * number(row[8])
        won = [int(str(one)) for one in row[5:8]][::turn]
        assert fact(page, f"{first} better, equal, worse") == ", ".join(map(str, won))
        assert fact(page, "Test").startswith("draw \u00d7 case test")


def test_two_that_were_tested_are_shown_first(report: Made, visit: Visit) -> None:
    page = visit(report, "#compare")
    shown = []
    for task in ("amos_ct", "phantom_mri"):
        choose(page, task=task, shots="5")
        page.wait_for_selector("#compared-cases")
        shown.append([page.locator(f"#pair select[name={name}]").input_value() for name in "ab"])
        assert not fact(page, "Test").startswith("none")
    assert shown[0] != shown[1]
    page = visit(report, "#view=compare&ctask=amos_ct&cshots=5&b=" + shown[0][0])
    page.wait_for_selector("#compared-cases")
    again = [page.locator(f"#pair select[name={name}]").input_value() for name in "ab"]
    assert again[1] == shown[0][0] != again[0]
    assert not fact(page, "Test").startswith("none")


def test_what_is_not_paired_is_not_tested(report: Made, visit: Visit) -> None:
    page = visit(report, "#compare")
    choose(page, task="amos_ct", shots="5")
    choose(page, a="inpainting", b="smit")
    page.wait_for_selector("#compared-cases")
    assert fact(page, "Test") == "none: the two do not share draws, seeds and cases"
    choose(page, b="inpainting")
    assert page.locator("#compared").inner_text() == "Choose two different rows."


def test_pictures_of_a_case_are_those_of_both(report: Made, visit: Visit) -> None:
    page = visit(report, "#compare")
    choose(page, task="phantom_mri", shots="5")
    choose(page, a="smit", b="scratch")
    page.locator("#compared-cases").get_by_role("button", name="case_02").click()
    pictures = page.locator("#case-pictures img")
    assert [one.get_attribute("alt") for one in pictures.all()] == [
        f"Case case_02: image, reference and prediction of {name}, draw 0, seed 0"
        for name in ("smit", "scratch")
    ]
    page.wait_for_load_state("networkidle")
    assert all(one.evaluate("one => one.naturalWidth > 0") for one in pictures.all())
    assert all(one.inner_text().endswith("seed 0") for one in page.locator("figcaption").all())


def test_no_picture_is_promised_where_none_was_kept(report: Made, visit: Visit) -> None:
    page = visit(report, "#compare")
    choose(page, task="phantom_mri", shots="5")
    choose(page, a="smit", b="scratch")
    page.wait_for_selector("#compared-cases")
    buttons = page.locator("#compared-cases tbody button").all_inner_texts()
    assert buttons == ["case_01", "case_02"]
    assert page.locator("#compared .choice").count() == 2 * len(buttons)
    choose(page, shots="full")
    page.wait_for_selector("#compared-cases caption:has-text('no pictures of these cases')")
    assert page.locator("#compared-cases tbody button, #compared .choice").count() == 0


@pytest.mark.parametrize("metric", ["dice", "hd95"])
def test_one_draw_is_tested_by_wilcoxon_of_this_metric(
    report: Made, visit: Visit, metric: str
) -> None:
    page = visit(report, f"#view=compare&by={metric}")
    names = ["scratch", "smit", "swinunetr"]
    means = {name: case_means(report, name, "amos_ct", "full", metric) for name in names}
    for first, second in permutations(names, 2):
        choose(page, task="amos_ct", shots="full")
        choose(page, a=first, b=second)
        page.wait_for_selector("#compared-cases")
        gaps = means[first] - means[second]
        expected = wilcoxon(gaps, method="exact").pvalue
        assert float(fact(page, "p, adjusted").split(",")[0]) == float(f"{expected:.2g}")
        middle = number(fact(page, "Median difference, 95 %").split(" [")[0])
        assert middle == pytest.approx(gaps.median(), abs=0.501e-3 if metric == "dice" else 0.0501)
        ranks = (gaps if metric == "dice" else -gaps).abs().rank()
        signed = (ranks * np.sign(gaps)).sum() / ranks.sum() * (1 if metric == "dice" else -1)
        assert number(fact(page, "Effect (rank-biserial)")) == pytest.approx(signed, abs=0.00501)
    shown = [one for one in page.locator("#compare > details").all() if one.is_visible()]
    word = {"dice": "All pairs: Dice: ", "hd95": "All pairs: HD95 (mm): "}[metric]
    assert shown and all(one.inner_text().startswith(word) for one in shown)


def test_classifications_are_compared_by_auc(report: Made, visit: Visit) -> None:
    page = visit(report, "#compare")
    page.locator("#pair select[name=by]").select_option("auc")
    page.wait_for_selector("#compared dt:has-text('AUC of')")
    assert page.locator("#pair select[name=task] option").all_inner_texts() == ["lesion_type"]
    table = report.table("cases")
    rows = table[(table["task"] == "lesion_type") & (table["target"] == "malignant")]
    areas = {}
    for method, runs in rows.groupby("method"):
        found = [
            roc_auc_score(run["true"] == "malignant", run["probability"].astype(float))
            for _, run in runs.groupby(["draw", "seed"])
        ]
        areas[method] = sum(found) / len(found)
    for first, second in permutations(areas):
        choose(page, a=first, b=second)
        page.wait_for_selector(f"#compared dt:text-is('AUC of {first}')")
        for name in (first, second):
            told = number(fact(page, f"AUC of {name}"))
            assert told == pytest.approx(areas[name], abs=0.501e-3)
        gap = number(fact(page, "Mean difference, 95 %").split(" [")[0])
        assert gap == pytest.approx(areas[first] - areas[second], abs=0.501e-3)
        assert "DeLong" in fact(page, "Test")
    page.locator("#pair select[name=by]").select_option("hd95")
    page.wait_for_selector("#compared-cases")
    assert "lesion_type" not in page.locator("#pair select[name=task]").inner_text()


def test_hasty_choices_show_the_last_one_once(report: Made, visit: Visit) -> None:
    page = visit(report)
    page.evaluate("""() => {
      choose({ view: "compare", ctask: "amos_ct" });
      choose({ ctask: "phantom_mri" });
      choose({ ctask: "amos_ct" });
    }""")
    page.wait_for_selector("#compared-cases")
    page.wait_for_load_state("networkidle")
    assert page.locator("#compared table").count() == 1
    assert page.locator("#compared thead button button").count() == 0
    assert page.locator("#compared .tools").count() == 1


def test_choices_for_the_whole_page_hold_for_the_comparison(report: Made, visit: Visit) -> None:
    page = visit(report, "#compare")
    asked = page.locator("#pair select")
    controls = page.locator("#controls")

    def shown() -> dict[str, str]:
        page.wait_for_selector("#compared-cases")
        names = ("task", "shots", "by")
        return {name: page.locator(f"#pair select[name={name}]").input_value() for name in names}

    choose(page, task="amos_ct", shots="full", a="scratch", b="smit")
    controls.locator("select[name=metric]").select_option("hd95")
    assert shown() == {"task": "amos_ct", "shots": "full", "by": "hd95"}
    ours = case_means(report, "scratch", "amos_ct", "full", "hd95")
    assert number(fact(page, "Mean of scratch")) == pytest.approx(ours.mean(), abs=0.051)
    tables = page.locator("details.block[data-by=hd95]:visible")
    assert tables.count() and page.locator("details.block[data-by=dice]:visible").count() == 0
    controls.locator("select[name=task]").select_option("phantom_mri")
    assert shown()["task"] == "phantom_mri"
    controls.locator("select[name=shots]").select_option("5")
    assert shown() == {"task": "phantom_mri", "shots": "5", "by": "hd95"}
    controls.locator("select[name=task]").select_option("")
    controls.locator("select[name=modality]").select_option("CT")
    assert shown()["task"] == "amos_ct"
    assert asked.nth(0).locator("option").all_inner_texts() == ["amos_ct"]
    controls.locator("button[type=reset]").click()
    assert shown()["by"] == "dice" and asked.nth(0).locator("option").count() == 2


def test_a_metric_that_nothing_is_compared_by_leaves_the_comparison(
    report: Made, visit: Visit
) -> None:
    page = visit(report, "#view=compare&by=auc")
    page.wait_for_selector("#compared dl")
    page.locator("#controls select[name=metric]").select_option("hd95")
    assert page.locator("#pair select[name=by]").input_value() == "auc"
    page.locator("#controls select[name=modality]").select_option("MRI")
    assert page.locator("#comparison").is_hidden()


def test_a_link_that_names_a_metric_compares_by_it(report: Made, visit: Visit) -> None:
    def compared_by(hash_: str) -> str:
        page = visit(report, hash_)
        page.wait_for_selector("#compared svg")
        return str(page.locator("#pair [name=by]").input_value())

    assert compared_by("#view=compare") == "dice"
    assert compared_by("#view=compare&metric=hd95") == "hd95"
    assert compared_by("#view=compare&metric=hd95&by=dice") == "dice"
    assert compared_by("#view=compare&metric=hd95_pooled") == "dice"
