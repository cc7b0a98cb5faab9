"""One-step networks: (s, a) -> change of state and reward. The anchor of the default model, and the yardsticks beside
it.

`StepNetwork` regresses the standardised change (s' - s) / std and reward; with `linear_skip` a linear map runs beside
the perceptron, so that shifts, delays and linear dynamics are exact from the start. `GaussianEnsemble` is the
probabilistic ensemble of PETS, used by MOPO and its heirs (Chua et al. 2018; Yu et al. 2020): every member has a mean
and a variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from dawm.data.normalise import Standard
from dawm.nets.ensemble import apply, stack
from dawm.nets.linear import Linear
from dawm.nets.mlp import MLP


@dataclass(frozen=True)
class StepConfig:
    """A perceptron on one step. The plain yardstick has no linear skip."""

    width: int = 256
    depth: int = 3
    linear_skip: bool = True


@dataclass(frozen=True)
class EnsembleConfig:
    """Gaussian ensemble of the yardstick, as MOPO and its heirs have it (Yu et al. 2020)."""

    members: int = 7
    elites: int = 5  # members that forecast in a calibration: the best on held-out steps, or all where there are fewer
    width: int = 200
    depth: int = 4

    def __post_init__(self):
        if self.members < 1 or self.elites < 1:
            raise ValueError(f"members and elites must be at least 1, got {self.members} and {self.elites}")


class Scales(eqx.Module):
    """Units in which one-step networks work, fitted on the training episodes."""

    obs: Standard
    change: Standard  # of s' - s
    reward: Standard  # of the reward, as a vector of length one
    act_centre: Float[Array, " act"]
    act_scale: Float[Array, " act"]
    least: Float[Array, " 2*obs"]  # of `after` in the log
    most: Float[Array, " 2*obs"]

    def action(self, action: Float[Array, "*b act"]) -> Float[Array, "*b act"]:
        """Actions in [-1, 1]."""
        return (action - self.act_centre) / self.act_scale

    def inputs(self, obs: Float[Array, " obs"], action: Float[Array, " act"]) -> Float[Array, " obs+act"]:
        return jnp.concatenate([self.obs.apply(obs), self.action(action)])

    def after(self, obs: Float[Array, " obs"], next_obs: Float[Array, " obs"]) -> Float[Array, " 2*obs"]:
        """The next observation and the change, standardised."""
        return jnp.concatenate([self.obs.apply(next_obs), self.change.apply(next_obs - obs)])

    def targets(self, obs, reward, next_obs) -> Float[Array, " obs+1"]:
        """The standardised change and reward."""
        return jnp.concatenate([self.change.apply(next_obs - obs), self.reward.apply(reward[None])])

    def outcome(self, obs: Float[Array, " obs"], out: Float[Array, " obs+1"]) -> tuple[Array, Array]:
        """(next observation, reward) in raw units."""
        return obs + self.change.invert(out[:-1]), self.reward.invert(out[-1:])[0]


class StepNetwork(eqx.Module):
    """Standardised (change, reward) for standardised (s, a)."""

    body: MLP
    skip: Linear | None

    def __init__(self, config: StepConfig, obs_dim: int, act_dim: int, *, key):
        key_body, key_skip = jr.split(key)
        size_in, size_out = obs_dim + act_dim, obs_dim + 1
        self.body = MLP(size_in, size_out, width=config.width, depth=config.depth, activation="silu", key=key_body)
        self.skip = Linear(size_in, size_out, bias=False, key=key_skip) if config.linear_skip else None

    @property
    def extrapolates(self) -> bool:
        """Whether every change of state is linear in (s, a), as `readout.py` may have found; the reward need not be."""
        return self.skip is not None and not np.asarray(self.body.layers[-1].weight)[:, :-1].any()

    def linear(self) -> Linear:
        """The same without the perceptron's hidden layers: all that there is of a change of state that is linear."""
        assert self.skip is not None
        return eqx.tree_at(lambda n: n.bias, self.skip, self.body.layers[-1].bias, is_leaf=lambda leaf: leaf is None)

    def __call__(self, x: Float[Array, " in"]) -> Float[Array, " out"]:
        return self.body(x) + (0.0 if self.skip is None else self.skip(x))


def step_loss(
    network: StepNetwork, x: Float[Array, "b in"], y: Float[Array, "b out"], weight: Float[Array, " b"]
) -> Float[Array, ""]:
    """Weighted mean squared error in standardised units; the weights sum to one."""
    return weight @ jnp.square(jax.vmap(network)(x) - y).mean(-1)


class GaussianEnsemble(eqx.Module):
    """Members with a diagonal Gaussian over the standardised (change, reward)."""

    members: MLP  # stacked on a leading axis
    low: Float[Array, " out"]  # soft bounds of the log-variance, learnt as in PETS
    high: Float[Array, " out"]
    count: int = eqx.field(static=True)

    def __init__(self, config: EnsembleConfig, obs_dim: int, act_dim: int, *, key):
        size = obs_dim + 1
        build = lambda key: MLP(
            obs_dim + act_dim, 2 * size, width=config.width, depth=config.depth, activation="silu", key=key
        )
        self.members = stack(build, config.members, key)
        self.low, self.high = jnp.full(size, -10.0), jnp.full(size, 0.5)
        self.count = config.members

    def __call__(self, x: Float[Array, " in"]) -> tuple[Float[Array, "m out"], Float[Array, "m out"]]:
        """Mean and log-variance of every member."""
        return self.split(apply(self.members, x))

    def split(self, out: Float[Array, "*b 2*out"]) -> tuple[Float[Array, "*b out"], Float[Array, "*b out"]]:
        """Mean and log-variance, the latter between soft bounds."""
        mean, raw = jnp.split(out, 2, axis=-1)
        log_var = self.high - jax.nn.softplus(self.high - raw)
        return mean, self.low + jax.nn.softplus(log_var - self.low)


def ensemble_loss(
    model: GaussianEnsemble, x: Float[Array, "m b in"], y: Float[Array, "m b out"], weight: Float[Array, "m b"]
) -> Float[Array, ""]:
    """Gaussian negative log-likelihood, every member on its own batch, plus PETS's pull on the variance bounds."""

    def one(member, x, y, weight):
        mean, log_var = model.split(jax.vmap(member)(x))
        return weight @ (0.5 * jnp.square(mean - y) * jnp.exp(-log_var) + 0.5 * log_var).mean(-1)

    return eqx.filter_vmap(one)(model.members, x, y, weight).mean() + 0.01 * (model.high - model.low).mean()
