"""Which test answers which question; each file is one subject, docs/analysis.md the overview.

=====================  ===========================================================================
``panel``              the case table as (methods, draws, seeds, cases); refuses dependent rows
``paired``             two fixed checkpoints on the same cases: Wilcoxon, sign flips, effect sizes
``crossed``            retraining: draws and cases both random, with the detectable difference
``multiplicity``       Holm, Benjamini-Hochberg
``bootstrap``          draws, seeds and cases resampled as they are nested and crossed
``ranks``              rank intervals, tiers, stability
``friedman``           many checkpoints on the same cases: mean ranks, critical differences
``profiles``           interquartile mean, performance profiles, probability of improvement
``independent``        two groups of different patients
``areas``              areas under the ROC curve on the same cases: DeLong's placements
=====================  ===========================================================================
"""

from medssl_bench.analysis.statistics.crossed import (
    Interval,
    RetrainingTest,
    paired_interval,
    retraining_test,
)

__all__ = ["Interval", "RetrainingTest", "paired_interval", "retraining_test"]
