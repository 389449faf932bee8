"""The cells of a grid: the cases each learns from, the steps it takes, and its protocol.

A plan may hold tens of thousands of cells. What several share (the order of a draw, the digest of a
protocol) is worked out once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medssl_bench import registry
from medssl_bench.draws import Draw, Ranking, Shots
from medssl_bench.errors import BenchError
from medssl_bench.keys import method_config, own_protocol_digest, protocol_digest
from medssl_bench.record import Cell

if TYPE_CHECKING:
    from medssl_bench.config import FinetuneSettings, Settings
    from medssl_bench.imports import ImportJob
    from medssl_bench.planned_data import PlannedCorpus, PlannedTask
    from medssl_bench.stages.pretrain import PretrainJob
    from medssl_bench.task import Task
    from medssl_bench.training import Compute


@dataclass(frozen=True)
class PlannedCell:
    """A cell, the labelled cases it uses, and the optimizer steps it takes."""

    cell: Cell
    draw: Draw
    steps: int
    epochs: float
    own_training: bool = False
    """Its method brings network and training of its own, in place of the common fine-tuning."""

    @property
    def title(self) -> str:
        """How progress lines call it."""
        cell = self.cell
        return f"{cell.method} {cell.task} {cell.shots} shots draw {cell.draw} seed {cell.seed}"


def is_own_training(method: str) -> bool:
    """Tell whether a method brings network and training of its own."""
    return bool(registry.methods.load(method).requires.own_training)


def plan_cells(
    methods: Sequence[str],
    starts: Mapping[str, PretrainJob | ImportJob],
    tasks: Mapping[str, PlannedTask],
    shots: Sequence[str],
    settings: Settings,
    compute: Compute,
    corpus: PlannedCorpus | None = None,
) -> list[PlannedCell]:
    """Return a cell of every task, number of shots, draw, seed and method, in this order.

    Raises:
        BenchError: More cases are asked for than there are, or a method does not suit a task.
    """
    modalities = corpus.modalities if corpus else frozenset()
    kinds = {method: _Kind.of(method, starts, settings, modalities) for method in methods}
    cells = []
    for found in tasks.values():
        for kind in kinds.values():
            kind.check(found)
        shared = _OfTask(found, settings, compute)
        for text in shots:
            for draw in Shots.parse(text).draws(settings.draws):
                for seed in range(settings.seeds):
                    cells += [shared.cell(kind, text, draw, seed) for kind in kinds.values()]
    return cells


@dataclass(frozen=True)
class _Kind:
    """What cells of one method have in common."""

    method: str
    pretraining: str
    backbone: str
    own: bool
    steps: int = 0
    """Of a training of its own."""
    config: Mapping[str, Any] = field(default_factory=dict)
    modalities: frozenset[str] = frozenset()
    """Of the cases pretrained on."""

    @classmethod
    def of(
        cls,
        method: str,
        starts: Mapping[str, PretrainJob | ImportJob],
        settings: Settings,
        modalities: frozenset[str],
    ) -> _Kind:
        if is_own_training(method):
            kind = registry.methods.load(method)
            config = method_config(method, settings.methods.get(method, {}))
            return cls(method, "none", kind.network, True, kind.budget(config), config)
        start = starts.get(method)
        if start is None:
            return cls(method, "none", settings.backbone, False)
        config = method_config(method, settings.methods.get(method, {}))
        return cls(method, start.key, start.backbone, False, config=config, modalities=modalities)

    def tuning(self, task: Task, settings: FinetuneSettings) -> str:
        """Say what the method adds to the common fine-tuning on this task.

        Raises:
            BenchError: It cannot be done as the method's settings say.
        """
        if self.own or self.pretraining == "none":
            return ""
        kind = registry.methods.load(self.method)
        crop = settings.crop_of(task)
        try:
            return str(kind.tuning_words(self.config, task.known_contrasts, self.modalities, crop))
        except BenchError as error:
            raise BenchError(f"{self.method} on {task.name}: {error}") from None

    def check(self, found: PlannedTask) -> None:
        if self.own and found.task.classifies:
            raise BenchError(
                f"{self.method} segments, and {found.task.name} classifies whole volumes; leave"
                " one out"
            )


class _OfTask:
    """What cells of one task share, each worked out when first needed."""

    def __init__(self, found: PlannedTask, settings: Settings, compute: Compute) -> None:
        self._found, self._settings, self._compute = found, settings, compute
        self._held_out = (
            settings.finetune.validation_cases if settings.select == "validation" else 0
        )
        self._rankings: dict[int, Ranking] = {}
        self._draws: dict[tuple[str, int, int], Draw] = {}
        self._protocols: dict[tuple[str, bool], str] = {}
        self._tunings: dict[str, str] = {}

    def cell(self, kind: _Kind, shots: str, draw: int, seed: int) -> PlannedCell:
        """Plan one cell; a training of its own has no use for validation cases."""
        drawn = self._drawn(shots, draw, 0 if kind.own else self._held_out)
        cell = Cell(
            method=kind.method,
            pretraining=kind.pretraining,
            backbone=kind.backbone,
            task=self._found.task.name,
            shots=shots,
            draw=draw,
            seed=seed,
            protocol=self._protocol(kind),
            tuning=self._tuning(kind),
        )
        if kind.own:
            return PlannedCell(cell, drawn, kind.steps, 0.0, own_training=True)
        budget = self._settings.finetune
        steps = budget.budget(shots, len(drawn.train))
        return PlannedCell(cell, drawn, steps, budget.epochs_of(steps, len(drawn.train)))

    def _drawn(self, shots: str, draw: int, held_out: int) -> Draw:
        key = (shots, draw, held_out)
        if key not in self._draws:
            if draw not in self._rankings:
                self._rankings[draw] = Ranking.of(self._found.cases, draw, self._found.task.name)
            self._draws[key] = self._rankings[draw].draw(shots, held_out)
        return self._draws[key]

    def _tuning(self, kind: _Kind) -> str:
        if kind.method not in self._tunings:
            self._tunings[kind.method] = kind.tuning(self._found.task, self._settings.finetune)
        return self._tunings[kind.method]

    def _protocol(self, kind: _Kind) -> str:
        key = (kind.method if kind.own else kind.backbone, kind.own)
        if key not in self._protocols:
            self._protocols[key] = self._digest(kind)
        return self._protocols[key]

    def _digest(self, kind: _Kind) -> str:
        if not kind.own:
            return protocol_digest(
                self._found, self._settings, self._compute.precision, kind.backbone
            )
        method = registry.methods.load(kind.method)
        decides = method.decides(kind.config)
        return own_protocol_digest(self._found, self._settings, decides, method.version)
