"""Every task and corpus that needs data, from a tree in its layout to measured cases or weights."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from medssl_bench.api import load_results, pretrain, run
from medssl_bench.corpus_inventory import take_corpus_stock
from medssl_bench.errors import DataError
from medssl_bench.preparation import open_prepared
from medssl_bench.tasks import TASKS, load_task
from medssl_bench.tasks.corpora import CORPORA, load_corpus
from medssl_bench.tasks.corpora.published import Published
from medssl_bench.verification import verify

TRAINED = [name for name, entry in TASKS.items() if entry.info["needs_data"]]
CORPORA_WITH_DATA = [name for name, entry in CORPORA.items()
                     if entry.info["needs_data"] and not entry.argument]  # fmt: skip
USABLE = ["ixi:T1" if name == "ixi" else name for name in CORPORA_WITH_DATA]
SMALL = ["example_slices=0", "tracking=false", "similarity=false", "backbone=swin_tiny"]


def silent(_: object) -> None:
    """Show nothing."""


@pytest.mark.parametrize("name", TRAINED)
def test_a_task_goes_all_the_way(name: str, tmp_path: Path) -> None:
    """Found, verified, prepared, trained on for two steps, and every target measured."""
    task = load_task(name)
    task.write_samples(tmp_path / "data")
    stock, findings = verify(task, {"": tmp_path / "data"}, silent)
    assert stock.state == "found" and findings == []
    changes = ["finetune.steps=2", "finetune.crop=[32,32,32]", "evaluate.overlap=0", "draws=1"]
    done = run(
        "scratch",
        name,
        "2",
        profile="demo",
        data=tmp_path / "data",
        results=tmp_path / "results",
        assignments=[*SMALL, *changes],
        emit=silent,
    )
    assert done.ok
    rows = load_results(tmp_path / "results")
    tested = {case.id: case for case in stock.cases if case.pool == "test"}
    assert set(rows["case"]) == {*tested} and set(rows["target"]) == {*task.targets}
    if task.kind == "classification":
        names = {case: task.classes[found.class_id] for case, found in tested.items()}
        assert dict(zip(rows["case"], rows["true"], strict=True)) == names
        assert rows.groupby("case")["probability"].sum().to_numpy() == pytest.approx(1)
        return
    labels = {case: found.label.read() for case, found in tested.items() if found.label}
    for row in rows.itertuples():
        ids = task.targets[row.target]
        raw = [value for value in range(256) if task.remap.get(value, value) in ids]
        label = labels[row.case]
        volume_ml = np.isin(label.array, raw).sum() * np.prod(label.header.spacing) / 1000
        assert row.reference_ml == pytest.approx(volume_ml)


@pytest.mark.parametrize("name", USABLE)
def test_a_corpus_goes_all_the_way(name: str, tmp_path: Path) -> None:
    """Found, counted, verified, prepared, and pretrained on for two steps."""
    corpus = load_corpus(name)
    corpus.write_samples(tmp_path / "data")
    stock = take_corpus_stock(corpus, {"": tmp_path / "data"})
    assert stock.state == "found" and stock.findings == ()
    assert set(stock.modalities) == {*corpus.preprocessing}
    assert stock.as_json()["expected"] == CORPORA[name.partition(":")[0]].info["cases"]
    checked, findings = verify(corpus, {"": tmp_path / "data"}, silent)
    assert checked.cases == stock.cases and findings == []
    steps = ["pretrain.steps=2", "pretrain.batch=2", "pretrain.crop=[32,32,32]"]
    done = pretrain(
        "simmim",
        corpus=name,
        profile="demo",
        data={name.partition(":")[0]: tmp_path / "data"},
        results=tmp_path / "results",
        assignments=[*SMALL, *steps, "corpus_size=3"],
        emit=silent,
    )
    assert done.ok and done.plan.corpus is not None
    planned = done.plan.corpus
    used = open_prepared(planned.corpus, planned.cases, tmp_path / "results" / "cache")
    for prepared in used.cases.values():
        assert prepared.channels == tuple(corpus.preprocessing)
        image = prepared.image()
        assert image.shape == (len(corpus.preprocessing), *prepared.shape)
        assert image.min() < 0.02 and 0.4 < image.max() <= 1


@pytest.mark.parametrize("name", CORPORA_WITH_DATA)
def test_a_corpus_that_is_not_there_says_what_was_expected(name: str, tmp_path: Path) -> None:
    corpus = load_corpus(name)
    assert corpus.access and corpus.tree() and corpus.licence != "unknown"
    for folder, words in ((None, "no data folder given"), (tmp_path, "no scans in")):
        with pytest.raises(DataError, match=rf"^{name}: {words}") as raised:
            corpus.cases(folder)
        assert corpus.access in str(raised.value) and "\n" not in str(raised.value)
        stock = take_corpus_stock(corpus, {} if folder is None else {"": folder})
        assert stock.state == "missing" and stock.reason.startswith(words)


@pytest.mark.parametrize("name", CORPORA_WITH_DATA)
def test_what_is_read_is_what_was_drawn(name: str, tmp_path: Path) -> None:
    """Every scan in RAS has the voxels drawn for it; ids that are no scans are passed over."""
    from medssl_bench.data.orientation import to_ras
    from medssl_bench.data.synthetic import SHAPE, draw_bodies

    corpus = load_corpus(name)
    corpus.write_samples(tmp_path)
    cases = {case.id: case for case in corpus.cases(tmp_path)}
    if not isinstance(corpus, Published) or name in ("deeplesion", "ixi"):
        assert all(
            to_ras(case.images[next(iter(case.images))].read()).array.shape == SHAPE
            for case in cases.values()
        )
        return
    parts = corpus.parts if corpus.together else corpus.parts[:1]
    wanted = {
        part.case.replace("{id}", number): (part, number)
        for part in parts
        for number in part.samples
        if re.fullmatch(part.ids, number)
    }
    assert sorted(cases) == sorted(wanted)
    for case, (part, number) in wanted.items():
        drawn, _ = draw_bodies((name, part.name, number), [*part.images], ct="CT" in part.images)
        for modality, source in cases[case].images.items():
            np.testing.assert_array_equal(to_ras(source.read()).array, drawn[modality])
