"""Checks of a dataset, one function each: pure, from a Dataset to findings. `doctor.py` runs them all and reports."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from dawm.data.dataset import Dataset
from dawm.errors import DatasetError

Severity = Literal["error", "warning", "note"]


class Finding(NamedTuple):
    """Something that a check found. An error means that training on these data gives wrong results."""

    severity: Severity
    check: str
    message: str  # field, place and remedy


def finite(data: Dataset) -> list[Finding]:
    """Every value is a finite number."""
    found = []
    for name in ("obs", "action", "reward", "next_obs"):
        array = getattr(data, name)
        bad = ~np.isfinite(array)
        if bad.any():
            row = int(np.argmax(bad.reshape(len(array), -1).any(axis=1)))
            text = f"`{name}` has {int(bad.sum()):,} non-finite values in {array.size:,}; the first is in row {row:,}"
            if array.ndim == 2:
                text += f", dimension {int(np.argmax(bad[row]))}"
            text += f" (episode {int(data.episode_of[row])}). Remove or repair those steps at the source"
            if np.isinf(array).any():
                text += "; infinities often come from storing large numbers as float16"
            found.append(Finding("error", "finite", text + "."))
    return found


def require_usable(data: Dataset) -> None:
    """Raise DatasetError if no training can use the data at all; `load` calls it."""
    problems = finite(data)
    if problems:
        raise DatasetError(f"{data.info.name}: {problems[0].message}")
