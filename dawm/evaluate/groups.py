"""Where it matters: steps of recorded windows at which a forecast that is right on average is often wrong."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from dawm.data.windows import Windows
from dawm.uncertainty.support import Support

FIRST_STEPS = 10  # of an episode
LAST_STEPS = 10  # before a terminal
RARE = 0.1  # share of windows that begin farthest from the training data


def group_masks(windows: Windows, rows: np.ndarray, support: Support) -> dict[str, Bool[np.ndarray, "n steps"]]:
    """Masks over (window, step): the start of an episode, the last steps before an end, windows from rare (s, a)."""
    remaining, terminal = np.asarray(windows.remaining), np.asarray(windows.terminal)
    last = np.arange(len(remaining)) + remaining - 1  # last row of the episode of each row
    first = np.concatenate([[0], np.flatnonzero(remaining == 1)[:-1] + 1])
    begun = first[np.searchsorted(first, rows, side="right") - 1]
    steps = np.arange(windows.horizon)
    age = rows[:, None] - begun[:, None] + steps
    left = last[rows][:, None] - rows[:, None] - steps
    far = support.distance(np.concatenate([np.asarray(c)[rows] for c in (windows.obs, windows.action)], 1))
    rare = far > np.quantile(far, 1 - RARE)
    return {
        "start of an episode": age < FIRST_STEPS,
        "before an end": (left < LAST_STEPS) & (left >= 0) & terminal[last[rows]][:, None],
        "rare states": np.broadcast_to(rare[:, None], age.shape),
    }
