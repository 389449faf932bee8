"""BrainMVP: rebuild one modality of a case from another, and from learned templates."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from medssl_bench.errors import BenchError
from medssl_bench.method import Batch, Losses, Method, Requires
from medssl_bench.methods.parts.contrast import paired_info_nce
from medssl_bench.methods.parts.decoder import TransposedDecoder, voxel_error
from medssl_bench.methods.parts.masking import BlockMasking
from medssl_bench.methods.parts.template_tuning import (
    TemplateTuning,
    TemplateTuningConfig,
    build_tuning,
)
from medssl_bench.methods.parts.templates import Templates

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Encoder


class BrainMVP(Method):
    r"""Cross-modal reconstruction, distillation of modalities to templates, and their contrast.

    Of each case one modality :math:`m` is drawn and another, :math:`n`. With :math:`X_m` the crop
    of N voxels, :math:`\Phi(X_m, Y)` its copy whose hidden blocks show :math:`Y`, :math:`T_m` the
    learned template of the modality and :math:`F` encoder and decoder:

    .. math:: L_{CMR} = \frac{1}{N} \lVert F(\Phi(X_m, X_n)) - X_m \rVert^2, \quad
        L_{MD} = \frac{1}{N} \lVert F(\Phi(X_m, T_m)) - X_m \rVert^2
    .. math:: L = L_{CMR} + \lambda_{MD} L_{MD} + \lambda_{CL} L_{CL}

    (paper 003, equations 2, 3 and 6), over visible voxels as well as hidden ones. :math:`L_{CL}` is
    the symmetric InfoNCE between the coarsest features of a case's two copies, flattened (equations
    4 and 5), from two thirds of the run on.

    The paper sums over all modalities of a case; as in its code, a step draws one. The code draws
    one place in the list of modalities for the whole batch, here each case has its own draw.
    Algorithm 1 hides cubes at random places until their volumes add up to ``ratio``, what overlaps
    counted twice; the code hides whole cells of a grid, as here, so that ``ratio`` is met exactly.
    For what that code does otherwise there are settings: ``lambda_md=10``, ``ratio=0.8`` and
    ``template_only=0.2``. Ablations (its Table 4) set weights to 0: a term of no weight is not
    computed, and where both of the template's are 0, no copy with it is made.
    """

    family = "multi"
    reference = "Rui et al., BrainMVP, CVPR 2025 (arXiv:2410.10604)"
    version = 2
    requires = Requires(min_modalities=2, min_batch=2)

    @dataclass(frozen=True)
    class Config(Method.Config):
        """Hyper-parameters; paper 003 unless said."""

        ratio: float = 0.875
        """Share p* of cells hidden, rounded up (its code's script: 0.8)."""
        cell: int = 8
        """Side r of a hidden block in voxels."""
        lambda_md: float = 1.0
        """Weight of the error from templates (its code: 10)."""
        lambda_cl: float = 1.0
        """Weight of the contrast."""
        contrast_from: float = 1000 / 1500
        """Share of the run before the contrast begins: epoch 1000 of 1500."""
        tau: float = 1.0
        """Temperature of the contrast (its code; the paper names none)."""
        template_only: float = 0.0
        """Share of the run in which both copies show the template (its code: epochs up to 300 of
        1500)."""
        modalities: tuple[str, ...] = ("FLAIR", "T1", "T1c", "T2", "MRA", "PD", "DWI", "ADC")
        """Modalities that have a template; a case has two of them or more."""
        template: tuple[int, int, int] = (240, 240, 155)
        """Size of a template in voxels (R, A, S); its middle is that of every volume."""
        tuning: TemplateTuningConfig = field(default_factory=TemplateTuningConfig)
        """How templates are used in fine-tuning; pretraining does not depend on it."""

    config: Config

    def __init__(self, encoder: Encoder, config: Config, crop: tuple[int, int, int]) -> None:
        """Raise BenchError where crop, cell, template and backbone do not fit each other."""
        super().__init__(encoder, config, crop)
        if encoder.in_channels != 1:
            raise BenchError("brainmvp: pretrains encoders of one channel")
        if not config.tau > 0:
            raise BenchError(f"brainmvp: tau={config.tau} must be above 0")
        for name in ("lambda_md", "lambda_cl"):
            if not getattr(config, name) >= 0:
                raise BenchError(f"brainmvp: {name}={getattr(config, name)} must be 0 or above")
        if any(side < least for side, least in zip(config.template, crop, strict=True)):
            raise BenchError(
                f"brainmvp: template={config.template} is smaller than the crop {crop}; set"
                " methods.brainmvp.template to the size that volumes have, or a smaller crop"
            )
        if len({*config.modalities}) < max(len(config.modalities), 2):
            raise BenchError("brainmvp: modalities must be two or more, each named once")
        self.masking = BlockMasking.over("brainmvp", crop, config.cell, config.ratio)
        self.templates = Templates(config.modalities, config.template)
        self.decoder = TransposedDecoder("brainmvp", encoder, crop)
        self._seen: dict[str, Tensor] = {}

    def forward(self, batch: Batch) -> Losses:
        """Return the three terms over ``batch.channels``."""
        config, done = self.config, batch.progress.fraction
        pairs = [self.draw(*each) for each in zip(batch.channels, batch.generators, strict=True)]
        masks = self.masking.draw(batch, views=2)
        image, distilled, other = self._images(batch, pairs, done < config.template_only)
        hidden = self.masking.enlarge(masks.to(image.device, non_blocking=True), 1).unsqueeze(1)
        other = torch.where(hidden[len(image) :], other, image)
        distilled = torch.where(hidden[: len(image)], distilled, image)
        paired = config.lambda_md > 0 or config.lambda_cl > 0
        filled = torch.cat((distilled, other)) if paired else other
        features = self.encoder(filled.contiguous(memory_format=torch.channels_last_3d))
        rebuilt = self.decoder(features)
        terms = {"cmr": voxel_error("l2", rebuilt[-len(image) :], image)}
        total = terms["cmr"]
        if config.lambda_md > 0:
            terms["md"] = voxel_error("l2", rebuilt[: len(image)], image)
            total = total + config.lambda_md * terms["md"]
        if config.lambda_cl > 0 and done >= config.contrast_from:
            first, second = features[self.encoder.levels[-1].name].chunk(2)
            contrast = paired_info_nce(first, second, config.tau)
            terms["cl"] = contrast.loss
            total = total + config.lambda_cl * contrast.loss
            self._seen = {
                "positive_cosine": contrast.positive,
                "negative_cosine": contrast.negative,
            }
        return Losses(total, terms)

    def draw(self, channels: dict[str, Tensor], generator: torch.Generator) -> tuple[str, str]:
        """Draw the modality of a case that is rebuilt, and another to fill it with."""
        names = [name for name in self.config.modalities if name in channels]
        first = int(torch.randint(len(names), (), generator=generator))
        step = 1 + int(torch.randint(len(names) - 1, (), generator=generator))
        return names[first], names[(first + step) % len(names)]

    def _images(
        self, batch: Batch, pairs: Sequence[tuple[str, str]], template_only: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``(B, 1, D, H, W)`` each: what is rebuilt, its templates, and the other fill."""
        cases = [*zip(batch.channels, batch.places, pairs, strict=True)]
        image = torch.stack([channels[name] for channels, _, (name, _) in cases])
        distilled = torch.stack(
            [self.templates.window(name, place, self.crop) for _, place, (name, _) in cases]
        )
        other = (
            distilled
            if template_only
            else torch.stack([channels[name] for channels, _, (_, name) in cases])
        )
        return image.unsqueeze(1), distilled.unsqueeze(1), other.unsqueeze(1)

    def fault_of(self, modalities: Sequence[str]) -> str:
        """Say that there are fewer than two modalities, or that one has no template."""
        without = [name for name in modalities if name not in self.config.modalities]
        if without and len(modalities) >= self.requires.min_modalities:
            known = ", ".join(self.config.modalities)
            return (
                f"no template for modality {without[0]}, there are those of {known};"
                " see methods.brainmvp.modalities"
            )
        return super().fault_of(modalities)

    def negatives(self, batch: int) -> int:
        """Return N - 1: the other copy of every other case."""
        return batch - 1

    def watch(self) -> dict[str, float]:
        """Return the last step's mean cosines, once there is a contrast."""
        return {name: value.item() for name, value in self._seen.items()}

    def pictures(self) -> dict[str, Tensor]:
        """Return the axial slice through the middle of each template that is not flat."""
        found = self.templates.learned()
        return {name: volume[:, :, volume.shape[2] // 2] for name, volume in found.items()}

    def extras(self) -> dict[str, Tensor]:
        """Return the templates that are not flat, ``(X, Y, Z)`` float16 in [0, 1]."""
        return {name: volume.half() for name, volume in self.templates.learned().items()}

    @classmethod
    def tuning_words(
        cls,
        config: Mapping[str, Any],
        contrasts: Sequence[str],
        modalities: Collection[str],
        crop: tuple[int, int, int],
    ) -> str:
        """Say whether templates take the place of channels in fine-tuning, and how."""
        contrasted = config["lambda_cl"] > 0 and config["contrast_from"] < 1
        learned = config["lambda_md"] > 0 or contrasted or config["template_only"] > 0
        # A template that no loss depends on, or whose modality no case has, stays flat.
        known = [name for name in config["modalities"] if learned and name in modalities]
        return TemplateTuningConfig(**config["tuning"]).words(contrasts, known, crop)

    @classmethod
    def tuning(
        cls,
        config: Mapping[str, Any],
        contrasts: Sequence[str],
        extras: Mapping[str, Tensor],
        spacing: tuple[float, float, float] | None,
        crop: tuple[int, int, int],
    ) -> TemplateTuning:
        """Put the templates to use (see :class:`TemplateTuning`)."""
        return build_tuning(config["tuning"], contrasts, extras, spacing, crop)
