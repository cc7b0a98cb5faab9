"""Does the log support this (s, a)? A distance to it, read as the share of recorded steps that lie as far out.

The distance is the mean to the nearest training steps, in standard deviations. The score is a conformal p-value against
held-out steps of the same log: for a step of the log's own kind it is uniform in (0, 1], whatever the distance is
worth, so that dropping everything below p drops a share p of what the log itself could have held. NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

NEAREST = 5
ROWS = 20_000  # training steps in the tree
HELD = 2_000  # held-out steps that scores are read against


@dataclass(frozen=True, eq=False)
class Support:
    """A tree of standardised training steps, and the distances of held-out ones in increasing order."""

    mean: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    tree: Any  # scipy.spatial.KDTree
    held: Float[np.ndarray, " n"]

    def distance(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Mean distance of rows (s, a) to their nearest training steps, one that is the row itself not counted."""
        near = self.tree.query((x - self.mean) / self.scale, k=min(NEAREST + 1, self.tree.n), workers=-1)[0]
        near = near.reshape(len(x), -1)
        own = near[:, :1] == 0
        return np.where(own, near[:, 1:], near[:, :-1]).mean(1) if near.shape[1] > 1 else near[:, 0]

    def score(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Share of held-out steps at least as far from the training data, in (0, 1]: small where it has nothing."""
        farther = len(self.held) - np.searchsorted(self.held, self.distance(x), side="left")
        return (farther + 1) / (len(self.held) + 1)


def fit_support(train: Float[np.ndarray, "n d"], held: Float[np.ndarray, "m d"], seed: int = 0) -> Support:
    """From the (s, a) of training and of held-out steps."""
    from scipy.spatial import KDTree  # where it is used: SciPy is slow to import

    rng = np.random.default_rng(seed)
    train, held = (x[rng.permutation(len(x))[:count]].astype(float) for x, count in ((train, ROWS), (held, HELD)))
    mean, scale = train.mean(0), train.std(0) + 1e-6
    support = Support(mean, scale, KDTree((train - mean) / scale), np.zeros(0))
    return Support(mean, scale, support.tree, np.sort(support.distance(held)))
