"""Being told to stop: a signal leaves word, and work stops where its state can be saved.

A loop asks :func:`told` at the end of each step, writes a checkpoint and raises
:class:`Interrupted`; work that is short or repeatable calls :func:`check` between its parts.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ROUND = 16
"""Processes that train together ask each other about a stop every so many steps."""


class Interrupted(Exception):
    """Work stopped as it was told to; what was saved goes on from here another time."""


class PeerLost(Interrupted):
    """Another process that trains along has ended: killed, or of a fault that it tells itself."""


_word: str | None = None


def tell(word: str | None) -> None:
    """Leave word that work shall stop, and why; None takes it back."""
    global _word
    _word = word


def told() -> str | None:
    """Return why work shall stop; None where it may go on."""
    return _word


def check() -> None:
    """Raise Interrupted where work shall stop."""
    if _word is not None:
        raise Interrupted(_word)


def listen(*signals: signal.Signals, then: Callable[[signal.Signals], None] | None = None) -> None:
    """Leave word on any of these signals, and call ``then`` (in the main thread, at once)."""

    def hear(number: int, _: FrameType | None) -> None:
        heard = signal.Signals(number)
        tell(heard.name)
        if then is not None:
            then(heard)

    for one in signals:
        signal.signal(one, hear)


@contextmanager
def saved_first(announce: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C leave word, and ``announce`` it; the second one ends things at once.

    Raises:
        KeyboardInterrupt: Work stopped at either.
    """
    before = signal.getsignal(signal.SIGINT)

    def hear(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        tell("SIGINT")
        announce()

    signal.signal(signal.SIGINT, hear)
    try:
        yield
    except Interrupted:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)
        tell(None)


@contextmanager
def deaf_children() -> Iterator[None]:
    """Processes that start meanwhile ignore Ctrl-C, which reaches them too: this one tells them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
