"""``--plugin``: brain phantoms on voxels of 6 mm, those cases that have four contrasts.

A template is learned where crops have been: on a coarse grid a crop of 24^3 is two fifths of it,
so that some thousand visits of each voxel take minutes instead of days.
"""

from __future__ import annotations

from pathlib import Path

from medssl_bench.registry import Entry, corpora
from medssl_bench.task import Case, Intensity, Preprocessing
from medssl_bench.tasks.corpora.phantom import phantom_brain

CONTRASTS = ("T1", "T1c", "T2", "FLAIR")


class CoarseBrain(type(phantom_brain)):  # type: ignore[misc]
    """Brain phantoms with four contrasts and no others."""

    def cases(self, root: Path | None) -> list[Case]:
        """Return those that have all four."""
        return [
            Case(id=case.id, images={name: case.images[name] for name in CONTRASTS})
            for case in phantom_brain.cases(root)
            if {*CONTRASTS} <= {*case.images}
        ]


rule = Preprocessing(
    spacing=(6.0, 6.0, 6.0), intensity=Intensity(rule="percentile", low=1.0, high=99.0)
)
corpus = CoarseBrain(
    **{
        **phantom_brain.model_dump(),
        "name": "coarse_brain",
        "preprocessing": dict.fromkeys(CONTRASTS, rule),
    }
)
corpora.add(corpus.name, Entry(corpus, "for tests/evidence/templates.py"))
