"""Names, patterns, plugins: what the registry finds and what it refuses."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from medssl_bench import registry
from medssl_bench.errors import BenchError
from medssl_bench.registry import Entry, Registry, load_plugin

TABLE = {
    "alpha": Entry("builtins:int", "first", {"family": "one"}),
    "beta": Entry("builtins:str", "second", {"family": "two"}),
    "alphabet": Entry("builtins:list", "third", {"family": "one"}),
}
KINDS = ["methods", "tasks", "backbones", "corpora"]


@pytest.fixture
def known(monkeypatch) -> Registry:
    """A registry of three things, whose table lies in a module of its own."""
    module = ModuleType("a_table")
    module.TABLE = TABLE  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_table", module)
    return Registry("method", "a_table:TABLE", "bench.nothing")


def test_names_become_things(known):
    assert known.load("alpha") is int
    assert known.match("all") == ["alpha", "beta", "alphabet"]
    assert known.match("beta") == ["beta"]
    assert known.match("alpha*") == ["alpha", "alphabet"]
    assert known.match("family:one") == ["alpha", "alphabet"]


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("alpah", "'alpha'"),
        ("ALPHA", "'alpha'"),
        ("family:tow", "'two'"),
        ("gamma*", "no method matches"),
        ("xyzzy", "bench list methods"),
        ("", "unknown method ''"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(known, pattern, told):
    with pytest.raises(BenchError, match="method") as error:
        known.match(pattern)
    assert told in str(error.value)


def test_a_name_that_is_taken_is_refused(known):
    known.add("gamma", Entry("builtins:set"))
    assert known.load("gamma") is set
    known.add("gamma", Entry("builtins:set"))
    with pytest.raises(BenchError, match="'alpha' is registered twice"):
        known.add("alpha", Entry("builtins:set"))
    assert known.load("alpha") is int
    assert "gamma" not in TABLE


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_tables_promise_can_be_loaded(kind):
    found: Registry = getattr(registry, kind)
    for name, entry in found.entries().items():
        assert found.load(name) is not None
        assert entry.summary and entry.info["family"]


def test_what_tables_say_of_tasks_is_what_tasks_say():
    for name, entry in registry.tasks.entries().items():
        loaded = registry.tasks.load(name)
        task = loaded() if callable(loaded) else loaded
        assert (task.name, task.modality, task.kind) == (
            name,
            entry.info["modality"],
            entry.info["kind"],
        )
        assert list(task.classes.values()) == list(entry.info["classes"])
        assert task.needs_data is entry.info["needs_data"]


PLUGIN = """
from medssl_bench.registry import Entry, corpora
from medssl_bench.task import Task

class Mine(Task):
    pass

task = Mine(name="mine_{0}", classes={{1: "thing"}})
corpora.add("mine_{0}", Entry(task, "mine"))
"""


def test_plugins_of_one_file_name_are_both_loaded_and_once_each(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "plugin.py"
        path.write_text(PLUGIN.format(folder))
        load_plugin(path)
        load_plugin(path)
    assert {"mine_one", "mine_two"} <= set(registry.corpora.entries())


def test_what_a_plugin_defines_can_be_sent_to_a_process_that_loads_it(tmp_path):
    path = tmp_path / "sent.py"
    path.write_text(PLUGIN.format("sent"))
    load_plugin(path)
    content = pickle.dumps(registry.corpora.load("mine_sent"))
    del registry.corpora.entries()["mine_sent"]
    (tmp_path / "task.pickle").write_bytes(content)
    code = (
        "import pickle; from pathlib import Path; from medssl_bench.registry import load_plugins\n"
        "load_plugins([Path('sent.py')])\n"
        "print(pickle.loads(Path('task.pickle').read_bytes()).name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "mine_sent\n"


def test_a_plugin_that_failed_fails_again(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("from medssl_bench.registry import tasks\ntasks.entry('gone')")
    for _ in range(2):
        with pytest.raises(BenchError, match="unknown task 'gone'"):
            load_plugin(path)
    with pytest.raises(BenchError, match="no such file"):
        load_plugin(Path("nowhere.py"))
    with pytest.raises(BenchError, match="not a Python file"):
        (tmp_path / "notes.txt").write_text("hello")
        load_plugin(tmp_path / "notes.txt")
