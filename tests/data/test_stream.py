"""A log in blocks: every row once a pass, from whole episodes, the same at every call."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawm.data import mapped
from dawm.data.dataset import Dataset
from dawm.data.stream import Stream, in_memory, stream_of
from dawm.errors import ConfigError


def log(lengths: list[int]) -> Dataset:
    """Rows that are numbered, in episodes of these lengths; every second one ends."""
    n, ends = sum(lengths), np.cumsum(lengths)
    name = np.arange(n, dtype=np.float32)
    terminal = np.zeros(n, bool)
    terminal[ends[::2] - 1] = True
    return Dataset(
        obs=np.stack([name, -name], 1), next_obs=np.stack([name + 0.5, -name], 1),
        action=name[:, None] / n, reward=name, terminal=terminal, episode_ends=ends, source=np.full(n, -1, np.int32),
        act_low=-np.ones(1, np.float32), act_high=np.ones(1, np.float32),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.data())
def test_every_pass_has_every_row_once(lengths, data):
    whole = log(lengths)
    size = data.draw(st.integers(1, len(whole)))
    stream, blocks = Stream(whole, size, seed=3), len(whole) // size
    for turn in range(2):
        parts = [stream.block(turn * blocks + i) for i in range(blocks)]
        rows = np.concatenate([part.rows for part in parts])
        assert len(rows) == blocks * size == len(np.unique(rows))
        for part in parts:
            np.testing.assert_array_equal(part.data.reward, part.rows)
            np.testing.assert_array_equal(part.data.terminal, whole.terminal[part.rows])
            # inside an episode of a block rows follow each other, and no episode of it mixes two of the log
            for first, end in zip(part.data.episode_starts, part.data.episode_ends, strict=True):
                assert (np.diff(part.rows[first:end]) == 1).all()
                assert len(set(whole.episode_of[part.rows[first:end]])) == 1


def test_blocks_are_functions_of_seed_and_number():
    whole = log([5, 3, 8, 2, 7, 4])
    one, again, other = (Stream(whole, 6, seed) for seed in (1, 1, 2))
    later = [one.block(i).rows for i in range(9)]
    np.testing.assert_array_equal(again.block(7).rows, later[7])
    assert any((other.block(i).rows != later[i]).any() for i in range(4))
    assert any((later[i] != later[i + 4]).any() for i in range(4))  # 4 blocks a pass: the next one is in another order


def test_only_the_chosen_episodes():
    whole, chosen = log([5, 3, 8, 2, 7, 4]), np.array([1, 2, 5])
    stream = Stream(whole, 7, 0, chosen)
    rows = np.concatenate([stream.block(i).rows for i in range(2)])
    assert stream.total == 15
    assert set(whole.episode_of[rows]) <= set(chosen)


def test_a_size_that_no_block_can_have():
    for size in (0, 9):
        with pytest.raises(ConfigError, match="between 1 and 8 rows"):
            Stream(log([5, 3]), size)


def test_only_large_logs_on_disk_are_read_in_blocks(tmp_path):
    whole = log([5, 3, 8, 2])
    mapped.save([whole], tmp_path / "x.dawm")
    on_disk = mapped.load(tmp_path / "x.dawm")
    assert stream_of(whole, 4, 0) is None
    assert stream_of(on_disk, 18, 0) is None
    assert stream_of(on_disk, 17, 0) is not None
    assert in_memory(whole, 4) is whole
    assert in_memory(on_disk, 100).fingerprint == whole.fingerprint
    assert not in_memory(on_disk, 100).mapped
    assert len(in_memory(on_disk, 7)) == 7
    np.testing.assert_array_equal(in_memory(on_disk, 100, episodes=np.array([1])).reward, whole.reward[5:8])
