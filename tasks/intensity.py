"""Intensity rules by modality, where a user's YAML names none or only half of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CT_WINDOWS_HU = {"task": (-175.0, 250.0), "corpus": (-500.0, 500.0)}
"""Paper 004, section 4: clipping for fine-tuning and for pretraining."""

MR_PERCENTILES = (5.0, 95.0)


def intensity_of(modality: str, given: Any, window: str = "task") -> Any:
    """Complete an intensity rule: a mapping, the rule's name alone, or nothing at all.

    Args:
        modality: ``CT`` and ``MR`` have defaults of paper 004; for others the rule is needed.
        given: what the YAML says, None where it says nothing.
        window: whose CT window: ``task`` or ``corpus``.

    Raises:
        ValueError: nothing can be assumed for this modality, or ``low`` is not below ``high``.
    """
    values = {"rule": given} if isinstance(given, str) else given
    if values is None:
        if modality not in ("CT", "MR"):
            raise ValueError(
                f"intensity: needed for modality {modality}, e.g. {{rule: percentile, low: 5,"
                f" high: 95}}"
            )
        values = {"rule": "clip" if modality == "CT" else "percentile"}
    if not isinstance(values, Mapping):
        return values
    completed = dict(values)
    rule = completed.setdefault("rule", "clip")
    defaults = MR_PERCENTILES if rule == "percentile" else CT_WINDOWS_HU[window]
    if rule == "clip" and modality != "CT" and not {"low", "high"} <= completed.keys():
        raise ValueError(f"intensity: clip needs low and high for modality {modality}")
    completed.setdefault("low", defaults[0])
    completed.setdefault("high", defaults[1])
    _check_range(rule, completed["low"], completed["high"])
    return completed


def _check_range(rule: Any, low: Any, high: Any) -> None:
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return
    if low >= high:
        raise ValueError(f"intensity: low {low} is not below high {high}")
    if rule == "percentile" and not (0 <= low and high <= 100):
        raise ValueError("intensity: percentiles lie between 0 and 100")
