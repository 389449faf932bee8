"""Shared fixtures. Threads per process = cores / processes, workers of xdist included."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
threads = os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // workers)
# MKL follows OMP_NUM_THREADS; a number of its own would outvote it in torch, in subprocesses too.
os.environ.pop("MKL_NUM_THREADS", None)
for name in ("OMP_NUM_THREADS", "BLOSC_NTHREADS"):
    os.environ.setdefault(name, str(threads))
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")


@pytest.fixture(scope="session")
def playwright() -> Iterator[Any]:
    """Drives browsers; only one may run in a process."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    with sync_api.sync_playwright() as found:
        yield found
