"""Records of others come in whole, none is lost or overwritten, and the report says the same."""

from __future__ import annotations

import filecmp
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from medssl_bench.analysis.leaderboard.results import read_results
from medssl_bench.analysis.metrics import summarise
from medssl_bench.records.published import published_folder, read_both
from medssl_bench.store import Store


def merge(bench, into: Path, *sources: Path, code: int = 0) -> dict:
    """Return what ``bench records merge`` says."""
    outcome = bench("records", "merge", "--into", into, *sources, "--json")
    assert outcome.code == code, outcome
    return json.loads(outcome.out)


def tree(root: Path) -> dict[str, bytes]:
    """Return every file below a folder but the store's date."""
    return {path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*")) if path.is_file() and path.name != "store.json"
            }  # fmt: skip


def other_numbers(make, root: Path) -> Path:
    """Record the same four cells as ``results`` with lower Dice."""
    source = make(root / "source").all()
    for folder in source.glob("records/*/*"):
        method, number = folder.name.split("_")[0], int(folder.name.split("draw-")[1][0])
        table = pd.read_parquet(folder / "cases.parquet")
        table["dice"] *= 0.5
        make(root / "other").cell(method, number, table=table)
    return root / "other"


def test_submit_validate_merge_gives_the_same_records_and_report(bench, results, bundle, tmp_path):
    into = tmp_path / "into"
    assert merge(bench, into, bundle)["added"] == 4
    unbundled = (".png", ".nii.gz")
    theirs, ours = ({name: content for name, content in tree(root / "records").items()
                     if not name.endswith(unbundled)} for root in (results, into))  # fmt: skip
    assert theirs == ours and len(ours) == 4 * 4
    assert bench("records", "validate", into).code == 0
    for root in (results, into):
        page = ("report", "--results", root, "--out", tmp_path / f"page-{root.name}")
        assert bench(*page).code == 0
    pages = [tmp_path / f"page-{root.name}" for root in (results, into)]
    for name in ("tables/leaderboard.csv", "tables/cases.csv"):
        assert filecmp.cmp(*(page / name for page in pages), shallow=False)
    curves = [read_results(root)[0].pretraining for root in (results, into)]
    pd.testing.assert_frame_equal(*curves, check_like=True)
    assert len(curves[0]) == 2


def test_a_bundle_of_what_was_merged_is_the_bundle(bench, bundle, tmp_path):
    merge(bench, tmp_path / "into", bundle)
    out = tmp_path / "again.zip"
    assert bench("submit", "--results", tmp_path / "into", "--out", out, "--plain").code == 0
    assert out.read_bytes() == bundle.read_bytes()


def test_merging_twice_adds_nothing(bench, results, bundle, make, tmp_path):
    into, other = tmp_path / "into", other_numbers(make, tmp_path)
    for sources, code in (((bundle, results), 0), ((other,), 1)):
        merge(bench, into, *sources, code=code)
        once = tree(into)
        again = merge(bench, into, *sources, code=code)
        assert again["added"] == 0 and tree(into) == once


def test_runs_with_other_numbers_are_both_kept_and_named(bench, results, make, tmp_path):
    into, other = tmp_path / "into", other_numbers(make, tmp_path)
    merge(bench, into, results)
    before = tree(into)
    told = merge(bench, into, other, code=1)
    assert told["conflict"] == 4 and {one["level"] for one in told["findings"]} == {"conflict"}
    assert before.items() <= tree(into).items()
    assert len([*into.glob("conflicts/cubes/*/*/record.json")]) == 4

    found, left_out = read_results(into)
    assert len(found.records) == len(found.conflicts) == 4
    for conflict in found.conflicts:
        first, second = conflict.versions
        assert first.record["key"] == second.record["key"] == conflict.key
        assert summarise(first.cases)["mean"]["dice_mean"] == first.number
        assert second.number == pytest.approx(first.number / 2)
        assert (into / first.path).is_file() and second.path.startswith("conflicts/cubes/")
        assert str(conflict) in left_out
        assert f"Dice {first.number:.6f}" in str(conflict)
        assert f"Dice {second.number:.6f}" in str(conflict)

    assert bench("records", "validate", into, "--plain").code == 1
    assert bench("records", "validate", into, "--plain", "--allow-conflicts").code == 0
    refused = bench("submit", "--results", into, "--out", tmp_path / "b.zip", "--plain")
    assert refused.code == 1 and refused.out.count("conflict") >= 4


def test_two_bundles_with_other_numbers_are_named_before_merging(bench, results, make, tmp_path):
    other = other_numbers(make, tmp_path)
    outcome = bench("records", "validate", results, other, "--json")
    found = json.loads(outcome.out)["findings"]
    assert outcome.code == 1 and [one["check"] for one in found] == ["conflict"] * 4
    assert all(str(other) in one["where"] and str(results) in one["message"] for one in found)


def test_a_repetition_with_the_same_numbers_is_no_conflict(bench, results, make, tmp_path):
    again = make(tmp_path / "again")
    again.cell("scratch", 0, history=pd.DataFrame({"step": [1], "loss": [9.0]}))
    told = merge(bench, results, again.root)
    assert told["repeated"] == 1 and told["findings"] == []


def test_parts_of_a_grid_come_together(bench, results, tmp_path):
    """Halves of one grid are no finding of a merge, and the whole is none of validate."""
    half = tmp_path / "half"
    shutil.copytree(results, half)
    for folder, number in ((half, 0), (results, 1)):
        for path in [*folder.glob(f"records/*/*draw-{number}*")]:
            shutil.rmtree(path)
    assert bench("records", "validate", half).code == 1
    assert merge(bench, tmp_path / "into", half, results)["added"] == 4
    assert bench("records", "validate", tmp_path / "into").code == 0


