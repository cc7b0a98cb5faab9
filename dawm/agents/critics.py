"""Critics and the arithmetic that learners share: the twin minimum, the Bellman target, the moving target network.

    y = r + γ (1 − terminal) v(s'),   v(s') = min_i Q_i(s', a')

Only `terminal` stops the bootstrap. A recording that was cut, by a time limit or by the recorder, is not terminal and
is bootstrapped through: its next observation is the true one.
"""

from __future__ import annotations

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from dawm.agents.base import weighted
from dawm.nets.ensemble import stack, unstack
from dawm.nets.mlp import MLP
from dawm.types import Transition

T = TypeVar("T")


class TwinCritic(eqx.Module):
    """Two Q networks in one: every parameter has a leading axis of 2, so their products are one batched product.

    With `outputs` above 1 each network gives that many quantiles.
    """

    nets: MLP
    outputs: int = eqx.field(static=True)

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        *,
        width: int,
        depth: int,
        outputs: int = 1,
        layer_norm: bool = False,
        key: PRNGKeyArray,
    ):
        build = lambda key: MLP(obs_dim + act_dim, outputs, width=width, depth=depth, layer_norm=layer_norm, key=key)
        self.nets = stack(build, 2, key)
        self.outputs = outputs

    def __call__(self, obs: Float[Array, " obs"], action: Float[Array, " act"]) -> Float[Array, "2 *q"]:
        x = jnp.concatenate([obs, action])
        return eqx.filter_vmap(lambda net: self._values(net(x)))(self.nets)

    def rows(self, obs: Float[Array, "b obs"], action: Float[Array, "b act"]) -> Float[Array, "b 2 *q"]:
        """`jax.vmap(self)(obs, action)`, one network after the other: each layer is then one plain matrix product, and
        not one with a batch axis, which XLA's CPU code surrounds by copies in another order of axes.
        """
        x = jnp.concatenate([obs, action], -1)
        return jnp.stack([jax.vmap(lambda row, net=net: self._values(net(row)))(x) for net in unstack(self.nets)], 1)

    def first(self, obs: Float[Array, " obs"], action: Float[Array, " act"]) -> Float[Array, "*q"]:
        """Q_1 alone, at half the cost: what TD3 improves its policy on."""
        net = jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, self.nets)
        return self._values(net(jnp.concatenate([obs, action])))

    def _values(self, out: Float[Array, " q"]) -> Float[Array, "*q"]:
        return out[0] if self.outputs == 1 else out


class ValueNet(eqx.Module):
    """V(s)."""

    net: MLP

    def __init__(self, obs_dim: int, *, width: int, depth: int, key: PRNGKeyArray):
        self.net = MLP(obs_dim, 1, width=width, depth=depth, key=key)

    def __call__(self, obs: Float[Array, " obs"]) -> Float[Array, ""]:
        return self.net(obs)[0]


def bellman_target(
    reward: Float[Array, "*b"], terminal: Bool[Array, "*b"], next_value: Float[Array, "*b"], discount: float
) -> Float[Array, "*b"]:
    """r + γ v(s') where the episode goes on, r where the MDP ended."""
    return reward + discount * jnp.where(terminal, 0.0, next_value)


def squared_loss(
    critic: TwinCritic, batch: Transition, y: Float[Array, " b"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(sum over the critics of their mean squared error against y, mean of Q)."""
    q = critic.rows(batch.obs, batch.action)
    return weighted(jnp.square(q - y[:, None]), batch).mean(0).sum(), q.mean()


def absolute_error(critic: TwinCritic, batch: Transition, y: Float[Array, "b *m"]) -> Float[Array, " b"]:
    """|mean of the critics − y| of each row, over the means of quantiles where there are any."""
    q = critic.rows(batch.obs, batch.action)
    return jnp.abs(q.reshape(len(q), -1).mean(-1) - y.reshape(len(y), -1).mean(-1))


def moved(target: T, source: T, rate: float) -> T:
    """The target network after one step towards its source: (1 − rate) target + rate source."""
    return jax.tree.map(lambda t, s: (1 - rate) * t + rate * s if eqx.is_inexact_array(t) else t, target, source)


def expectile_loss(error: Float[Array, "*b"], expectile: float) -> Float[Array, "*b"]:
    """|τ − 1(u < 0)| u², whose minimiser is the τ-expectile (Kostrikov et al. 2022, eq. 4)."""
    return jnp.abs(expectile - (error < 0)) * error**2
