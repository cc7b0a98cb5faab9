"""Behaviour cloning: regress the recorded action, min_π E (π(s) − a)²."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from dawm.agents.actors import DeterministicActor
from dawm.agents.base import Learner, imitation
from dawm.agents.targets import Target, one_step
from dawm.types import Spec


@dataclass(frozen=True)
class BCConfig:
    """Defaults are those of the actor of TD3+BC in CORL."""

    kind: Literal["bc"] = "bc"
    learning_rate: float = 3e-4
    width: int = 256  # hidden units a layer
    depth: int = 2  # hidden layers

    def __post_init__(self):
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")


class BCState(eqx.Module):
    """All that an update changes."""

    step: Int[Array, ""]
    actor: DeterministicActor
    opt: optax.OptState


def make_bc(config: BCConfig, spec: Spec, steps: int, target: Target = one_step) -> Learner:
    """Behaviour cloning with a deterministic policy and a squared error, the mean over rows and action dimensions."""
    del steps, target  # no schedule, and no values
    optim = optax.adam(config.learning_rate)

    def init(key):
        actor = DeterministicActor(spec.obs_dim, spec.act_dim, width=config.width, depth=config.depth, key=key)
        return BCState(jnp.zeros((), jnp.int32), actor, optim.init(eqx.filter(actor, eqx.is_inexact_array)))

    def loss(actor, batch):
        return imitation(jnp.square(jax.vmap(actor)(batch.obs) - batch.action).mean(-1), batch)

    def update(state, batch, key):
        del key
        value, grad = eqx.filter_value_and_grad(loss)(state.actor, batch)
        change, opt = optim.update(grad, state.opt)
        return BCState(state.step + 1, eqx.apply_updates(state.actor, change), opt), {"actor/loss": value}

    return Learner(init, update, policy=lambda state: state.actor)
