"""What ``bench run`` and ``bench pretrain`` do with a plan: print it, run it, sum it up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medssl_bench.interrupt import saved_first

if TYPE_CHECKING:
    from medssl_bench.plan import Plan
    from medssl_bench.slurm.site import Site
    from medssl_bench.store import Store
    from medssl_bench.worker import Failure


def plan_and_carry_out(options: dict[str, Any]) -> int:
    """Plan what the options of a command ask for and carry it out, here or on a cluster."""
    from medssl_bench.api import make_plan

    rest = dict(options)
    how = {name: rest.pop(name) for name in ("dry_run", "calibrate", "as_json", "plain")}
    workers, executor, spec = (rest.pop(name) for name in ("workers", "executor", "site"))
    site = chosen_site(executor, spec)
    if site is None:
        return carry_out(*make_plan(**rest), workers=workers, **how)
    refuse_local_words(options)
    plan, root, cache = make_plan(**rest, elsewhere=site.elsewhere())
    return hand_over(plan, root, cache, site=site, **how)


def chosen_site(executor: str, spec: str | None) -> Site | None:
    """Return where jobs are submitted to; None where the work is done here.

    Raises:
        BenchError: No site is named, or its file is wrong.
    """
    from medssl_bench.errors import BenchError
    from medssl_bench.slurm.cluster import available
    from medssl_bench.slurm.site import load_site, site_names
    from medssl_bench.workspace import load_workspace

    if executor == "local" and spec is None:
        return None
    available()
    spec = spec or load_workspace().site
    if spec is None:
        raise BenchError(
            "how are jobs asked for? give --site FILE, `site:` in bench.yaml, or one of"
            f" {', '.join(site_names())}"
        )
    return load_site(spec)


def refuse_local_words(options: Mapping[str, Any]) -> None:
    """Refuse options that say how this machine works where a cluster does.

    Raises:
        BenchError: One of them is not what it is by default.
    """
    from medssl_bench.errors import BenchError

    defaults = {"workers": 1, "devices": 1, "device": "auto", "calibrate": False}
    for name, default in defaults.items():
        if options.get(name, default) != default:
            raise BenchError(f"--{name} is of this machine; on a cluster the site file says it")


def hand_over(
    plan: Plan,
    root: Path,
    cache: Path,
    *,
    site: Site,
    dry_run: bool,
    calibrate: bool,
    as_json: bool,
    plain: bool,
) -> int:
    """Print the plan and, unless ``dry_run``, submit it; returns the exit code."""
    from medssl_bench.api import check_room
    from medssl_bench.describe import plan_json, plan_text
    from medssl_bench.estimate import Hours
    from medssl_bench.progress import Progress
    from medssl_bench.slurm.dispatch import submit

    storage = check_room(plan, root, cache)
    unknown = Hours(None, None)  # recorded hours are known by the name of a device not here
    if not as_json:
        click.echo(plan_text(plan, root, cache, unknown, 1, storage))
    document = plan_json(plan, root, cache, unknown, storage) if as_json else {}
    if not dry_run:
        with Progress(plain or None, quiet=as_json) as progress:
            done = submit(plan, root, cache, site, progress.emit)
        document["submission"] = done.submission and done.submission.id
        document["jobs"] = [job for ids in done.jobs.values() for job in ids]
        if not as_json:
            click.echo("\n".join(done.lines))
            click.echo(f"next: bench status --results {root} --watch")
    if as_json:
        click.echo(json.dumps(document, indent=1))
    return 0


def carry_out(
    plan: Plan,
    root: Path,
    cache: Path,
    *,
    workers: int,
    dry_run: bool,
    calibrate: bool,
    as_json: bool,
    plain: bool,
) -> int:
    """Print the plan and, unless ``dry_run``, run it; returns the exit code."""
    from medssl_bench.api import check_room, execute
    from medssl_bench.describe import plan_json, plan_text
    from medssl_bench.estimate import hours, storage_bytes
    from medssl_bench.progress import Progress
    from medssl_bench.store import Store

    storage = check_room(plan, root, cache)
    expected = hours(plan, Store(root, read_only=True, missing_ok=True))
    if calibrate:
        from medssl_bench.calibration import measured_hours

        with Progress(plain or None, quiet=as_json) as progress:
            expected = measured_hours(plan, cache, progress.emit)
        storage = storage_bytes(plan, cache)  # what was timed is prepared by now
    if not as_json:
        click.echo(plan_text(plan, root, cache, expected, workers, storage))
    if dry_run:
        if as_json:
            document = plan_json(plan, root, cache, expected, storage)
            click.echo(json.dumps(document, indent=1))
        return 0
    with Progress(plain or None, quiet=as_json) as progress, saving_what_runs(plan):
        outcome = execute(plan, root, cache, workers, progress.emit)
    if as_json:
        document = plan_json(plan, root, cache, expected)
        _mark_recorded(document, plan, Store(root, read_only=True))
        document["failures"] = [failure.as_json() for failure in outcome.failures]
        click.echo(json.dumps(document, indent=1))
    else:
        _summarise(plan, root, outcome.failures)
    return 0 if outcome.ok else 1


@contextmanager
def saving_what_runs(plan: Plan) -> Iterator[None]:
    """Let Ctrl-C save what runs first; processes that train together know of no such word."""
    if plan.compute.devices > 1:
        yield
        return
    word = "bench: saving what runs; Ctrl-C again stops at once"
    with saved_first(lambda: click.echo(word, err=True)):
        yield


def _mark_recorded(document: dict[str, Any], plan: Plan, store: Store) -> None:
    """Say of each unit whether it is recorded now; the plan says it of before the run."""
    for shown in (*document["pretrainings"], *document["imports"]):
        shown["recorded"] = store.has_pretraining(shown["key"])
    for shown, planned in zip(document["cells"], plan.cells, strict=True):
        shown["recorded"] = store.has(planned.cell)


def show_failures(failures: Sequence[Failure]) -> None:
    """Say what failed, of which class, and what to do about each class."""
    from medssl_bench.failures import ADVICE

    for failure in failures:
        kind = f" [{failure.kind}]" if failure.kind else ""
        click.echo(f"failed{kind}: {failure.unit}: {failure.reason}", err=True)
    for kind, advice in ADVICE.items():
        if any(failure.kind == kind for failure in failures):
            click.echo(f"{kind}: {advice}", err=True)


def _summarise(plan: Plan, root: Path, failures: list[Failure]) -> None:
    show_failures(failures)
    starts = [job.title for job in plan.starts.values()]
    lost = sum(1 for failure in failures if failure.unit in starts)
    if not plan.tasks:
        done = len(starts) - lost
        click.echo(f"{done} of {len(starts)} pretrainings are recorded in {root}")
        return
    done = len(plan.cells) - (len(failures) - lost)
    click.echo(f"{done} of {len(plan.cells)} cells are recorded in {root}")
    if done:
        click.echo(f"next: bench report --results {root}")
