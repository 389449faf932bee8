"""Names to things, without importing them: lazy ``module:attr`` look-up with metadata.

A table of entries answers ``bench list`` and validates names without torch. Entries come from this
package's own tables, from installed packages (entry points) and from ``--plugin FILE.py``.
"""

from __future__ import annotations

import fnmatch
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from medssl_bench.digest import digest
from medssl_bench.errors import BenchError, did_you_mean


@dataclass(frozen=True)
class Entry:
    """One registered thing: where it is (``module:attr`` or the object itself) and what it is."""

    target: str | Any
    summary: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    argument: str = ""
    """What is written after the name and a colon, such as ``FILE``; empty where nothing is."""

    def load(self) -> Any:
        """Import and return the thing."""
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)


class Registry:
    """A table of named entries of one kind (``method``, ``task``, ``backbone``, ``corpus``)."""

    def __init__(self, kind: str, table: str, group: str) -> None:
        """Read the table at ``module:attr`` lazily; ``group`` is the entry-point group."""
        self.kind = kind
        self._table = table
        self._group = group
        self._entries: dict[str, Entry] | None = None

    def entries(self) -> dict[str, Entry]:
        """Return every entry by name."""
        if self._entries is None:
            table: dict[str, Entry] = Entry(self._table).load()
            self._entries = dict(table)
            for point in entry_points(group=self._group):
                self._add(point.name, Entry(point.value, f"from {point.dist and point.dist.name}"))
        return self._entries

    def add(self, name: str, entry: Entry) -> None:
        """Register one more entry; a name that is taken is an error."""
        self.entries()
        self._add(name, entry)

    def _add(self, name: str, entry: Entry) -> None:
        assert self._entries is not None
        if name in self._entries and self._entries[name] != entry:
            raise BenchError(f"{self.kind} {name!r} is registered twice; rename one of them")
        self._entries[name] = entry

    def entry(self, name: str) -> Entry:
        """Return the entry of this name; an unknown name is an error with the nearest offered."""
        known = self.entries()
        word, colon, _ = name.partition(":")
        if colon and word in known and known[word].argument:
            return known[word]
        if name not in known:
            raise BenchError(
                f"unknown {self.kind} {name!r}.{did_you_mean(name, known)}"
                f" See `{LISTINGS.get(self.kind) or 'bench list ' + PLURALS[self.kind]}`."
            )
        return known[name]

    def load(self, name: str) -> Any:
        """Import and return the thing of this name."""
        return self.entry(name).load()

    def match(self, pattern: str) -> list[str]:
        """Return names for ``all``, ``family:X``, a wildcard, or one name (validated).

        What needs an argument is found by its name alone: ``checkpoint:FILE``.
        """
        everything = self.entries()
        word, _, argument = pattern.partition(":")
        if word in everything and everything[word].argument:
            if not argument:
                raise BenchError(
                    f"{self.kind} {word} is written {word}:{everything[word].argument}"
                )
            return [pattern]
        known = {name: entry for name, entry in everything.items() if not entry.argument}
        if pattern == "all":
            return list(known)
        if pattern.startswith("family:"):
            family = pattern.removeprefix("family:")
            families = {str(entry.info.get("family")) for entry in known.values()}
            if family not in families:
                raise BenchError(
                    f"unknown family {family!r} of {PLURALS[self.kind]}."
                    f"{did_you_mean(family, families)} Known: {', '.join(sorted(families))}"
                )
            return [name for name, entry in known.items() if entry.info.get("family") == family]
        if any(mark in pattern for mark in "*?["):
            found = fnmatch.filter(known, pattern)
            if not found:
                raise BenchError(f"no {self.kind} matches {pattern!r}")
            return found
        self.entry(pattern)
        return [pattern]


LISTINGS = {"analysis": "bench analyze --list"}
"""What lists a kind, where it is not ``bench list``."""
PLURALS = {
    "method": "methods",
    "task": "tasks",
    "backbone": "backbones",
    "corpus": "corpora",
    "analysis": "analyses",
}

methods = Registry("method", "medssl_bench.methods:METHODS", "bench.methods")
tasks = Registry("task", "medssl_bench.tasks:TASKS", "bench.tasks")
backbones = Registry("backbone", "medssl_bench.networks:BACKBONES", "bench.backbones")
analyses = Registry("analysis", "medssl_bench.analysis.studies:ANALYSES", "bench.analyses")
corpora = Registry("corpus", "medssl_bench.tasks.corpora:CORPORA", "bench.corpora")


def load_plugin(path: Path) -> None:
    """Import a user's file, which registers its own things through ``registry.methods.add`` etc."""
    if not path.is_file():
        raise BenchError(f"--plugin {path}: no such file")
    # The same in every process, so that what a plugin defines can be pickled between them.
    name = f"bench_plugin_{path.stem}_{digest(str(path.resolve()))[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BenchError(f"--plugin {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, (BenchError, KeyboardInterrupt)):
            raise
        raise BenchError(f"--plugin {path}: {type(error).__name__}: {error}") from error


def load_plugins(paths: Iterable[Path]) -> None:
    """Import several plugins; child processes do so before they unpickle a plan."""
    for path in paths:
        load_plugin(path)
