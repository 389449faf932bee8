"""Attention inside windows: Swin V1 (scaled dot product, position table) and Swin V2 (cosine)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl_bench.networks.windows import Windows, hide_wrapped, relative_index


class WindowAttention(nn.Module):
    """Swin V1 attention; parameter names are MONAI's.

    Logits are ``q k^T / sqrt(head width)`` plus a learned bias for each head and relative position.
    """

    relative_position_index: Tensor

    def __init__(self, dim: int, heads: int, window: int, qkv_bias: bool) -> None:
        """Build for ``dim`` channels and windows of side ``window`` tokens."""
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 3, heads))
        # Not persistent: a constant of the window, which conversion to MONAI writes out.
        index = relative_index(window).to(self.relative_position_bias_table.device)
        self.register_buffer("relative_position_index", index, persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, tokens: Tensor, cutting: Windows) -> Tensor:
        """Attend within each of the windows ``(B * windows, n, C)``."""
        return self.proj(attend(*self.project(tokens), self.bias(tokens.shape[1]), cutting))

    def project(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, scaled, keys and values, each ``(B * windows, heads, n, C / heads)``."""
        q, k, v = split_heads(self.qkv(tokens), self.heads)
        return q * self.scale, k, v

    def bias(self, n: int) -> Tensor:
        """Return the position bias ``(heads, n, n)``.

        Windows smaller than the built ones (grids shorter than a window) take the table's first
        ``n`` places, as MONAI and SMIT do.
        """
        index = self.relative_position_index[:n, :n].reshape(-1)
        return self.relative_position_bias_table[index].view(n, n, -1).permute(2, 0, 1)


class CosineAttention(nn.Module):
    """Swin V2 attention (Liu et al. 2022, equations 2 and 3), as SMITp of paper 004 uses it.

    Logits are ``cos(q, k) * scale`` with a learned scale for each head, at most 100, plus
    ``16 sigmoid(MLP(log-spaced offset))``.
    """

    relative_position_index: Tensor
    offsets: Tensor

    def __init__(self, dim: int, heads: int, window: int, qkv_bias: bool) -> None:
        """Build for ``dim`` channels and windows of side ``window`` tokens."""
        super().__init__()
        self.heads = heads
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(3, 512), nn.ReLU(inplace=True), nn.Linear(512, heads, bias=False)
        )
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias else None
        self.proj = nn.Linear(dim, dim)
        device = self.logit_scale.device
        index = relative_index(window).to(device)
        self.register_buffer("relative_position_index", index, persistent=False)
        self.register_buffer("offsets", log_offsets(window).to(device), persistent=False)

    def forward(self, tokens: Tensor, cutting: Windows) -> Tensor:
        """Attend within each of the windows ``(B * windows, n, C)``."""
        return self.proj(attend(*self.project(tokens), self.bias(tokens.shape[1]), cutting))

    def project(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, scaled, keys and values, each ``(B * windows, heads, n, C / heads)``."""
        bias = None
        if self.q_bias is not None and self.v_bias is not None:
            bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        q, k, v = split_heads(functional.linear(tokens, self.qkv.weight, bias), self.heads)
        scale = self.logit_scale.clamp(max=math.log(100.0)).exp()
        q = functional.normalize(q, dim=-1) * scale.to(q.dtype)
        return q, functional.normalize(k, dim=-1), v

    def bias(self, n: int) -> Tensor:
        """Return the position bias ``(heads, n, n)``."""
        table = 16 * torch.sigmoid(self.cpb_mlp(self.offsets))
        index = self.relative_position_index[:n, :n].reshape(-1)
        return table[index].view(n, n, -1).permute(2, 0, 1)


Attention = WindowAttention | CosineAttention


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split ``(N, n, 3 C)`` into queries, keys and values ``(N, heads, n, C / heads)``."""
    count, n, width = qkv.shape
    q, k, v = qkv.view(count, n, 3, heads, width // (3 * heads)).permute(2, 0, 3, 1, 4).contiguous()
    return q, k, v


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, cutting: Windows) -> Tensor:
    """Return ``softmax(q k^T + bias) v`` for each window as ``(N, n, C)``.

    Written out because a bias that needs a gradient sends ``scaled_dot_product_attention`` to the
    same products with more copies.
    """
    weights = attention_logits(q, k, bias, cutting).softmax(-1).to(v.dtype)
    return (weights @ v).transpose(1, 2).flatten(2)


def attention_logits(q: Tensor, k: Tensor, bias: Tensor, cutting: Windows) -> Tensor:
    """Return ``q k^T + bias``, ``(N, heads, n, n)``; -inf where only the shift joins two tokens."""
    return hide_wrapped(q @ k.transpose(-2, -1) + bias.to(q.dtype), cutting)


def log_offsets(window: int) -> Tensor:
    """Return log-spaced offsets of token pairs, ``((2 window - 1)^3, 3)``, in [-1, 1].

    ``sign(x) log2(1 + |8 x / (window - 1)|) / log2(8)`` (Swin V2, equation 4).
    """
    axis = torch.arange(1 - window, window, dtype=torch.float32, device="cpu")
    axis = axis * (8 / max(window - 1, 1))
    axis = axis.sign() * torch.log2(1 + axis.abs()) / math.log2(8)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).flatten(0, 2)
