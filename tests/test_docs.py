"""What the README and docs/ say is true: commands, options, settings, links and pictures."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from medssl_bench.cli import COMMANDS, bench
from medssl_bench.config import Settings, setting_keys
from medssl_bench.methods import METHODS
from medssl_bench.workspace import Workspace

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CLI = (ROOT / "docs" / "cli.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in CLI.split("\n## Settings\n")[1].splitlines()
    if line.startswith("| `")
]


def commands(word: str) -> list[Any]:
    """Every command line of the pages' code blocks that calls ``word``."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^ *```\w*\n(.*?)^ *```", page.read_text("utf-8"), re.S | re.M):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|;", line):
                    match = re.match(rf"\s*(?:srun )?{word} (.*)", part)
                    if match:
                        words = shlex.split(match[1], comments=True)
                        found.append(pytest.param(words, id=f"{page.stem}: {match[0].strip()}"))
    return found


@pytest.mark.parametrize("words", commands("bench"))
def test_bench_commands_parse(words):
    command: click.Command | None = bench
    rest = words
    while isinstance(command, click.Group):
        context = click.Context(command)
        _, command, rest = command.resolve_command(context, rest)
    assert command is not None
    command.make_context("bench", list(rest))


@pytest.mark.parametrize("words", commands("make"))
def test_make_targets_exist(words):
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in words if "=" not in word} <= set(targets)


def test_every_command_and_option_of_run_is_documented():
    for name in COMMANDS:
        assert f"## bench {name}\n" in CLI
    run = bench.get_command(click.Context(bench), "run")
    options = [option for parameter in run.params for option in parameter.opts]
    missing = [option for option in options if f"`{option}" not in CLI]
    assert not missing


def documented() -> dict[str, str]:
    """Key -> default as printed, for every row of the tables of settings."""
    pairs = {}
    for keys, default, *_ in ROWS:
        names = re.findall(r"`([\w.]+)`", keys)
        values = [text.strip() for text in re.findall(r"\[.*?\]|[^,]+", default.replace("`", ""))]
        pairs.update(zip(names, values * (len(names) if len(values) == 1 else 1), strict=True))
    return pairs


def test_every_setting_is_documented_and_no_other():
    leaves = {
        key for key in setting_keys() if not any(k.startswith(f"{key}.") for k in setting_keys())
    }
    assert set(documented()) == leaves - {"methods"}


def test_documented_defaults_are_those_of_the_models():
    words = {"the profile's", "the task's", "none", "all", "quick"}
    compared = 0
    for key, text in documented().items():
        if text in words:
            continue
        assert number(yaml.safe_load(text)) == pytest.approx(default_of(key)), key
        compared += 1
    assert compared > 30


def number(value: Any) -> Any:
    """YAML 1.1 reads 2e-4 as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def default_of(key: str) -> Any:
    """Default of a setting, by its dotted key."""
    model: Any = Settings
    *outer, last = key.split(".")
    for part in outer:
        annotation = model.model_fields[part].annotation
        kinds = [annotation, *getattr(annotation, "__args__", ())]
        model = next(kind for kind in kinds if hasattr(kind, "model_fields"))
    value = model.model_fields[last].default
    return list(value) if isinstance(value, tuple) else value


def test_bench_yaml_keys_are_documented():
    section = CLI.split("## bench init")[1].split("\n## ")[0]
    assert all(f"`{key}`" in section for key in Workspace.model_fields)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text)
    for link in (first or second for first, second in links):
        if link.startswith("http"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.is_file(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", t).lower().replace(" ", "-") for t in titles}


def test_pictures_are_what_the_script_draws(tmp_path):
    script = tmp_path / "flow.py"
    script.write_text((ROOT / "docs" / "flow.py").read_text("utf-8"), "utf-8")
    subprocess.run([sys.executable, str(script)], check=True)
    for shade in ("light", "dark"):
        name = f"flow-{shade}.svg"
        assert (tmp_path / name).read_bytes() == (ROOT / "docs" / name).read_bytes()


@pytest.mark.parametrize("name", ["methods", "tasks"])
def test_a_generated_page_is_what_its_script_writes(name, tmp_path):
    script = tmp_path / f"{name}.py"
    script.write_text((ROOT / "docs" / f"{name}.py").read_text("utf-8"), "utf-8")
    subprocess.run([sys.executable, str(script)], check=True)
    written = (tmp_path / f"{name}.md").read_text("utf-8")
    assert written == (ROOT / "docs" / f"{name}.md").read_text("utf-8"), f"run docs/{name}.py"


def names_of(config: type, prefix: str = "") -> list[str]:
    """Names of settings, those within a group included."""
    names = []
    for field in dataclasses.fields(config):
        group = getattr(config(), field.name)
        within = dataclasses.is_dataclass(group)
        path = f"{prefix}{field.name}"
        names += names_of(type(group), f"{path}.") if within else [path]
    return names


def test_the_page_of_methods_has_every_setting_and_plain_markdown():
    page = (ROOT / "docs" / "methods.md").read_text("utf-8")
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, re.S | re.M))
    for name, entry in METHODS.items():
        kind = entry.load()
        rows = re.findall(r"^\| `([\w.]+)` \|", sections[name], re.M)
        assert rows == names_of(kind.Config)
        assert kind.reference in sections[name]
        formulas = len(re.findall(r"\.\. math::", kind.__doc__))
        assert sections[name].count("```math\n") == formulas
    assert not re.search(r":\w+:`|\.\. math::|``[^`]", page.replace("```", ""))
