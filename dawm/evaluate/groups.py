"""Where it matters: steps of recorded windows at which a forecast that is right on average is often wrong."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from dawm.data.windows import Windows
from dawm.worldmodel.yardsticks import Neighbours

FIRST_STEPS = 10  # of an episode
LAST_STEPS = 10  # before a terminal
RARE = 0.1  # share of windows that begin farthest from the training data


def group_masks(windows: Windows, rows: np.ndarray, training: Neighbours) -> dict[str, Bool[np.ndarray, "n steps"]]:
    """Masks over (window, step): the start of an episode, the last steps before an end, windows from rare (s, a)."""
    remaining, terminal = np.asarray(windows.remaining), np.asarray(windows.terminal)
    last = np.arange(len(remaining)) + remaining - 1  # last row of the episode of each row
    first = np.concatenate([[0], np.flatnonzero(remaining == 1)[:-1] + 1])
    begun = first[np.searchsorted(first, rows, side="right") - 1]
    steps = np.arange(windows.horizon)
    age = rows[:, None] - begun[:, None] + steps
    left = last[rows][:, None] - rows[:, None] - steps
    far = distance(windows, rows, training)
    rare = far > np.quantile(far, 1 - RARE)
    return {
        "start of an episode": age < FIRST_STEPS,
        "before an end": (left < LAST_STEPS) & (left >= 0) & terminal[last[rows]][:, None],
        "rare states": np.broadcast_to(rare[:, None], age.shape),
    }


def distance(windows: Windows, rows: np.ndarray, training: Neighbours) -> np.ndarray:
    """Distance of each window's first (s, a) to the nearest training step, in standard deviations."""
    x = jax.vmap(training.scales.inputs)(windows.obs[jnp.asarray(rows)], windows.action[jnp.asarray(rows)])
    norms = jnp.square(training.inputs).sum(1)
    squared = jax.lax.map(lambda x: (norms - 2 * training.inputs @ x).min() + x @ x, x)
    return np.sqrt(np.maximum(np.asarray(squared), 0))
