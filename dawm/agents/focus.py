"""Trajectory weighting: rows of the better episodes of a log are drawn more often (Hong et al. 2023, arXiv 2306.13085).

    mass_i ∝ exp(R_e(i) / τ),   R_e(i) the undiscounted return of row i's episode

A log of many policies holds few good episodes, and a learner that is tied to the log is tied to its average; of
the weighted log the average is near that of the best. No weight makes up for it in the losses: it is another log that
is learnt from. Only the order and the spacing of the returns count, not their size: where episodes differ by luck
alone, the lucky ones are drawn more often.

With `focused` below 1 only that share f of a batch is drawn so, and the rest from the whole log:

    mass'_i ∝ f p_i + (1 − f) / n,     weight of the imitation of row i:  n p_i / (f n p_i + 1 − f),   p = mass / Σ mass

The imitation is then, in expectation, of the weighted log as before, while values are learnt from the whole log too:
from the best episodes alone they do not learn what other actions lead to.

Departures: τ is not a share of the range of returns, which one outlier stretches, but such that batches draw
`focus` of the log in effect, (Σ mass)² / Σ mass² = focus · n, and no fewer than `LEAST_ROWS`, which a policy
can still be learnt from; a log no larger is drawn uniformly. Returns are taken as they are, without a fit to the first
state of an episode; of an episode that the recorder cut, the return is what was recorded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

LEAST_ROWS = 10_000
BISECTIONS = 80


def sharpness(returns: Float[np.ndarray, " e"], lengths: Int[np.ndarray, " e"], focus: float) -> float:
    """1 / τ at which the log is in effect `focus` of its rows large, or `LEAST_ROWS`; 0 where rows are drawn uniformly.

    The least that any τ can do is the episodes that tie for the best return, drawn alike; a smaller share gives those.
    """
    below, rows = returns - returns.max(), int(lengths.sum())
    span, focus = -float(below.min()), max(focus, LEAST_ROWS / rows)
    if span <= 0 or focus >= 1:
        return 0.0

    def share(slope):
        mass = np.exp(below / span * slope)
        return (lengths @ mass) ** 2 / (lengths @ mass**2) / rows

    low, high = 0.0, 1e12  # of span / τ: uniform, and as good as the best alone
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) > focus else (low, middle)
    return high / span


def trajectory_mass(returns: Float[np.ndarray, " n"], sharp: float) -> Float[np.ndarray, " n"]:
    """Mass of rows whose episodes have these returns, 1 of the best among them."""
    return np.exp((returns - returns.max()) * sharp).astype(np.float32)


class Focus(NamedTuple):
    """How the rows of a log are drawn and imitated."""

    best: float  # return of an episode of the log
    sharp: float  # 1 / τ
    mean: float  # mass of a row, averaged over the log
    share: float  # of a batch that is drawn by mass, `focused`

    @staticmethod
    def of(returns: Float[np.ndarray, " e"], lengths: Int[np.ndarray, " e"], focus: float, share: float) -> Focus:
        """That of a log of these episodes."""
        sharp = sharpness(returns, lengths, focus)
        mean = np.average(trajectory_mass(returns, sharp), weights=lengths)
        return Focus(float(returns.max()), sharp, float(mean), share)

    def mass(self, returns: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """How often rows of episodes with these returns are drawn."""
        if self.share == 1:  # by the best of the rows at hand: in a block of a log on disk all others might be 0
            return trajectory_mass(returns, self.sharp)
        return self.share * self._own(returns) + (1 - self.share)

    def imitation(self, returns: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Weight of the imitation of rows so drawn, from 0 to 1 / share; 1 on average over what is drawn."""
        own = self._own(returns)
        return own / (self.share * own + (1 - self.share))

    def _own(self, returns):
        """Mass over its mean in the log."""
        return (np.exp((returns - self.best) * self.sharp) / self.mean).astype(np.float32)
