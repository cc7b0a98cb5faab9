"""Windows of fixed length over episodes: what a trajectory model is trained on.

A window starts at any row. Steps past the end of its episode are padding (`valid` False): after a terminal step the
last observation is repeated with zero reward; after a cut nothing is known, and `ended` tells the two apart. A terminal
step whose next observation was not recorded counts as a cut.
"""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dawm.data.arrays import next_obs_unknown
from dawm.data.dataset import Dataset
from dawm.types import Segment, Start

Returns = Literal["episode", "window"]


class Windows(eqx.Module):
    """All windows of a dataset, on the device: the rows are stored once and a window is a gather."""

    obs: Float[Array, "n obs"]
    next_obs: Float[Array, "n obs"]
    action: Float[Array, "n act"]
    reward: Float[Array, " n"]
    terminal: Bool[Array, " n"]
    source: Int[Array, " n"]
    recorded: Bool[Array, " n"]  # whether next_obs was recorded (old files lack it at terminals)
    remaining: Int[Array, " n"]  # steps from this row to the end of its episode, itself included
    return_to_go: Float[Array, " n"]
    horizon: int = eqx.field(static=True)

    def __len__(self) -> int:
        return len(self.reward)

    def rows(self, row: Int[Array, ""]) -> Int[Array, " time"]:
        """The rows of the window that starts at `row`; padding repeats the last row of the episode."""
        return row + jnp.minimum(jnp.arange(self.horizon), self.remaining[row] - 1)

    def segment(self, row: Int[Array, ""]) -> Segment:
        """The window that starts at `row`."""
        steps, rows = jnp.arange(self.horizon), self.rows(row)
        terminal = self.terminal[rows]
        over = jnp.cumsum(terminal) - terminal > 0  # a terminal came earlier
        valid = (steps < self.remaining[row]) & ~over & self.recorded[rows]
        last = jnp.maximum(jnp.sum(valid) - 1, 0)
        following = self.next_obs[jnp.where(valid, rows, rows[last])]
        return Segment(
            obs=jnp.concatenate([self.obs[row][None], following]),
            action=jnp.where(valid[:, None], self.action[rows], 0.0),
            reward=jnp.where(valid, self.reward[rows], 0.0),
            terminal=terminal & valid,
            valid=valid,
            return_to_go=self.return_to_go[row],
            source=self.source[row],
        )

    def start(self, row: Int[Array, ""]) -> Start:
        """The first step of the window, as a world model is conditioned on it."""
        return Start(self.obs[row], self.action[row], self.return_to_go[row], self.source[row])

    def draw(self, key: Array, count: int) -> Int[Array, " count"]:
        """`count` rows at which windows start, uniform over all rows."""
        return jax.random.randint(key, (count,), 0, len(self))


def ended(segment: Segment) -> Bool[Array, "*b time"]:
    """Padding that follows a terminal step (and not a cut)."""
    return ~segment.valid & jnp.any(segment.terminal, -1, keepdims=True)


def make_windows(data: Dataset, horizon: int, *, discount: float, returns: Returns = "episode") -> Windows:
    """Windows of `horizon` transitions; the return-to-go counts the episode (DWM section 6.3) or the window (Alg.
    17).
    """
    to_go = data.return_to_go(discount) if returns == "episode" else _window_return(data, horizon, discount)
    columns = (data.obs, data.next_obs, data.action, data.reward)
    return Windows(
        *(jnp.asarray(c, jnp.float32) for c in columns),
        terminal=jnp.asarray(data.terminal),
        recorded=jnp.asarray(~next_obs_unknown(data)),
        source=jnp.asarray(data.source, jnp.int32),
        remaining=jnp.asarray(data.episode_ends[data.episode_of] - np.arange(len(data)), jnp.int32),
        return_to_go=jnp.asarray(to_go, jnp.float32),
        horizon=horizon,
    )


def _window_return(data: Dataset, horizon: int, discount: float) -> np.ndarray:
    """Discounted sum of the next `horizon` rewards, stopping at the end of the episode."""
    total = np.zeros(len(data))
    left = data.episode_ends[data.episode_of] - np.arange(len(data))
    for h in range(horizon):
        inside = left > h
        total[inside] += discount**h * data.reward[np.flatnonzero(inside) + h]
    return total
