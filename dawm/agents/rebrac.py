"""ReBRAC: TD3+BC with the cloning penalty in the targets too, deeper networks and normalised critics.

    critics  min_Q  Σ_i E (Q_i(s, a) − y)²
             y = r + γ (1 − terminal) [ min_i Q'_i(s', â) − critic_penalty |â − a'|² ],   â = clip(π'(s') + ε)
    actor    min_π  E [ actor_penalty |π(s) − a|² − λ min_i Q_i(s, π(s)) ],   λ = 1 / mean |min_i Q_i(s, π(s))|

a' is the action recorded at s' (Tarasov et al. 2023, arXiv 2305.09836, eq. 5 and 6; CORL's `rebrac.py`).

Departures: one pair of penalties for all tasks, where the paper chooses them per task by the evaluation return; batches
of `policy.batch_size` (256 by default, 1024 there); LayerNorm before the activation (after it there); no penalty where
no action was recorded at s' (the last row of an episode that was cut, the end of a generated future): there CORL takes
that of another episode. Actions are in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from dawm.agents.base import Learner, imitation, weighted
from dawm.agents.critics import TwinCritic, squared_loss
from dawm.agents.targets import Target, one_step
from dawm.agents.td3 import Form, TD3Config, make_td3
from dawm.types import Spec


@dataclass(frozen=True)
class ReBRACConfig(TD3Config):
    """Defaults: CORL, with penalties in the middle of those that the paper searches."""

    kind: Literal["rebrac"] = "rebrac"
    learning_rate: float = 1e-3  # actor and critics
    actor_penalty: float = 0.05  # "beta1" elsewhere, searched in 0.001 ... 0.1
    critic_penalty: float = 0.01  # "beta2" elsewhere, searched in 0 ... 0.5
    depth: int = 3  # hidden layers

    def __post_init__(self):
        super().__post_init__()
        if min(self.actor_penalty, self.critic_penalty) < 0:
            raise ValueError(
                f"penalties must be at least 0, got {self.actor_penalty} (actor) and {self.critic_penalty} (critic)"
            )


def make_rebrac(config: ReBRACConfig, spec: Spec, steps: int, target: Target = one_step) -> Learner:
    """ReBRAC with the given TD target; metrics of `td3.make_td3`."""
    del steps  # no schedule depends on the length of the run

    def targets(target, value, batch, next_action):
        known = ~batch.terminal if batch.next_known is None else batch.next_known & ~batch.terminal
        strayed = jnp.where(known, jnp.square(next_action - batch.next_action).sum(-1), 0.0)
        return target(value, batch, config.discount) - config.discount * config.critic_penalty * strayed

    def actor_loss(q, action, batch):
        weight = 1.0 / jax.lax.stop_gradient(weighted(jnp.abs(q), batch).mean())
        penalty = imitation(jnp.square(action - batch.action).sum(-1), batch)
        return config.actor_penalty * penalty - weight * weighted(q, batch).mean()

    size: dict[str, Any] = {"width": config.width, "depth": config.depth}
    lowest = lambda critic, obs, action: critic.rows(obs, action).min(-1)
    form = Form(
        critic=lambda key: TwinCritic(spec.obs_dim, spec.act_dim, **size, layer_norm=True, key=key),
        next_value=lowest,
        targets=targets,
        critic_loss=squared_loss,
        climbs=lowest,
        actor_loss=actor_loss,
    )
    return make_td3(config, spec, form, target)
