"""What a planner does in the states that it leads to, in the dynamics that it plans in.

    s_0 recorded,   a_t = planner(s_t),   (s_{t+1}, p_t) ~ dynamics(s_t, a_t),   ended with probability p_t

Futures begin in training episodes, some of them where an episode began; every state on the way is labelled, until the
future ends. Shard i of planner j is made from keys of its own, so a labelling that was killed goes on with the next.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.data.dataset import Dataset
from dawm.errors import FileError, NumericalError
from dawm.planning.planner import Planner
from dawm.planning.play import Alone
from dawm.run.checkpoint import write_whole
from dawm.types import Dynamics
from dawm.worldmodel.rollout import advance_rows

PARTS = ("obs", "action", "future")


@dataclass(frozen=True)
class LabelConfig:
    """How many states, and where they are."""

    count: int = 10_000  # for each planner, and a few fewer where futures end early
    length: int = 20  # steps of a future
    futures: int = 128  # at once
    begin: float = 0.25  # share of the futures that begin where an episode does; the others anywhere in one

    def __post_init__(self):
        for name in ("count", "length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.futures < 2:
            raise ValueError(f"futures must be at least 2, for one of ten is kept apart; got {self.futures}")
        if not 0 <= self.begin <= 1:
            raise ValueError(f"begin is a share of the futures, between 0 and 1; got {self.begin}")

    @property
    def shards(self) -> int:
        """As many as give `count` states where no future ends early."""
        return -(-self.count // (self.futures * self.length))


def label_shard(
    planner: Planner | Alone,
    dynamics: Dynamics,
    train: Dataset,
    config: LabelConfig,
    which: tuple[int, int, int],
    path: Path | None = None,
) -> dict[str, np.ndarray]:
    """Shard `which` = (seed, planner, shard): observations, actions, both raw, and the number of the future that each
    is of. Read if it was written before, else made, and written where there is a path.

    Raises NumericalError where a future leaves the finite numbers, FileError of a shard that is damaged.
    """
    if path is not None and path.exists():
        return _read(path)
    seed, around, shard = which
    rng, key = np.random.default_rng(which), jr.fold_in(jr.fold_in(jr.key(seed), around), shard)
    obs = _starts(train, config, -(-config.futures // dynamics.count) * dynamics.count, rng)
    alive, number = np.ones(len(obs), bool), shard * len(obs) + np.arange(len(obs))
    rows: dict[str, list[np.ndarray]] = {name: [] for name in PARTS}
    planner.begin()
    for step in range(config.length):
        action = planner(obs[None])[0]
        for name, column in zip(PARTS, (obs, action, number), strict=True):
            rows[name].append(column[alive])
        found = _advanced(dynamics, jnp.asarray(obs), jnp.asarray(action), jr.fold_in(key, step))
        following, ended = map(np.asarray, found)
        alive &= ~ended
        if not np.isfinite(following[alive]).all():
            raise NumericalError(
                f"futures under the planner leave the finite numbers at step {step + 1} of {config.length}. Lower the"
                " length of the labelled futures."
            )
        obs = np.where(alive[:, None], following, obs)  # what has ended stays where it is, and is not labelled
    made = {name: np.concatenate(parts) for name, parts in rows.items()}
    if path is not None:
        path.parent.mkdir(exist_ok=True)
        write_whole(path, lambda file: np.savez(file, **made))  # type: ignore[arg-type]
    return made


def _starts(train: Dataset, config: LabelConfig, count: int, rng: np.random.Generator) -> Float[np.ndarray, "n obs"]:
    """Recorded observations."""
    rows = rng.integers(len(train), size=count)
    first = np.concatenate([[0], train.episode_ends[:-1]])
    begin = round(config.begin * count)
    rows[:begin] = first[rng.integers(len(first), size=begin)]
    return np.asarray(train.obs[rows], np.float32)


@eqx.filter_jit
def _advanced(dynamics: Dynamics, obs: Array, action: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
    """(next observations, whether they ended) of n futures, a multiple of the members; future i is of member i modulo
    their number from its first step to its last.
    """
    key_step, key_end = jr.split(key)
    out = advance_rows(dynamics, obs, action, jnp.full(len(obs), -1), key_step)
    return out.next_obs, jr.uniform(key_end, (len(obs),)) < out.terminal_prob


def _read(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in PARTS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FileError(
            f"the labels `{path}` are damaged ({error}). Delete the file and resume: they are made again."
        ) from None
