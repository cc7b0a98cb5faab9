"""Simple forecasters that every world model is measured against: each has `count` and `advance` like one.

`Persistence` copies the last state; `Neighbours` draws the recorded change of one of the nearest (s, a); `Gaussian` is
one probabilistic network; `GaussianMembers` the ensemble of PETS, MOPO and their heirs.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from dawm.data.dataset import Dataset
from dawm.data.windows import Windows
from dawm.nets.ensemble import kept, size
from dawm.types import Prediction, tree_rows
from dawm.worldmodel.onestep import GaussianEnsemble, Scales

NEIGHBOURS = 16  # among which one is drawn
BLOCK = 256  # queries whose distances are in memory at once
REFERENCE_ROWS = 20_000  # recorded steps that neighbours are looked for in


class Persistence(eqx.Module):
    """Nothing changes; the mean reward, the mean rate of ends."""

    reward: Float[Array, ""]
    end_rate: Float[Array, ""]

    @property
    def count(self) -> int:
        return 1

    def advance(self, obs, action, source, key):
        shape = source.shape
        return Prediction(obs, jnp.broadcast_to(self.reward, shape), jnp.broadcast_to(self.end_rate, shape))


class Neighbours(eqx.Module):
    """The change, reward and end of one of the nearest recorded steps, distances in standard deviations of (s, a)."""

    scales: Scales
    inputs: Float[Array, "n in"]
    change: Float[Array, "n obs"]
    reward: Float[Array, " n"]
    terminal: Float[Array, " n"]

    @property
    def count(self) -> int:
        return 1

    def advance(self, obs, action, source, key):
        norms = jnp.square(self.inputs).sum(1)

        def one(query):
            obs, action, uniform = query
            near = jax.lax.top_k(2 * self.inputs @ self.scales.inputs(obs, action) - norms, NEIGHBOURS)[1]
            chosen = near[(uniform * NEIGHBOURS).astype(int)]
            return Prediction(obs + self.change[chosen], self.reward[chosen], self.terminal[near].mean())

        queries = (obs[0], action[0], jr.uniform(key, source.shape[1:]))
        out = jax.lax.map(one, queries, batch_size=BLOCK)
        return jax.tree.map(lambda leaf: leaf[None], out)


class GaussianMembers(eqx.Module):
    """A Gaussian ensemble as a forecaster; with one member kept it is a single Gaussian network."""

    scales: Scales
    ensemble: GaussianEnsemble
    end_rate: Float[Array, ""]

    @property
    def count(self) -> int:
        return size(self.ensemble.members)

    def advance(self, obs, action, source, key):
        following, reward = self.step(obs, action, jr.normal(key, (*source.shape, len(self.ensemble.low))))
        return Prediction(following, reward, jnp.broadcast_to(self.end_rate, source.shape))

    def step(
        self, obs: Float[Array, "m n obs"], action: Float[Array, "m n act"], noise: Float[Array, "m n obs+1"]
    ) -> tuple[Float[Array, "m n obs"], Float[Array, "m n"]]:
        """(next observations, rewards) with standard normal noise; row (i, j) by member i."""

        def one(member, obs, action, noise):
            x = jax.vmap(self.scales.inputs)(obs, action)
            mean, log_var = self.ensemble.split(jax.vmap(member)(x))
            return jax.vmap(self.scales.outcome)(obs, mean + jnp.exp(0.5 * log_var) * noise)

        return eqx.filter_vmap(one)(self.ensemble.members, obs, action, noise)


def gaussian_members(
    ensemble: GaussianEnsemble, scales: Scales, end_rate: float, members: np.ndarray | None = None
) -> GaussianMembers:
    """The forecaster of all members of an ensemble, or of the given ones."""
    if members is not None:
        ensemble = eqx.tree_at(lambda e: e.members, ensemble, kept(ensemble.members, jnp.asarray(members)))
    return GaussianMembers(scales, ensemble, jnp.asarray(end_rate, jnp.float32))


def best_members(
    ensemble: GaussianEnsemble, scales: Scales, windows: Windows, rows: np.ndarray, count: int
) -> Int[np.ndarray, " k"]:
    """The elites of an ensemble: the `count` members with the best likelihood on these rows, best first; all of them
    where there are fewer.
    """

    @jax.jit
    def likelihood(rows):
        taken = tree_rows((windows.obs, windows.action, windows.reward, windows.next_obs), rows)

        def one(obs, action, reward, next_obs):
            mean, log_var = ensemble(scales.inputs(obs, action))
            error = scales.targets(obs, reward, next_obs) - mean
            return -0.5 * (jnp.square(error) * jnp.exp(-log_var) + log_var).sum(-1)

        return jax.vmap(one)(*taken).mean(0)

    known = rows[np.asarray(windows.recorded)[rows]]
    order = np.argsort(-np.asarray(likelihood(jnp.asarray(known if len(known) else rows))), kind="stable")
    return order[:count]


def neighbours(train: Dataset, scales: Scales, seed: int) -> Neighbours:
    """The nearest-neighbour forecaster of training rows, of at most `REFERENCE_ROWS` drawn at random."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(train))[:REFERENCE_ROWS])
    obs, action = jnp.asarray(train.obs[rows], jnp.float32), jnp.asarray(train.action[rows], jnp.float32)
    return Neighbours(
        scales=scales,
        inputs=jax.vmap(scales.inputs)(obs, action),
        change=jnp.asarray(train.next_obs[rows] - train.obs[rows], jnp.float32),
        reward=jnp.asarray(train.reward[rows], jnp.float32),
        terminal=jnp.asarray(train.terminal[rows], jnp.float32),
    )


def persistence(train: Dataset) -> Persistence:
    """The forecaster that copies the last state."""
    return Persistence(jnp.asarray(train.reward.mean(), jnp.float32), jnp.asarray(train.terminal.mean(), jnp.float32))
