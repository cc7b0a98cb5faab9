"""How strongly a policy is held to a recorded action: more where the log has little else to go by.

    w = 1 + k (1 − p),   p the support of (s, a): the share of held-out steps of the log that lie as far out

A value function is worth least where data are thin, and there the policy had better do what was recorded. The weight is
a column of the transitions, for real and synthetic rows alike, and multiplies a learner's imitation term.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dawm.data.dataset import Dataset
from dawm.types import Transition
from dawm.uncertainty.support import Support, fit_support

HELD = 0.1  # share of the episodes that the scores are read against


def log_support(data: Dataset, seed: int) -> Support:
    """Support of a log, read against episodes of its own that are kept out of the tree."""
    train, held = data.split(HELD, seed)
    pairs = [np.concatenate([part.obs, part.action], 1) for part in (train, held)]
    return fit_support(pairs[0], pairs[1], seed)


def cloning_weights(support: Support, rows: Transition, strength: float) -> Float[np.ndarray, " n"]:
    """w of each row; between 1 and 1 + `strength`."""
    score = support.score(np.concatenate([rows.obs, rows.action], 1))
    return (1 + strength * (1 - score)).astype(np.float32)
