"""What was handed to the queue, written down before it is handed over.

::

    RESULTS/slurm/<submission>/
        submission.json     the arrays, the units of each job, the site and the command
        plan.pickle         the plan that its jobs carry out
        <array>/            what submitit writes: scripts, logs, outcomes

Jobs carry the submission and the array in their names, so that a job is found again even where
whoever submitted it was killed before noting its number.
"""

from __future__ import annotations

import getpass
import json
import os
import pickle
import re
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl_bench.durable import create_once
from medssl_bench.errors import BenchError
from medssl_bench.record import utc_now
from medssl_bench.registry import load_plugins
from medssl_bench.slurm.arrays import Array, Unit
from medssl_bench.slurm.site import Site

if TYPE_CHECKING:
    from medssl_bench.plan import Plan

FOLDER = "slurm"
PLAN = "plan.pickle"
FORMAT = 1
"""Raised when the file of a submission changes; one of a newer format is refused."""


@dataclass(frozen=True)
class Submission:
    """One hand-over to the queue."""

    folder: Path
    created: str
    """ISO 8601, UTC."""
    user: str
    host: str
    cluster: str
    command: str
    working_folder: Path
    """Where the command was given, which relative paths start from."""
    root: Path
    """The results folder."""
    sweep: str | None
    """Name of the sweep file's experiment."""
    settings: Mapping[str, Any]
    """The plan's settings in full."""
    cache: Path
    plugins: tuple[Path, ...]
    plan_sha256: str
    site: Site
    arrays: tuple[Array, ...]

    @property
    def id(self) -> str:
        """Name of the submission: when it was made, and a word that nobody else has."""
        return self.folder.name

    @cached_property
    def units(self) -> dict[str, Unit]:
        """Every unit of it by name."""
        return {u.name: u for array in self.arrays for job in array.jobs for u in job}

    def places(self) -> Iterator[tuple[str, int, int]]:
        """Yield each unit's name, its array and its place there."""
        for number, array in enumerate(self.arrays):
            for task, job in enumerate(array.jobs):
                for unit in job:
                    yield unit.name, number, task

    def logs(self, array: int, task: int) -> list[Path]:
        """Return what the job wrote, the newest last: its output, then its errors."""
        folder = self.folder / str(array)
        several = len(self.arrays[array].jobs) > 1
        name = rf"\d+_{task}_\d+_log\.(out|err)" if several else r"\d+_\d+_log\.(out|err)"
        found = [path for path in folder.glob("*_log.*") if re.fullmatch(name, path.name)]
        return sorted(found, key=lambda path: (path.stem.split("_")[0].zfill(12), path.name[::-1]))

    def plan(self) -> Plan:
        """Read the plan.

        Raises:
            BenchError: It is not as it was written.
        """
        path = self.folder / PLAN
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BenchError(f"{path}: cannot be read ({error.strerror})") from None
        if sha256(content).hexdigest() != self.plan_sha256:
            raise BenchError(f"{path}: not as it was written; submit again")
        load_plugins(self.plugins)
        plan: Plan = pickle.loads(content)
        return plan


def write_submission(
    root: Path,
    plan: Plan,
    arrays: Sequence[Array],
    site: Site,
    *,
    cache: Path,
    cluster: str,
    command: str,
    working_folder: Path,
    sweep: str | None,
) -> Submission:
    """Write down what is about to be submitted.

    Raises:
        BenchError: The results folder cannot be written.
    """
    name = f"{utc_now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
    folder = root.absolute() / FOLDER / name
    content = pickle.dumps(plan)
    submission = Submission(
        folder=folder,
        created=utc_now().isoformat(timespec="seconds"),
        user=_user(),
        host=socket.gethostname(),
        cluster=cluster,
        command=command,
        working_folder=working_folder.absolute(),
        root=root.absolute(),
        sweep=sweep,
        settings=plan.settings.model_dump(mode="json"),
        cache=cache.absolute(),
        plugins=tuple(path.absolute() for path in plan.request.plugins),
        plan_sha256=sha256(content).hexdigest(),
        site=site,
        arrays=tuple(arrays),
    )
    try:
        folder.mkdir(parents=True)
        for number in range(len(arrays)):
            (folder / str(number)).mkdir()
        create_once(folder / PLAN, content)
        create_once(folder / "submission.json", _to_json(submission))
    except OSError as error:
        raise BenchError(f"{folder}: cannot be written ({error.strerror})") from None
    return submission


def submissions(root: Path) -> list[Submission]:
    """Read every submission of a results folder, the oldest first.

    Of a folder that was copied, those of the original are left out: their jobs write there.

    Raises:
        BenchError: One cannot be read.
    """
    found = sorted((root.absolute() / FOLDER).glob("*/submission.json"))
    return [one for path in found if not _is_of_another(one := read_submission(path.parent), root)]


def _is_of_another(submission: Submission, root: Path) -> bool:
    """Tell whether it was made in a folder that is still there and is not this one."""
    return submission.root.is_dir() and not submission.root.samefile(root)


def read_submission(folder: Path) -> Submission:
    """Read one submission.

    Raises:
        BenchError: It is not there, damaged, or of a newer version.
    """
    path = folder / "submission.json"
    try:
        note = json.loads(path.read_bytes())
        if note["format"] > FORMAT:
            raise BenchError(f"{path}: written by a newer version; update medssl-bench")
        return Submission(
            folder=folder,
            **{name: note[name] for name in ("created", "user", "host", "cluster", "command")},
            working_folder=Path(note["working_folder"]),
            root=Path(note["root"]),
            sweep=note["sweep"],
            settings=note["settings"],
            cache=Path(note["cache"]),
            plugins=tuple(map(Path, note["plugins"])),
            plan_sha256=note["plan_sha256"],
            site=Site.model_validate(note["site"]),
            arrays=tuple(_array(one) for one in note["arrays"]),
        )
    except FileNotFoundError:
        raise BenchError(f"{folder}: no submission there") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path}: damaged ({type(error).__name__}: {error})") from None


def _array(note: Mapping[str, Any]) -> Array:
    jobs = tuple(
        tuple(Unit(**{**unit, "needs": tuple(unit["needs"])}) for unit in job)
        for job in note["jobs"]
    )
    return Array(note["stage"], jobs, tuple(note["needs"]))


def _to_json(submission: Submission) -> bytes:
    note: dict[str, Any] = {
        "format": FORMAT,
        "created": submission.created,
        "user": submission.user,
        "host": submission.host,
        "cluster": submission.cluster,
        "command": submission.command,
        "root": str(submission.root),
        "working_folder": str(submission.working_folder),
        "sweep": submission.sweep,
        "cache": str(submission.cache),
        "plugins": [str(path) for path in submission.plugins],
        "plan_sha256": submission.plan_sha256,
        "site": submission.site.model_dump(mode="json", exclude_defaults=True),
        "settings": submission.settings,
        "arrays": [asdict(array) for array in submission.arrays],
    }
    return json.dumps(note, indent=1).encode() + b"\n"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
