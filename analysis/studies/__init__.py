"""What ``bench analyze`` can answer: one file each, with a function ``analyse``.

An analysis takes :class:`~medssl_bench.analysis.studies.outcome.Evidence` and returns an
:class:`~medssl_bench.analysis.studies.outcome.Outcome`. Installed packages add more by the
entry-point group ``bench.analyses``.
"""

from medssl_bench.registry import Entry

HERE = "medssl_bench.analysis.studies"

ANALYSES: dict[str, Entry] = {
    "significance": Entry(
        f"{HERE}.significance:analyse", "Which of these checkpoints differ? Wilcoxon by test case"
    ),
    "retraining": Entry(
        f"{HERE}.retraining:analyse", "Would training again differ too? Draws x cases"
    ),
    "ranks": Entry(f"{HERE}.ranking:analyse", "How sure is the ranking? Intervals, tiers, tau"),
    "definitions": Entry(
        f"{HERE}.definitions:analyse", "Which ranks flip with the definition of HD95 or of absent?"
    ),
    "critical-difference": Entry(
        f"{HERE}.critical_difference:analyse", "Mean ranks over cases, and which are alike"
    ),
    "profiles": Entry(
        f"{HERE}.profile:analyse", "Performance profiles, IQM, probability of improvement"
    ),
    "gaps": Entry(f"{HERE}.gap:analyse", "Performance gap to the best at full shots (Fig. 7)"),
    "groups": Entry(f"{HERE}.groups:analyse", "Accuracy by organ group (Fig. 3)"),
    "modality-gap": Entry(
        f"{HERE}.modality_gap:analyse", "CT minus MRI by organ group and method (Fig. 4)"
    ),
    "convergence": Entry(
        f"{HERE}.convergence:analyse", "Area under the curve, steps to 90 and 95 % (Fig. 6)"
    ),
    "corpus-size": Entry(
        f"{HERE}.corpus_size:analyse", "Accuracy by scans pretrained on (Fig. 9a)"
    ),
    "capacity": Entry(
        f"{HERE}.capacity:analyse", "Accuracy by size of the encoder and crop (Fig. 9b)"
    ),
    "table2": Entry(f"{HERE}.multi_organ:analyse", "Every target of a task by method (Table 2)"),
    "panels": Entry(f"{HERE}.qualitative:analyse", "The same slice by every method (Fig. 5)"),
    "cka": Entry(
        f"{HERE}.reuse:analyse", "Which layers fine-tuning keeps, and as alike by shots (Fig. 8)"
    ),
    "attention": Entry(f"{HERE}.gaze:analyse", "How far and how widely attention heads look"),
    "missing-channels": Entry(
        f"{HERE}.missing_channels:analyse",
        "What does a missing channel cost? Several-channel tasks",
    ),
    "reported": Entry(
        f"{HERE}.reported:analyse",
        "Papers' statements recomputed from their printed tables",
        {"needs_results": False},
    ),
}
"""Figures are those of paper 004."""
