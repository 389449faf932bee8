"""A checkpoint file: an encoder that others pretrained, handed on as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from medssl_bench.errors import BenchError
from medssl_bench.method import Batch, Losses, Method, Requires


class Checkpoint(Method):
    """The encoder of a published file, or of one of your own, in place of pretraining.

    Written ``checkpoint:FILE``; the method is then called ``checkpoint:NAME`` after the file. What
    the file may hold is described in ``benchmark/networks/checkpoint_file.py``.
    """

    family = "published"
    reference = "that of the file"
    version = 1
    requires = Requires(trains=False, file=True)
    layout: ClassVar[str | None] = None
    """The only layout that is right; None for any."""

    @dataclass(frozen=True)
    class Config(Method.Config):
        """What a file does not say of itself."""

        backbone: str | None = None
        """Of the file, where it is not that of ``--backbone``."""
        corpus: str = "unknown"
        """What it was pretrained on."""
        licence: str = "unknown"
        """Of the weights."""
        reference: str = "unknown"
        """Where it was published; of the built-in checkpoints this is known."""

    @classmethod
    def find(cls, argument: str, config: Config, data: Path | None) -> Path:
        """Return the file; ``argument`` is what the user wrote after the colon.

        Raises:
            BenchError: there is no such file; says how to get it.
        """
        path = Path(argument).expanduser()
        if not path.exists():
            raise BenchError(f"checkpoint:{argument}: no such file")
        return path

    def forward(self, batch: Batch) -> Losses:
        """Refuse: raises BenchError, for there is no pretext task."""
        raise BenchError("a checkpoint: there is nothing to pretrain; its encoder is as it is")
