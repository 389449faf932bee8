"""The results folder: records and pretrained encoders, written once and never overwritten.

::

    store.json
    records/<task>/<slug>/{record.json, cases.parquet, history.parquet, similarity.parquet,
                           attention.parquet, missing.parquet, slices/*.png,
                           predictions/*.nii.gz, SHA256SUMS}
    pretraining/<key>/{pretraining.json, encoder.safetensors, extras.safetensors, history.parquet,
                       pictures/*.png, SHA256SUMS}
    work/                      claims and checkpoints of unfinished work
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl_bench.digest import weights_digest
from medssl_bench.durable import (
    create_once,
    damaged,
    publish_folder,
    read_verified,
    temporary_name,
)
from medssl_bench.errors import BenchError, DamagedError
from medssl_bench.record import (
    SCHEMA_VERSION,
    Cell,
    Record,
    folder_name,
    utc_now,
)
from medssl_bench.record_folders import (
    TABLES,
    published_folders,
    published_names,
    read_folders,
    read_record,
)
from medssl_bench.tables import check_columns, join, read_table

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

FORMAT = 1
"""Raised when the folder's layout changes; a folder of a newer format is refused."""

READERS = 16
"""Threads that read records; a network file system answers many at once."""

CASE_COLUMNS = ("case", "target", "status")
"""What every row of a case table must say, beside its metrics."""


