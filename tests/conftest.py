"""Shared fixtures. Threads per process = cores / processes, workers of xdist included."""

import locale
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from medssl_bench import registry

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


@contextmanager
def registered_things_forgotten() -> Iterator[None]:
    """Leave the registries, and the plugins that count as loaded, as they were found."""
    known = [
        registry.methods, registry.tasks, registry.backbones, registry.corpora, registry.analyses,
    ]  # fmt: skip
    entries = [dict(each.entries()) for each in known]
    modules = set(sys.modules)
    yield
    for each, before in zip(known, entries, strict=True):
        now = each.entries()
        now.clear()
        now.update(before)
    for name in set(sys.modules) - modules:
        if name.startswith("bench_plugin_"):
            del sys.modules[name]


@pytest.fixture(autouse=True, scope="module")
def _what_a_module_registers_is_forgotten() -> Iterator[None]:
    with registered_things_forgotten():
        yield


@pytest.fixture(autouse=True)
def _what_a_test_registers_is_forgotten(_what_a_module_registers_is_forgotten) -> Iterator[None]:
    with registered_things_forgotten():
        yield


@pytest.fixture(autouse=True)
def _the_locale_stays() -> Iterator[None]:
    """Files are read as UTF-8 whatever a library sets: SimpleITK's DICOM sets the locale to C."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)
