"""What is downloaded or copied from a table is what is seen of it, safe where it is opened."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from .conftest import Made, Visit, board, grid, heads

pytestmark = pytest.mark.browser


def tools(table: Any) -> Any:
    return table.locator("xpath=../following-sibling::div[contains(@class, 'tools')][1]")


def downloaded(page: Any, table: Any, word: str) -> tuple[str, str]:
    with page.expect_download() as found:
        tools(table).get_by_role("button", name=word).click()
    path = Path(found.value.path())
    return path.read_bytes().decode("utf-8"), found.value.suggested_filename


def copied(page: Any, table: Any, word: str) -> str:
    tools(table).get_by_role("button", name=f"Copy {word}").click()
    page.wait_for_selector(f"#status:text-is('{word} copied')")
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def without_guard(text: str) -> str:
    """Return a cell without the apostrophe that keeps a spreadsheet from running it."""
    return text[1:] if text.startswith("'") else text


def told_by_csv(text: str, names: list[str]) -> list[list[str]]:
    """Read a CSV and write its numbers together again as they stand in the table.

    A number has a column of its own; of the same start are those that stand in one cell.
    """
    found = [*csv.DictReader(io.StringIO(text, newline=""))]
    shapes = {
        ("", " low", " high"): "{} [{}, {}]", ("", " SD"): "{} \u00b1 {}", ("", " of"): "{} of {}",
        ("", " low", " high", " of"): "{} ({}\u2013{} of {})", (" low", " high"): "{}\u2013{}",
        (" draws", " seeds"): "{} \u00d7 {}", ("",): "{}", ("", " mark"): "{1} {0}",
    }  # fmt: skip
    rows = []
    for line in found:
        row = []
        for name in names:
            own = {
                key[len(name) :]: value for key, value in line.items()
                if re.fullmatch(re.escape(name) + "( low| high| SD| of| draws| seeds| mark)?", key)
            }  # fmt: skip
            several = len(own) > 1
            assert own, name
            filled = {key: value for key, value in own.items() if value}
            for key, value in filled.items():
                assert not several or key == " mark" or re.fullmatch(r"-?\d+(\.\d+)?", value)
            values = [without_guard(value) for value in filled.values()]
            if several:
                values = [value.replace("-", "\u2212") for value in values]
            if name == "Dice gain over scratch":
                values = [one if one[0] == "\u2212" else f"+{one}" for one in values]
            row.append(shapes[tuple(filled)].format(*values) if filled else "")
        rows.append(row)
    return rows


def tables(page: Any) -> list[Any]:
    """Return tables after a filter, a sort and with hidden columns; and one of each other kind."""
    page.locator("#controls select[name=source]").select_option("measured")
    page.locator("#controls input[value=size]").uncheck()
    page.locator("#controls input[value=gain]").uncheck()
    one = board(page, "amos_ct", "full")
    one.get_by_role("columnheader", name="Method").get_by_role("button").click()
    return [one, board(page, "amos_ct", "5"), page.locator("table:has(#overall)")]


def test_csv_and_json_are_what_is_seen(report: Made, visit: Visit) -> None:
    page = visit(report)
    for table in tables(page):
        names, rows = heads(table), grid(table)
        assert "Cases" not in names and len(rows) >= 5
        text, name = downloaded(page, table, "CSV")
        assert re.fullmatch(r"[A-Za-z0-9._-]+\.csv", name)
        assert told_by_csv(text, names) == [[one or "" for one in row] for row in rows]
        text, name = downloaded(page, table, "JSON")
        document = json.loads(text)
        assert name.endswith(".json") and document["view"] == page.evaluate("location.hash")
        assert document["columns"] == names
        assert [[one[column]["text"] for column in names] for one in document["rows"]] == [
            [one or "" for one in row] for row in rows
        ]
        values = table.evaluate(
            "table => [...table.tBodies[0].rows].filter(row => row.offsetHeight > 0).map(row =>"
            "[...row.cells].filter(cell => cell.offsetWidth > 0).map(cell =>"
            "[cell.dataset.value, cell.querySelector('.unseen')?.textContent]))"
        )
        for row, told in zip(document["rows"], values, strict=True):
            for column, (value, missing) in zip(names, told, strict=True):
                if missing and missing.startswith("missing: "):
                    assert row[column] == {"text": "", "missing": missing[9:]}
                elif value is not None and re.fullmatch(r"-?[\d.]+(e-?\d+)?", value):
                    assert row[column]["value"] == float(value)
                else:
                    assert "value" not in row[column]


def test_printed_numbers_stay_marked(report: Made, visit: Visit) -> None:
    page = visit(report)
    page.locator("#controls input[value=origin]").uncheck()
    text, _ = downloaded(page, board(page, "amos_ct", "full"), "CSV")
    marks = [line["Dice mark"] for line in csv.DictReader(io.StringIO(text, newline=""))]
    assert marks.count("reported") == 11 and set(marks) == {"", "reported"}


def test_gains_are_plain_numbers(report: Made, visit: Visit) -> None:
    page = visit(report)
    text, _ = downloaded(page, board(page, "amos_ct", "5"), "CSV")
    told = report.table("leaderboard")
    told = told[(told["task"] == "amos_ct") & (told["shots"] == "5")].set_index("method")
    lines = [*csv.DictReader(io.StringIO(text, newline=""))]
    seen = 0
    for line in lines:
        row = told.loc[line["Method"]] if line["Method"] in told.index else None
        for ending, name in (("", "gain"), (" low", "gain_low"), (" high", "gain_high")):
            value = line[f"Dice gain over scratch{ending}"]
            if row is None or row[name] != row[name]:
                assert value == ""
            else:
                assert float(value) == pytest.approx(row[name], abs=0.501e-3)
                seen += 1
    assert seen == 3 * 4


def test_markdown_is_the_table(report: Made, visit: Visit) -> None:
    page = visit(report, permissions=["clipboard-read", "clipboard-write"])
    for table in tables(page):
        text = copied(page, table, "Markdown")
        assert markdown_cells(text) == [heads(table)] + [
            ["\u2014" if one is None else one for one in row] for row in grid(table)
        ]


def markdown_cells(text: str) -> list[list[str]]:
    """Read a table as a renderer of GitHub's Markdown does."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert tokens[0].type == "table_open" and tokens[-1].type == "table_close"
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            assert {one.type for one in token.children or ()} <= {"text", "text_special"}
            rows[-1].append("".join(one.content for one in token.children or ()))
    return rows


