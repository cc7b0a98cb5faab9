"""A forecast that is known by its samples, as a continuous distribution: its CDF, and the inverse.

Between the ordered samples x_1 <= ... <= x_m the CDF is linear with F(x_k) = k / (m + 1); beyond them it falls off as
1 / (1 + distance / t), with t the standard deviation of the samples or `floor` where that is larger. So every
observation, however far, has a level strictly inside (0, 1), and a recalibration of levels can widen a forecast beyond
its samples. NumPy, float64; the sample axis is the first one.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Samples = Float[np.ndarray, "m *b"]


def tail(samples: Samples, floor: float) -> Float[np.ndarray, "*b"]:
    """Length over which the CDF falls off beyond the samples."""
    return np.maximum(samples.std(0), floor)


def level_of(samples: Samples, value: Float[np.ndarray, "*b"], *, floor: float = 1e-3) -> Float[np.ndarray, "*b"]:
    """F(value), the probability integral transform of an observation: uniform if the forecast is calibrated.

    Where several samples equal the value, the middle of their levels.
    """
    m, x = len(samples), np.sort(samples, 0).astype(np.float64)
    below, upto = (x < value).sum(0), (x <= value).sum(0)
    low = np.take_along_axis(x, np.clip(below - 1, 0, m - 1)[None], 0)[0]
    high = np.take_along_axis(x, np.clip(upto, 0, m - 1)[None], 0)[0]
    inside = below + (value - low) / np.maximum(high - low, 1e-300)
    level = np.where(upto > below, (below + 1 + upto) / 2, inside) / (m + 1)
    t = tail(samples, floor)
    first = 1 / (m + 1) / (1 + np.maximum(x[0] - value, 0) / t)
    last = 1 - 1 / (m + 1) / (1 + np.maximum(value - x[-1], 0) / t)
    return np.where(value < x[0], first, np.where(value > x[-1], last, level))


def value_at(samples: Samples, level: Float[np.ndarray, "k *#b"], *, floor: float = 1e-3) -> Float[np.ndarray, "k *b"]:
    """The quantiles at levels in (0, 1), any number of them for each forecast: the inverse of `level_of`."""
    m, x = len(samples), np.sort(samples, 0).astype(np.float64)
    place = np.broadcast_to(level, (len(level), *x.shape[1:])) * (m + 1) - 1  # 0 is the smallest sample
    left = np.clip(np.floor(place).astype(int), 0, max(m - 2, 0))
    right = np.minimum(left + 1, m - 1)
    low, high = np.take_along_axis(x, left, 0), np.take_along_axis(x, right, 0)
    value = low + np.clip(place - left, 0, 1) * (high - low)
    t = tail(samples, floor)
    under = np.clip((place + 1), 1e-12, 1)  # level * (m + 1) in the lower tail
    over = np.clip(m - place, 1e-12, 1)  # (1 - level) * (m + 1) in the upper tail
    return value - t * (1 / under - 1) * (place < 0) + t * (1 / over - 1) * (place > m - 1)
