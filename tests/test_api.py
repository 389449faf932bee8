"""The calls of a notebook take what is natural in Python and refuse the rest in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

import medssl_bench
from medssl_bench.api import Run, make_plan
from medssl_bench.errors import BenchError
from medssl_bench.store import Store


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_DATA", raising=False)


@pytest.mark.parametrize("shots", [5, "5", [5], ("5",)])
@pytest.mark.parametrize("methods", ["scratch", ["scratch"]])
def test_one_thing_is_a_list_of_it(methods, shots):
    plan, results, _ = make_plan(methods, "phantom_ct", shots, profile="demo")
    assert [planned.cell.shots for planned in plan.cells] == ["5"]
    assert len(repr(Run(plan, results))) < 100  # what a notebook shows


@pytest.mark.parametrize("data", ["gone", Path("gone"), ["gone"]])
def test_a_data_folder_may_be_given_alone(data):
    with pytest.raises(BenchError, match="--data gone: no such folder"):
        make_plan("scratch", "amos_ct", profile="demo", data=data)


def test_data_folders_by_task():
    Path("there").mkdir()
    with pytest.raises(BenchError, match="no cases under there/imagesTr"):
        make_plan("scratch", "amos_ct", profile="demo", data={"amos_ct": "there"})


def test_paths_of_tasks_and_plugins():
    with pytest.raises(BenchError, match=r"mine/task.yaml: no such file"):
        make_plan("scratch", Path("mine/task.yaml"), profile="demo")
    with pytest.raises(BenchError, match=r"--plugin plugin.py: no such file"):
        make_plan("scratch", "phantom_ct", profile="demo", plugins="plugin.py")


def test_a_results_folder_may_be_text():
    Store("results")
    assert medssl_bench.load_results("results").empty


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert medssl_bench.__version__ == version("medssl-bench")
