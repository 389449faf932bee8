"""Run as a script it is the other process: ``race ROOT DRAW`` or ``loop ROOT``."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from medssl_bench.digest import weights_digest
from medssl_bench.errors import BenchError, CaseError
from medssl_bench.record import Cell, Record
from medssl_bench.store import Store
from medssl_bench.tables import CELL_COLUMNS

if TYPE_CHECKING:
    import torch

EXAMPLE = Path(__file__).with_name("example_record.json")
KEY = "a" * 64


def record_of(draw: int, **changes: Any) -> Record:
    data = json.loads(EXAMPLE.read_bytes())
    data["cell"] |= {"draw": draw, **changes}
    data["key"] = Cell(**data["cell"]).key
    return Record.model_validate_json(json.dumps(data))


def cases_of(draw: int) -> pd.DataFrame:
    rng = np.random.default_rng(draw)
    return pd.DataFrame(
        {
            "case": [f"test-{index:03d}" for index in range(3) for _ in range(2)],
            "target": ["liver", "spleen"] * 3,
            "dice": rng.random(6),
            "hd95": [1.5, None, 2.5, None, 3.5, None],
            "status": ["ok", "missed"] * 3,
        }
    )


def history_of(draw: int) -> pd.DataFrame:
    return pd.DataFrame({"step": range(1, 21), "loss": np.linspace(1, draw, 20)})


def write(store: Store, draw: int, extra: bytes = b"PNG", **changes: Any) -> bool:
    record = record_of(draw, **changes)
    return store.write(record, cases_of(draw), history_of(draw), {"slices/liver.png": extra})


def state_of(seed: int) -> "dict[str, torch.Tensor]":
    import torch  # not above: the other processes start without it

    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(2, 3, 4, 4, 4, generator=generator)
    return {
        "conv.weight": weight.contiguous(memory_format=torch.channels_last_3d),
        "tied": weight,
        "half": torch.randn(5, generator=generator).bfloat16(),
        "steps": torch.tensor(7),
    }


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def wait_for_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def damage(path: Path, position: float = 0.5) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[int(position * (len(content) - 1))] ^= 1
    path.write_bytes(content)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_what_is_written_is_read_back(store: Store) -> None:
    record = record_of(2)
    assert not store.has(record.cell)
    assert write(store, 2)
    assert store.has(record.cell)
    assert store.read(record.cell) == store.read(record.key) == record
    folder = store.root / "records" / "phantom_ct" / record.cell.slug
    assert (folder / "record.json").is_file()
    assert (folder / "slices" / "liver.png").read_bytes() == b"PNG"
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "cases.parquet"), cases_of(2))
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "history.parquet"), history_of(2))


def test_the_checksums_are_those_of_sha256sum(store: Store) -> None:
    write(store, 0)
    folder = store.folder(record_of(0).cell)
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True)
    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == {"record.json", "cases.parquet", "history.parquet", "slices/liver.png"}


def test_the_first_record_wins(store: Store) -> None:
    assert write(store, 0, b"first")
    assert not write(store, 0, b"second")
    folder = store.folder(record_of(0).cell)
    assert (folder / "slices" / "liver.png").read_bytes() == b"first"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_tables_join_the_rows_of_all_records_with_their_cells(store: Store) -> None:
    for draw in range(3):
        write(store, draw)
    write(store, 0, method="scratch", task="amos_ct")
    cases = store.cases()
    assert tuple(cases.columns[: len(CELL_COLUMNS)]) == CELL_COLUMNS
    assert len(cases) == 4 * 6
    one = cases[(cases.draw == 1) & (cases.method == "smit")]
    assert one.dice.tolist() == cases_of(1).dice.tolist()
    assert set(one.key) == {record_of(1).key}
    assert set(one.corpus) == {"phantom_ct"} and set(one.pretrain_seed) == {0}
    assert set(cases[cases.task == "amos_ct"].method) == {"scratch"}
    histories = store.histories()
    assert len(histories) == 4 * 20
    assert histories[histories.draw == 2].loss.tolist()[:20] == history_of(2).loss.tolist()


def test_tables_with_different_columns_join(store: Store) -> None:
    write(store, 0)
    bare = cases_of(1).drop(columns="hd95").assign(nsd=0.5, hd=None)
    store.write(record_of(1), bare, history_of(1))
    cases = store.cases()
    assert cases[cases.draw == 1].hd95.isna().all() and cases[cases.draw == 0].nsd.isna().all()


@pytest.mark.filterwarnings("ignore:table skipped")
def test_several_processes_read_what_one_does(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for draw in range(7):
        write(store, draw)
    damaged = store.folder(record_of(3).cell) / "record.json"
    damaged.write_bytes(damaged.read_bytes() + b" ")
    with pytest.warns(UserWarning, match="record skipped") as alone:
        records, tables = store.read_all()
    monkeypatch.setattr("medssl_bench.record_folders.MANY_FOLDERS", 2)
    monkeypatch.setattr("medssl_bench.record_folders.CHUNK", 2)
    with pytest.warns(UserWarning, match="record skipped") as together:
        again, same = store.read_all()
    assert len(records) == 6 and again == records
    for name, table in tables.items():
        pd.testing.assert_frame_equal(same[name], table)
    assert [str(one.message) for one in together] == [str(one.message) for one in alone]


def test_an_empty_store_has_no_rows(store: Store) -> None:
    assert list(store.records()) == [] and list(store.pretrainings()) == []
    assert store.cases().empty and list(store.cases().columns) == list(CELL_COLUMNS)


def test_a_table_that_cannot_be_joined_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="status"):
        store.write(record_of(0), cases_of(0).drop(columns="status"), history_of(0))
    with pytest.raises(ValueError, match="task"):
        store.write(record_of(0), cases_of(0).assign(task="x"), history_of(0))
    assert list(store.records()) == []


@pytest.mark.parametrize("name", ["record.json", "SHA256SUMS"])
@pytest.mark.parametrize("how", ["flipped", "truncated", "removed"])
def test_a_damaged_record_names_itself_and_the_others_are_read(
    store: Store, name: str, how: str
) -> None:
    for draw in range(3):
        write(store, draw)
    cell = record_of(1).cell
    path = store.folder(cell) / name
    if how == "flipped":
        damage(path, 0.6)
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:50])
    else:
        path.unlink()
    with pytest.warns(UserWarning, match=cell.slug) as caught:
        assert sorted(record.cell.draw for record in store.records()) == [0, 2]
    assert len(caught) == 1
    for ask in (store.has, store.read):
        with pytest.raises(BenchError, match="damaged.*remove this folder"):
            ask(cell)


def test_a_changed_number_is_noticed(store: Store) -> None:
    write(store, 0)
    path = store.folder(record_of(0).cell) / "record.json"
    text = path.read_text()
    path.write_text(text.replace('"dice": 0.75', '"dice": 0.95'))
    assert path.read_text() != text
    with pytest.warns(UserWarning, match="not as it was written"):
        assert list(store.records()) == []


@pytest.mark.parametrize("position", [0.1, 0.5, 0.9])
def test_a_damaged_table_names_itself(store: Store, position: float) -> None:
    for draw in range(2):
        record = record_of(draw).model_copy(update={"similarity": None})
        store.write(record, cases_of(draw), history_of(draw))
    damage(store.folder(record_of(0).cell) / "cases.parquet", position)
    with pytest.warns(UserWarning, match="table skipped.*cases.parquet"):
        assert set(store.cases().draw) == {1}
    with pytest.warns(UserWarning, match="record skipped.*cases.parquet is not as it was written"):
        assert [one.cell.draw for one in store.records(whole=True)] == [1]


def test_a_record_in_another_cell_s_folder_is_refused(store: Store) -> None:
    write(store, 0)
    folder = store.folder(record_of(0).cell)
    folder.rename(folder.with_name(record_of(1).cell.slug))
    with pytest.raises(BenchError, match="it is the record of"):
        store.has(record_of(1).cell)


def test_which_of_many_cells_are_recorded(store: Store, tmp_path: Path) -> None:
    records = [record_of(draw) for draw in range(4)]
    cells = [record.cell for record in records]
    assert store.recorded(cells) == frozenset()
    for draw in (0, 2):
        write(store, draw)
    assert store.recorded(cells) == {cells[0].key, cells[2].key}
    assert store.recorded([]) == frozenset()
    assert Store(tmp_path / "none", read_only=True, missing_ok=True).recorded(cells) == frozenset()
    damage(store.folder(cells[2]) / "record.json")
    with pytest.raises(BenchError, match=r"record\.json is not as it was written"):
        store.recorded(cells)
    assert store.recorded([cells[0], cells[1]]) == {cells[0].key}
    # The record of another cell, sound in itself.
    shutil.copytree(store.folder(cells[0]), store.folder(cells[1]))
    with pytest.raises(BenchError, match="it is the record of"):
        store.recorded(cells[:2])


def test_what_a_killed_writer_left_is_ignored_and_later_removed(store: Store) -> None:
    folder = store.folder(record_of(0).cell)
    old, new = (folder.parent / f".{folder.name}.{name}" for name in ("old", "new"))
    for path in (old, new):
        path.mkdir(parents=True)
        (path / "record.json").write_text("{")
    os.utime(old, (0, 0))
    assert list(store.records()) == []
    assert write(store, 0)
    assert not old.exists() and new.exists()


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(store: Store) -> None:
    blocker = store.root / "records"
    blocker.write_text("a file where a folder should be")
    with pytest.raises(CaseError, match="cannot be written"):
        write(store, 0)
    blocker.unlink()
    assert write(store, 0)


def test_a_newer_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": 2}')
    for read_only in (True, False):
        with pytest.raises(BenchError, match="written by a newer version"):
            Store(tmp_path, read_only=read_only)
    assert [path.name for path in tmp_path.iterdir()] == ["store.json"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match="cannot be written.*--results"):
        Store(tmp_path / "file" / "results")
    with pytest.raises(BenchError, match="no results in"):
        Store(tmp_path / "absent", read_only=True)
    assert not (tmp_path / "absent").exists()
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(BenchError, match="store.json: damaged"):
        Store(tmp_path)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused_but_read(tmp_path: Path) -> None:
    write(Store(tmp_path), 0)
    tmp_path.chmod(0o555)
    with pytest.raises(BenchError, match="cannot be written"):
        Store(tmp_path)
    assert len(list(Store(tmp_path, read_only=True).records())) == 1
    tmp_path.chmod(0o755)


def test_opening_again_keeps_the_folder_s_birth(tmp_path: Path) -> None:
    Store(tmp_path)
    text = (tmp_path / "store.json").read_text()
    Store(tmp_path)
    assert (tmp_path / "store.json").read_text() == text
    assert json.loads(text)["format"] == 1


def test_a_pretrained_encoder_is_read_back_bit_for_bit(store: Store) -> None:
    import torch

    state = state_of(0)
    assert not store.has_pretraining(KEY)
    assert store.write_pretraining(KEY, {"method": "smit"}, state, history_of(1))
    assert not store.write_pretraining(KEY, {"method": "other"}, state_of(1), history_of(1))
    assert store.has_pretraining(KEY)
    info, path = store.read_pretraining(KEY)
    assert info == {"method": "smit", "key": KEY, "weights_digest": weights_digest(state)}
    assert path.is_file()
    weights = store.read_weights(KEY)
    assert weights.keys() == state.keys()
    for name, tensor in state.items():
        assert weights[name].dtype == tensor.dtype and torch.equal(weights[name], tensor)
    assert len(store.read_pretraining_history(KEY)) == 20
    assert list(store.pretrainings()) == [info]


@pytest.mark.parametrize("position", [0.05, 0.3, 0.6, 1.0])
def test_a_flipped_bit_in_weights_is_noticed(store: Store, position: float) -> None:
    store.write_pretraining(KEY, {}, state_of(0), history_of(1))
    damage(store.pretraining_folder(KEY) / "encoder.safetensors", position)
    with pytest.raises(CaseError, match=f"{KEY}: damaged.*remove this folder"):
        store.read_pretraining(KEY)


def test_truncated_missing_and_swapped_weights_are_noticed(store: Store) -> None:
    other = "b" * 64
    store.write_pretraining(KEY, {}, state_of(0), history_of(1))
    store.write_pretraining(other, {}, state_of(1), history_of(1))
    path = store.pretraining_folder(KEY) / "encoder.safetensors"
    content = path.read_bytes()
    path.write_bytes((store.pretraining_folder(other) / path.name).read_bytes())
    with pytest.raises(CaseError, match="not as it was written"):
        store.read_pretraining(KEY)
    path.write_bytes(content[:-3])
    with pytest.raises(CaseError, match="damaged"):
        store.read_weights(KEY)
    path.unlink()
    with pytest.raises(CaseError, match="damaged"):
        store.read_weights(KEY)
    with pytest.raises(BenchError, match="no pretraining"):
        store.read_pretraining("c" * 64)


def test_of_two_processes_one_writes(tmp_path: Path) -> None:
    Store(tmp_path)
    racers = [start("race", tmp_path) for _ in range(2)]
    try:
        for racer in racers:
            assert wait_for_line(racer) == "ready"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        won = [json.loads(wait_for_line(racer)) for racer in racers]
    finally:
        for racer in racers:
            racer.communicate()
    assert [sum(pair) for pair in zip(*won, strict=True)] == [1] * 20
    assert len(list(Store(tmp_path).records())) == 20


def test_after_a_kill_every_record_that_can_be_seen_is_complete(tmp_path: Path) -> None:
    store = Store(tmp_path)
    chance = random.Random(0)
    for first in (0, 10_000, 20_000):
        writer = start("loop", tmp_path, first)
        assert wait_for_line(writer) == "ready"
        time.sleep(0.1 + 0.1 * chance.random())
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    records = list(store.records())
    assert records
    assert len(store.cases()) == 6 * len(records)
    assert len(store.histories()) == 20 * len(records)
    for record in records:
        assert len((store.folder(record.cell) / "slices" / "liver.png").read_bytes()) == 100_000


def draws(first: int) -> Iterator[int]:
    while True:
        yield first
        first += 1


if __name__ == "__main__":
    shared = Store(Path(sys.argv[2]))
    cases_of(0).to_parquet(os.devnull)
    print("ready", flush=True)
    if sys.argv[1] == "race":
        sys.stdin.readline()
        print([write(shared, draw) for draw in range(20)].__repr__().lower(), flush=True)
    else:
        for number in draws(int(sys.argv[3])):
            write(shared, number, b"x" * 100_000)
