"""A trained policy that goes on by imitating labelled states, each seed those that are labelled for it.

    min over the weights of the policy   E_(s, a) |pi(s) - a|^2,   from the weights that it has

What labels them is a planner (`planning/distil.py`). The critic stays that of the policy as it was.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int

from dawm.run.loop import Update
from dawm.run.members import Members


class Labels(NamedTuple):
    """States and what to do there, in the units of a learner; those of one seed lie together."""

    obs: Float[Array, "n obs"]
    action: Float[Array, "n act"]


class StudentState(eqx.Module):
    """All that an update changes, and all that a checkpoint of a student holds. Every seed has its own, but for
    `standardise`.
    """

    actor: Any
    opt: optax.OptState
    value: Any  # of the policy before it began to imitate; None without
    standardise: Any
    rows: Int[Array, "m 2"]  # the first of the labels of each seed, and their number


def student_optimiser(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam, its rate falling to 0 along a cosine."""
    return optax.adam(optax.cosine_decay_schedule(learning_rate, steps))


def begun(
    actor: Any, value: Any, standardise: Any, rows: Array, optimiser: optax.GradientTransformation
) -> StudentState:
    """The state before the first update, of the maps of all seeds."""
    opt = eqx.filter_vmap(lambda actor: optimiser.init(eqx.filter(actor, eqx.is_inexact_array)))(actor)
    return StudentState(actor, opt, value, standardise, rows)


def students(count: int) -> Members:
    """The members of a `StudentState`."""
    return Members(count, lambda s: [s.standardise.mean, s.standardise.scale])


def student_update(batch_size: int, optimiser: optax.GradientTransformation) -> Update:
    """The update of `run.loop.fit` on `Labels`: of one seed."""

    def loss(actor, obs, action):
        return jnp.square(jax.vmap(actor)(obs) - action).mean()

    def update(state, labels, key):
        first, count = state.rows
        index = first + jr.randint(key, (batch_size,), 0, count)
        value, grad = eqx.filter_value_and_grad(loss)(state.actor, labels.obs[index], labels.action[index])
        change, opt = optimiser.update(grad, state.opt)
        actor = eqx.apply_updates(state.actor, change)
        return StudentState(actor, opt, state.value, state.standardise, state.rows), {"actor/loss": value}

    return update
