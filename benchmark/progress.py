"""Progress of long work: rich bars on a terminal, plain lines elsewhere, from any process."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Emit = Callable[["Event"], None]


@dataclass(frozen=True)
class Event:
    """One piece of news of a unit of work (a preparation, a pretraining, a cell)."""

    unit: str
    done: int = 0
    total: int = 0
    note: str = ""
    state: str = "running"
    """running, done, failed or message."""


class Progress:
    """Renders events; use as a context manager and hand ``emit`` to the work."""

    def __init__(self, plain: bool | None = None, quiet: bool = False) -> None:
        """Draw bars on a terminal unless ``plain``; ``quiet`` shows nothing (``--json``)."""
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._bars = self._console.is_terminal if plain is None else not plain
        self._quiet = quiet
        self._rich: Any = None
        self._tasks: dict[str, Any] = {}
        self._last: dict[str, float] = {}
        self._started: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Progress:
        """Start drawing."""
        if self._bars and not self._quiet:
            from rich import progress as rp

            self._rich = rp.Progress(
                rp.TextColumn("{task.description}"),
                rp.BarColumn(bar_width=24),
                rp.MofNCompleteColumn(),
                rp.TimeRemainingColumn(),
                rp.TextColumn("{task.fields[note]}"),
                console=self._console,
                refresh_per_second=4,
            )
            self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing."""
        if self._rich is not None:
            self._rich.stop()

    def emit(self, event: Event) -> None:
        """Show one event (thread-safe)."""
        if self._quiet:
            return
        with self._lock:
            if self._rich is not None:
                self._draw(event)
            else:
                self._print(event)

    def _draw(self, event: Event) -> None:
        if event.state == "message":
            self._rich.console.print(event.note, markup=False)
            return
        if event.unit not in self._tasks:
            self._tasks[event.unit] = self._rich.add_task(event.unit, total=None, note="")
        task = self._tasks[event.unit]
        self._rich.update(task, completed=event.done, total=event.total or None, note=event.note)
        if event.state in ("done", "failed"):
            self._rich.remove_task(self._tasks.pop(event.unit))
            mark = "done  " if event.state == "done" else "FAILED"
            self._rich.console.print(f"{mark} {event.unit}  {event.note}", markup=False)

    def _print(self, event: Event) -> None:
        now = time.monotonic()
        if event.state == "message":
            self._console.print(event.note, markup=False, soft_wrap=True)
            return
        first, at = self._started.setdefault(event.unit, (now, event.done))
        if event.state == "running" and now - self._last.get(event.unit, first - 5) < 15:
            return
        self._last[event.unit] = now
        left = ""
        if event.state == "running" and event.done > at:
            seconds = (now - first) / (event.done - at) * (event.total - event.done)
            left = f", {seconds:.0f} s left"
        mark = {"done": "done   ", "failed": "FAILED "}.get(event.state, "")
        count = f" {event.done}/{event.total}" if event.total else ""
        self._console.print(
            f"{mark}{event.unit}{count}  {event.note}{left}", markup=False, soft_wrap=True
        )


class Relay:
    """Carries events of child processes to this process's :class:`Progress`."""

    def __init__(self, events: Any, emit: Emit) -> None:
        """Forward everything put on the multiprocessing queue ``events`` to ``emit``."""
        self._events, self._emit = events, emit
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Relay:
        """Start forwarding."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Forward what is left and stop."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._emit(self._events.get(timeout=0.2))
            except queue.Empty:
                if self._stop.is_set():
                    return
