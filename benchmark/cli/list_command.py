"""``bench list``: what there is, without importing torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

KINDS = ("methods", "tasks", "backbones", "corpora", "profiles")
EPILOG = """\b
Examples:
  bench list methods
  bench list backbones --json
"""


@click.command("list", epilog=EPILOG, short_help="List what there is.")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--json", "as_json", is_flag=True, help="A list of objects with `name`")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path),
    help="A Python file that registers more of them",
)  # fmt: skip
def command(kind: str, as_json: bool, plugins: tuple[Path, ...]) -> int:
    """List methods, tasks, backbones, corpora or profiles."""
    from medssl_bench.registry import load_plugin

    for plugin in plugins:
        load_plugin(plugin)
    rows = _rows(kind)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return 0
    from rich.console import Console
    from rich.table import Table

    shown = {
        "methods": ("name", "family", "summary"),
        "tasks": ("name", "modality", "kind", "summary"),
        "backbones": ("name", "params_m", "crop_multiple", "summary"),
        "corpora": ("name", "summary"),
        "profiles": ("name", "summary"),
    }[kind]
    table = Table(box=None, pad_edge=False)
    for column in shown:
        table.add_column(column, no_wrap=column != "summary")
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in shown))
    Console().print(table, markup=False)
    return 0


def _rows(kind: str) -> list[dict[str, Any]]:
    from medssl_bench import registry

    if kind == "profiles":
        from medssl_bench.config import profile_names, profile_values

        return [
            {"name": name, "summary": profile_values(name).get("summary", "")}
            for name in profile_names()
        ]
    found: registry.Registry = getattr(registry, kind)
    return [
        {"name": name, "summary": entry.summary, **entry.info}
        for name, entry in found.entries().items()
    ]
