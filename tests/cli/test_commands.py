"""What the commands print: JSON that parses, every name, help without heavy imports."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medssl_bench import registry
from medssl_bench.cli import COMMANDS
from medssl_bench.config import profile_names

HEAVY = (
    *("torch", "monai", "numpy", "pandas", "pydantic", "mlflow", "matplotlib", "SimpleITK"),
    "scipy.ndimage",
)


def imported_by(*words: str) -> list[str]:
    """Return which heavy packages ``bench WORDS`` imports, in a process of its own."""
    code = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print([n for n in {HEAVY!r} if n in sys.modules], flush=True))\n"
        "from medssl_bench.cli import main\n"
        f"sys.argv = {['bench', *words]!r}\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout.splitlines()[-1].replace("'", '"'))
    return found


@pytest.mark.parametrize(
    "words",
    [("--help",), ("--version",), ("run", "--help"), ("list", "methods"), ("list", "tasks"),
     ("list", "backbones", "--json"), ("list", "corpora")],
    ids=" ".join,
)  # fmt: skip
def test_nothing_heavy_is_imported_to_show_names(words):
    assert imported_by(*words) == []


def test_a_plan_takes_few_of_the_heavy_packages(tmp_path):
    words = ["run", "--methods", "scratch,simmim", "--tasks", "phantom_ct", "--profile", "demo"]
    found = imported_by(*words, "--results", str(tmp_path), "--dry-run")
    assert found == ["torch", "numpy", "pydantic"]


def test_the_installed_script_answers():
    script = shutil.which("bench", path=str(Path(sys.executable).parent))
    assert script is not None
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in COMMANDS)
    wrong = subprocess.run([script, "rum"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "bench: unknown command 'rum'. Did you mean 'run'?; see `bench --help`\n"


@pytest.mark.parametrize("name", [*COMMANDS, "data status"])
def test_every_command_has_help_with_examples(bench, name):
    outcome = bench(*name.split(), "--help")
    assert outcome.code == 0 and outcome.err == ""
    assert outcome.out.startswith(f"Usage: bench {name}")
    if name != "data":
        assert "Example" in outcome.out and f"bench {name}" in outcome.out.split("Example")[1]


@pytest.mark.parametrize("kind", ["methods", "tasks", "backbones", "corpora"])
def test_list_names_all_that_is_registered(bench, kind):
    rows = json.loads(bench("list", kind, "--json").out)
    assert [row["name"] for row in rows] == list(getattr(registry, kind).entries())
    assert all(row["summary"] for row in rows)
    text = bench("list", kind).out
    assert all(row["name"] in text for row in rows)


def test_list_backbones_says_how_many_parameters_they_have(bench):
    sizes = {
        row["name"]: row["params_m"] for row in json.loads(bench("list", "backbones", "--json").out)
    }
    assert sizes["swin_65m"] == pytest.approx(64.7, abs=0.01)
    assert all(size > 0 for size in sizes.values())


def test_list_profiles(bench):
    rows = json.loads(bench("list", "profiles", "--json").out)
    assert (
        [row["name"] for row in rows] == profile_names() == ["demo", "quick", "paper", "brainmvp"]
    )
    assert all(row["summary"] for row in rows)


def test_list_shows_what_a_plugin_adds(bench):
    Path("extra.py").write_text(
        "from medssl_bench.registry import Entry, corpora\n"
        "corpora.add('from_plugin', Entry(object(), 'a corpus of mine'))\n"
    )
    rows = json.loads(bench("list", "corpora", "--json", "--plugin", "extra.py").out)
    assert {"name": "from_plugin", "summary": "a corpus of mine"} in rows


def test_status_of_missing_and_empty_folders(bench):
    Path("empty").mkdir()
    for folder in ("missing", "empty"):
        outcome = bench("status", "--json", "--results", folder)
        assert outcome.code == 2 and f"no results in {folder}" in outcome.line
    assert list(Path("empty").iterdir()) == []


def test_status_of_a_folder_without_records(bench):
    Path("results").mkdir()
    Path("results/store.json").write_text('{"format": 1}')
    document = json.loads(bench("status", "--json", "--results", "results").out)
    assert document["records"] == document["pretrainings"] == document["unfinished"] == []
    assert "0 cells" in bench("status", "--results", "results").out


def test_a_dry_run_plans_and_leaves_nothing_behind(bench):
    command = (
        "run", "--methods", "scratch,simmim,scratch", "--tasks", "phantom_ct",
        "--shots", "5,5,10,100%", "--profile", "demo", "--draws", "2", "--dry-run",
    )  # fmt: skip
    document = json.loads(bench(*command, "--json").out)
    cells = {(c["method"], c["shots"], c["draw"]) for c in document["cells"]}
    wanted = {("5", 0), ("5", 1), ("10", 0), ("10", 1), ("full", 0)}
    assert cells == {(method, *rest) for method in ("scratch", "simmim") for rest in wanted}
    assert len(document["cells"]) == len(cells)
    assert [job["method"] for job in document["pretrainings"]] == ["simmim"]
    five = next(c for c in document["cells"] if c["shots"] == "5" and c["draw"] == 0)
    ten = next(c for c in document["cells"] if c["shots"] == "10" and c["draw"] == 0)
    assert set(five["train"]) < set(ten["train"])

    text = bench(*command).out
    for part in ("profile demo", "backbone swin_tiny", "corpus phantom_ct", "draws 2"):
        assert part in text.splitlines()[0] + text.splitlines()[1]
    assert "cells: 10 to run, 0 recorded" in text
    assert list(Path.cwd().iterdir()) == []


def test_init_writes_defaults_that_run_reads(bench):
    assert bench("init").code == 0
    Path("bench.yaml").write_text(
        "profile: demo\nresults: elsewhere\ndraws: 3\n"
        "set: {finetune.lr: 1.0e-5, finetune.crop: null}\n"
    )
    command = ("run", "--methods", "scratch", "--tasks", "phantom_ct", "--shots", "5", "--dry-run")
    document = json.loads(bench(*command, "--json").out)
    assert document["results"] == "elsewhere"
    assert document["settings"]["finetune"]["lr"] == 1e-5
    assert document["settings"]["finetune"]["crop"] is None
    assert len(document["cells"]) == 3
    document = json.loads(
        bench(*command, "--draws", "1", "--set", "finetune.lr=2e-3", "--json").out
    )
    assert (len(document["cells"]), document["settings"]["finetune"]["lr"]) == (1, 2e-3)
