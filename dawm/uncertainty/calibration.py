"""Is the spread honest? Measures of forecasts, known by their samples, against what happened.

NumPy; samples come first, (m, *b); levels are `quantiles.level_of` of the observations. Formulas: Gneiting and Raftery
2007, Kuleshov et al. 2018 (arXiv 1807.00263), Fortin et al. 2014 for the spread-skill ratio.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

LEVELS = (0.5, 0.8, 0.9, 0.95)  # of central intervals
GRID = np.linspace(0.05, 0.95, 19)  # levels of the calibration error
BINS = 10  # of histograms and reliability curves


def coverage(levels: Float[np.ndarray, "*b"], level: float) -> float:
    """Share of observations inside the central interval of this level."""
    return float((np.abs(levels - 0.5) <= level / 2).mean())


def coverage_error(levels: Float[np.ndarray, "n *b"], level: float, episode: Int[np.ndarray, " n"]) -> float | None:
    """Standard error of `coverage` over episodes, whose rows are alike: cluster-robust (Liang and Zeger 1986), with
    the correction E / (E - 1). None for a single episode, from which it cannot be known.
    """
    inside = (np.abs(levels - 0.5) <= level / 2).reshape(len(levels), -1).mean(1)
    _, index = np.unique(episode, return_inverse=True)
    count = index.max() + 1
    if count < 2:
        return None
    sums = np.bincount(index, inside - inside.mean(), count)
    return float(np.sqrt(count / (count - 1) * np.square(sums).sum()) / len(inside))


def calibration_error(levels: Float[np.ndarray, "*b"]) -> float:
    """Expected calibration error: mean over p of |share of levels <= p, minus p| (Kuleshov et al. 2018)."""
    return float(np.abs((levels.reshape(-1, 1) <= GRID).mean(0) - GRID).mean())


def histogram(levels: Float[np.ndarray, "*b"]) -> Float[np.ndarray, " bins"]:
    """Shares of observations by tenth of their level (PIT histogram): all 0.1 if calibrated, U-shaped if too narrow."""
    return np.histogram(levels, BINS, (0, 1))[0] / levels.size


def energy_score(samples: Float[np.ndarray, "m n d"], observed: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Fair energy score: mean_i |x_i - y| - 1 / (2 m (m - 1)) sum_ij |x_i - x_j|, Euclidean norms over d."""
    m = len(samples)
    error = np.linalg.norm(samples - observed, axis=-1).mean(0)
    if m == 1:
        return error
    pairs = np.zeros(len(observed))
    for i in range(1, m):  # all pairs, a shift at a time: no (m, m, n, d) in memory
        pairs += np.linalg.norm(samples[i:] - samples[:-i], axis=-1).sum(0)
    return error - pairs / (m * (m - 1))


def variogram_score(
    samples: Float[np.ndarray, "m n d"], observed: Float[np.ndarray, "n d"], p: float = 0.5, pairs: int = 1_000_000
) -> Float[np.ndarray, " n"]:
    """Mean over pairs of dimensions of (|y_k - y_l|^p - mean_i |x_ik - x_il|^p)^2: sensitive to correlation
    (Scheuerer and Hamill 2015). Where there are more than `pairs` of them, of that many, evenly spaced.
    """
    first, second = np.triu_indices(observed.shape[-1], 1)
    chosen = np.unique(np.linspace(0, len(first) - 1, min(pairs, len(first))).astype(int))
    first, second = first[chosen], second[chosen]
    if len(first) == 0:
        return np.zeros(len(observed))
    total = np.zeros(len(observed))
    for i, j in zip(first, second, strict=True):
        forecast = (np.abs(samples[..., i] - samples[..., j]) ** p).mean(0)
        total += np.square(np.abs(observed[:, i] - observed[:, j]) ** p - forecast)
    return total / len(first)


def spread_skill(samples: Float[np.ndarray, "m *b"], observed: Float[np.ndarray, "*b"]) -> float:
    """sqrt((m + 1) / m) times root mean variance, over the error of the mean: 1 if calibrated, below if too narrow."""
    m = len(samples)
    if m == 1:
        return 0.0
    error = np.sqrt(np.square(samples.mean(0) - observed).mean())
    return float(np.sqrt((m + 1) / m * samples.var(0, ddof=1).mean()) / max(error, 1e-12))


def error_against_spread(spread: Float[np.ndarray, " n"], error: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Does the spread tell where the errors are?

    rank_correlation   Spearman's, of spread and error
    ause               area between the sparsification curve (mean error of what is left when the least certain are
                       taken away) and the best possible one, in units of the mean error; 0 is perfect
    most_over_least    mean error of the 10 % least certain over that of the 10 % most certain
    """
    from scipy.stats import spearmanr  # where it is used: SciPy is slow to import

    n, mean = len(error), max(float(error.mean()), 1e-12)
    if n < BINS or np.ptp(spread) == 0 or np.ptp(error) == 0:
        return {"rank_correlation": 0.0, "ause": float("nan"), "most_over_least": 1.0}
    by_spread, best = error[np.argsort(spread, kind="stable")], np.sort(error)
    kept = np.arange(1, n + 1)
    area = ((np.cumsum(by_spread) - np.cumsum(best)) / kept).mean() / mean
    tenth = max(1, n // 10)
    ratio = by_spread[-tenth:].mean() / max(float(by_spread[:tenth].mean()), 1e-12)
    return {
        "rank_correlation": float(np.asarray(spearmanr(spread, error))[0]),
        "ause": float(area),
        "most_over_least": float(ratio),
    }


def rank_histogram(
    samples: Float[np.ndarray, "m n d"], observed: Float[np.ndarray, "n d"], rng: np.random.Generator
) -> Float[np.ndarray, " bins"]:
    """Shares of observations by tenth of their average rank among the samples (Thorarinsdottir et al. 2016): a joint
    counterpart of the PIT histogram, uniform if the samples and the observation are exchangeable.
    """
    from scipy.stats import rankdata

    every = np.concatenate([observed[None], samples])
    pre_rank = rankdata(every, axis=0).mean(-1)
    below, ties = (pre_rank[1:] < pre_rank[0]).sum(0), (pre_rank[1:] == pre_rank[0]).sum(0)
    rank = below + rng.integers(0, ties + 1)
    return np.histogram((rank + rng.random(len(rank))) / len(every), BINS, (0, 1))[0] / len(rank)


def end_calibration(probability: Float[np.ndarray, " n"], ended: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """Brier score of the probability of the end, its skill over the constant rate, and the reliability curve."""
    rate = float(ended.mean())
    brier = float(np.square(probability - ended).mean())
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, BINS + 1)))
    group = np.clip(np.searchsorted(edges, probability, side="right") - 1, 0, max(len(edges) - 2, 0))
    curve = [
        {"forecast": float(probability[group == g].mean()), "observed": float(ended[group == g].mean()),
         "count": int((group == g).sum())}
        for g in np.unique(group)
    ]  # fmt: skip
    constant = rate * (1 - rate)
    return {
        "brier": brier,
        "skill": 1 - brier / constant if constant > 0 else None,
        "rate": rate,
        "mean_probability": float(probability.mean()),
        "reliability": curve,
    }
