"""Fine-tuning with the templates of a pretraining in the place of some of a case's channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from medssl_bench.errors import BenchError
from medssl_bench.method import Place, Tuning
from medssl_bench.methods.parts.masking import BlockMasking
from medssl_bench.methods.parts.template_files import (
    ENDING,
    check_templates,
    read_templates,
    template_sources,
)
from medssl_bench.methods.parts.templates import Size, cut, offsets

Spacing = tuple[float, float, float]
ALIKE = 0.05
"""Voxels that differ by less count as equal, and a template lies on them voxel by voxel, as in
pretraining: a working grid keeps a volume's extent, so its voxels are not exactly those asked for.
"""


@dataclass(frozen=True)
class TemplateTuningConfig:
    """How templates are used in fine-tuning; paper 003, appendix A, unless said."""

    use: bool = True
    """False: the encoder alone is handed on, and fine-tuned as that of any other method."""
    replaced: int = 3
    """Most channels of a copy that are replaced (its code); one always stays."""
    ratio: float = 0.875
    """Share of the cells of a single channel that show the template."""
    cell: int = 8
    """Side in voxels of such a cell."""
    consistency: float = 0.1
    """Weight of the distance between the copies (appendix B.2)."""
    consistency_of: Literal["features", "logits"] = "features"
    """``features``: the L2 norm of the difference of the encoder's coarsest features (equation 7);
    ``logits``: the mean squared difference of all outputs (its code)."""

    folder: str = ""
    """Templates to use in place of those that the encoder was pretrained with: a folder of
    ``<contrast>.nii.gz`` on one grid (``bench export --to templates`` writes such)."""

    def words(self, contrasts: Sequence[str], known: Sequence[str], crop: Size) -> str:
        """Name the use of templates, and what of it is not as in the paper; empty without any.

        Raises:
            BenchError: The folder's templates cannot be used, or a setting does not fit.
        """
        if self.use and self.folder:
            known = [*template_sources(Path(self.folder))]
            spelt = {name.lower(): name for name in contrasts if name}
            for name in known:
                meant = spelt.get(name.lower(), name)
                if meant not in known:
                    raise BenchError(
                        f"{self.folder}/{name}{ENDING}: the contrast is written {meant}; rename"
                        f" the file to {meant}{ENDING}"
                    )
        if not self.use or not {*contrasts} & {*known}:
            return ""
        self.masking(contrasts, crop)
        changed = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }
        if self.folder:
            changed["folder"] = check_templates(Path(self.folder))[:12]
        return " ".join(["templates", *(f"{name}={value}" for name, value in changed.items())])

    def masking(self, contrasts: Sequence[str], crop: Size) -> BlockMasking | None:
        """Return how a single channel is hidden in part; None where there are several.

        Raises:
            BenchError: ``replaced`` is negative, or the cells do not fit the crop.
        """
        if self.replaced < 0:
            raise BenchError(f"tuning.replaced={self.replaced} must be 0 or above")
        if len(contrasts) > 1:
            return None
        return BlockMasking.over("tuning", crop, self.cell, self.ratio)


class TemplateTuning(Tuning):
    r"""Two copies of a case with templates in it, both trained on, and held together.

    In each copy a number of channels, even from 0 to ``replaced`` and less than all, shows its
    template instead (paper 003, appendix A; the number is its code's). Of a single channel
    ``ratio`` of the cells show it, drawn for each copy. The loss of a batch is

    .. math:: \frac{1}{B} \sum_i L_{sl}(F(X'_i), Y_i) + L_{sl}(F(X''_i), Y_i)
        + \lambda_{cons} \lVert F_{enc}(X'_i) - F_{enc}(X''_i) \rVert_2

    (equations 7 and 8). The code repeats channels one by one and then parts them in the middle, so
    that its copies hold different channels; here both hold all.

    A template lies on a volume as in pretraining, middle on middle; where voxels are of another
    size, it is resampled linearly.
    """

    def __init__(
        self,
        config: TemplateTuningConfig,
        contrasts: Sequence[str],
        templates: Mapping[str, Tensor],
        spacing: Spacing,
        crop: Size,
    ) -> None:
        """Take the templates ``(X, Y, Z)`` in [0, 1] by contrast, and their voxel size in mm.

        Raises:
            BenchError: No channel has a template, or a crop cannot be masked.
        """
        self.config, self.contrasts, self.spacing = config, tuple(contrasts), spacing
        self.templates = dict(templates)
        self.having = [i for i, name in enumerate(contrasts) if name in templates]
        if not self.having:
            raise BenchError(
                f"no template of {', '.join(filter(None, contrasts)) or 'the channels'}: there are"
                f" those of {', '.join(templates) or 'none'}; pretrain on more steps, or set"
                " methods.brainmvp.tuning.use=false"
            )
        self.masking = config.masking(contrasts, crop)

    def copies(
        self, images: Tensor, places: Sequence[Place], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return two copies of ``(B, C, D, H, W)``."""
        return self._copy(images, places, rng), self._copy(images, places, rng)

    def _copy(self, images: Tensor, places: Sequence[Place], rng: np.random.Generator) -> Tensor:
        made = images.clone()
        size = (images.shape[2], images.shape[3], images.shape[4])
        for image, place in zip(made, places, strict=True):
            for channel, shown in self.draw(rng):
                template = self.window(channel, place, size, image.device, image.dtype)
                hidden = shown.to(image.device)
                image[channel] = torch.where(hidden, template, image[channel])
        return made

    def draw(self, rng: np.random.Generator) -> list[tuple[int, Tensor]]:
        """Draw the channels of one copy of a case that show their template, and where they do."""
        if self.masking is not None:
            return [(0, self._cells(self.masking, rng))]
        most = min(self.config.replaced, len(self.contrasts) - 1, len(self.having))
        number = int(rng.integers(most + 1))
        everywhere = torch.ones((), dtype=torch.bool)
        chosen = rng.permutation(len(self.having))[:number]
        return [(self.having[int(i)], everywhere) for i in sorted(chosen)]

    @staticmethod
    def _cells(masking: BlockMasking, rng: np.random.Generator) -> Tensor:
        cells = int(np.prod(masking.grid))
        mask = torch.zeros(cells, dtype=torch.bool)
        mask[torch.from_numpy(rng.permutation(cells)[: masking.hidden])] = True
        return masking.enlarge(mask.view(1, *masking.grid), 1)[0]

    def term(self, features: Sequence[Tensor], logits: Sequence[tuple[Tensor, ...]]) -> Tensor:
        """Return the weighted distance between the two copies."""
        if self.config.consistency_of == "features":
            first, second = features
            apart = (first.float() - second.float()).flatten(1)
            return self.config.consistency * torch.linalg.vector_norm(apart, dim=1).mean()
        parts = [
            functional.mse_loss(a.float(), b.float()) for a, b in zip(*logits, strict=True)
        ]  # fmt: skip
        return self.config.consistency * torch.stack(parts).mean()

    def stand_in(self, channel: int, place: Place, size: Size) -> Tensor | None:
        """Return the template where a crop of ``size`` lies."""
        if channel not in self.having:
            return None
        return self.window(channel, place, size, torch.device("cpu"), torch.float32)

    def window(
        self, channel: int, place: Place, size: Size, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        """Return ``(D, H, W)`` of a channel's template at a place of a volume."""
        name = self.contrasts[channel]
        if self.templates[name].device != device:
            self.templates[name] = self.templates[name].to(device)
        template = self.templates[name].to(dtype)
        if np.allclose(place.spacing, self.spacing, rtol=ALIKE):
            return cut(template, offsets(place, template.shape), size)
        for axis in range(3):
            at = self._positions(axis, place, size[axis], template.shape[axis])
            template = resample(template, axis, at.to(device))
        return template

    def _positions(self, axis: int, place: Place, length: int, whole: int) -> Tensor:
        """Return where voxels of a crop lie along a template's axis, middle on middle."""
        own = torch.arange(length, dtype=torch.float64) + place.start[axis]
        from_middle = own - (place.shape[axis] - 1) / 2
        ratio = place.spacing[axis] / self.spacing[axis]
        return from_middle * ratio + (whole - 1) / 2


def resample(volume: Tensor, axis: int, at: Tensor) -> Tensor:
    """Interpolate linearly along an axis at these positions; zero outside the volume."""
    whole = volume.shape[axis]
    low = at.floor()
    share = (at - low).to(volume.dtype)
    shape = [1, 1, 1]
    shape[axis] = -1

    def taken(index: Tensor) -> Tensor:
        inside = ((index >= 0) & (index < whole)).to(volume.dtype).view(shape)
        return volume.index_select(axis, index.clamp(0, whole - 1).long()) * inside

    share = share.view(shape)
    return taken(low) * (1 - share) + taken(low + 1) * share


def build_tuning(
    config: Any,
    contrasts: Sequence[str],
    templates: Mapping[str, Tensor],
    spacing: Spacing | None,
    crop: Size,
) -> TemplateTuning:
    """Build the use of templates from settings as they are recorded.

    Raises:
        BenchError: The templates do not serve.
    """
    chosen = TemplateTuningConfig(**config)
    known: dict[str, Tensor]
    if chosen.folder:
        known, spacing = read_templates(Path(chosen.folder))
    else:
        known = {name: volume.float() for name, volume in templates.items()}
    if spacing is None:
        raise BenchError(
            "templates: the volumes pretrained on had voxels of different sizes, so a template has"
            " none; set tuning.use=false for the method"
        )
    return TemplateTuning(chosen, contrasts, known, spacing, crop)
