"""Everything that is refused before records are published, one fault at a time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medssl_bench.audit.verdicts import Leak, Verdict, add_to_verdict
from medssl_bench.digest import digest, file_digest
from medssl_bench.record import Draw, Leaks, Split
from medssl_bench.records.leaks import leak_findings
from medssl_bench.records.privacy import absolute_paths, without_folders
from medssl_bench.store import Store


def findings(bench, *sources: Path, code: int = 1) -> list[dict[str, str]]:
    """Return what ``bench records validate`` finds."""
    outcome = bench("records", "validate", *sources, "--json")
    assert outcome.code == code, outcome
    return json.loads(outcome.out)["findings"]


def only(found: list[dict[str, str]], check: str) -> str:
    """Return the message of the one finding, of this check."""
    assert [one["check"] for one in found] == [check], found
    return found[0]["message"]


def reseal(folder: Path) -> None:
    """Write the checksums again, as somebody who alters a record would."""
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{file_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in names
             if path.name != "SHA256SUMS"]  # fmt: skip
    (folder / "SHA256SUMS").write_text("".join(lines))


def one_folder(results: Path) -> Path:
    """Return the folder of one record."""
    return sorted((results / "records/cubes").iterdir())[0]


def table_of(folder: Path) -> pd.DataFrame:
    """Return its case table."""
    return pd.read_parquet(folder / "cases.parquet")


def test_sound_records_pass(bench, results, bundle):
    assert findings(bench, results, code=0) == findings(bench, bundle, code=0) == []
    outcome = bench("records", "validate", results, "--plain")
    assert outcome.out == "4 sound records, no findings\n"


@pytest.mark.parametrize("name", ["record.json", "cases.parquet", "history.parquet"])
def test_a_file_that_is_not_as_it_was_written(bench, results, name):
    path = one_folder(results) / name
    path.write_bytes(path.read_bytes() + b" ")
    found = findings(bench, results)
    assert f"{name} is not as it was written" in found[0]["message"]
    assert found[0]["where"] == f"records/cubes/{path.parent.name}"


def test_files_missing_unnamed_or_linked(bench, results):
    folders = sorted((results / "records/cubes").iterdir())
    (folders[0] / "history.parquet").unlink()
    (folders[1] / "run.py").write_text("print()")
    (folders[2] / "slices/t0.png").unlink()  # what a record is whole without
    (folders[3] / "cases.parquet").rename(results / "cases.parquet")
    (folders[3] / "cases.parquet").symlink_to(results / "cases.parquet")
    seals = [one["message"] for one in findings(bench, results) if one["check"] == "seal"]
    assert seals == [
        "history.parquet is missing", "run.py is not in SHA256SUMS", "cases.parquet is a link"
    ]  # fmt: skip


def test_a_folder_that_is_a_link(bench, results, tmp_path):
    folder = one_folder(results)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert findings(bench, results)[0]["message"] == "its folder is a link"


def test_a_newer_schema_says_what_to_do(bench, results):
    path = one_folder(results) / "record.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    reseal(path.parent)
    message = findings(bench, results)[0]["message"]
    assert message == (
        "written by a newer version (schema 2, this one reads 1); update medssl-bench"
    )


def test_a_key_that_is_not_the_cells_digest(bench, results):
    path = one_folder(results) / "record.json"
    path.write_text(
        path.read_text().replace('"seed": 0,\n  "protocol"', '"seed": 1,\n  "protocol"')
    )
    reseal(path.parent)
    assert "the key is not the cell's" in findings(bench, results)[0]["message"]


def test_a_record_in_the_folder_of_another(bench, results):
    folder = one_folder(results)
    folder.rename(folder.with_name("mine"))
    assert "it is the record of scratch_shots-2" in only(findings(bench, results), "place")


def test_a_damaged_parquet_is_named(bench, results, tmp_path):
    path = one_folder(results) / "cases.parquet"
    path.write_bytes(b"PAR1" + b"\0" * 40 + b"PAR1")
    reseal(path.parent)
    found = [one for one in findings(bench, results) if one["check"] == "table"]
    assert "cases.parquet: damaged parquet" in only(found, "table")
    page = bench("report", "--results", results, "--out", tmp_path / "page")
    assert page.code == 0 and "table skipped" in (tmp_path / "page/index.html").read_text()


def test_a_table_that_unpacks_to_too_much_is_not_read(bench, results, monkeypatch):
    from medssl_bench.records import entry

    monkeypatch.setattr(entry, "LARGEST_TABLE", 100)
    assert {one["check"] for one in findings(bench, results)} == {"table"}


@pytest.mark.parametrize("value", [0.5, None])
def test_metrics_that_are_not_those_of_the_cases(bench, results, make, value):
    folder = one_folder(results)
    text = json.loads((folder / "record.json").read_text())
    text["metrics"]["cube"]["dice_mean"] = value
    (folder / "record.json").write_text(json.dumps(text))
    reseal(folder)
    message = only(findings(bench, results), "metrics")
    said = "missing" if value is None else repr(value)
    assert message.startswith(f"cube.dice_mean is {said}; its case table gives 0.")


def test_counts_are_equal_or_not(bench, results):
    folder = one_folder(results)
    text = json.loads((folder / "record.json").read_text())
    text["metrics"]["mean"]["misses"] += 1
    (folder / "record.json").write_text(json.dumps(text))
    reseal(folder)
    assert "mean.misses is 3; its case table gives 2" in only(findings(bench, results), "metrics")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(index=1), "1 of 6 test cases x targets have no row: t0 rod"),
        (lambda t: t[t["target"] != "rod"], "3 of 6 test cases x targets have no row"),
        (lambda t: pd.concat([t, t.iloc[:1].assign(case="t9")]), "test case or target: t9 cube"),
        (
            lambda t: t.assign(dice=t["dice"].where(t.index != 0, 1.5)),
            "dice of t0 cube is 1.5",
        ),
        (lambda t: t.assign(hd95_pooled=-1.0), "hd95_pooled of t0 cube is -1.0"),
        (lambda t: t.assign(prediction_ml=1.0), "contradict themselves"),
    ],
)
def test_rows_that_are_missing_strange_or_impossible(bench, make, tmp_path, change, said):
    maker = make(tmp_path / "r")
    whole = maker.cell("scratch", 0)
    maker = make(tmp_path / "s")
    maker.cell("scratch", 0, table=change(table_of(whole)), settings=_one_draw(whole))
    found = [one for one in findings(bench, maker.root) if one["check"] == "rows"]
    assert said in only(found, "rows")


def _one_draw(folder: Path) -> dict:
    return {**json.loads((folder / "record.json").read_text())["settings"], "draws": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.assign(dice=t["dice"].astype(str)), "column dice is no number"),
        (lambda t: t.drop(columns="status"), "no column status"),
        (lambda t: t.assign(method="x"), "column method stands for something else or twice"),
        (lambda t: t.assign(case=range(len(t))), "column case is not text in every row"),
    ],
)
def test_columns_of_another_kind(bench, results, change, said):
    path = one_folder(results) / "cases.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    reseal(path.parent)
    found = [one for one in findings(bench, results) if one["check"] == "table"]
    assert said in only(found, "table")


@pytest.mark.parametrize(
    ("metric", "text", "said"),
    [
        ("dice", "dise/1: mine", "dice: unknown definition 'dise/1'. Did you mean 'dice/1'?"),
        ("dice", "dice/1: mine", "dice: dice/1 says 'dice/1: mine'; here it means 'dice/1: 2|A&B|"),
        ("hd95", None, "hd95: no definition is named"),
        ("nsd", "nsd_2mm/1: x", "nsd: unknown definition 'nsd_2mm/1'"),
    ],
)
def test_definitions_that_this_version_does_not_have(bench, results, metric, text, said):
    folder = one_folder(results)
    record = json.loads((folder / "record.json").read_text())
    record["definitions"] = {**record["definitions"], metric: text}
    if text is None:
        del record["definitions"][metric]
    (folder / "record.json").write_text(json.dumps(record))
    reseal(folder)
    assert said in only(findings(bench, results), "definitions")


def test_a_hole_among_draws(bench, make, tmp_path):
    maker = make(tmp_path / "r")
    for draw in (0, 2):
        maker.cell("scratch", draw)
    message = only(findings(bench, maker.root), "draws")
    assert message == (
        "scratch on swin_tiny: 2 of 3 cells, without draw 1 seed 0; run them, none may be left out"
    )


def test_fewer_draws_than_were_asked_for(bench, make, tmp_path):
    maker = make(tmp_path / "r")
    maker.cell("scratch", 0)
    assert "1 of 2 cells, without draw 1 seed 0" in only(findings(bench, maker.root), "draws")


def test_methods_on_unequal_draws(bench, results, make):
    make(results).cell("scratch", 2)
    assert only(findings(bench, results), "draws") == (
        f"simmim {digest('simmim')[:8]} on swin_tiny lacks draw 2 seed 0, which scratch on"
        " swin_tiny has; methods are compared on the same draws and seeds"
    )


def test_a_seed_that_only_one_method_has(bench, results, make):
    for draw in range(2):
        make(results).cell("simmim", draw, cell={"seed": 1})
    message = only(findings(bench, results), "draws")
    assert message.startswith("scratch on swin_tiny lacks draw 0 seed 1, draw 1 seed 1, which")


def test_a_draw_that_holds_other_cases_for_another_method(bench, make, tmp_path):
    maker = make(tmp_path / "r")
    for draw in range(2):
        maker.cell("scratch", draw)
        changes = {"draw": Draw(digest=digest(9), cases=("a3",), labelled_total=1)}
        maker.cell("simmim", draw, **(changes if draw else {}))
    assert "draw 1 has other labelled cases in" in only(findings(bench, maker.root), "draws")


def test_a_split_whose_digest_is_not_its_cases(bench, make, tmp_path):
    maker = make(tmp_path / "r")
    wrong = Split(digest=digest("x"), train=("a0", "a1", "a2", "a3"), test=("t0", "t1", "t2"))
    for draw in range(2):
        path = maker.cell("scratch", draw)
        record = json.loads((path / "record.json").read_text())
        record["split"] = wrong.model_dump(mode="json")
        record["digests"]["split"] = wrong.digest
        (path / "record.json").write_text(json.dumps(record))
        reseal(path)
    messages = [one["message"] for one in findings(bench, maker.root)]
    assert len(messages) == 2 and all("the digest of the split" in text for text in messages)


def unchecked(make, root: Path) -> Path:
    """Record two methods, one pretrained on a corpus that nobody looked through."""
    for draw in range(2):
        make(root).cell("scratch", draw, leaks=Leaks(checked=False))
        make(root).cell("simmim", draw, leaks=Leaks(checked=False))
    return root


def test_leaks_that_nobody_looked_for(bench, make, tmp_path):
    root = unchecked(make, tmp_path / "r")
    message = only(findings(bench, root), "leaks")
    assert "2 cells were pretrained on scans, in which nobody looked for test cases" in message
    assert f"`bench data audit cubes --corpus scans --results {root}`" in message
    assert "`bench submit --unchecked-leaks REASON`" in message
    records = [*Store(root, read_only=True).records()]
    (told,) = leak_findings(tmp_path / "unpacked", records, None, unpacked=True)
    assert "unpacked" not in told.message and "--results RESULTS` (RESULTS: the" in told.message
    submit = ("submit", "--results", root, "--out", tmp_path / "b.zip", "--plain")
    assert bench(*submit).code == 1 and not (tmp_path / "b.zip").exists()
    assert bench(*submit, "--unchecked-leaks", "another hospital").code == 0
    assert findings(bench, tmp_path / "b.zip", code=0) == []
    assert bench(*submit, "--unchecked-leaks", " ").code == 2
    into = tmp_path / "into"  # the declaration stays with what was merged
    assert bench("records", "merge", "--into", into, tmp_path / "b.zip").code == 0
    assert findings(bench, into, code=0) == []


def test_an_audit_after_the_run_counts_and_travels(bench, make, tmp_path):
    root = unchecked(make, tmp_path / "r")
    volumes = frozenset({digest("v1"), digest("v2")})
    leak = Leak("t1", "scan_7", "same scan", "alike", "scans")
    own = Leak("t2", "a1", "same scan", "alike", "train")
    secret = Leak("t0", "secret_9", "same scan", "alike", "another")
    add_to_verdict(
        root,
        Verdict(
            "cubes", digest("tests"), volumes | {digest("private"), digest("a1")},
            {digest("v1"): (leak,), digest("a1"): (own,), digest("private"): (secret,)},
            {digest("scans"): volumes, digest("another"): frozenset({digest("private")})},
            frozenset({digest("data")}),
        ),
    )  # fmt: skip
    assert findings(bench, root, code=0) == []
    out, into = tmp_path / "b.zip", tmp_path / "into"
    assert bench("submit", "--results", root, "--out", out, "--plain").code == 0
    assert bench("records", "merge", "--into", into, out).code == 0
    (audit,) = (into / "audits").glob("*.json")
    told = json.loads(audit.read_text())
    assert told["volumes"] == sorted({*volumes, digest("a1")})
    assert [*told["corpora"]] == [digest("scans")] and "secret_9" not in audit.read_text()
    assert {row["volume"] for rows in told["leaks"].values() for row in rows} == {"scan_7", "a1"}
    assert bench("report", "--results", into, "--out", tmp_path / "page").code == 0
    page = (tmp_path / "page/index.html").read_text()
    assert "1 of 3 test cases were in scans" in page


@pytest.mark.parametrize("text", ["{", "[]", '{"task": "cubes", "tests": "../../../x"}'])
def test_a_damaged_audit_is_one_line(bench, results, text):
    (results / "audits").mkdir()
    (results / "audits/cubes_x.json").write_text(text)
    assert "damaged audit" in only(findings(bench, results), "leaks")


@pytest.mark.parametrize(
    "path",
    [
        "/srv/ann/scans", "folder:/scans", "folder:/a/b,/c/d", "C:\\Users\\ann", "~/scans/x",
        "see /data/amos22/imagesTr for it", "file:/x",
        "\\\\server\\share", "D:/scans/x", "(/mnt/x/y)",
    ],
)  # fmt: skip
def test_a_path_of_the_machine_is_named(bench, make, tmp_path, path):
    assert [*absolute_paths({"a": [path]})]
    maker = make(tmp_path / "r")
    settings = _one_draw(maker.cell("scratch", 0))
    maker = make(tmp_path / "s")
    maker.cell("scratch", 0, settings={**settings, "corpus": path})
    found = findings(bench, maker.root)
    assert only(found[:1], "paths").startswith("record.json: settings.corpus holds a path of a")
    submit = ("submit", "--results", maker.root, "--out", tmp_path / "b.zip", "--plain")
    assert bench(*submit).code == 1
    assert bench(*submit, "--allow-paths").code == 0
    assert findings(bench, tmp_path / "b.zip", code=0) == []


def test_a_path_among_case_ids_is_named(bench, results):
    path = one_folder(results) / "cases.parquet"
    pd.read_parquet(path).assign(note="/srv/ann/x").to_parquet(path, index=False)
    reseal(path.parent)
    assert only(findings(bench, results), "paths") == (
        "cases.parquet holds a path of a machine: /srv/ann/x"
    )


@pytest.mark.parametrize(
    "text",
    [
        "https://host/a/b",
        "2|A&B|/(|A|+|B|)",
        "train/val/test",
        "swin/1: a / b",
        "ratio 1/2",
        "/",
        "",
    ],
)
def test_what_is_no_path_is_none(text):
    assert not [*absolute_paths({text: text})]
    assert without_folders(text) == text


def test_settings_lose_their_folders_when_recorded():
    settings = {
        "corpus": "folder:/a/b c,/d/e",
        "m": {"x": {"file": "C:\\u\\w.pt", "n": 1}},
        "t": "a:b",
    }
    assert without_folders(settings) == {
        "corpus": "folder:b c,e", "m": {"x": {"file": "w.pt", "n": 1}}, "t": "a:b"
    }  # fmt: skip
    assert not [*absolute_paths(without_folders(settings))]


def test_all_findings_are_listed_and_hostile_names_are_spelled_out(bench, make, tmp_path):
    maker = make(tmp_path / "r")
    name = "<script>\x1b[2J\n::error::\u202e"
    folder = maker.cell("scratch", 0, cell={"method": name}, definitions={})
    maker.cell("scratch", 0, cell={"method": name, "draw": 1}, definitions={})
    assert folder.name.isascii() and folder.name.isprintable()
    outcome = bench("records", "validate", maker.root, "--plain")
    assert outcome.code == 1 and outcome.out.count("no definition is named") == 6
    record = Store(maker.root, read_only=True).read(folder.name.rsplit("_", 1)[1])
    assert record.cell.method == name
    out = bench("records", "diff", maker.root, maker.root, "--plain").out
    holes = bench("records", "validate", _without_draw(maker.root), "--plain").out
    for text in (outcome.out, out, holes):
        assert not {"\x1b", "\u202e"} & {*text}
        assert not [line for line in text.splitlines() if line.startswith("::")]
    assert "<script>\\x1b[2J\\n::error::\\u202e on swin_tiny: 1 of 2 cells" in holes


def _without_draw(root: Path) -> Path:
    next(root.glob("records/*/*draw-0*")).rename(root / "aside")
    return root


def test_wrong_usage_is_one_line(bench, results, tmp_path):
    assert "nowhere: no such file or folder" in bench("records", "validate", "nowhere").line
    assert bench("records", "validate").code == 2
    (tmp_path / "empty").mkdir()
    found = findings(bench, tmp_path / "empty")
    assert "no results in" in only(found, "bundle")
    for words in (("validate",), ("merge",), ("diff",)):
        text = bench("records", *words, "--help")
        assert text.code == 0 and "Examples:" in text.out


def test_one_unreadable_source_does_not_hide_the_others(bench, results, tmp_path):
    (tmp_path / "x.zip").write_bytes(b"x")
    outcome = bench("records", "validate", tmp_path / "x.zip", results, "--plain")
    assert outcome.code == 1 and outcome.out.endswith("4 sound records, 1 findings\n")
    assert "not a sound zip file" in outcome.out


def test_a_class_that_is_never_there_is_no_fault(bench, make, tmp_path):
    """NaN of an empty target is no missing row and no difference."""
    maker = make(tmp_path / "r")
    table = table_of(maker.cell("scratch", 0))
    assert np.isnan(table.loc[(table["case"] == "t2") & (table["target"] == "rod"), "dice"]).all()
    maker.cell("scratch", 1)
    assert findings(bench, maker.root, code=0) == []
