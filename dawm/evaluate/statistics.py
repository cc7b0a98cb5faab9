"""Aggregates of scores with honest intervals, after Agarwal et al. 2021 (arXiv 2108.13264; the `rliable` package).

A score matrix has one row a run (a training seed) and one column a task. The interquartile mean is the mean of what is
left when a quarter is cut from each end of all runs x tasks. Intervals come from the stratified bootstrap: within each
task runs are drawn with replacement, the statistic is computed again, and percentiles of the results are taken.

Departures: `Scores` also serves a single run, whose interval is then over its episodes and is labelled so. It says how
well the return of this one policy is known and nothing of what another seed would give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

Matrix = Float[np.ndarray, "runs tasks"]


def iqm(scores: Float[np.ndarray, " ..."]) -> float:
    """Interquartile mean of all entries: `scipy.stats.trim_mean(scores, 0.25, axis=None)`."""
    flat = np.sort(np.asarray(scores, np.float64), axis=None)
    trimmed = int(0.25 * flat.size)
    return float(flat[trimmed : flat.size - trimmed].mean())


def cvar(values: Float[np.ndarray, " ..."], level: float) -> float:
    """Mean of the worst share `level` of all entries; the one on the boundary counts in part."""
    flat = np.sort(np.asarray(values, np.float64), axis=None)
    weight = np.clip(level * flat.size - np.arange(flat.size), 0.0, 1.0)
    return float(flat @ weight / weight.sum())


def optimality_gap(scores: Float[np.ndarray, " ..."], target: float = 100.0) -> float:
    """How far the scores stay below `target` on average; what exceeds it does not count. Lower is better."""
    return float(target - np.minimum(scores, target).mean())


def performance_profile(scores: Matrix, thresholds: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """The share of runs x tasks whose score exceeds each threshold (run-score distribution, section 4.2 there)."""
    return (np.asarray(scores)[None] > np.asarray(thresholds)[:, None, None]).mean((1, 2))


def probability_of_improvement(x: Matrix, y: Matrix) -> float:
    """P(X > Y) + P(X = Y) / 2 for a random run of each, averaged over tasks (Mann-Whitney U / (n m)).

    `x` and `y` may differ in runs; their columns must be the same tasks.
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"the score matrices have {x.shape[1]} and {y.shape[1]} tasks: columns must be the same tasks")
    difference = x[:, None] - y[None]
    return float((0.5 * (1.0 + np.sign(difference))).mean())


def stratified_bootstrap(
    scores: Matrix,
    statistic: Callable[[np.ndarray], float] = iqm,
    *,
    resamples: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of `statistic` when the runs of each task are drawn again with replacement.

    Each task is resampled by itself, so that every resample has all tasks. Raises ValueError with fewer than two runs:
    nothing can be said about the spread of one.
    """
    values = bootstrap(statistic, scores, resamples=resamples, seed=seed)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bootstrap(
    statistic: Callable[..., Any], *groups: Matrix, resamples: int = 2_000, seed: int = 0
) -> Float[np.ndarray, "resamples ..."]:
    """`statistic(*groups)`, a number or an array, of each resample: every task of every matrix is drawn by itself.

    Two matrices are drawn independently, as rliable does for the probability of improvement. Raises ValueError where a
    matrix has fewer than two runs.
    """
    rng, matrices = np.random.default_rng(seed), [np.asarray(group, np.float64) for group in groups]
    if any(len(matrix) < 2 for matrix in matrices):
        raise ValueError("an interval over runs needs at least two of them")
    draws = [rng.integers(len(m), size=(resamples, *m.shape)) for m in matrices]
    picked = zip(
        *([m[rows, np.arange(m.shape[1])] for rows in d] for m, d in zip(matrices, draws, strict=True)), strict=True
    )
    return np.array([statistic(*resample) for resample in picked])


def improvement_interval(x: Matrix, y: Matrix, *, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of `probability_of_improvement(x, y)`."""
    low, high = np.quantile(bootstrap(probability_of_improvement, x, y, seed=seed), [0.025, 0.975])
    return float(low), float(high)


def profile_band(scores: Matrix, thresholds: Float[np.ndarray, " t"], *, seed: int = 0) -> Float[np.ndarray, "2 t"]:
    """Lower and upper end of the 95 % bootstrap interval of `performance_profile` at each threshold by itself."""
    shares = bootstrap(lambda drawn: performance_profile(drawn, thresholds), scores, seed=seed)
    return np.quantile(shares, [0.025, 0.975], axis=0)


@dataclass(frozen=True)
class Scores:
    """Returns or scores of one algorithm in one environment."""

    mean: float
    std: float  # over all episodes
    iqm: float  # over the same units as the interval
    interval: tuple[float, float] | None  # 95 % bootstrap interval of the IQM; None from a single number
    over: Literal["seeds", "episodes"]  # what the interval is over

    @classmethod
    def of(cls, values: Float[np.ndarray, "m e"], *, seed: int = 0) -> Scores:
        """Summarise m seeds of e episodes: over the means of the seeds, or over episodes where there is one seed."""
        values = np.asarray(values, np.float64)
        over: Literal["seeds", "episodes"] = "seeds" if len(values) > 1 else "episodes"
        units = values.mean(1) if over == "seeds" else values[0]
        interval = stratified_bootstrap(units[:, None], seed=seed) if len(units) > 1 else None
        return cls(float(values.mean()), float(values.std()), iqm(units), interval, over)

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.iqm:.1f} (one episode of one seed: no interval)"
        return f"{self.iqm:.1f} [{self.interval[0]:.1f}, {self.interval[1]:.1f}] (95 % over {self.over})"
