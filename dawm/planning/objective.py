"""The worth of action sequences under a world model: discounted rewards until the end, and a value beyond the horizon.

    R = sum over h < H of γ^h alive_h r_h  +  γ^H alive_H v(s_H),      alive_h+1 = alive_h (1 − p_h)

for every particle; a risk measure over the particles of a sequence makes one number of them. A particle keeps one
member of the model from its first step to its last, so disagreement of the members counts as risk.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.types import Dynamics


def particle_returns(
    model: Dynamics,
    obs: Float[Array, "n obs"],
    plans: Float[Array, "n c h act"],
    particles: int,
    discount: float,
    value: Callable[[Array], Array] | None,
    key: PRNGKeyArray,
) -> Float[Array, "n c p"]:
    """Returns of c plans from each of n states, for `particles` particles of each member; particle i of p is of member
    i modulo their number.
    """
    m, (n, c, horizon, _) = model.count, plans.shape

    def spread(leaf):  # (n, c, ...) -> (m, n * c * particles, ...)
        wide = jnp.broadcast_to(leaf[None, :, :, None], (m, n, c, particles, *leaf.shape[2:]))
        return wide.reshape(m, n * c * particles, *leaf.shape[2:])

    start = spread(jnp.broadcast_to(obs[:, None], (n, c, obs.shape[-1])))
    source = jnp.full(start.shape[:2], -1)

    def step(carry, item):
        obs, alive, total = carry
        action, gain, key = item
        out = model.advance(obs, spread(action), source, key)
        total = total + gain * alive * out.reward
        return (out.next_obs, alive * (1 - out.terminal_prob), total), None

    gains = discount ** jnp.arange(horizon)
    carry = start, jnp.ones(start.shape[:2]), jnp.zeros(start.shape[:2])
    (last, alive, total), _ = jax.lax.scan(step, carry, (jnp.moveaxis(plans, 2, 0), gains, jr.split(key, horizon)))
    if value is not None:
        total = total + discount**horizon * alive * value(last)
    return jnp.moveaxis(total.reshape(m, n, c, particles), 0, 3).reshape(n, c, particles * m)