SIGNS = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^",
    r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|", "(!)": "\u26a0",
    "{[}": "[", "{*}": "*", "$-$": "\u2212", r"$\pm$": "\u00b1", r"$\times$": "\u00d7",
    "-{}": "-", "---": "\u2014", "--": "\u2013", r"\&": "&", r"\%": "%", r"\$": "$", r"\#": "#",
    r"\_": "_", r"\{": "{", r"\}": "}",
}  # fmt: skip
SIGN = re.compile("|".join(map(re.escape, sorted(SIGNS, key=len, reverse=True))))


def latex_cells(text: str) -> list[list[str]]:
    """Read back a booktabs table: of its special characters none stands alone."""
    body = text[text.index("\\toprule\n") + 9 : text.index("\\bottomrule")]
    rows = []
    for line in body.replace("\\midrule\n", "").removesuffix("\n").split("\n"):
        assert line.endswith(" \\\\")
        cells = re.split(r"(?<!\\) & ", line[:-3])
        for cell in cells:
            assert not re.search(r"[\\&%$#_{}~^<>|]", SIGN.sub("", cell)), cell
        rows.append([SIGN.sub(lambda found: SIGNS[found.group()], cell) for cell in cells])
    return rows


def test_latex_is_the_table(report: Made, visit: Visit) -> None:
    page = visit(report, permissions=["clipboard-read", "clipboard-write"])
    for table in tables(page):
        text = copied(page, table, "LaTeX")
        assert latex_cells(text) == [heads(table)] + [
            ["\u2014" if one is None else one for one in row] for row in grid(table)
        ]
        width = len(heads(table))
        assert f"\\begin{{tabular}}{{l{'r' * (width - 1)}}}" in text


HOSTILE = [
    "=1+1", "-2+3+cmd|' /C calc'!A0", "+A1", "@SUM(1)", "\uff1d1+1", 'a"b,c', "-0.5", "+0.25",
    r"100% & #1_x{y}~^$z\ ", "[x]*y*|<b>`c`", "*star", "![a](b) <!-- c --> # d",
]  # fmt: skip


def test_special_characters_and_formulas(report: Made, visit: Visit) -> None:
    """The page's own functions, on a table of words made to break out."""
    page = visit(report)
    shown = {
        "caption": "a\n\\end{tabular}", "columns": ["Case", "Case"],
        "rows": [[{"text": one.strip()}, {"text": "1"}] for one in HOSTILE],
    }  # fmt: skip
    words = [one.strip() for one in HOSTILE]
    texts = {
        name: page.evaluate(f"shown => {name}(shown)", shown)
        for name in ("asCsv", "asJson", "asMarkdown", "asLatex")
    }
    lines = [line[0] for line in csv.reader(io.StringIO(texts["asCsv"], newline=""))][1:]
    assert [without_guard(one) for one in lines] == words
    for line in lines:
        assert re.fullmatch(r"[+-]?[\d.]+", line) or line[0] not in "=+-@\t\r\uff1d"
    assert lines[6:8] == ["-0.5", "+0.25"]
    rows = json.loads(texts["asJson"])["rows"]
    assert [list(row.values()) for row in rows] == shown["rows"]
    assert [row[0] for row in markdown_cells(texts["asMarkdown"])[1:]] == words
    assert [row[0] for row in latex_cells(texts["asLatex"])[1:]] == words
    assert texts["asLatex"].count("\\end{tabular}") == 2
    assert texts["asLatex"].split("\n")[1] == "% a \\end{tabular}"
    assert not any(line.startswith(("[", "*")) for line in texts["asLatex"].split("\n"))