class Store:
    """A results folder, which several processes and nodes may share."""

    def __init__(
        self, root: Path | str, *, read_only: bool = False, missing_ok: bool = False
    ) -> None:
        """Open the folder, creating it unless ``read_only``.

        With ``missing_ok`` a folder that is read only need not exist yet: it holds nothing.

        Raises BenchError where it is missing, cannot be written, or has a newer format.
        """
        self.root = root = Path(root)
        self.work = root / "work"
        if not read_only:
            self._create()
        if not (missing_ok and not (root / "store.json").exists()):
            self._check_format(read_only)

    def _create(self) -> None:
        header = {"format": FORMAT, "created": utc_now().isoformat()}
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = temporary_name(self.root / "probe")
            probe.touch(exist_ok=False)
            probe.unlink()
            create_once(self.root / "store.json", (json.dumps(header) + "\n").encode())
        except OSError as error:
            raise BenchError(
                f"results folder {self.root}: cannot be written ({error.strerror});"
                " choose another with --results"
            ) from None

    def _check_format(self, read_only: bool) -> None:
        header = self.root / "store.json"
        try:
            found = json.loads(header.read_bytes())["format"]
        except OSError as error:
            if read_only and isinstance(error, (FileNotFoundError, NotADirectoryError)):
                raise BenchError(
                    f"no results in {self.root}: `bench run` makes some (--results)"
                ) from None
            raise BenchError(f"{header}: cannot be read ({error.strerror})") from None
        except (ValueError, TypeError, KeyError):
            found = None
        if not isinstance(found, int):
            raise BenchError(f'{header}: damaged; it should say {{"format": {FORMAT}}}')
        if found > FORMAT:
            raise BenchError(
                f"results folder {self.root}: written by a newer version (format {found}, this one"
                f" reads {FORMAT}); update medssl-bench or choose another with --results"
            )

    # Records

    def folder(self, cell: Cell) -> Path:
        """Return where the cell's record is or will be."""
        return self.root / "records" / folder_name(cell.task) / cell.slug

    def write(
        self,
        record: Record,
        cases: pd.DataFrame,
        history: pd.DataFrame,
        extra_files: Mapping[str, bytes] | None = None,
    ) -> bool:
        """Publish a finished cell; returns False where its record is there already.

        ``cases`` has one row per (case, target), ``history`` one per point; ``extra_files`` maps
        relative paths such as ``slices/liver.png`` to contents. Raises CaseError where the disk
        refuses.
        """
        check_columns(cases, CASE_COLUMNS)
        check_columns(history, ())
        text = record.to_json()

        def fill(folder: Path) -> None:
            _write_files(folder, extra_files)
            cases.to_parquet(folder / "cases.parquet", index=False)
            history.to_parquet(folder / "history.parquet", index=False)
            (folder / "record.json").write_bytes(text)

        return publish_folder(self.folder(record.cell), fill)

    def has(self, cell: Cell) -> bool:
        """Tell whether the cell is recorded; raises BenchError where its record is damaged."""
        folder = self.folder(cell)
        if not folder.exists():
            return False
        read_record(folder)
        return True

    def recorded(self, cells: Iterable[Cell]) -> frozenset[str]:
        """Return the keys of those cells that are recorded, for many at once.

        Folders are listed once for each task, and what is there is compared with its checksum and
        its key; the whole of a record is read by :meth:`has`. Raises BenchError where one is
        damaged.
        """
        wanted: dict[str, dict[str, str]] = {}
        for cell in cells:
            wanted.setdefault(cell.task, {})[cell.slug] = cell.key
        found: list[tuple[Path, str]] = []
        for task, slugs in wanted.items():
            folder = self.root / "records" / folder_name(task)
            there = published_names(folder)
            found += [(folder / slug, key) for slug, key in slugs.items() if slug in there]
        with ThreadPoolExecutor(READERS, thread_name_prefix="records") as pool:
            for _ in pool.map(_check_keys, [found[first::READERS] for first in range(READERS)]):
                pass
        return frozenset(key for _, key in found)

    def read(self, which: Cell | str) -> Record:
        """Read the record of a cell or of a key; raises BenchError where there is no sound one."""
        if isinstance(which, Cell):
            folders = [self.folder(which)]
        else:
            folders = list(self.root.glob(f"records/*/*_{which[:12]}"))
        for folder in folders:
            if folder.is_dir():
                return read_record(folder)
        name = which.slug if isinstance(which, Cell) else which
        raise BenchError(f"{self.root}: no record of {name}; see `bench status`")

    def records(self, *, whole: bool = False) -> Iterator[Record]:
        """Yield every sound record; a bad one names itself in a warning and is skipped.

        With ``whole`` its tables are compared with their checksums, too.
        """
        for folder in published_folders(self.root / "records", depth=2):
            try:
                record = read_record(folder)
                for name in TABLES if whole else ():
                    if TABLES[name](record):
                        read_verified(folder, f"{name}.parquet")
            except BenchError as error:
                warnings.warn(f"record skipped: {error}", stacklevel=2)
            else:
                yield record

    def cases(self) -> pd.DataFrame:
        """Return the case rows of all records, each with its cell's ``tables.CELL_COLUMNS``."""
        return self._table("cases")

    def histories(self) -> pd.DataFrame:
        """Return the histories of all records, each point with its cell's columns."""
        return self._table("history")

    def similarities(self) -> pd.DataFrame:
        """Return the CKA of all records that have it, each row with its cell's columns."""
        return self._table("similarity")

    def attention(self) -> pd.DataFrame:
        """Return where heads look in all records that tell, each row with its cell's columns."""
        return self._table("attention")

    def read_all(
        self, names: Sequence[str] = tuple(TABLES)
    ) -> tuple[list[Record], dict[str, pd.DataFrame]]:
        """Read every sound record and these tables (see ``TABLES``) of all, each file once.

        A damaged record or table names itself in a warning; a record without its case rows is
        none.
        """
        parts = read_folders(list(published_folders(self.root / "records", depth=2)), names)
        for fault in (fault for part in parts for fault in part.faults):
            warnings.warn(fault, stacklevel=2)
        records = [record for part in parts for record in part.records]
        return records, {name: join([part.tables[name] for part in parts]) for name in names}

    def _table(self, name: str) -> pd.DataFrame:
        """Join one table of all records that hold it; a damaged one names itself in a warning."""
        return self.read_all([name])[1][name]

    # Pretrained encoders

    def pretraining_folder(self, key: str) -> Path:
        """Return where the pretraining of this key is or will be."""
        return self.root / "pretraining" / folder_name(key)

    def write_pretraining(
        self,
        key: str,
        info: Mapping[str, Any],
        state: Mapping[str, Tensor],
        history: pd.DataFrame,
        extras: Mapping[str, Tensor] | None = None,
        extra_files: Mapping[str, bytes] | None = None,
    ) -> bool:
        """Publish a pretrained encoder; returns False where it is there already.

        ``info`` is JSON-like; ``key``, ``weights_digest`` and, where there are ``extras``, which
        fine-tuning needs beside the encoder, ``extras_digest`` are added to it. ``extra_files``
        maps relative paths to contents.
        """
        from safetensors.torch import save_file

        weights, others = _on_cpu(state), _on_cpu(extras or {})
        full = {**info, "key": key, "weights_digest": weights_digest(weights)}
        if others:
            full["extras_digest"] = weights_digest(others)
        text = json.dumps(full, indent=1, allow_nan=False) + "\n"

        def fill(folder: Path) -> None:
            _write_files(folder, extra_files)
            save_file(weights, folder / "encoder.safetensors", metadata={"format": "pt"})
            if others:
                save_file(others, folder / "extras.safetensors", metadata={"format": "pt"})
            history.to_parquet(folder / "history.parquet", index=False)
            (folder / "pretraining.json").write_text(text)

        return publish_folder(self.pretraining_folder(key), fill)

    def has_pretraining(self, key: str) -> bool:
        """Tell whether the pretraining of this key is done."""
        return self.pretraining_folder(key).exists()

    def read_pretraining(self, key: str) -> tuple[dict[str, Any], Path]:
        """Return a pretraining's info and its weights file.

        Raises BenchError where it is missing, DamagedError where the weights are not those whose
        digest was recorded.
        """
        info = self.read_pretraining_info(key)
        self.read_weights(key, info)
        return info, self.pretraining_folder(key) / "encoder.safetensors"

    def read_pretraining_info(self, key: str) -> dict[str, Any]:
        """Return what is known of a pretraining, without reading its weights."""
        folder = self.pretraining_folder(key)
        if not folder.is_dir():
            raise BenchError(f"{self.root}: no pretraining {key}; see `bench status`")
        info: dict[str, Any] = json.loads(read_verified(folder, "pretraining.json"))
        if info["key"] != key:
            raise damaged(folder, f"it is pretraining {info['key']}")
        return info

    def read_weights(self, key: str, info: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
        """Return the encoder's weights on the CPU; raises DamagedError where they are damaged."""
        expected = (info or self.read_pretraining_info(key))["weights_digest"]
        return _read_tensors(self.pretraining_folder(key) / "encoder.safetensors", expected)

    def read_extras(self, key: str) -> dict[str, Tensor]:
        """Return what fine-tuning needs beside the weights; empty where nothing was kept.

        Raises DamagedError where it is damaged.
        """
        expected = self.read_pretraining_info(key).get("extras_digest")
        if expected is None:
            return {}
        return _read_tensors(self.pretraining_folder(key) / "extras.safetensors", expected)

    def read_pretraining_history(self, key: str) -> pd.DataFrame:
        """Return the points of a pretraining's history."""
        frame: pd.DataFrame = read_table(
            self.pretraining_folder(key), "history.parquet"
        ).to_pandas()
        return frame

    def pretrainings(self) -> Iterator[dict[str, Any]]:
        """Yield the info of every pretraining; a bad one names itself in a warning."""
        for folder in published_folders(self.root / "pretraining", depth=1):
            try:
                yield self.read_pretraining_info(folder.name)
            except BenchError as error:
                warnings.warn(f"pretraining skipped: {error}", stacklevel=2)


def _on_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies that lie in memory in order."""
    copies = {name: value.detach().to("cpu", copy=True) for name, value in state.items()}
    return {name: value.contiguous() for name, value in copies.items()}


def _read_tensors(path: Path, expected: str) -> dict[str, Tensor]:
    """Read a file of tensors; raises DamagedError where their digest is not the expected one."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DamagedError(str(damaged(path.parent, f"{path.name}: {error}"))) from None
    if weights_digest(state) != expected:
        raise DamagedError(str(damaged(path.parent, f"{path.name} is not as it was written")))
    return state


def _write_files(folder: Path, files: Mapping[str, bytes] | None) -> None:
    """Write contents by their relative path."""
    for name, content in (files or {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _check_keys(found: Sequence[tuple[Path, str]]) -> None:
    """Raise BenchError where a published folder is damaged or is not the record of its key."""
    version = f'"schema_version": {SCHEMA_VERSION},'.encode()  # as Record.to_json has it
    for folder, key in found:
        content = read_verified(folder, "record.json")
        if version not in content or f'"key": "{key}",'.encode() not in content:
            read_record(folder)
