"""The episodes that a world model is trained on and those that judge it: in memory, or in blocks of a log that stays on
disk (`data.stream`).

Of such a log the scales are those of the first block, and at most a block of held-out episodes judges.
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dawm.data.dataset import Dataset
from dawm.data.stream import Stream, in_memory, stream_of
from dawm.data.windows import Windows
from dawm.run.feed import Feed
from dawm.worldmodel.networks import Rows, device_rows, folds


@dataclass(frozen=True, eq=False)
class Split:
    """Training and held-out episodes of a log."""

    train: Dataset  # all training episodes, or the first block of them
    held: Dataset
    count: int  # training rows
    stream: Stream | None  # all training episodes, where they stay on disk
    fold: Int[np.ndarray, " n"]  # of the training rows; with a stream, of all rows of its log (0 on held-out ones)

    def rows(self) -> Rows | Feed:
        """What the one-step networks are trained on: transitions, whether their next observation is known, folds."""
        if self.stream is None:
            return *device_rows(self.train), jnp.asarray(self.fold)
        stream, fold = self.stream, self.fold

        def make(number: int) -> Rows:
            block = stream.block(number)
            return *device_rows(block.data), jnp.asarray(fold[block.rows])

        return Feed(make)


def split_log(data: Dataset, *, holdout: float, seed: int, members: int, block: int) -> Split:
    """Whole episodes to each side, as `Dataset.split`. Raises DatasetError if no episode can be held out."""
    kept, held = data.split_episodes(holdout, seed)
    stream = stream_of(data, block, seed, kept)
    judges, count = in_memory(data, block, seed, held), int(data.lengths[kept].sum())
    known = folds(data.lengths[kept], members, seed)
    if stream is None:
        return Split(data.select(kept), judges, count, None, known)
    fold = np.zeros(len(data), np.int32)
    fold[np.isin(np.arange(data.episodes), kept)[data.episode_of]] = known
    return Split(stream.block(0).data, judges, count, stream, fold)


def true_returns(windows: Windows, to_go: Float[np.ndarray, " n"], rows: Int[np.ndarray, " m"]) -> Windows:
    """The windows of a block with the returns-to-go of whole episodes, also where the block cuts one."""
    known: Array = jnp.asarray(to_go[rows], jnp.float32)
    return eqx.tree_at(lambda w: w.return_to_go, windows, known)
