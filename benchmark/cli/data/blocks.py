"""Blocks of lines in which ``bench data`` describes what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medssl_bench.corpus_inventory import CorpusStock
    from medssl_bench.inventory import Stock

FINDINGS_SHOWN = 5


def block(stock: Stock | CorpusStock) -> str:
    """Describe the data of a task or corpus."""
    from medssl_bench.inventory import Stock

    return task_block(stock) if isinstance(stock, Stock) else corpus_block(stock)


def line(title: str, text: str) -> str:
    """Return text behind a title, its further lines below its first."""
    return f"  {title:<10}" + text.replace("\n", "\n" + " " * 12)


def corpus_block(stock: CorpusStock) -> str:
    """Describe a corpus's data."""
    corpus = stock.owner
    scans = stock.modalities or dict.fromkeys(corpus.preprocessing)
    shown = ", ".join(name if count is None else f"{count} {name}" for name, count in scans.items())
    lines = [
        f"corpus {corpus.name}: {stock.state}, {stock.shown} cases"
        + (f" of {stock.patients} patients" if stock.cases else ""),
        line("modality", shown),
        *([line("of", ", ".join(f"{n} {name}" for name, n in stock.parts.items()))]
          if len(stock.parts) > 1 else []),
        line("licence", corpus.licence),
    ]  # fmt: skip
    if corpus.needs_data and stock.folder is not None:
        lines.append(line("looked in", str(stock.folder.absolute())))
    if not stock.found:
        lines.append(line("missing", stock.reason))
    if corpus.access:
        lines.append(line("from", corpus.access))
    if not stock.found and corpus.tree():
        lines.append(line("expected", corpus.tree()))
    if stock.findings:
        counts = f"{stock.count_of('error')} errors, {stock.count_of('warning')} warnings"
        told = [f"{f.level}: {f}" for f in stock.findings[:FINDINGS_SHOWN]]
        if len(stock.findings) > FINDINGS_SHOWN:
            told.append(f"and {len(stock.findings) - FINDINGS_SHOWN} more; --json has them all")
        lines.append(line("headers", "\n".join([counts, *told])))
    return "\n".join(lines)


def task_block(stock: Stock) -> str:
    """Describe a task's data in a block of lines."""
    task = stock.task
    lines = [
        f"{task.name}: {stock.state}, {stock.shown('train')} training and {stock.shown('test')}"
        f" test cases",
        line("classes", f"{len(task.classes)}: {', '.join(task.classes.values())}"),
        *([line("measured", ", ".join(task.regions))] if task.regions else []),
        line("licence", task.licence),
    ]
    if task.left_out:
        left_out = (f"{case}: {why}" for case, why in task.left_out.items())
        lines.append(line("left out", "\n".join(left_out)))
    if task.needs_data and stock.folder is not None:
        lines.append(line("looked in", str(stock.folder.absolute())))
    if not stock.found:
        lines.append(line("missing", stock.reason))
    if task.access:
        lines.append(line("from", task.access))
    if not stock.found and task.tree():
        lines.append(line("expected", task.tree()))
    if stock.findings:
        counts = f"{stock.count_of('error')} errors, {stock.count_of('warning')} warnings"
        shown = [f"{f.level}: {f}" for f in stock.findings[:FINDINGS_SHOWN]]
        if len(stock.findings) > FINDINGS_SHOWN:
            shown.append(f"and {len(stock.findings) - FINDINGS_SHOWN} more; --json has them all")
        lines.append(line("headers", "\n".join([counts, *shown])))
    return "\n".join(lines)
