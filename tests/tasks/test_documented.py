"""The examples of docs/add-a-task.md work as they are printed."""

import re
from pathlib import Path

import pytest

from medssl_bench.registry import load_plugin
from medssl_bench.tasks import load_task
from medssl_bench.tasks.corpora import load_corpus
from medssl_bench.tasks.custom import TaskFile

PAGE = (Path(__file__).parents[2] / "docs" / "add-a-task.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(yaml|python)\n(.*?)```", PAGE, flags=re.DOTALL)
TASKS = [text for kind, text in BLOCKS if kind == "yaml" and "\nname:" in text]


@pytest.mark.parametrize("text", TASKS, ids=lambda text: re.search("name: (.*)", text)[1])
def test_task_files(tmp_path, write, text):
    path = tmp_path / "task.yaml"
    path.write_text(text)
    task = load_task(str(path))
    endings = (task.layout.channels or {"image": ""}).values()
    for number in range(40):
        name = f"p{number:03d}_scan"
        write(tmp_path / task.layout.labels / f"{name}.nii.gz")
        for ending in endings:
            write(tmp_path / task.layout.images / f"{name}{ending}.nii.gz")
    cases = task.cases(None)
    assert len(cases) == 40 and {case.pool for case in cases} == {"train", "test"}


def test_corpus_file(tmp_path, write):
    (text,) = [text for kind, text in BLOCKS if kind == "yaml" and "corpus.yaml" in text]
    (tmp_path / "corpus.yaml").write_text(text)
    for name in ("p1/t2/a", "p1/ct/a", "p2/scout/a"):
        write(tmp_path / f"{name}.nii.gz")
    corpus = load_corpus(f"folder:{tmp_path}")
    found = [(case.id, *case.images, case.patient) for case in corpus.cases(None)]
    assert found == [("p1/ct/a", "CT", "p1"), ("p1/t2/a", "MR", "p1")]
    assert corpus.licence == "CC BY 4.0" and corpus.preprocessing["MR"].spacing == (1, 1, 1)


def test_plugin(tmp_path, write):
    (text,) = [text for kind, text in BLOCKS if kind == "python"]
    plugin = tmp_path / "documented_livers.py"
    plugin.write_text(text)
    load_plugin(plugin)
    for patient in ("anna", "test_bert"):
        for name in ("ct", "seg"):
            write(tmp_path / "livers" / patient / f"{name}.nii.gz")
    cases = load_task("livers").cases(tmp_path)
    assert [(case.id, case.pool) for case in cases] == [("anna", "train"), ("test_bert", "test")]


def test_every_key_is_documented():
    table = PAGE.split("## Every key")[1].split("## Patterns")[0]
    assert set(TaskFile.model_fields) - {"loss"} <= set(re.findall(r"`(\w+)`", table))
