"""Who works on what: claims of processes and nodes that share a results folder.

::

    work/<name>/generation-000001.claim      made exclusively; its age is that of the last heartbeat
    work/<name>/generation-000001.released   its owner gave it up
    work/<name>/generation-000001/           its checkpoints

The newest generation owns the work. When its owner is dead, silent or has given up, the next
generation may be made by whoever is first; it inherits the checkpoints. Nothing has to be locked,
and no clock but the file server's is read.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import threading
import uuid
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from medssl_bench.durable import create_once, temporary_name
from medssl_bench.errors import BenchError
from medssl_bench.owner import Owner

BEATS = 4
"""Heartbeats in the time after which a silent owner counts as gone."""

_CLAIM = re.compile(r"generation-(\d{6,})\.claim")


class ClaimLost(Exception):
    """Another process owns this work now; stop without publishing anything."""


@dataclass(frozen=True)
class Held:
    """A claim as any process of its owner sees it: it can be checked, and it can be pickled."""

    folder: Path
    generation: int
    token: str

    def still_mine(self) -> bool:
        """Tell whether this generation exists and is the newest.

        A network file system may show a newer one up to its attribute cache's time late; until
        then two owners work in folders of their own, and the first record wins.
        """
        return not _claim_path(self.folder, self.generation + 1).exists() and (
            _read(_claim_path(self.folder, self.generation)).get("token") == self.token
        )

    def check(self) -> None:
        """Raise ClaimLost unless the claim is still ours."""
        if not self.still_mine():
            raise ClaimLost(f"{self.folder}: generation {self.generation} was superseded")


class Claim:
    """One generation's right to a piece of work, kept alive by a thread until it is released."""

    def __init__(self, folder: Path, generation: int, token: str, stale_after: float) -> None:
        """Use :meth:`acquire`."""
        self.folder = folder
        self.generation = generation
        self.held = Held(folder, generation, token)
        self.still_mine = self.held.still_mine
        self.check = self.held.check
        self.checkpoint_folder = folder / f"generation-{generation:06d}"
        self._path = _claim_path(folder, generation)
        self._interval = stale_after / BEATS
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="claim-heartbeat", daemon=True)

    @classmethod
    def acquire(
        cls, work_folder: Path, name: str, *, stale_after: float, title: str = ""
    ) -> Self | None:
        """Claim ``work_folder/name``, or return None where a living owner has it.

        An owner that died on this machine is replaced at once, one elsewhere after
        ``stale_after`` seconds without a heartbeat (its own ``stale_after`` where that is
        longer). On a network file system choose it well above the attribute cache's time (NFS:
        60 s). The work may have been finished between planning and now: look for its record
        again after acquiring, and ``release(done=True)`` where it is there.

        ``title`` is what :func:`unfinished` calls it. Raises BenchError where the folder cannot be
        written.
        """
        folder = work_folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            newest = _newest(folder)
            if newest and not _is_over(folder, newest, stale_after):
                return None
            token = uuid.uuid4().hex
            owner = Owner.this_process().to_json()
            note = {"title": title, "token": token, "stale_after": stale_after, **owner}
            text = json.dumps(note).encode()
            if not create_once(_claim_path(folder, newest + 1), text):
                return None
            return cls(folder, newest + 1, token, stale_after)._begin()
        except FileNotFoundError:
            # The owner finished and removed the folder meanwhile.
            return None
        except OSError as error:
            raise BenchError(f"{folder}: cannot be claimed: {error.strerror or error}") from error

    def _begin(self) -> Self:
        """Start the heartbeat, which the copying of large checkpoints needs already."""
        self._thread.start()
        try:
            self._inherit()
        except BaseException:
            self._stop.set()
            raise
        return self

    def heartbeat(self) -> None:
        """Renew the claim's age by the file server's clock; raises OSError where it cannot."""
        os.utime(self._path)

    def release(self, *, done: bool) -> None:
        """Give the claim up; ``done`` removes the work with its checkpoints.

        Otherwise the next owner, of any process, goes on from them at once. A claim that was
        lost, or released before, is left as it is.
        """
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join(timeout=self._interval)
        if not self.still_mine():
            return
        if not done:
            create_once(self._path.with_suffix(".released"), b"")
            return
        try:
            self.folder.rename(temporary_name(self.folder))
        except FileNotFoundError:
            return
        # Hidden folders are finished work, this one's and what killed processes left.
        for away in self.folder.parent.glob(".*"):
            shutil.rmtree(away, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Give up what was not released: the next owner goes on from the last checkpoint."""
        self.release(done=False)

    def _beat(self) -> None:
        """Renew until released or gone; a failing file server is tried again and named once."""
        warned = False
        while not self._stop.wait(self._interval):
            try:
                self.heartbeat()
            except FileNotFoundError:
                return
            except OSError as error:
                if not warned:
                    warned = True
                    warnings.warn(f"{self._path}: no heartbeat: {error}", stacklevel=1)

    def _inherit(self) -> None:
        """Take over the newest earlier checkpoints, whole, then drop the earlier folders."""
        earlier = [
            _claim_path(self.folder, generation).with_suffix("")
            for generation in range(self.generation - 1, 0, -1)
        ]
        temporary = temporary_name(self.checkpoint_folder)
        temporary.mkdir()
        for folder in earlier:
            if _take_files(folder, temporary):
                break
        temporary.rename(self.checkpoint_folder)
        for folder in earlier:
            shutil.rmtree(folder, ignore_errors=True)


def unfinished(work_folder: Path) -> dict[str, str]:
    """Return name -> title of the work that somebody began and nobody finished."""
    found = {}
    for folder in sorted(work_folder.glob("[!.]*")):
        try:
            newest = _newest(folder)
        except (FileNotFoundError, NotADirectoryError):  # finished meanwhile
            continue
        found[folder.name] = str(_read(_claim_path(folder, newest)).get("title") or folder.name)
    return found


def _claim_path(folder: Path, generation: int) -> Path:
    return folder / f"generation-{generation:06d}.claim"


def _newest(folder: Path) -> int:
    """Return the number of the newest generation, 0 where there is none."""
    matches = (_CLAIM.fullmatch(path.name) for path in folder.iterdir())
    return max((int(match[1]) for match in matches if match), default=0)


def _is_over(folder: Path, generation: int, stale_after: float) -> bool:
    """Tell whether this generation's owner gave up, died on this machine, or fell silent."""
    path = _claim_path(folder, generation)
    if path.with_suffix(".released").exists():
        return True
    note = _read(path)
    owner = Owner.from_json(note)
    if owner is not None and owner.is_dead():
        return True
    return _age(path) > max(stale_after, float(note.get("stale_after", 0.0)))


def _age(path: Path) -> float:
    """Return seconds since the last heartbeat, both moments read from the file server's clock."""
    probe = temporary_name(path)
    probe.touch(exist_ok=False)
    try:
        os.utime(probe)
        # Opening a file makes a network file system ask its server instead of its cache.
        with probe.open("rb") as now, path.open("rb") as then:
            return os.fstat(now.fileno()).st_mtime - os.fstat(then.fileno()).st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    """Return what a claim says; nothing where it is gone or still being written."""
    try:
        note = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    except OSError as error:
        if error.errno == errno.ESTALE:
            return {}
        raise
    return note if isinstance(note, dict) else {}


def _take_files(source: Path, target: Path) -> bool:
    """Link (or copy) every complete file of ``source``; returns False where it has none.

    An owner that wakes up meanwhile may add a file and drop the oldest: then look again.
    """
    while True:
        try:
            names = [entry.name for entry in os.scandir(source) if entry.is_file()]
        except FileNotFoundError:
            return False
        names = sorted(name for name in names if not name.startswith("."))
        try:
            for name in names:
                if not (target / name).exists():
                    _link(source / name, target / name)
        except FileNotFoundError:
            if target.is_dir():
                continue
            raise
        return bool(names)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        # A file system without links.
        shutil.copy2(source, target)
