"""SMIT: masked image prediction with patch and global token distillation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from medssl_bench.method import Batch, Losses
from medssl_bench.methods.parts.distillation import TokenDistillation
from medssl_bench.methods.parts.heads import TokenHeads, VoxelHead
from medssl_bench.methods.parts.masking import masked_error

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Encoder


class SMIT(TokenDistillation):
    r"""Self-distilled masked image transformer.

    Two crops of a scan are two views :math:`u, v`; the student sees both masked (hidden set
    :math:`M`), its EMA teacher sees both clean. With :math:`P_s = softmax(z_s / \tau_s)` and
    :math:`P_t = softmax((z_t - c) / \tau_t)`, averaged over samples and views:

    .. math::
        L &= L_{MIP} + \lambda_{MPD} L_{MPD} + \lambda_{ITD} L_{ITD} \\
        L_{MIP} &= \tfrac{1}{|M|} \sum_{i \in M} | x_i - \hat x_i | \\
        L_{MPD} &= - \tfrac{1}{|M|} \sum_{i \in M} P_t^{patch}(u_i) \log P_s^{patch}(\tilde u_i) \\
        L_{ITD} &= - P_t^{global}(u) \log P_s^{global}(\tilde v)
            \;\text{and}\; u \leftrightarrow v

    Patch tokens are the encoder's token level (stride 16 in the paper's networks) under a
    LayerNorm, the global token is their mean (paper 004, section 3.2, item 8, which calls
    :math:`L_{ITD}` GTD; official code for the rest).
    """

    family = "mim"
    reference = "Jiang et al., SMIT, MICCAI 2022 (arXiv:2205.10342)"
    version = 2

    @dataclass(frozen=True)
    class Config(TokenDistillation.Config):
        """Hyper-parameters; paper 004, or the official code where the paper is silent."""

        mip_loss: Literal["l1", "l2"] = "l1"
        """``l1``: absolute error, official code; ``l2``: squared, paper 004 ("as SimMIM")."""
        lambda_mpd: float = 0.1
        """Weight of the patch term (paper 004)."""
        lambda_itd: float = 0.1
        """Weight of the global term (paper 004)."""
        transfer: Literal["student", "teacher"] = "student"
        """Whose encoder is handed on (official code: student)."""

    config: Config

    def __init__(self, encoder: Encoder, config: Config, crop: tuple[int, int, int]) -> None:
        """Raise BenchError where crop, cell and backbone do not fit each other."""
        super().__init__("smit", encoder, config, crop)
        self.voxels = VoxelHead(encoder.levels[-1], encoder.in_channels, crop)
        self.add_teacher(
            TokenHeads(self.level.channels, config.hidden, config.bottleneck, config.out)
        )

    def forward(self, batch: Batch) -> Losses:
        """Return the three terms for the two views of each scan."""
        config = self.config
        step = self.distil(batch)
        hidden = self.masking.enlarge(step.mask, stride=1)
        mip = masked_error(config.mip_loss, self.voxels(step.features), step.images, hidden)
        mpd, itd = step.patch_loss, step.global_loss
        total = mip + config.lambda_mpd * mpd + config.lambda_itd * itd
        return Losses(total, {"mip": mip, "mpd": mpd, "itd": itd})
