"""Procedural phantoms: abdominal CT and MR made from a seed, nothing to download.

``anatomy`` says what is where (``trunk``, ``skeleton``, ``bowel``, ``organs``, ``vessels``,
``pelvis``, made of ``shapes`` on ``fields``), ``tissues`` what it looks like, ``acquisition`` how
it is scanned, ``render`` paints it, ``sources`` hands it on as volumes.
"""

from medssl_bench.data.phantoms.export import write_nifti
from medssl_bench.data.phantoms.sources import (
    CLASSES,
    NoiseSource,
    PhantomSource,
    phantom_seeds,
)

__all__ = ["CLASSES", "NoiseSource", "PhantomSource", "phantom_seeds", "write_nifti"]
