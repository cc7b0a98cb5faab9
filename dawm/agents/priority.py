"""Which rows of the log are drawn more often: mass_i = priority_i^exponent (Schaul et al. 2016, eq. 1).

    novelty       priority 1 / p_i, p_i the support of (s, a): the share of held-out steps of the log as far out. p is
                  uniform over the log, so the rarest share q of its rows gets the share q^(1 − exponent) of the draws
    uncertainty   priority u_i, the root mean square over states and reward of the deviation of the row's futures, in
                  standard deviations over the log
    td_error      priority |δ_i|, the TD error when the row was last drawn; rows that were not drawn yet have the
                  largest priority (Schaul et al. 2016, algorithm 1)

Only rows of the log have priorities; synthetic rows are drawn uniformly. `correction` weighs a row against how it was
drawn, in the losses of critics and policy alike (`data/prioritised.py`). TD errors are kept per seed in the state of
the training, and refreshed on the device in the update.

Departures: one correction for the whole run, where Schaul et al. let it grow to 1; priorities are at least `FLOOR`
times the mean of the log or, for TD errors, of the batch, which bounds the weights; there it is a small constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dawm.types import Prediction, Transition
from dawm.uncertainty.support import Support

FLOOR = 0.01
UNSEEN = -1.0  # in place of a mass: never drawn yet


@dataclass(frozen=True)
class PriorityConfig:
    """Which rows, how strongly, and whether the losses make up for it."""

    kind: Literal["none", "novelty", "uncertainty", "td_error"] = "none"
    exponent: float = 0.6  # of the priority, "alpha" elsewhere; 0 draws uniformly (0.6: Schaul et al. 2016, section 4)
    correction: float = 1.0  # of the importance weights, "beta" elsewhere; 1 is unbiased, where Schaul et al. end

    def __post_init__(self):
        if self.exponent < 0:
            raise ValueError(f"exponent must be at least 0, got {self.exponent}")
        if not 0 <= self.correction <= 1:
            raise ValueError(f"correction must be between 0 (none) and 1 (unbiased), got {self.correction}")


def novelty_mass(support: Support, rows: Transition, exponent: float) -> Float[np.ndarray, " n"]:
    """Mass of raw rows by how little of the log is near them."""
    score = support.score(np.concatenate([rows.obs, rows.action], 1))
    return (score**-exponent).astype(np.float32)


def uncertainty_mass(futures: Prediction, rows: Transition, exponent: float) -> Float[np.ndarray, " n"]:
    """Mass of raw rows by how far their futures, leaves (n, m, ...), lie apart; alike where none do."""
    log = np.concatenate([rows.obs, rows.reward[:, None]], 1)
    apart = np.concatenate([futures.next_obs.std(1), futures.reward.std(1)[:, None]], 1)
    spread = np.sqrt(np.square(apart / (log.std(0) + 1e-6)).mean(1))
    floor = FLOOR * spread.mean()
    return (np.maximum(spread, floor if floor > 0 else 1.0) ** exponent).astype(np.float32)


def known(mass: Float[Array, " n"]) -> Float[Array, " n"]:
    """Masses in which rows that were never drawn have the largest that there is."""
    top = mass.max()
    return jnp.where(mass < 0, jnp.where(top > 0, top, 1.0), mass)


def refreshed(
    mass: Float[Array, " n"], index: Int[Array, " b"], error: Float[Array, " b"], exponent: float
) -> Float[Array, " n"]:
    """The masses after rows `index` had the TD errors `error` >= 0; indices beyond n (synthetic rows) are left out.

    Of a row that was drawn twice the larger error stays: the order of writes must not matter on any device.
    """
    new = jnp.maximum(error + FLOOR * error.mean(), 1e-12) ** exponent
    return mass.at[index].set(0.0, mode="drop").at[index].max(new, mode="drop")
