"""The marker log: every number names its episode and its step, so a misplaced one cannot pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest


@dataclass(frozen=True)
class Marker:
    """Observation t of episode e is (1000 e + t, -(1000 e + t) - 0.5); an episode has T + 1 of them, all different."""

    lengths: tuple[int, ...] = (3, 1, 4, 2, 5)
    ended: tuple[bool, ...] = (True, False, False, True, False)  # terminal; the others are cut

    def observations(self, e: int) -> np.ndarray:
        name = 1000.0 * e + np.arange(self.lengths[e] + 1)
        return np.stack([name, -name - 0.5], axis=1).astype(np.float32)

    def actions(self, e: int) -> np.ndarray:
        return ((1000.0 * e + np.arange(self.lengths[e])) / 10_000)[:, None].astype(np.float32)

    def rewards(self, e: int) -> np.ndarray:
        return (1000.0 * e + np.arange(self.lengths[e]) + 0.25).astype(np.float32)

    def last(self, e: int, flag: bool) -> np.ndarray:
        out = np.zeros(self.lengths[e], bool)
        out[-1] = flag
        return out

    def terminals(self, e: int) -> np.ndarray:
        return self.last(e, self.ended[e])

    def timeouts(self, e: int) -> np.ndarray:
        return self.last(e, not self.ended[e])

    def join(self, part) -> np.ndarray:
        return np.concatenate([part(e) for e in range(len(self.lengths))])

    @property
    def flat(self) -> dict[str, np.ndarray]:
        """All columns with D4RL's names."""
        return {
            "observations": self.join(lambda e: self.observations(e)[:-1]),
            "actions": self.join(self.actions),
            "rewards": self.join(self.rewards),
            "next_observations": self.join(lambda e: self.observations(e)[1:]),
            "terminals": self.join(self.terminals),
            "timeouts": self.join(self.timeouts),
        }

    def check(self, data, *, shifted: bool = False) -> bool:
        """Every row of `data` is the true one. `shifted`: the source stored no next observations, so the last row of
        each cut episode is gone and a terminal row repeats its observation."""
        position = 0
        for e, length in enumerate(self.lengths):
            steps = length - 1 if shifted and not self.ended[e] else length
            rows = slice(position, position + steps)
            following = self.observations(e)[1 : steps + 1].copy()
            if shifted and self.ended[e]:
                following[-1] = self.observations(e)[steps - 1]
            np.testing.assert_array_equal(data.obs[rows], self.observations(e)[:steps])
            np.testing.assert_array_equal(data.action[rows], self.actions(e)[:steps])
            np.testing.assert_array_equal(data.reward[rows], self.rewards(e)[:steps])
            np.testing.assert_array_equal(data.next_obs[rows], following)
            np.testing.assert_array_equal(data.terminal[rows], self.terminals(e)[:steps])
            position += steps
            assert steps == 0 or position in data.episode_ends
        assert len(data) == position
        kept = [n - (shifted and not end) for n, end in zip(self.lengths, self.ended, strict=True)]
        assert data.lengths.tolist() == [n for n in kept if n]
        assert data.cut.tolist() == [not end for n, end in zip(kept, self.ended, strict=True) if n]
        for name in ("obs", "action", "reward", "next_obs"):
            assert getattr(data, name).dtype == np.float32
        return True


@pytest.fixture(scope="session")
def marker() -> Marker:
    return Marker()


@pytest.fixture
def write_h5():
    """Write a dict of arrays as a flat HDF5 file (keys may hold slashes)."""
    import h5py

    def write(path, arrays):
        with h5py.File(path, "w") as file:
            for key, array in arrays.items():
                file[key] = array
        return path

    return write
