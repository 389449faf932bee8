"""What is submitted, what is written down of it, and what is read out of what jobs left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from medssl_bench import registry
from medssl_bench.claims import Claim
from medssl_bench.config import load_settings
from medssl_bench.errors import BenchError
from medssl_bench.failures import write_failure
from medssl_bench.freshness import check_fresh
from medssl_bench.plan import Plan, Request, build_plan
from medssl_bench.slurm.arrays import arrange, units_of, waiting_for
from medssl_bench.slurm.dispatch import live_units
from medssl_bench.slurm.ledger import Submission, read_submission, submissions, write_submission
from medssl_bench.slurm.naming import named
from medssl_bench.slurm.overview import hours_left
from medssl_bench.slurm.queue import QueuedJob, job_name, read_job
from medssl_bench.slurm.site import Site
from medssl_bench.slurm.state import done_name, unit_states
from medssl_bench.store import Store
from medssl_bench.training import Compute
from medssl_bench.worker import clear_leftovers

SITE = Site(name="here", gpus=0, minutes=10)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    settings = load_settings("demo", {"draws": 2})
    request = Request(("scratch", "simmim"), ("phantom_ct", "phantom_mri"), ("5",), settings)
    store = Store(tmp_path_factory.mktemp("empty"), read_only=True, missing_ok=True)
    return build_plan(request, Compute("cpu", "32-true", 1), store)


@pytest.fixture
def submitted(plan: Plan, tmp_path: Path) -> Callable[..., Submission]:
    def submit(site: Site = SITE, live: frozenset[str] = frozenset()) -> Submission:
        data = {name: f"prepare-{name}-0" for name in ("phantom_ct", "phantom_mri")}
        arrays = arrange(units_of(plan, data), live, site, 1001)
        return write_submission(
            tmp_path, plan, arrays, site, cache=tmp_path / "cache", cluster="here",
            command="bench run", working_folder=tmp_path, sweep=None,
        )  # fmt: skip

    return submit


def test_units_come_after_what_they_need(plan: Plan) -> None:
    units = units_of(plan, {"phantom_ct": "prepare-phantom_ct-0"})
    by_stage = {stage: [u for u in units if u.stage == stage] for stage in ("prepare", "finetune")}
    (start,) = [u for u in units if u.stage == "pretrain"]
    assert [u.name for u in by_stage["prepare"]] == ["prepare-phantom_ct-0"]
    assert start.needs == ("prepare-phantom_ct-0",)
    needs = {(u.title.split()[0], u.title.split()[1]): u.needs for u in by_stage["finetune"]}
    assert needs == {
        ("scratch", "phantom_ct"): ("prepare-phantom_ct-0",),
        ("scratch", "phantom_mri"): (),
        ("simmim", "phantom_ct"): (start.name, "prepare-phantom_ct-0"),
        ("simmim", "phantom_mri"): (start.name,),
    }
    seen: set[str] = set()
    for unit in units:
        assert seen.issuperset(unit.needs)
        seen.add(unit.name)


def test_arrays_hold_each_unit_once_and_are_cut_at_the_longest(plan: Plan) -> None:
    units = units_of(plan, {})
    for site, cells in ((SITE, 1), (Site(per_gpu=2, cells_per_job=3, minutes=9), 6)):
        arrays = arrange(units, [], site, max_array=1)
        told = [unit.name for array in arrays for job in array.jobs for unit in job]
        assert sorted(told) == sorted(unit.name for unit in units)
        assert all(len(array.jobs) == 1 for array in arrays)
        assert all(len(job) <= cells for array in arrays for job in array.jobs)
    live = {units[-1].name}
    left = arrange(units, live, SITE, 1001)
    assert live.isdisjoint(unit.name for array in left for job in array.jobs for unit in job)


def test_a_dependant_waits_for_a_job_that_was_there_before(plan: Plan) -> None:
    units = units_of(plan, {})
    (start,) = [u for u in units if u.stage == "pretrain"]
    arrays = [a for a in arrange(units, {start.name}, SITE, 1001) if a.needs]
    assert arrays and all(a.needs == (start.name,) for a in arrays)
    assert waiting_for(arrays[0], {start.name: "4711_2"}.get).needs == ("4711_2",)
    assert waiting_for(arrays[0], {}.get).needs == ()


def test_what_was_submitted_is_read_back(submitted, plan: Plan, tmp_path: Path) -> None:
    written = submitted()
    (found,) = submissions(tmp_path)
    assert found == written
    again = found.plan()
    assert [c.cell.key for c in again.cells] == [c.cell.key for c in plan.cells]
    (written.folder / "plan.pickle").write_bytes(b"other")
    with pytest.raises(BenchError, match="not as it was written; submit again"):
        found.plan()
    note = json.loads((written.folder / "submission.json").read_text())
    (written.folder / "submission.json").write_text(json.dumps({**note, "format": 99}))
    with pytest.raises(BenchError, match="newer version"):
        read_submission(written.folder)
    (written.folder / "submission.json").write_text("{")
    with pytest.raises(BenchError, match="submission.json: damaged"):
        read_submission(written.folder)


def test_jobs_are_found_by_their_names(submitted) -> None:
    one = submitted()
    name = job_name("finetune", one.id, 2)
    job = read_job(f"812_1|RUNNING|None|1:02|node7|{name}")
    assert job == QueuedJob("812_1", "RUNNING", "", "1:02", "node7", one.id, 2, 1)
    assert read_job("9|RUNNING|None|0:01|node7|somebody_else") is None
    assert read_job("9|RUNNING|None|0:01|node7|a|b") is None
    for reason in ("JobHeldUser", "launch failed requeued held"):
        held = read_job(f"812_1|PENDING|{reason}|0:00||{name}")
        assert held is not None and held.why.startswith(
            f"held ({reason}); `scontrol release 812_1`"
        )
    waiting = read_job(f"812_1|PENDING|Priority|0:00||{name}")
    assert waiting is not None and waiting.why == "Priority"
    (unit,) = one.arrays[2].jobs[1]
    assert live_units([one], [job]) == {unit.name: job}
    never = read_job(f"812_1|PENDING|DependencyNeverSatisfied|0:00||{name}")
    assert never is not None and live_units([one], [never]) == {}


def leave(
    one: Submission, array: int, task: int, errors: str, out: str = "submitit INFO x"
) -> None:
    """Write the logs that a job of this place would leave."""
    several = len(one.arrays[array].jobs) > 1
    stem = f"77_{task}_0_log" if several else "77_0_log"
    (one.folder / str(array) / f"{stem}.err").write_text(errors)
    (one.folder / str(array) / f"{stem}.out").write_text("submitit INFO x")


END = "slurmstepd-vm: error: *** JOB 77 ON vm CANCELLED AT 2026-11-26T15:40:57{} ***\n"


@pytest.mark.parametrize(
    ("errors", "state", "kind"),
    [
        (END.format(" DUE TO TIME LIMIT"), "failed", "time"),
        (END.format(" DUE TO NODE FAILURE"), "failed", "node"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=77.0.\n", "failed", "oom"),
        (END.format(""), "cancelled", None),
        (END.format(" DUE TO JOB REQUEUE") + "step 3\n", "lost", "node"),
        ("nothing of note\n", "lost", "node"),
    ],
)
def test_logs_tell_how_a_job_ended(submitted, tmp_path: Path, errors, state, kind) -> None:
    one = submitted()
    array = next(n for n, a in enumerate(one.arrays) if a.stage == "finetune")
    leave(one, array, 0, errors)
    name = one.arrays[array].jobs[0][0].name
    (found,) = [u for u in unit_states(tmp_path, [one], {}) if u.unit.name == name]
    assert (found.state, found.kind) == (state, kind)
    (asleep,) = [u for u in unit_states(tmp_path, [one], None) if u.unit.name == name]
    assert asleep.state == "unknown"


def test_a_failure_counts_from_the_submission_on(submitted, tmp_path: Path) -> None:
    one = submitted()
    (start,) = [u for u in one.units.values() if u.stage == "pretrain"]

    def state() -> tuple[str, str]:
        (found,) = [u for u in unit_states(tmp_path, [one], {}) if u.unit == start]
        return found.state, found.detail

    note = write_failure(tmp_path, start.title, "nan", "diverged", key=start.name)
    assert state() == ("failed", "diverged")
    note.path.write_text(note.path.read_text().replace(note.time, "2020-01-01T00:00:00+00:00"))
    assert state()[0] != "failed"
    write_failure(tmp_path, start.title, "nan", "diverged", key="pretraining-of-another-seed")
    assert state()[0] != "failed"


def test_a_copied_folder_has_none_of_the_original_s_jobs(submitted, tmp_path: Path) -> None:
    one = submitted()
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "slurm", copy / "slurm")
    assert submissions(tmp_path) == [one] and submissions(copy) == []


def test_what_never_started_blames_what_it_needed(submitted, tmp_path: Path) -> None:
    one = submitted()
    (start,) = [u for u in one.units.values() if u.stage == "pretrain"]
    for number, array in enumerate(one.arrays):
        for task in range(len(array.jobs)):
            if array.stage == "prepare":
                (one.folder / str(number) / done_name(task)).touch()
    write_failure(tmp_path, start.title, "oom", "out of memory", key=start.name)
    found = unit_states(tmp_path, [one], {})
    skipped = [u for u in found if u.state == "skipped"]
    assert len(skipped) == 4 and all("simmim" in u.unit.title for u in skipped)
    assert {u.detail for u in skipped} == {f"needs: {start.title} (failed)"}
    assert sum(u.state == "done" for u in found) == 2


def test_units_are_named_in_several_ways(submitted, tmp_path: Path) -> None:
    one = submitted()
    found = unit_states(tmp_path, [one], {})
    assert len(named(found, ["simmim phantom_mri"])) == 2
    key = found[-1].unit.name
    assert [u.unit.name for u in named(found, [key.removeprefix("cell-")[:10]])] == [key]
    with pytest.raises(BenchError, match="no unit 'simmin' was submitted from here"):
        named(found, ["simmin"])


def test_hours_left_are_those_of_the_same_kind(submitted, tmp_path: Path) -> None:
    one = submitted()
    units = [u for u in unit_states(tmp_path, [one], {}) if u.unit.stage == "pretrain"]
    (start,) = units
    backbone, method = start.unit.kind.split()
    infos = [{"backbone": backbone, "method": method, "cost": {"wall_hours": h}} for h in (1, 3)]
    assert hours_left(units, [], infos) == (4, 2)
    assert hours_left(units, [], []) == (0, None)


def test_a_cell_s_job_leaves_waiting_encoders_their_checkpoints(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    (key,) = plan.pretrainings
    claim = Claim.acquire(store.work, f"pretraining-{key}", stale_after=60)
    assert claim is not None
    (claim.checkpoint_folder / "checkpoint").touch()
    claim.release(done=False)  # as a preempted job does, which then waits in the queue
    for method in ("scratch", "simmim"):
        cells = [c.cell.key for c in plan.cells if c.cell.method == method]
        clear_leftovers(plan.only_cells(cells), store)
    assert list(store.work.rglob("checkpoint"))


def test_a_plan_is_refused_once_code_or_data_changed(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_fresh(plan)
    part = plan.only_cells([plan.cells[0].cell.key])
    check_fresh(part)
    simmim = registry.methods.load("simmim")
    with monkeypatch.context() as patch:
        patch.setattr(simmim, "version", simmim.version + 1)
        with pytest.raises(BenchError, match="the version of a part of simmim; plan and run again"):
            check_fresh(plan)
        check_fresh(part)  # a cell of scratch
    task = plan.tasks["phantom_ct"]
    fewer = replace(task, cases=task.cases[:-1])
    with pytest.raises(BenchError, match="data of phantom_ct"):
        check_fresh(replace(plan, tasks={**plan.tasks, "phantom_ct": fewer}))
    monkeypatch.setattr("medssl_bench.keys.PLAN_VERSION", 99)
    with pytest.raises(BenchError, match="the version of a part of scratch on phantom_ct"):
        check_fresh(part)
