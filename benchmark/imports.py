"""Methods of a plan whose encoder comes from a file: which file, which backbone, does it fit."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl_bench import registry
from medssl_bench.data.digest_index import INDEX
from medssl_bench.digest import digest
from medssl_bench.errors import BenchError, did_you_mean

if TYPE_CHECKING:
    from medssl_bench.plan import Request
    from medssl_bench.store import Store

IMPORT_VERSION = 1
"""Raised when the same file would give other weights."""

STATED = ("corpus", "licence", "reference")
"""What the user may say of a file; it is recorded and decides no weights."""


@dataclass(frozen=True)
class ImportJob:
    """One encoder to take from a file, in place of a pretraining."""

    key: str
    method: str
    config: dict[str, Any]
    backbone: str
    path: Path
    sha256: str
    versions: dict[str, Any]

    @property
    def title(self) -> str:
        """How progress lines call it."""
        return f"import {self.method}"


@dataclass(frozen=True)
class Source:
    """The file of a method, before anybody opened it."""

    path: Path
    config: dict[str, Any]
    backbone: str


def find_sources(
    methods: Sequence[str], request: Request
) -> tuple[list[str], dict[str, Source], list[str]]:
    """Find the files of the methods that need one, and name ``checkpoint:FILE`` after its file.

    What a pattern such as ``all`` brought along is left out where its file is missing.

    Returns:
        The methods by their names, the sources by name, and notes for the user.

    Raises:
        BenchError: no such file, two files of one name, or settings of a file nobody asked for.
    """
    names: list[str] = []
    sources: dict[str, Source] = {}
    notes: list[str] = []
    for asked in methods:
        if not registry.methods.load(asked).requires.file:
            names.append(asked)
            continue
        try:
            name, source = _find_source(asked, request)
        except BenchError as error:
            if asked in request.methods or len(methods) == 1:
                raise
            notes.append(f"left out: {error}")
            continue
        if name in sources:
            raise BenchError(
                f"{sources[name].path} and {source.path} are both called {name};"
                " rename one of them, or run them one after the other"
            )
        names.append(name)
        sources[name] = source
        if source.backbone != request.settings.backbone:
            notes.append(
                f"{name} runs on backbone {source.backbone}; for its gain over scratch, run scratch"
                f" with --backbone {source.backbone} too"
            )
    for name in request.settings.methods:
        if ":" in name and name not in sources:
            near = did_you_mean(name, sources)
            raise BenchError(f"setting methods.{name}: no method of this name is run.{near}")
    return names, sources, notes


def _find_source(asked: str, request: Request) -> tuple[str, Source]:
    from medssl_bench.keys import method_config

    kind = registry.methods.load(asked)
    word, colon, argument = asked.partition(":")
    name = f"{word}:{_name_of(Path(argument))}" if colon else word
    of_all = request.settings.methods.get(word, {})
    config = method_config(name, {**of_all, **request.settings.methods.get(name, {})})
    path = kind.find(argument, kind.Config(**config), request.data.get(""))
    for key, value in _own_statement(path).items():
        if config[key] == "unknown":
            config[key] = value
    config.pop("path", None)  # where a file lies decides nothing and is nobody's business
    backbone = config["backbone"] or request.settings.backbone
    registry.backbones.entry(backbone)
    return name, Source(path, config, backbone)


def _own_statement(path: Path) -> dict[str, str]:
    """Return what a pretraining folder of ours says of its weights."""
    file = path / "pretraining.json"
    if not (path.is_dir() and file.is_file()):
        return {}
    try:
        info = json.loads(file.read_text("utf-8"))
        said = {name: info.get(name) for name in STATED}
        if said["licence"] is None and info.get("corpus_licence"):
            said["licence"] = f"that of the corpus: {info['corpus_licence']}"
        return {name: str(value) for name, value in said.items() if value}
    except (ValueError, TypeError, AttributeError) as error:
        raise BenchError(f"{file}: cannot be read: {error}") from error


def _name_of(path: Path) -> str:
    """Name a checkpoint after its file, or after the start of the key of one of our folders."""
    text = path.name[:12] if path.is_dir() else path.stem
    return re.sub(r"[^A-Za-z0-9_+-]+", "-", text)


def plan_import(name: str, source: Source, store: Store) -> tuple[ImportJob, list[str]]:
    """Make the job of one import; unless it is recorded, open its file and compare it.

    Raises:
        BenchError: the file cannot be trusted, or holds the weights of another backbone.
    """
    kind = registry.methods.load(name)
    info = registry.backbones.entry(source.backbone).info
    file = source.path / "encoder.safetensors" if source.path.is_dir() else source.path
    sha256 = INDEX.digest(file) if file.is_file() else ""
    versions = {
        "import": IMPORT_VERSION,
        "method": kind.version,
        "backbone": int(info.get("version", 1)),
    }
    decides = {
        "method": name, "backbone": source.backbone, "file": sha256, "versions": versions,
    }  # fmt: skip
    job = ImportJob(
        digest(decides), name, source.config, source.backbone, source.path, sha256, versions
    )
    if store.has_pretraining(job.key):
        return job, _other_statement(job, store)
    return job, _open(job)


def _open(job: ImportJob) -> list[str]:
    """Check that the file fits; returns what the user should know of it."""
    import torch

    from medssl_bench.networks import build_encoder
    from medssl_bench.networks.checkpoint_file import fit, merging_note, read_weights

    kind = registry.methods.load(job.method)
    weights = read_weights(job.path)
    if kind.layout not in (None, weights.layout):
        raise BenchError(
            f"{job.path}: not the file of {job.method}: its layout is {weights.layout}, not"
            f" {kind.layout}; any encoder is run by checkpoint:{job.path}"
        )
    with torch.device("meta"):  # shapes only, no memory
        encoder = build_encoder(job.backbone)
    fit(encoder, weights, job.backbone)
    note = merging_note(encoder, weights, job.backbone)
    return [note] if note else []


def _other_statement(job: ImportJob, store: Store) -> list[str]:
    info = store.read_pretraining_info(job.key)
    stated = statement(job.config, registry.methods.load(job.method))
    told = [name for name in STATED if info[name] != stated[name]]
    if not told:
        return []
    return [
        f"{job.method} is recorded with another {' and '.join(told)}; to have it recorded anew,"
        f" remove {store.pretraining_folder(job.key)} and the records that start from it"
    ]


def statement(config: Mapping[str, Any], kind: Any) -> dict[str, str]:
    """Return what is said of the weights, by the user or by the method's own class."""
    words = {name: str(config[name]) for name in STATED}
    if words["reference"] == "unknown":
        words["reference"] = kind.reference
    return words
