"""SwinUNETR's public weights: pretrained by its authors on 5,050 CTs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medssl_bench.errors import BenchError
from medssl_bench.methods.checkpoint import Checkpoint

FILE = Path("checkpoints") / "model_swinvit.pt"
"""Where the file is looked for below the data folder."""
SOURCE = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "model_swinvit.pt"
)
"""Named by SwinUNETR/Pretrain/README.md of Project-MONAI/research-contributions."""


class SwinUNETRPublic(Checkpoint):
    """The checkpoint ``model_swinvit.pt``, which paper 004 compares as public SwinUNETR.

    It was trained with the patch merging of MONAI before 1.5, so it runs on a backbone of its own,
    ``swin_monai_legacy``, whatever the others run on.
    """

    reference = "Tang et al., SwinUNETR, CVPR 2022 (arXiv:2111.14791)"
    layout = "monai_ssl"

    @dataclass(frozen=True)
    class Config(Checkpoint.Config):
        """Where the file is, and what its page says of it."""

        path: str = ""
        """The file; by default ``checkpoints/model_swinvit.pt`` below ``--data``."""
        backbone: str | None = "swin_monai_legacy"
        """``swin_monai`` is the same network with the patch merging of MONAI since 1.5."""
        corpus: str = "5050 public CTs"
        """HNSCC, LUNA16, TCIA CT Colonography, TCIA COVID-19, LIDC."""

    @classmethod
    def find(cls, argument: str, config: Checkpoint.Config, data: Path | None) -> Path:
        """Return the file that the settings name, or the one in the data folder."""
        assert isinstance(config, SwinUNETRPublic.Config)
        if config.path:
            path = Path(config.path).expanduser()
            if not path.exists():
                raise BenchError(f"setting methods.swinunetr_public.path: no such file {path}")
            return path
        if data is not None and (data / FILE).is_file():
            return data / FILE
        raise BenchError(
            f"swinunetr_public: no weights; download {SOURCE} and give"
            " `--set methods.swinunetr_public.path=FILE`,"
            f" or put it at {FILE} below the folder of --data"
        )
