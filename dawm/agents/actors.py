"""Policies as networks: one observation in, one action in [-1, 1] out."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.nets.mlp import MLP

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0  # Kostrikov et al. 2022, CORL


class DeterministicActor(eqx.Module):
    """a = tanh(f(s)) (Fujimoto & Gu 2021)."""

    net: MLP

    def __init__(self, obs_dim: int, act_dim: int, *, width: int, depth: int, key: PRNGKeyArray):
        self.net = MLP(obs_dim, act_dim, width=width, depth=depth, final="tanh", key=key)

    def __call__(self, obs: Float[Array, " obs"]) -> Float[Array, " act"]:
        return self.net(obs)


class GaussianActor(eqx.Module):
    """N(tanh(f(s)), diag(exp(log_std))²) with a log-std that does not depend on the state (CORL's `GaussianPolicy`).

    The mean is squashed and the density is not: an action outside [-1, 1] has a finite log-likelihood. Called, it gives
    the mean, which is what is evaluated.
    """

    net: MLP
    log_std: Float[Array, " act"]

    def __init__(self, obs_dim: int, act_dim: int, *, width: int, depth: int, key: PRNGKeyArray):
        self.net = MLP(obs_dim, act_dim, width=width, depth=depth, final="tanh", key=key)
        self.log_std = jnp.zeros(act_dim)

    def __call__(self, obs: Float[Array, " obs"]) -> Float[Array, " act"]:
        return self.net(obs)

    def log_prob(self, obs: Float[Array, " obs"], action: Float[Array, " act"]) -> Float[Array, ""]:
        """Log-density of `action`, summed over its dimensions."""
        log_std = jnp.clip(self.log_std, LOG_STD_MIN, LOG_STD_MAX)
        error = (action - self.net(obs)) * jnp.exp(-log_std)
        return -(0.5 * error**2 + log_std + 0.5 * jnp.log(2 * jnp.pi)).sum()
