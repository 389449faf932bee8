"""MLflow as a sink: every recorded cell and pretraining appears there as one run.

The truth is the results folder; this copies from it, in one process and one background thread, and
can be repeated at any time. A tracker that fails says so once and never stops training.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from medssl_bench.claims import Claim
from medssl_bench.progress import Emit, Event

if TYPE_CHECKING:
    from medssl_bench.store import Store

EXPERIMENT = "medssl-bench"
_STALE_SECONDS = 120.0
"""A copying process elsewhere that was silent for this long is gone."""
_PAUSE_SECONDS = 0.5


class Tracker:
    """Copies new records to MLflow while work goes on; use as a context manager."""

    def __init__(self, results: Path, enabled: bool, emit: Emit) -> None:
        """Track to ``MLFLOW_TRACKING_URI``, else to SQLite in the results folder."""
        self._results, self._enabled, self._emit = results, enabled, emit
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Tracker:
        """Start the background thread."""
        if self._enabled:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Copy what is left, then stop."""
        if self._enabled:
            self._stop.set()
            self._wake.set()
            self._thread.join()

    def notice(self) -> None:
        """Something was recorded."""
        self._wake.set()

    def _run(self) -> None:
        try:
            while True:
                self._wake.wait()
                last = self._stop.is_set()
                self._wake.clear()
                while sync_alone(self._results) is None and last:
                    time.sleep(_PAUSE_SECONDS)
                if last:
                    return
        except Exception as error:
            note = f"tracking stopped: {type(error).__name__}: {error}; results are not affected"
            self._emit(Event("tracking", note=note, state="message"))


def sync_alone(results: Path) -> int | None:
    """Copy new records; returns how many, None where another process of this folder does so.

    Two at once would copy a record twice, and would make the tables of a new SQLite file twice.
    """
    claim = Claim.acquire(results / "tracking", "mlflow", stale_after=_STALE_SECONDS)
    if claim is None:
        return None
    try:
        return sync(results)
    finally:
        claim.release(done=True)


def tracking_uri(results: Path) -> str:
    """Where MLflow keeps what is copied from a results folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{results.absolute()}/mlflow.db"


def has_server() -> bool:
    """Whether MLflow is a server, which any number of nodes may write to at once."""
    return os.environ.get("MLFLOW_TRACKING_URI", "").startswith(("http://", "https://"))


def sync(results: Path, only: Collection[str] | None = None) -> int:
    """Copy every record that MLflow does not have yet; returns how many were copied.

    ``only``: keys of recorded cells and pretrainings, to look at nothing else.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
    import logging

    from mlflow import MlflowClient

    from medssl_bench.store import Store

    # After the import, which sets levels of its own.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    uri = tracking_uri(results)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        place = None
        if uri.startswith("sqlite"):
            place = (results.absolute() / "mlflow-artifacts").as_uri()
        number = client.create_experiment(EXPERIMENT, artifact_location=place)
    else:
        number = experiment.experiment_id
    store = Store(results, read_only=True)
    known = _known(client, number, only)
    copied = 0
    if only is None:
        pretrainings, records = store.pretrainings(), store.records()
    else:
        made = (key for key in only if store.has_pretraining(key))
        pretrainings = (store.read_pretraining_info(key) for key in made)
        records = (store.read(key) for key in only if not store.has_pretraining(key))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for info in pretrainings:
            if info["key"] not in known:
                _copy_pretraining(client, number, store, info)
                copied += 1
        for record in records:
            if record.key not in known:
                _copy_record(client, number, store, record)
                copied += 1
    return copied


def _known(client: Any, experiment: str, only: Collection[str] | None) -> set[str]:
    if only is not None:
        return {key for key in only if _known_by(client, experiment, f"tags.`bench.key` = '{key}'")}
    return _known_by(client, experiment, "")


def _known_by(client: Any, experiment: str, words: str) -> set[str]:
    known: set[str] = set()
    token = None
    while True:
        page = client.search_runs(
            [experiment], filter_string=words, max_results=1000, page_token=token
        )
        known |= {
            run.data.tags["bench.key"]
            for run in page
            if "bench.key" in run.data.tags and run.info.status == "FINISHED"
        }
        token = page.token
        if not token:
            return known


def _copy_pretraining(client: Any, experiment: str, store: Store, info: dict[str, Any]) -> None:
    name = f"pretrain {info['method']} on {info['corpus']}"
    params = {
        **{k: info[k] for k in ("method", "backbone", "corpus", "pretrain_seed")},
        **_flat(info["settings"], "pretrain."),
        **_flat(info["config"], "method."),
    }
    folder = store.pretraining_folder(info["key"])
    history = store.read_pretraining_history(info["key"])
    _write(client, experiment, name, info["key"], "pretraining", params, {}, history, folder)


def _copy_record(client: Any, experiment: str, store: Store, record: Any) -> None:
    import pandas as pd

    cell = record.cell
    name = f"{cell.method} {cell.task} {cell.shots} draw {cell.draw} seed {cell.seed}"
    trained = "own_training" if "own_training" in record.settings else "finetune"
    params = {**cell.model_dump(), **_flat(record.settings[trained], f"{trained}.")}
    params["profile"] = record.profile
    figures = {
        f"{target}.{metric}": value
        for target, values in record.metrics.items()
        for metric, value in values.items()
        if value is not None
    }
    folder = store.folder(cell)
    history = pd.read_parquet(folder / "history.parquet")
    _write(client, experiment, name, record.key, "cell", params, figures, history, folder)


def _write(
    client: Any,
    experiment: str,
    name: str,
    key: str,
    kind: str,
    params: dict[str, Any],
    figures: dict[str, float],
    history: Any,
    folder: Path,
) -> None:
    import math
    import time

    from mlflow.entities import Metric, Param

    run = client.create_run(
        experiment, run_name=name, tags={"bench.key": key, "bench.kind": kind}
    ).info.run_id
    now = int(time.time() * 1000)
    points = [
        Metric(column, float(row[column]), now, int(row["step"]))
        for row in history.to_dict("records")
        for column in row
        if column != "step" and row[column] is not None and math.isfinite(row[column])
    ]
    points += [Metric(k, float(v), now, 0) for k, v in figures.items() if math.isfinite(v)]
    client.log_batch(run, params=[Param(k, str(v)[:500]) for k, v in params.items()])
    for start in range(0, len(points), 1000):
        client.log_batch(run, metrics=points[start : start + 1000])
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in {".json", ".parquet", ".png"}:
            inside = path.parent.relative_to(folder).as_posix()
            client.log_artifact(run, str(path), None if inside == "." else inside)
    client.set_terminated(run, "FINISHED")


def _flat(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
