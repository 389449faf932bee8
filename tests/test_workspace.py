"""The working folder's defaults: bench.yaml, BENCH_DATA and --data."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from medssl_bench.errors import BenchError
from medssl_bench.workspace import FILE, TEMPLATE, Workspace, load_workspace, parse_data

TASKS = ["amos_ct", "amos_mri"]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_DATA", raising=False)


def test_without_a_file_there_are_defaults():
    assert load_workspace() == Workspace()
    assert load_workspace().data_folders() == {}
    assert load_workspace().results == Path("bench-results")


def test_the_template_is_the_defaults_and_its_comments_are_valid():
    assert Workspace.model_validate(yaml.safe_load(TEMPLATE)) == Workspace()
    lines = [line.removeprefix("# ") for line in TEMPLATE.splitlines()[1:]]
    one_data = [line for line in lines if not line.startswith("data: /datasets")]
    Path(FILE).write_text("\n".join(one_data))
    found = load_workspace()
    assert found.data_folders() == {"amos_mri": Path("/datasets/amos22")}
    assert found.set == {"finetune.steps": 5000}
    assert found.cache == Path("/fast-disk/bench-cache")


def test_data_of_the_file_comes_before_the_environment(monkeypatch):
    monkeypatch.setenv("BENCH_DATA", "/from/environment")
    assert load_workspace().data_folders() == {"": Path("/from/environment")}
    Path(FILE).write_text("data: {amos_ct: ~/amos}")
    assert load_workspace().data_folders() == {
        "": Path("/from/environment"),
        "amos_ct": Path("~/amos").expanduser(),
    }
    Path(FILE).write_text("data: /from/file")
    assert load_workspace().data_folders() == {"": Path("/from/file")}


def test_flags_come_before_the_file(tmp_path):
    for name in ("one", "two", "odd=name"):
        (tmp_path / name).mkdir()
    known = {"": Path("/known"), "amos_ct": Path("/known/ct")}
    assert parse_data((), known, TASKS) == known
    found = parse_data(("one", "amos_mri=two"), known, TASKS)
    assert found == {"": Path("one"), "amos_ct": Path("/known/ct"), "amos_mri": Path("two")}
    assert parse_data(("odd=name",), {}, TASKS) == {"": Path("odd=name")}
    assert parse_data(("amos_ct=odd=name",), {}, TASKS) == {"amos_ct": Path("odd=name")}
    assert known == {"": Path("/known"), "amos_ct": Path("/known/ct")}


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("gone", "--data gone: no such folder"),
        ("amos_ct=gone", "--data amos_ct=gone: no such folder"),
        ("amos_tc=.", "unknown task or corpus 'amos_tc'. Did you mean 'amos_ct'?"),
        ("amos_ct=", "no such folder"),
        ("", "no such folder"),
    ],
)
def test_wrong_folders_are_refused(word, told):
    with pytest.raises(BenchError) as error:
        parse_data((word,), {}, TASKS)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("profil: demo", "'profil'.*Did you mean 'profile'"),
        ("draws: many", "draws: "),
        ("draws: 0", "draws: "),
        ("data: 5", "data"),
        ("- a list", "expected `key: value` lines"),
        ("key: [", "not YAML"),
        ("corpus: {a: b}", "corpus: "),
    ],
)
def test_faults_name_the_file_and_the_key(text, told):
    Path(FILE).write_text(text)
    with pytest.raises(BenchError, match=told) as error:
        load_workspace()
    assert str(Path(FILE).absolute()) in str(error.value) and "\n" not in str(error.value)


def test_an_empty_file_says_nothing():
    for text in ("", "# profile: demo\n"):
        Path(FILE).write_text(text)
        assert load_workspace() == Workspace()


def test_an_unreadable_file_is_told():
    Path(FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BenchError, match="bench.yaml"):
        load_workspace()
