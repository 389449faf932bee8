"""What each unit of work of a plan computes: an encoder to start from, or a cell.

Whoever calls holds the unit's claim; each writes its own record and returns a line about it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from medssl_bench import interrupt
from medssl_bench.claims import Claim
from medssl_bench.errors import CaseError
from medssl_bench.peak import start_peak
from medssl_bench.preparation import PreparedSet, open_prepared
from medssl_bench.progress import Emit
from medssl_bench.store import Store

if TYPE_CHECKING:
    import torch

    from medssl_bench.data.cache import Prepared
    from medssl_bench.imports import ImportJob
    from medssl_bench.method import Tuning
    from medssl_bench.plan import Plan, PlannedCell
    from medssl_bench.stages.evaluate import Evaluation
    from medssl_bench.stages.finetune import FinetuneJob
    from medssl_bench.stages.pretrain import PretrainJob, ProbeCases


class Units:
    """The units of one plan, and the prepared volumes that they share."""

    def __init__(self, plan: Plan, store: Store, cache: Path, emit: Emit) -> None:
        """Volumes are opened when first needed."""
        self.plan, self.store, self.cache, self.emit = plan, store, cache, emit
        self._tasks: dict[str, PreparedSet] = {}

    def start(self, job: PretrainJob | ImportJob, claim: Claim) -> str:
        """Make the encoder that cells start from."""
        from medssl_bench.stages.pretrain import PretrainJob

        if isinstance(job, PretrainJob):
            return self._pretrain(job, claim)
        return self._import(job, claim)

    def cell(self, planned: PlannedCell, claim: Claim) -> str:
        """Fine-tune, test and measure the cell; or have its method train in its own way."""
        if planned.own_training:
            return self._own(planned, claim)
        from medssl_bench.record import utc_now
        from medssl_bench.recording import record_cell
        from medssl_bench.stages.finetune import FinetuneJob, build_model, finetune
        from medssl_bench.stages.missing import evaluate_missing

        start_peak(self.plan.compute.device)
        started = utc_now()
        began = time.monotonic()
        settings, cell = self.plan.settings, planned.cell
        found, prepared = self.plan.tasks[cell.task], self._task(cell.task)
        train = prepared.take(planned.draw.train)
        held_out = prepared.take(planned.draw.validation)
        tests = prepared.take(found.ids("test"))
        state = None if cell.pretraining == "none" else self.store.read_weights(cell.pretraining)
        job = FinetuneJob(
            title=planned.title,
            task=found.task,
            backbone=cell.backbone,
            shots=cell.shots,
            seed=cell.seed,
            settings=settings.finetune,
            evaluation=settings.evaluate,
            select=settings.select,
            truth=found.truth,
            tuning=self._tuning(planned),
        )
        tuned = finetune(
            job,
            train,
            held_out,
            state,
            self.plan.compute,
            claim.checkpoint_folder,
            self.emit,
            claim.check,
            settings.checkpoint_minutes * 60,
        )
        trained = time.monotonic() - began
        result = self._evaluate(job, tuned.model, tests)
        reuse = None
        if settings.similarity.groups:
            from medssl_bench.stages.similarity import measure_similarity

            reuse = measure_similarity(
                build_model(job, state).get_submodule("encoder"),
                tuned.model.get_submodule("encoder"),
                tests,
                job.crop,
                settings.similarity,
                self.plan.compute.fabric().device,
                planned.title,
                self.emit,
            )
        missing = evaluate_missing(
            tests,
            job.task.channels,
            settings.missing_channels,
            job.tuning,
            lambda cases, words: self._evaluate(job, tuned.model, cases, words),
        )
        claim.check()
        seconds = tuned.seconds + (time.monotonic() - began - trained)
        return record_cell(
            self.plan, planned, tuned, result, reuse, missing, started, seconds, self.store
        )

    def _import(self, job: ImportJob, claim: Claim) -> str:
        from medssl_bench.recording import record_import
        from medssl_bench.stages.import_encoder import import_encoder

        start_peak(self.plan.compute.device)
        imported = import_encoder(job)
        claim.check()
        record_import(self.plan, job, imported, self.store)
        return f"{imported.match} (layout {imported.weights.layout})"

    def _pretrain(self, job: PretrainJob, claim: Claim) -> str:
        from medssl_bench.recording import record_pretraining
        from medssl_bench.stages.pretrain import Supplies, pretrain

        assert self.plan.corpus is not None
        start_peak(self.plan.compute.device)
        volumes = self._corpus.take([case.id for case in self.plan.corpus.cases])
        supplies = Supplies(
            volumes,
            claim.checkpoint_folder,
            claim.held.check,
            self.plan.settings.checkpoint_minutes * 60,
            self._probe_cases(),
        )
        outcome = pretrain(job, supplies, self.plan.compute, self.emit, self.plan.request.plugins)
        claim.check()
        record_pretraining(self.plan, job, outcome, self.store)
        return f"loss {outcome.history[-1]['loss']:.4f} in {outcome.seconds / 60:.1f} min"

    def _probe_cases(self) -> ProbeCases | None:
        """Open what pretraining is followed by, if anything."""
        from medssl_bench.stages.pretrain import ProbeCases

        found = self.plan.probe
        if found is None:
            return None
        prepared = open_prepared(found.task, found.cases, self.cache)
        return ProbeCases(prepared.take(found.ids("train")), len(found.task.classes))

    def _own(self, planned: PlannedCell, claim: Claim) -> str:
        """Run a cell whose method brings a training of its own."""
        import torch

        from medssl_bench.keys import method_config
        from medssl_bench.own_training import OwnJob
        from medssl_bench.record import utc_now
        from medssl_bench.recording import record_own_cell
        from medssl_bench.registry import methods
        from medssl_bench.stages.evaluate import evaluate_label_maps

        started = utc_now()
        settings, cell = self.plan.settings, planned.cell
        found, prepared = self.plan.tasks[cell.task], self._task(cell.task)
        prepared.take(planned.draw.train)  # raises what is wrong with their voxels
        tests = prepared.take(found.ids("test"))
        cases = {case.id: case for case in found.cases}
        job = OwnJob(
            title=planned.title,
            task=found.task,
            train=[cases[name] for name in planned.draw.train],
            tests=[cases[case.id] for case in tests],
            config=method_config(cell.method, settings.methods.get(cell.method, {})),
            seed=cell.seed,
            device=self.plan.compute.device,
            threads=torch.get_num_threads(),
            work=claim.checkpoint_folder,
            plugins=self.plan.request.plugins,
        )

        def go_on() -> None:
            interrupt.check()
            claim.check()

        result = methods.load(cell.method).run(job, self.emit, go_on)
        began = time.monotonic()
        evaluation = evaluate_label_maps(
            result.predictions,
            tests,
            cases,
            found.task,
            settings.evaluate,
            planned.title,
            self.emit,
            settings.example_slices,
            settings.keep_predictions,
        )
        claim.check()
        seconds = result.train_seconds + result.other_seconds + time.monotonic() - began
        return record_own_cell(
            self.plan, planned, job, result, evaluation, started, seconds, self.store
        )

    def _tuning(self, planned: PlannedCell) -> Tuning | None:
        """Build what the cell's method adds to the common fine-tuning.

        Raises:
            CaseError: It is no longer what was planned, and what the record would say.
        """
        cell, settings = planned.cell, self.plan.settings
        if not cell.tuning:
            return None
        from medssl_bench.export import pretrained_spacing
        from medssl_bench.keys import method_config
        from medssl_bench.registry import methods

        task = self.plan.tasks[cell.task].task
        config = method_config(cell.method, settings.methods.get(cell.method, {}))
        kind, crop = methods.load(cell.method), settings.finetune.crop_of(task)
        modalities = self.plan.corpus.modalities if self.plan.corpus else frozenset()
        words = kind.tuning_words(config, task.known_contrasts, modalities, crop)
        if words != cell.tuning:
            raise CaseError(
                f"{planned.title}: planned with {cell.tuning!r} in fine-tuning, which is now"
                f" {words or 'nothing'!r}: files changed since; give the command again"
            )
        info = self.store.read_pretraining_info(cell.pretraining)
        tuning: Tuning = kind.tuning(
            config,
            task.known_contrasts,
            self.store.read_extras(cell.pretraining),
            pretrained_spacing(info),
            crop,
        )
        return tuning

    def _evaluate(
        self,
        job: FinetuneJob,
        model: torch.nn.Module,
        tests: Sequence[Prepared],
        reduced: str = "",
    ) -> Evaluation:
        """Measure the test cases of a task by what it asks for; ``reduced`` ones give no files."""
        from medssl_bench.stages.classify import classify
        from medssl_bench.stages.evaluate import evaluate

        settings, fabric = self.plan.settings, self.plan.compute.fabric()
        title = f"{job.title} {reduced}".strip()
        if job.task.classifies:
            return classify(model, tests, job.truth, job.task, fabric, title, self.emit)
        return evaluate(
            model,
            tests,
            job.task,
            job.crop,
            settings.evaluate,
            fabric,
            title,
            self.emit,
            0 if reduced else settings.example_slices,
            settings.keep_predictions and not reduced,
        )

    @cached_property
    def _corpus(self) -> PreparedSet:
        assert self.plan.corpus is not None
        return open_prepared(self.plan.corpus.corpus, self.plan.corpus.cases, self.cache)

    def _task(self, name: str) -> PreparedSet:
        if name not in self._tasks:
            found = self.plan.tasks[name]
            wanted = set(found.ids("test"))
            for planned in self.plan.missing_cells:
                if planned.cell.task == name:
                    wanted |= {*planned.draw.train, *planned.draw.validation}
            cases = [case for case in found.cases if case.id in wanted]
            self._tasks[name] = open_prepared(found.task, cases, self.cache)
        return self._tasks[name]
