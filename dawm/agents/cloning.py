"""How strongly a policy is held to the action of a row. The weight is a column of the transitions, for real and
synthetic rows alike, and multiplies a learner's imitation term.

`cloning_weights` weighs more where the log has little else to go by:

    w = 1 + k (1 − p),   p the support of (s, a): the share of held-out steps of the log that lie as far out

A value function is worth least where data are thin, and there the policy had better do what was recorded.

`only_the_log` leaves imitation to recorded rows, each B / (B − M) as strongly where M of the B rows of a batch are
synthetic, so that the term keeps its size. A world model can tell a learner where an action leads; of what the
log's policies do it knows nothing that the log does not say better.
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


def only_the_log(real: Transition, made: Transition, share: float) -> tuple[Transition, Transition]:
    """Both sources with only real rows imitated, where `share` of each batch, below 1, is synthetic."""
    weight = np.ones(len(real.reward), np.float32) if real.cloning is None else real.cloning
    real = real._replace(cloning=(weight / (1 - share)).astype(np.float32))
    return real, made._replace(cloning=np.zeros(len(made.reward), np.float32))
