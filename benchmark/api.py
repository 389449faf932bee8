"""What the commands do, for notebooks and scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl_bench.progress import Emit, Event, Progress

if TYPE_CHECKING:
    import pandas as pd

    from medssl_bench.config import Settings
    from medssl_bench.estimate import Storage
    from medssl_bench.export import Export
    from medssl_bench.networks.encoder import Encoder
    from medssl_bench.plan import Plan
    from medssl_bench.survey import Survey
    from medssl_bench.training import Elsewhere
    from medssl_bench.worker import Failure
    from medssl_bench.workspace import Workspace

Words = str | int | Path | Sequence[str | int | Path]
Folders = str | Path | Mapping[str, Path | str] | Sequence[str | Path]


@dataclass(frozen=True)
class Run:
    """A finished (or only planned) run."""

    plan: Plan = field(repr=False)
    results: Path
    failures: list[Failure] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when nothing failed."""
        return not self.failures


def make_plan(
    methods: Words,
    tasks: Words | None,
    shots: Words = "full",
    *,
    profile: str | None = None,
    corpus: str | None = None,
    corpus_size: int | None = None,
    exclude_leaks: bool = False,
    backbone: str | None = None,
    crop: int | None = None,
    draws: int | None = None,
    seeds: int | None = None,
    pretrain_seed: int | None = None,
    select: str | None = None,
    keep_predictions: bool | None = None,
    device: str = "auto",
    devices: int = 1,
    data: Folders = (),
    split: Folders = (),
    results: Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
    plugins: Words = (),
    survey: Survey | None = None,
    elsewhere: Elsewhere | None = None,
) -> tuple[Plan, Path, Path]:
    """Validate a request; returns the plan, the results folder and the cache folder.

    ``tasks=None`` plans pretraining alone. ``crop`` is the side of the cubic crops of
    pretraining and fine-tuning in voxels; ``devices`` share each pretraining. ``data`` is a folder,
    a mapping name -> folder (of tasks and corpora), or a list of what ``--data`` takes; ``split``
    likewise, task -> files. ``exclude_leaks`` leaves out the volumes of the corpus in which
    ``bench data audit`` found test cases. ``keep_predictions`` keeps the label maps of test cases.
    Plans that are made with one ``survey`` read the data they have in common once.
    ``elsewhere`` takes the place of ``device`` and ``devices`` where another machine computes.

    Raises:
        BenchError: Anything is wrong with the request; nothing was started.
    """
    import torch

    from medssl_bench import registry
    from medssl_bench.data.digest_index import INDEX
    from medssl_bench.plan import Request, build_plan
    from medssl_bench.registry import load_plugin
    from medssl_bench.split_file import parse_splits
    from medssl_bench.store import Store
    from medssl_bench.tasks import load_tasks
    from medssl_bench.training import Compute, resolve_device, resolve_precision
    from medssl_bench.validation import check_writable
    from medssl_bench.workspace import load_workspace, parse_data

    workspace = load_workspace()
    files = tuple(Path(plugin) for plugin in _listed(plugins))
    for plugin in files:
        load_plugin(plugin)
    chosen = make_settings(
        workspace,
        profile=profile,
        corpus=corpus,
        corpus_size=corpus_size,
        exclude_leaks=exclude_leaks,
        backbone=backbone,
        crop=crop,
        draws=draws,
        seeds=seeds,
        pretrain_seed=pretrain_seed,
        select=select,
        keep_predictions=keep_predictions,
        settings=settings,
        assignments=assignments,
    )
    if elsewhere is None:
        where = resolve_device(device)
        threads = max(1, torch.get_num_threads() // (devices if where == "cpu" else 1))
        compute = Compute(where, resolve_precision(chosen.precision, where), threads, devices)
    else:
        compute = elsewhere.compute(chosen.precision)
    root = Path(results) if results is not None else workspace.results
    specs = () if tasks is None else _split(tasks)
    own = [] if tasks is None else load_tasks(specs)
    registered = {*registry.tasks.entries(), *registry.corpora.entries()}
    names = {*registered, *(task.name for task in own)}
    request = Request(
        methods=_split(methods),
        tasks=specs,
        shots=_split(shots),
        settings=chosen,
        data=parse_data(_data_words(data), workspace.data_folders(), names),
        splits=parse_splits(_data_words(split), [task.name for task in own]),
        plugins=files,
        device=device,
    )
    cache = workspace.cache or root / "cache"
    for folder in (root, cache):
        check_writable(folder)
    store = Store(root, read_only=True, missing_ok=True)
    INDEX.use(cache)
    return build_plan(request, compute, store, survey), root, cache


def make_settings(
    workspace: Workspace,
    *,
    profile: str | None = None,
    crop: int | None = None,
    exclude_leaks: bool = False,
    settings: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
    **asked: Any,
) -> Settings:
    """Settings of a request, as :func:`make_plan` takes it: bench.yaml's where it says nothing.

    Raises:
        BenchError: A setting that does not exist, or a value that does not fit.
    """
    from medssl_bench.config import load_settings

    defaults = ("corpus", "backbone", "draws", "seeds")
    asked |= {name: asked.get(name) or getattr(workspace, name) for name in defaults}
    asked["exclude_leaks"] = exclude_leaks or None
    asked["pretrain.crop"] = asked["finetune.crop"] = crop and [crop] * 3
    given = {key: value for key, value in asked.items() if value is not None}
    given.update(settings or {})
    from_file = [f"{key}={json.dumps(value, default=str)}" for key, value in workspace.set.items()]
    return load_settings(profile or workspace.profile, given, [*from_file, *assignments])


def run(
    methods: Words,
    tasks: Words,
    shots: Words = "full",
    *,
    workers: int = 1,
    emit: Emit | None = None,
    **options: Any,
) -> Run:
    """Pretrain, fine-tune, evaluate and record everything asked for that is not recorded yet.

    Args:
        methods: Names, ``all`` or ``family:mim``, as a list or joined by commas.
        tasks: Registered names or paths of ``task.yaml`` files.
        shots: ``5``, ``20%``, ``full``, as a list or joined by commas.
        workers: Processes that share the work on this machine.
        emit: Receives progress; by default it is shown on the terminal.
        options: As :func:`make_plan`.

    Raises:
        BenchError: Wrong use; nothing was started.
    """
    plan, root, cache = make_plan(methods, tasks, shots, **options)
    return execute(plan, root, cache, workers, emit)


def pretrain(methods: Words, *, workers: int = 1, emit: Emit | None = None, **options: Any) -> Run:
    """Run only the pretraining of these methods; a later :func:`run` starts from it.

    Args:
        methods: As for :func:`run`.
        workers: As for :func:`run`.
        emit: As for :func:`run`.
        options: As :func:`make_plan`, but for what concerns tasks.

    Raises:
        BenchError: Wrong use; nothing was started.
    """
    plan, root, cache = make_plan(methods, None, **options)
    return execute(plan, root, cache, workers, emit)


def execute(plan: Plan, root: Path, cache: Path, workers: int = 1, emit: Emit | None = None) -> Run:
    """Run what a plan misses."""
    from medssl_bench.runner import run_plan
    from medssl_bench.tracking import Tracker

    check_room(plan, root, cache)
    if emit is None:
        with Progress() as progress:
            return execute(plan, root, cache, workers, progress.emit)
    with Tracker(root, enabled=plan.settings.tracking, emit=emit) as tracker:

        def follow(event: Event) -> None:
            emit(event)
            if event.state == "done":
                tracker.notice()

        failures = run_plan(plan, root, cache, workers, follow)
    return Run(plan, root, failures)


def check_room(plan: Plan, root: Path, cache: Path) -> Storage:
    """Refuse to start on a disk that is too full; returns what the plan will take."""
    from medssl_bench.estimate import storage_bytes
    from medssl_bench.validation import check_disk, nearest_existing

    need = storage_bytes(plan, cache)
    if nearest_existing(root).stat().st_dev == nearest_existing(cache).stat().st_dev:
        check_disk(root, need.cache + need.results)
    else:
        check_disk(cache, need.cache)
        check_disk(root, need.results)
    return need


def load_results(folder: Path | str = "bench-results") -> pd.DataFrame:
    """Every recorded number: one row per (cell, case, target), with the cell's columns."""
    from medssl_bench.store import Store

    return Store(Path(folder), read_only=True).cases()


def load_encoder(checkpoint: Path | str) -> Encoder:
    """Rebuild a pretrained encoder, ready for anyone's own network.

    Args:
        checkpoint: A folder ``<results>/pretraining/<key>`` (or a file in it).

    Returns:
        The encoder in eval mode; calling it on ``(B, C, D, H, W)`` gives its named feature levels.

    Raises:
        BenchError: There is no sound pretraining there.
    """
    from medssl_bench.errors import BenchError
    from medssl_bench.networks import build_encoder
    from medssl_bench.store import Store

    folder = Path(checkpoint)
    folder = folder.parent if folder.is_file() else folder
    if not (folder / "pretraining.json").is_file():
        raise BenchError(f"{checkpoint}: no pretraining.json beside it; see <results>/pretraining")
    store = Store(folder.parent.parent, read_only=True)
    info = store.read_pretraining_info(folder.name)
    encoder = build_encoder(info["backbone"], in_channels=info["in_channels"])
    encoder.load_state_dict(store.read_weights(folder.name, info))
    return encoder.eval()


def export_encoder(
    checkpoint: Path | str,
    to: str,
    out: Path | str | None = None,
    results: Path | str = "bench-results",
) -> Export:
    """Write a recorded encoder for MONAI, nnU-Net or safetensors, and a card beside it.

    Args:
        checkpoint: A folder ``<results>/pretraining/<key>``, or a key (or its start) in
            ``results``.
        to: ``monai``, ``nnunet`` or ``safetensors``.
        out: A file, or a folder for a file named after method, backbone and key; by default the
            working folder. Nothing is overwritten.
        results: Where a key is looked for.

    Raises:
        BenchError: No sound pretraining there, the other side cannot build this network, or a file
            is in the way.
    """
    from medssl_bench import export

    return export.export_encoder(checkpoint, to, out, results)


def _split(words: Words) -> tuple[str, ...]:
    parts = words.split(",") if isinstance(words, str) else _listed(words)
    return tuple(part.strip() for part in parts if part.strip())


def _data_words(data: Folders) -> tuple[str, ...]:
    if isinstance(data, Mapping):
        return tuple(f"{task}={folder}" for task, folder in data.items())
    return _listed(data)


def _listed(words: Words) -> tuple[str, ...]:
    """One thing alone is a list of it."""
    return tuple(map(str, [words] if isinstance(words, str | int | Path) else words))
