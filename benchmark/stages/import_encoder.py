"""Importing: take an encoder from a file that others published."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medssl_bench.digest import file_digest, seed_from
from medssl_bench.errors import CaseError
from medssl_bench.networks import build_encoder
from medssl_bench.networks.checkpoint_file import Weights, load_into, read_weights
from medssl_bench.networks.convert import Match

if TYPE_CHECKING:
    from medssl_bench.imports import ImportJob


@dataclass
class Imported:
    """What an import hands on."""

    state: dict[str, Tensor]
    weights: Weights
    match: Match
    seconds: float


def import_encoder(job: ImportJob) -> Imported:
    """Load a file's weights into a fresh encoder; what the file lacks keeps its neutral start.

    Raises:
        BenchError: the file is gone or cannot be trusted.
        CaseError: it is not the one that was planned.
    """
    began = time.monotonic()
    weights = read_weights(job.path)
    file = job.path / "encoder.safetensors" if job.path.is_dir() else job.path
    if file_digest(file) != job.sha256:
        raise CaseError(f"{job.path}: changed since the plan was made; run the command again")
    torch.manual_seed(seed_from("import"))
    encoder = build_encoder(job.backbone)
    match = load_into(encoder, weights, job.backbone)
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    return Imported(state, weights, match, time.monotonic() - began)
