"""Trajectory weighting: rows of the better episodes of a log are drawn more often (Hong et al. 2023, arXiv 2306.13085).

    mass_i ∝ exp(R_e(i) / τ),   R_e(i) the undiscounted return of row i's episode

A log of many policies holds few good episodes, and a learner that is tied to the log is tied to its average; of
the weighted log the average is near that of the best. No weight makes up for it in the losses: it is another log that
is learnt from. Only the order and the spacing of the returns count, not their size: where episodes differ by luck
alone, the lucky ones are drawn more often.

Which share that is may be left to the returns (`share_of`, ours), as what it gains less what it costs in rows:

    share = argmax_f  (mean return as drawn − mean return) / σ  −  0.4 ln(1 / f),   σ the deviation of returns over rows

Normal returns are drawn to a share e^-θ² for a gain of θ deviations, so that of `SHARES` a quarter is right for many.
Where most episodes are nearly as good as the best and a few fail, as with one good agent, fewer rows gain nothing;
where good episodes are few, they are worth it. The same share says of what kind a log is, which decides whether a
planner leaves a policy of it alone (`planning.play`).

Departures: τ is not a share of the range of returns, which one outlier stretches, but such that batches draw
`focus` of the log in effect, (Σ mass)² / Σ mass² = focus · n, and no fewer than `LEAST_ROWS`, which a policy
can still be learnt from; a log no larger is drawn uniformly. Returns are taken as they are, without a fit to the first
state of an episode; of an episode that the recorder cut, the return is what was recorded.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

LEAST_ROWS = 10_000
BISECTIONS = 80
SHARES = (1.0, 0.5, 0.25, 0.1)
PRICE = 0.4  # of e times fewer rows, in standard deviations of the returns


def sharpness(
    returns: Float[np.ndarray, " e"], lengths: Int[np.ndarray, " e"], focus: float, least: int | None = None
) -> float:
    """1 / τ at which the log is in effect `focus` of its rows large, or `least` (None: `LEAST_ROWS`); 0 where rows are
    drawn uniformly.

    The least that any τ can do is the episodes that tie for the best return, drawn alike; a smaller share gives those.
    """
    below, rows = returns - returns.max(), int(lengths.sum())
    span, focus = -float(below.min()), max(focus, _or_few(least) / rows)
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


def share_of(returns: Float[np.ndarray, " e"], lengths: Int[np.ndarray, " e"], least: int | None = None) -> float:
    """The one of `SHARES` that gains most for its price, the larger of two that tie: what `focus = "auto"` comes to.
    With `least = 1` the size of the log does not count, and the share says only how much its episodes differ.
    """
    mean = np.average(returns, weights=lengths)
    deviation = np.sqrt(np.average((returns - mean) ** 2, weights=lengths))

    def worth(share: float) -> float:
        sharp = sharpness(returns, lengths, share, least)
        if sharp == 0:
            return 0.0
        gain = np.average(returns - mean, weights=lengths * trajectory_mass(returns, sharp)) / deviation
        return float(gain + PRICE * np.log(max(share, _or_few(least) / lengths.sum())))

    return max(SHARES, key=worth)


def _or_few(least: int | None) -> int:
    return LEAST_ROWS if least is None else least
