"""What a method is: a pretext task in one file (see ``methods/simmim.py`` for a short one)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Encoder


@dataclass(frozen=True)
class Requires:
    """What a method needs of a sample and of the backbone."""

    views: int = 1
    """Random crops taken of each scan."""
    mask_input: bool = False
    """The encoder must accept a mask."""
    token_level: bool = False
    """The encoder must have a token level, of half its total stride (SMIT, iBOT)."""
    min_modalities: int = 1
    """Modalities that every case of the corpus must have. Where more than one, a sample holds all
    of its case at one place (``Batch.channels``) in place of views."""
    min_batch: int = 1
    """Scans that a step must see, on all processes together."""
    trains: bool = True
    """False for scratch: there is nothing to pretrain."""
    file: bool = False
    """Its encoder is taken from a file that others published, in place of pretraining."""
    own_training: bool = False
    """It brings network and training of its own, in place of the common fine-tuning."""


class Progress(NamedTuple):
    """Where a run stands, by global optimizer step (never by step within an epoch).

    A named tuple, for Fabric refuses frozen dataclasses within a batch.
    """

    step: int
    steps: int

    @property
    def fraction(self) -> float:
        """Share of the run done before this step, in [0, 1)."""
        return self.step / max(self.steps, 1)


class Place(NamedTuple):
    """Where a crop lies: its first voxel in the volume, and the volume's shape, on (R, A, S)."""

    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """mm per voxel; told where a labelled case is cropped."""


@dataclass
class Batch:
    """Unlabelled crops of B scans.

    ``views``: one tensor ``(B, C, D, H, W)`` in [0, 1] for each view (D, H, W are the R, A, S
    axes). A method that takes several modalities of a case has ``channels`` instead: for each case,
    modality -> its crop ``(D, H, W)``, all of them at one of ``places``.

    ``generators`` are a method's only source of randomness: one for each scan, on the CPU, seeded
    by the run and the scan's place in it, so that what is drawn for a scan does not depend on how a
    batch is shared among processes.
    """

    views: tuple[Tensor, ...]
    progress: Progress
    generators: tuple[torch.Generator, ...]
    cases: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    channels: tuple[dict[str, Tensor], ...] = ()
    places: tuple[Place, ...] = ()

    def draw(self, of_scan: Callable[[torch.Generator], Tensor]) -> Tensor:
        """Return what ``of_scan(generator)`` draws for each scan, stacked ``(B, ...)``."""
        return torch.stack([of_scan(generator) for generator in self.generators])


@dataclass
class Losses:
    """The named terms of a loss, unweighted, and their weighted total."""

    total: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)


class Tuning(ABC):
    """What a method adds to the fine-tuning of cells that start from its encoder.

    A step trains on several copies of its batch: the losses of the copies are summed, and
    :meth:`term` is added.
    """

    @abstractmethod
    def copies(
        self, images: Tensor, places: Sequence[Place], rng: np.random.Generator
    ) -> tuple[Tensor, ...]:
        """Return the copies of ``images (B, C, D, H, W)`` in [0, 1], which lie at ``places``."""

    @abstractmethod
    def term(self, features: Sequence[Tensor], logits: Sequence[tuple[Tensor, ...]]) -> Tensor:
        """Return what is added to the loss, weighted.

        ``features`` are the coarsest of the encoder ``(B, C, d, h, w)`` and ``logits`` the outputs
        of the network (several under deep supervision), one of each for each copy.
        """

    @abstractmethod
    def stand_in(self, channel: int, place: Place, size: tuple[int, int, int]) -> Tensor | None:
        """Return ``(D, H, W)`` that takes the place of a missing channel, if there is such."""


class Method(nn.Module):
    """A pretext task around an encoder.

    Subclasses declare ``family``, ``reference``, ``version`` (raised when results would change),
    ``requires`` and a frozen dataclass ``Config`` with every hyper-parameter. What of it stands in
    a field ``tuning`` is of fine-tuning alone.
    """

    family: ClassVar[str]
    reference: ClassVar[str]
    version: ClassVar[int] = 1
    requires: ClassVar[Requires] = Requires()

    @dataclass(frozen=True)
    class Config:
        """No hyper-parameters."""

    def __init__(self, encoder: Encoder, config: Config, crop: tuple[int, int, int]) -> None:
        """Keep the encoder; ``crop`` is the size of the views in voxels."""
        super().__init__()
        self.encoder = encoder
        self.config = config
        self.crop = crop

    def forward(self, batch: Batch) -> Losses:
        """Return the losses of one batch."""
        raise NotImplementedError

    def before_update(self, progress: Progress) -> None:
        """Change gradients after backward and before the optimizer step (frozen last layer)."""

    def after_step(self, progress: Progress) -> None:
        """Update what is kept between steps (EMA teacher, centre, queue)."""

    def fault_of(self, modalities: Sequence[str]) -> str:
        """Say why a case of these modalities is of no use to the method; empty where it is."""
        needed = self.requires.min_modalities
        if len(modalities) >= needed:
            return ""
        return f"needs {needed} modalities of a case, it has {', '.join(modalities) or 'none'}"

    def negatives(self, batch: int) -> int:
        """Return how many negatives each anchor meets in a step over ``batch`` scans in all."""
        del batch
        return 0

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the encoder weights that transfer."""
        return self.encoder.state_dict()

    def watch(self) -> dict[str, float]:
        """Return figures worth logging beside the losses (EMA momentum, temperatures)."""
        return {}

    def pictures(self) -> dict[str, Tensor]:
        """Return pictures ``(H, W)`` in [0, 1] worth following over training, by name."""
        return {}

    def extras(self) -> dict[str, Tensor]:
        """Return what fine-tuning needs beside the encoder, by name."""
        return {}

    @classmethod
    def tuning_words(
        cls,
        config: Mapping[str, Any],
        contrasts: Sequence[str],
        modalities: Collection[str],
        crop: tuple[int, int, int],
    ) -> str:
        """Say what is added to the fine-tuning on channels of these contrasts, if anything.

        The words are part of the cell's identity: other settings have other words.

        Args:
            config: All of the method's settings.
            contrasts: Of the task's channels, in order; an unknown one is empty.
            modalities: Those that the cases of the pretraining corpus have.
            crop: Size of a crop of fine-tuning, in voxels.

        Raises:
            BenchError: It cannot be done as the settings say.
        """
        del config, contrasts, modalities, crop
        return ""

    @classmethod
    def tuning(
        cls,
        config: Mapping[str, Any],
        contrasts: Sequence[str],
        extras: Mapping[str, Tensor],
        spacing: tuple[float, float, float] | None,
        crop: tuple[int, int, int],
    ) -> Tuning:
        """Build what :meth:`tuning_words` tells of.

        Args:
            config: All of the method's settings.
            contrasts: Of the task's channels, in order; an unknown one is empty.
            extras: What :meth:`extras` left.
            spacing: mm per voxel of the volumes pretrained on; None where they differ.
            crop: Size of a crop of fine-tuning, in voxels.

        Raises:
            BenchError: The extras do not serve.
        """
        raise NotImplementedError
