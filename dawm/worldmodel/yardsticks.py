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
from jaxtyping import Array, Float

from dawm.data.dataset import Dataset
from dawm.nets.ensemble import size
from dawm.types import Prediction
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
        noise = jr.normal(key, (*source.shape, len(self.ensemble.low)))

        def one(member, obs, action, noise):
            x = jax.vmap(self.scales.inputs)(obs, action)
            mean, log_var = self.ensemble.split(jax.vmap(member)(x))
            return jax.vmap(self.scales.outcome)(obs, mean + jnp.exp(0.5 * log_var) * noise)

        following, reward = eqx.filter_vmap(one)(self.ensemble.members, obs, action, noise)
        return Prediction(following, reward, jnp.broadcast_to(self.end_rate, source.shape))


def gaussian_members(
    ensemble: GaussianEnsemble, scales: Scales, end_rate: float, members: np.ndarray | None = None
) -> GaussianMembers:
    """The forecaster of all members of an ensemble, or of the given ones."""
    if members is not None:
        rows = jnp.asarray(members)
        kept = jax.tree.map(lambda leaf: leaf[rows] if eqx.is_array(leaf) else leaf, ensemble.members)
        ensemble = eqx.tree_at(lambda e: e.members, ensemble, kept)
    return GaussianMembers(scales, ensemble, jnp.asarray(end_rate, jnp.float32))


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
