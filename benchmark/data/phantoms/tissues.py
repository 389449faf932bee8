"""What tissues look like: HU by contrast phase, MR signal by weighting, and their texture.

HU follow common radiology values for abdominal CT (air -1000, fat -100, water 0, unenhanced
parenchyma 30-60, portal venous liver near 110). MR signals are relative (0 to 1) at 1.5 T.
"""

from __future__ import annotations

from dataclasses import dataclass

Texture = tuple[float, float, float]
"""Standard deviation (HU) of the fine, middle and coarse field (see ``render.SCALES``)."""


@dataclass(frozen=True)
class Tissue:
    """Means and textures of one tissue."""

    hu: tuple[float, float, float]
    """Without contrast, arterial phase, portal venous phase."""
    mr: tuple[float, float]
    """Signal under T1 and T2 weighting."""
    varies: float = 4.0
    """Standard deviation (HU) between subjects."""
    texture: Texture = (0.0, 0.0, 0.0)


def _same(hu: float) -> tuple[float, float, float]:
    return hu, hu, hu


TISSUES: dict[str, Tissue] = {
    "air": Tissue(_same(-1000), (0.0, 0.0), 0),
    "table": Tissue(_same(-250), (0.0, 0.0), 60),
    "gas": Tissue(_same(-960), (0.02, 0.02), 10, (8, 0, 0)),
    "lung": Tissue(_same(-840), (0.05, 0.07), 30, (55, 45, 20)),
    "skin": Tissue(_same(-20), (0.35, 0.30), 10),
    "fat": Tissue(_same(-105), (0.95, 0.75), 5, (7, 4, 2)),
    "visceral_fat": Tissue(_same(-98), (0.88, 0.70), 9, (13, 12, 6)),
    "muscle": Tissue((52, 57, 62), (0.42, 0.20), 4, (11, 3, 2)),
    "blood": Tissue((42, 240, 150), (0.22, 0.24), 15, (3, 4, 6)),
    "artery": Tissue((42, 300, 150), (0.18, 0.12), 25, (2, 3, 3)),
    "vein": Tissue((40, 75, 145), (0.22, 0.22), 14, (2, 3, 5)),
    "portal": Tissue((40, 90, 160), (0.22, 0.25), 14, (2, 3, 3)),
    "cortex_bone": Tissue(_same(620), (0.06, 0.05), 70, (50, 20, 0)),
    "marrow": Tissue(_same(190), (0.60, 0.40), 35, (55, 28, 10)),
    "disc": Tissue(_same(85), (0.36, 0.48), 8, (8, 4, 0)),
    "cartilage": Tissue(_same(105), (0.32, 0.22), 12, (12, 6, 0)),
    "canal": Tissue(_same(28), (0.26, 0.85), 4, (4, 0, 0)),
    "liver": Tissue((56, 72, 108), (0.58, 0.30), 11, (4, 4, 3)),
    "spleen": Tissue((48, 118, 116), (0.36, 0.52), 9, (2, 4, 11)),
    "renal_cortex": Tissue((34, 165, 172), (0.44, 0.58), 12, (5, 5, 2)),
    "renal_medulla": Tissue((30, 68, 150), (0.32, 0.68), 12, (6, 4, 2)),
    "pancreas": Tissue((42, 102, 94), (0.60, 0.36), 9, (13, 17, 4)),
    "stomach_wall": Tissue((42, 82, 90), (0.40, 0.36), 8, (9, 8, 3)),
    "bowel_wall": Tissue((42, 88, 92), (0.40, 0.36), 8, (10, 6, 3)),
    "chyme": Tissue(_same(22), (0.30, 0.72), 12, (8, 10, 8)),
    "food": Tissue(_same(48), (0.46, 0.52), 18, (22, 20, 14)),
    "opaque": Tissue(_same(185), (0.30, 0.80), 50, (10, 12, 12)),
    "faeces": Tissue(_same(30), (0.52, 0.42), 20, (80, 60, 25)),
    "bile": Tissue(_same(9), (0.34, 0.95), 5, (3, 0, 0)),
    "urine": Tissue((5, 6, 9), (0.16, 0.98), 4, (3, 0, 2)),
    "cyst": Tissue(_same(8), (0.18, 0.98), 5, (3, 0, 0)),
    "gland": Tissue((42, 62, 88), (0.38, 0.46), 8, (9, 11, 6)),
    "metastasis": Tissue((36, 50, 62), (0.38, 0.52), 8, (6, 9, 5)),
    "hypervascular": Tissue((42, 132, 88), (0.40, 0.56), 9, (7, 10, 5)),
    "necrosis": Tissue((20, 24, 27), (0.26, 0.78), 6, (5, 5, 4)),
}

PHASES = ("unenhanced", "arterial", "portal_venous")
WEIGHTINGS = ("t1", "t1_contrast", "t2", "t2_fat_suppressed")
