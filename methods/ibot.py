"""iBOT: distillation of masked patch tokens and of their mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medssl_bench.method import Batch, Losses
from medssl_bench.methods.parts.distillation import TokenDistillation
from medssl_bench.methods.parts.heads import TokenHeads

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Encoder


class IBOT(TokenDistillation):
    r"""Masked image modelling whose targets a teacher makes online.

    Two crops of a scan are two views :math:`u, v`; the student sees both masked (hidden patches
    :math:`M`), its EMA teacher sees both clean. With :math:`P_s = softmax(z_s / \tau_s)` and
    :math:`P_t = softmax((z_t - c) / \tau_t)`, averaged over crops:

    .. math::
        L &= \lambda_g L_{global} + \lambda_p L_{patch} \\
        L_{global} &= - P_t(u) \log P_s(\tilde v) \;\text{and}\; u \leftrightarrow v \\
        L_{patch} &= - \tfrac{1}{|M|} \sum_{i \in M}
            P_t^{patch}(u_i) \log P_s^{patch}(\tilde u_i)

    (paper 004, section 3.2, item 7; its sum over patches is a mean over a crop's hidden ones, as
    in the official code). The global token is the mean of the patch tokens, as in the official
    code for Swin, which masks from epoch 50 on and at most half of a crop.

    Patch tokens are the last stage's before its merging, 6^3 x 384 of a crop of 96^3: the grid and
    width of SMIT's, which are what enters that stage. What a network computes after these tokens
    learns nothing here: the last merging and, where there is no map between the two (MONAI's Swin,
    convolutional networks), the last stage.
    """

    family = "distillation"
    reference = "Zhou et al., iBOT, ICLR 2022 (arXiv:2111.07832)"
    version = 1

    @dataclass(frozen=True)
    class Config(TokenDistillation.Config):
        """Hyper-parameters; paper 004, or the official code where the paper is silent."""

        lambda_g: float = 1.0
        """Weight of the global term (official code)."""
        lambda_p: float = 1.0
        """Weight of the patch term (official code)."""
        shared_head: bool = True
        """One head for patches and their mean (the published runs); False: one each, as SMIT."""

    config: Config

    def __init__(self, encoder: Encoder, config: Config, crop: tuple[int, int, int]) -> None:
        """Raise BenchError where crop, cell and backbone do not fit each other."""
        super().__init__("ibot", encoder, config, crop)
        self.level = next(v for v in encoder.pyramid() if v.stride == self.level.stride)
        widths = (config.hidden, config.bottleneck, config.out)
        self.add_teacher(TokenHeads(self.level.channels, *widths, shared=config.shared_head))

    def forward(self, batch: Batch) -> Losses:
        """Return both terms for the two views of each scan."""
        step = self.distil(batch)
        whole, patch = step.global_loss, step.patch_loss
        total = self.config.lambda_g * whole + self.config.lambda_p * patch
        return Losses(total, {"global": whole, "patch": patch})
