"""Inverse dynamics: the action between two states, a = IDM(s, s'). It completes state-only futures (DAWM; Decision
Diffuser).

All heads see (s, s' - s) in standardised units and answer in actions scaled to [-1, 1]:

- `deterministic`  tanh(m(s, s')), squared error: the conditional mean where (s, s') does not settle the action;
- `gaussian`       tanh of N(m, exp(v)^2), negative log-likelihood; `infer` gives the median, `draw` a sample;
- `ensemble`       several deterministic heads; `infer` gives their mean and `disagreement` their standard deviation.

Departures: DAWM does not describe its head (its predecessors use a 2 x 512 or 3 x 1024 perceptron on (s, s')); giving
the difference instead of s' removes the cancellation that a network would have to learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.nets.ensemble import stack
from dawm.nets.mlp import MLP

SATURATED = 0.999  # recorded actions are moved inside (-1, 1) before the inverse of tanh is taken


@dataclass(frozen=True)
class InverseConfig:
    """The head of the inverse dynamics model and its perceptron."""

    head: Literal["deterministic", "gaussian", "ensemble"] = "deterministic"
    width: int = 256
    depth: int = 3
    members: int = 5  # of the ensemble head


class InverseDynamics(eqx.Module):
    """Scaled action from a standardised state and a standardised change."""

    network: MLP  # stacked on a leading axis for the ensemble head
    head: str = eqx.field(static=True)
    act_dim: int = eqx.field(static=True)

    def __init__(self, config: InverseConfig, obs_dim: int, act_dim: int, *, key):
        size = 2 * act_dim if config.head == "gaussian" else act_dim
        build = lambda key: MLP(2 * obs_dim, size, width=config.width, depth=config.depth, activation="silu", key=key)
        self.network = stack(build, config.members, key) if config.head == "ensemble" else build(key)
        self.head, self.act_dim = config.head, act_dim

    def infer(self, obs: Float[Array, " obs"], change: Float[Array, " obs"]) -> Float[Array, " act"]:
        """The action in [-1, 1]: mean of the head (median of the Gaussian one)."""
        out = self._raw(obs, change)
        if self.head == "ensemble":
            return jnp.tanh(out).mean(0)
        return jnp.tanh(out[: self.act_dim])

    def draw(self, obs: Float[Array, " obs"], change: Float[Array, " obs"], key: PRNGKeyArray) -> Float[Array, " act"]:
        """A sample of the action: of the Gaussian, of a random member, or the deterministic answer."""
        out = self._raw(obs, change)
        if self.head == "ensemble":
            return jnp.tanh(out[jax.random.randint(key, (), 0, len(out))])
        if self.head == "gaussian":
            mean, log_std = self._moments(out)
            return jnp.tanh(mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape))
        return jnp.tanh(out)

    def disagreement(self, obs: Float[Array, " obs"], change: Float[Array, " obs"]) -> Float[Array, " act"]:
        """Standard deviation: between members, of the Gaussian (before tanh), or zero."""
        out = self._raw(obs, change)
        if self.head == "ensemble":
            return jnp.tanh(out).std(0)
        return jnp.exp(self._moments(out)[1]) if self.head == "gaussian" else jnp.zeros(self.act_dim)

    def loss(
        self, obs: Float[Array, " obs"], change: Float[Array, " obs"], action: Float[Array, " act"]
    ) -> Float[Array, ""]:
        """Squared error, or the negative log-likelihood of the tanh-Gaussian per action dimension."""
        out = self._raw(obs, change)
        if self.head != "gaussian":
            return jnp.square(jnp.tanh(out) - action).mean()
        return -self.log_prob_from(out, action) / self.act_dim

    def log_prob(
        self, obs: Float[Array, " obs"], change: Float[Array, " obs"], action: Float[Array, " act"]
    ) -> Float[Array, ""]:
        """Log-density of a scaled action under the Gaussian head."""
        assert self.head == "gaussian"
        return self.log_prob_from(self._raw(obs, change), action)

    def log_prob_from(self, out: Float[Array, " 2*act"], action: Float[Array, " act"]) -> Float[Array, ""]:
        mean, log_std = self._moments(out)
        inside = jnp.clip(action, -SATURATED, SATURATED)
        before = jnp.arctanh(inside)
        normal = -0.5 * jnp.square((before - mean) / jnp.exp(log_std)) - log_std - 0.5 * jnp.log(2 * jnp.pi)
        return (normal - jnp.log1p(-jnp.square(inside))).sum()

    def _moments(self, out):
        mean, raw = jnp.split(out, 2)
        return mean, jnp.clip(raw, -7.0, 2.0)

    def _raw(self, obs, change):
        x = jnp.concatenate([obs, change])
        return eqx.filter_vmap(lambda net: net(x))(self.network) if self.head == "ensemble" else self.network(x)
