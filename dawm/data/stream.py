"""A log in blocks: what is in memory at a time, of one that is larger.

Whole episodes are taken in an order that is shuffled anew in each pass, and their rows cut into blocks of one size, so
that a program compiled for one block serves all. Where a block ends inside an episode its last rows look as if the
recording had been cut there. Block i is a function of the seed and i alone, hence a run that was interrupted goes on
with the block that it would have had.

Within a block draws are uniform over its rows; over a pass every row (but the few that fill no last block) is in one
block. This is the shuffle buffer of other readers, and not the same draws as from a log that is in memory whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from dawm.data.dataset import COLUMNS, Dataset
from dawm.errors import ConfigError


class Block(NamedTuple):
    """Some rows of a log, in memory."""

    data: Dataset
    rows: Int[np.ndarray, " n"]  # where they are in the log


@dataclass(frozen=True, eq=False)
class Stream:
    """The episodes of a log that `episodes` names (all: None), in blocks of `size` rows."""

    data: Dataset
    size: int
    seed: int = 0
    episodes: Int[np.ndarray, " e"] | None = None

    def __post_init__(self):
        if not 1 <= self.size <= self.total:
            raise ConfigError(f"a block has between 1 and {self.total:,} rows (those of the log), not {self.size:,}.")

    @property
    def chosen(self) -> Int[np.ndarray, " e"]:
        """Numbers of the episodes."""
        return np.arange(self.data.episodes) if self.episodes is None else self.episodes

    @property
    def total(self) -> int:
        """Rows of the episodes."""
        return int(self.data.lengths[self.chosen].sum())

    def block(self, number: int) -> Block:
        """Block `number`, counted from 0 through all passes."""
        turn, place = divmod(number, self.total // self.size)
        order, ends = _shuffled(self, turn)
        first, last = place * self.size, (place + 1) * self.size
        spans, inside = [], []
        for i in range(int(np.searchsorted(ends, first, "right")), int(np.searchsorted(ends, last, "left")) + 1):
            episode, begins = int(order[i]), int(ends[i] - self.data.lengths[order[i]])
            start = int(self.data.episode_starts[episode])
            spans.append(np.arange(start + max(first - begins, 0), start + min(last, int(ends[i])) - begins))
            inside.append(len(spans[-1]))
        rows = np.concatenate(spans)
        cut = {name: np.array(getattr(self.data, name)[rows]) for name in COLUMNS}
        return Block(replace(self.data, **cut, episode_ends=np.cumsum(inside)), rows)


@lru_cache(maxsize=4)
def _shuffled(stream: Stream, turn: int) -> tuple[np.ndarray, np.ndarray]:
    """(episodes in the order of a pass, end of each in the rows of the pass)."""
    order = np.random.default_rng([stream.seed, turn]).permutation(stream.chosen)
    return order, np.cumsum(stream.data.lengths[order])


def stream_of(data: Dataset, size: int, seed: int, episodes: np.ndarray | None = None) -> Stream | None:
    """The blocks of a log that stays on disk; None for one that is in memory, or that one block holds."""
    rows = len(data) if episodes is None else int(data.lengths[episodes].sum())
    return Stream(data, size, seed, episodes) if data.mapped and rows > size else None


def in_memory(data: Dataset, size: int, seed: int = 0, episodes: np.ndarray | None = None) -> Dataset:
    """The rows of the first block of a log that stays on disk, or all of one that is small enough or in memory."""
    stream = stream_of(data, size, seed, episodes)
    if stream is not None:
        return stream.block(0).data
    if episodes is None:
        return data.select(range(data.episodes)) if data.mapped else data
    return data.select(episodes)
