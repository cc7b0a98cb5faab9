"""The worth of action sequences under a world model: discounted rewards until the end, and a value beyond the horizon.

    R = sum over h < H of γ^h alive_h r_h  +  γ^H alive_H v(s_H),      alive_h+1 = alive_h (1 − p_h)

for every particle; a risk measure over the particles of a sequence makes one number of them. A particle keeps one
member of the model from its first step to its last, so disagreement of the members counts as risk.

Where there is a policy, a plan is a sequence of deviations from what it does at the states that the plan leads to, and
after the plan the policy goes on alone for some steps before the value is asked: the rollout of Bertsekas (2020,
*Rollout, Policy Iteration, and Distributed Reinforcement Learning*, section 2.3). A plan of zeros is the policy itself,
feedback and all, so that small deviations stay small where open sequences of actions would diverge, and a
value that is wrong off the log is asked only where the policy leads.
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
    act: Callable[[Array, Array], Array] = lambda obs, plan: plan,
    tail: int = 0,
) -> Float[Array, "n c p"]:
    """Returns of c plans from each of n states, for `particles` particles of each member; particle i of p is of member
    i modulo their number. `act(obs, plan)` is the raw action at states where the plan says `plan`; for `tail` steps
    after the plan it says 0.
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
        out = model.advance(obs, act(obs, spread(action)), source, key)
        total = total + gain * alive * out.reward
        return (out.next_obs, alive * (1 - out.terminal_prob), total), None

    steps = horizon + tail
    gains = discount ** jnp.arange(steps)
    said = jnp.pad(jnp.moveaxis(plans, 2, 0), ((0, tail), (0, 0), (0, 0), (0, 0)))
    carry = start, jnp.ones(start.shape[:2]), jnp.zeros(start.shape[:2])
    (last, alive, total), _ = jax.lax.scan(step, carry, (said, gains, jr.split(key, steps)))
    if value is not None:
        total = total + discount**steps * alive * value(last)
    return jnp.moveaxis(total.reshape(m, n, c, particles), 0, 3).reshape(n, c, particles * m)
