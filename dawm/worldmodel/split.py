"""Which episodes train a world model and which judge it, in memory or in blocks of a log that stays on disk
(`data.stream`).

Of such a log the scales are those of the first block, and at most a block of held-out episodes judges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from dawm.data.dataset import Dataset
from dawm.data.stream import Stream, in_memory, stream_of
from dawm.run.feed import Feed
from dawm.worldmodel.networks import device_rows, folds

if TYPE_CHECKING:
    from dawm.worldmodel.fit import WorldModelConfig


@dataclass(frozen=True, eq=False)
class Blocks:
    """The training episodes of a log that stays on disk."""

    stream: Stream
    fold: Int[np.ndarray, " n"]  # of every row of the log; 0 on held-out ones

    def rows(self) -> Feed:
        """What `train_networks` is trained on, block by block."""

        def make(number: int):
            block = self.stream.block(number)
            return *device_rows(block.data), jnp.asarray(self.fold[block.rows])

        return Feed(make)


@dataclass(frozen=True, eq=False)
class Split:
    """Training and held-out episodes of a log."""

    train: Dataset  # all training episodes, or the first block of them
    held: Dataset
    count: int  # training rows
    blocks: Blocks | None  # where the training episodes stay on disk


def split_log(data: Dataset, config: WorldModelConfig) -> Split:
    """Whole episodes to each side, as `Dataset.split`. Raises DatasetError if no episode can be held out."""
    kept, held = data.split_episodes(config.holdout, config.seed)
    stream = stream_of(data, config.block, config.seed, kept)
    judges, count = in_memory(data, config.block, config.seed, held), int(data.lengths[kept].sum())
    if stream is None:
        return Split(data.select(kept), judges, count, None)
    fold = np.zeros(len(data), np.int32)
    trained_on = np.isin(np.arange(data.episodes), kept)[data.episode_of]
    fold[trained_on] = folds(data.lengths[kept], config.model.members, config.seed)
    return Split(stream.block(0).data, judges, count, Blocks(stream, fold))
