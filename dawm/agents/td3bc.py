"""TD3+BC: the deterministic policy gradient, held to the data by a behaviour-cloning term.

    critics  min_Q  Σ_i E (Q_i(s, a) − y)²,   y = r + γ (1 − terminal) min_i Q'_i(s', clip(π'(s') + ε))
             ε = clip(N(0, policy_noise²), ±noise_clip)
    actor    min_π  E [ −λ Q_1(s, π(s)) + (π(s) − a)² ],   λ = alpha / mean |Q_1(s, π(s))|

The actor and all target networks move once in `policy_freq` updates (Fujimoto & Gu 2021, arXiv 2106.06860, eq. 3 to 5;
Fujimoto et al. 2018, Algorithm 1; order of operations and defaults as in CORL's `td3_bc.py`).

Departures: actions are scaled to [-1, 1] before the critics and the cloning term see them, where CORL uses raw units.
The two are the same where the bounds are ±1.
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
class TD3BCConfig(TD3Config):
    """Defaults: CORL."""

    kind: Literal["td3bc"] = "td3bc"
    alpha: float = 2.5  # weight of Q against cloning


def make_td3bc(config: TD3BCConfig, spec: Spec, steps: int, target: Target = one_step) -> Learner:
    """TD3+BC with the given TD target; metrics of `td3.make_td3`."""
    del steps  # no schedule depends on the length of the run

    def actor_loss(q, action, batch):
        weight = config.alpha / jax.lax.stop_gradient(weighted(jnp.abs(q), batch).mean())
        return -weight * weighted(q, batch).mean() + imitation(jnp.square(action - batch.action).mean(-1), batch)

    size: dict[str, Any] = {"width": config.width, "depth": config.depth}
    form = Form(
        critic=lambda key: TwinCritic(spec.obs_dim, spec.act_dim, **size, key=key),
        next_value=lambda critic, obs, action: critic.rows(obs, action).min(-1),
        targets=lambda target, value, batch, _: target(value, batch, config.discount),
        critic_loss=squared_loss,
        climbs=lambda critic, obs, action: jax.vmap(critic.first)(obs, action),
        actor_loss=actor_loss,
    )
    return make_td3(config, spec, form, target)
