"""The command that makes a cell again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from medssl_bench import registry
from medssl_bench.config import load_settings, profile_names

SECTIONS = ("pretrain", "finetune", "evaluate", "similarity")
"""Parts of the settings whose differences from the profile are given by ``--set``."""


def command(record: Mapping[str, Any]) -> str:
    """Return the ``bench run`` that repeats a record's cell, with the settings it was run with.

    Draws and seeds are numbered from 0, so the least number that holds this cell is asked for; the
    others that come with it are cells of their own.
    """
    cell, settings = record["cell"], record["settings"]
    words = ["bench", "run", "--profile", record["profile"], "--methods", cell["method"]]
    # One that the package does not bring was a file of whoever ran it.
    known = cell["task"] in registry.tasks.entries()
    words += ["--tasks", cell["task"] if known else f"{cell['task']}.yaml"]
    words += ["--shots", cell["shots"]]
    words += ["--draws", str(cell["draw"] + 1), "--seeds", str(cell["seed"] + 1)]
    words += ["--backbone", cell["backbone"]]
    if record["corpus"]:
        words += ["--corpus", record["corpus"], "--pretrain-seed", str(record["pretrain_seed"])]
        if settings.get("corpus_size"):
            words += ["--corpus-size", str(settings["corpus_size"])]
    if settings.get("select"):
        words += ["--select", settings["select"]]
    for key, value in _differences(record["profile"], settings):
        words += ["--set", f"{key}={value}"]
    return shlex.join(words)


def _differences(profile: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each recorded setting that is not the profile's, as ``--set`` takes it."""
    usual = _profile(profile)
    for name in (*SECTIONS, "precision"):
        if name not in settings:
            continue
        for key, value in _leaves(settings[name], name):
            if key not in usual or usual[key] != value:
                yield key, value if isinstance(value, str) else json.dumps(value)


@lru_cache(maxsize=8)
def _profile(name: str) -> dict[str, Any]:
    if name not in profile_names():
        return {}
    return dict(_leaves(load_settings(name).model_dump(mode="json")))


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value