def test_a_source_with_findings_is_left_out_whole(bench, results, bundle, make, tmp_path):
    path = next(results.glob("records/*/*/record.json"))
    path.write_bytes(path.read_bytes() + b" ")
    told = merge(bench, tmp_path / "into", results, code=1)
    assert told["added"] == 0 and "record.json is not as it was written" in str(told["findings"])
    assert not (tmp_path / "into").exists()
    bundle.write_bytes(bundle.read_bytes()[:-1])
    told = merge(bench, tmp_path / "into", bundle, code=1)
    assert told["added"] == 0 and told["findings"][0]["check"] == "bundle"
    (tmp_path / "empty").mkdir()
    told = merge(bench, tmp_path / "into", tmp_path / "empty", code=1)
    assert "no results in it (no store.json" in told["findings"][0]["message"]
    assert not (tmp_path / "into").exists()


def test_a_damaged_record_in_the_target_is_not_built_upon(bench, results, bundle):
    path = next(results.glob("records/*/*/cases.parquet"))
    path.write_bytes(b"x")
    told = merge(bench, results, bundle, code=1)
    assert "put it right before merging" in told["findings"][0]["message"]


def test_wrong_usage(bench, results):
    assert "no such file" in bench("records", "merge", "--into", results, "nowhere.zip").line
    assert "into itself" in bench("records", "merge", "--into", results, results).line
    assert bench("records", "merge", results).code == 2


def test_diff_says_equal_different_and_only_in_one_with_numbers(bench, results, make, tmp_path):
    assert bench("records", "diff", results, results).code == 0
    other = other_numbers(make, tmp_path)
    shutil.rmtree(next(other.glob("records/cubes/simmim*draw-1*")))
    shutil.rmtree(next(results.glob("records/cubes/scratch*draw-0*")))
    equal = next(other.glob("records/cubes/simmim*draw-0*"))
    shutil.rmtree(equal)
    shutil.copytree(results / "records/cubes" / equal.name, equal)
    outcome = bench("records", "diff", results, other, "--json")
    cells = {(cell["method"], cell["draw"]): cell for cell in json.loads(outcome.out)["cells"]}
    assert outcome.code == 1
    assert {key: cell["state"] for key, cell in cells.items()} == {
        ("scratch", 0): "only in B",
        ("scratch", 1): "different",
        ("simmim", 0): "equal",
        ("simmim", 1): "only in A",
    }
    changed = cells["scratch", 1]
    table = pd.read_parquet(next(results.glob("records/cubes/scratch*draw-1*")) / "cases.parquet")
    assert changed["a"] == summarise(table)["mean"]["dice_mean"]
    assert changed["b"] == pytest.approx(changed["a"] / 2)
    assert f"dice by up to {table['dice'].max() / 2:.6g}" in changed["detail"]
    text = bench("records", "diff", results, other).out
    assert f"{changed['a']:.6f}  {changed['b']:.6f}" in text
    assert "1 equal, 1 different, 1 only in A, 1 only in B" in text


def test_diff_of_what_is_not_there_is_wrong_usage(bench, results, tmp_path):
    (tmp_path / "x.zip").write_bytes(b"x")
    assert "no such file" in bench("records", "diff", results, "nowhere").line
    assert "not a sound zip" in bench("records", "diff", results, tmp_path / "x.zip").line


def test_published_records_are_sound_and_have_no_path(bench):
    outcome = bench("records", "validate", published_folder(), "--json")
    assert outcome.code == 0 and json.loads(outcome.out)["records"] > 10
    size = sum(path.stat().st_size for path in published_folder().rglob("*") if path.is_file()
               and path.parent.name != "reported")  # fmt: skip
    assert size < 6e6


def test_without_results_of_ones_own_the_published_ones_are_shown(bench, tmp_path):
    outcome = bench("report")
    assert outcome.code == 0
    assert outcome.out.startswith("no results in bench-results: showing the published ones")
    told = json.loads((tmp_path / "bench-results/report/tables/leaderboard.json").read_text())
    assert bench("report", "--results", published_folder(), "--out", tmp_path / "page").code == 0
    assert "smit" in json.dumps(told)
    same = ("bench-results/report/tables/cases.csv", "page/tables/cases.csv")
    assert filecmp.cmp(*(tmp_path / name for name in same), shallow=False)
    assert bench("report", "--results", "nowhere").code == 2


def test_every_cell_keeps_its_source(results):
    found, _ = read_both({"yours": results, "published": published_folder()})
    own = {record.key for record in Store(results, read_only=True).records()}
    theirs = {record.key for record in Store(published_folder(), read_only=True).records()}
    assert found.sources == {**dict.fromkeys(theirs, "published"), **dict.fromkeys(own, "yours")}
    assert {record["key"] for record in found.records} == own | theirs
    assert {*found.cases["key"]} == {*found.histories["key"]} == own | theirs
    assert not found.conflicts


def test_a_cell_that_both_have_is_shown_once_or_as_a_conflict(results, make, tmp_path):
    same, _ = read_both({"yours": results, "published": results})
    assert len(same.records) == 4 and not same.conflicts and {*same.sources.values()} == {"yours"}
    assert not same.cases.duplicated(["key", "case", "target"]).any()
    other = other_numbers(make, tmp_path)
    both, lines = read_both({"yours": results, "published": other})
    assert len(both.records) == len(both.conflicts) == 4
    for conflict in both.conflicts:
        assert [version.source for version in conflict.versions] == ["yours", "published"]
        assert conflict.versions[1].number == pytest.approx(conflict.versions[0].number / 2)
        assert str(conflict) in lines
