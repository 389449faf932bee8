"""Which self-supervised pretraining works for medical images, for my task, with my few labels?

``run``, ``pretrain``, ``load_results``, ``load_encoder`` and ``export_encoder`` do what the
``bench`` command does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medssl_bench.api import export_encoder, load_encoder, load_results, pretrain, run

__all__ = ["export_encoder", "load_encoder", "load_results", "pretrain", "run"]


def __getattr__(name: str) -> Any:
    """Import the API on first use, so that ``bench --help`` stays fast."""
    if name in __all__:
        from medssl_bench import api

        return getattr(api, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("medssl-bench")
    raise AttributeError(f"module 'medssl_bench' has no attribute {name!r}")
