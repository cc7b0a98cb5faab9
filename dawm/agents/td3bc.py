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

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int

from dawm.agents.actors import DeterministicActor
from dawm.agents.base import Learner, check_updates, imitation
from dawm.agents.critics import GreedyValue, TwinCritic, moved
from dawm.agents.targets import Target, one_step
from dawm.types import Spec


@dataclass(frozen=True)
class TD3BCConfig:
    """Defaults: CORL."""

    kind: Literal["td3bc"] = "td3bc"
    learning_rate: float = 3e-4  # actor and critics
    discount: float = 0.99
    target_update_rate: float = 0.005  # "tau" elsewhere
    policy_noise: float = 0.2  # std of the noise on target actions, in units of half the action range
    noise_clip: float = 0.5
    policy_freq: int = 2  # critic updates for each update of the actor and of the targets
    alpha: float = 2.5  # weight of Q against cloning
    width: int = 256  # hidden units a layer
    depth: int = 2  # hidden layers

    def __post_init__(self):
        check_updates(self.learning_rate, self.discount, self.target_update_rate)
        if self.policy_freq < 1:
            raise ValueError(f"policy_freq must be at least 1, got {self.policy_freq}")


class Slow(eqx.Module):
    """The part of the state that moves once in `policy_freq` updates."""

    actor: DeterministicActor
    opt: optax.OptState
    target_actor: DeterministicActor
    target_critic: TwinCritic
    loss: Float[Array, ""]  # of the actor, at its last update; 0 before the first


class TD3BCState(eqx.Module):
    """All that an update changes."""

    step: Int[Array, ""]
    critic: TwinCritic
    critic_opt: optax.OptState
    slow: Slow


def make_td3bc(config: TD3BCConfig, spec: Spec, steps: int, target: Target = one_step) -> Learner:
    """TD3+BC with the given TD target.

    Metrics: `critic/loss`, `critic/q_mean` (of the recorded actions), `actor/loss` (of its last update).
    """
    del steps  # no schedule depends on the length of the run
    optim = optax.adam(config.learning_rate)
    size: dict[str, Any] = {"width": config.width, "depth": config.depth}

    def init(key):
        key_actor, key_critic = jr.split(key)
        actor = DeterministicActor(spec.obs_dim, spec.act_dim, **size, key=key_actor)
        critic = TwinCritic(spec.obs_dim, spec.act_dim, **size, key=key_critic)
        slow = Slow(actor, optim.init(eqx.filter(actor, eqx.is_inexact_array)), actor, critic, jnp.zeros(()))
        return TD3BCState(jnp.zeros((), jnp.int32), critic, optim.init(eqx.filter(critic, eqx.is_inexact_array)), slow)

    def next_value(slow, next_obs, key):
        noise = config.policy_noise * jr.normal(key, (len(next_obs), spec.act_dim))
        noise = jnp.clip(noise, -config.noise_clip, config.noise_clip)
        next_action = jnp.clip(jax.vmap(slow.target_actor)(next_obs) + noise, -1.0, 1.0)
        return jax.vmap(slow.target_critic)(next_obs, next_action).min(-1)

    def critic_loss(critic, batch, y):
        q = jax.vmap(critic)(batch.obs, batch.action)
        return jnp.square(q - y[:, None]).mean(0).sum(), q.mean()

    def actor_loss(actor, critic, batch):
        action = jax.vmap(actor)(batch.obs)
        q = jax.vmap(critic.first)(batch.obs, action)
        weight = config.alpha / jax.lax.stop_gradient(jnp.abs(q).mean())
        return -weight * q.mean() + imitation(jnp.square(action - batch.action).mean(-1), batch)

    def move_slow(slow, critic, batch):
        loss, grad = eqx.filter_value_and_grad(actor_loss)(slow.actor, critic, batch)
        change, opt = optim.update(grad, slow.opt)
        actor = eqx.apply_updates(slow.actor, change)
        rate = config.target_update_rate
        return Slow(actor, opt, moved(slow.target_actor, actor, rate), moved(slow.target_critic, critic, rate), loss)

    def update(state, batch, key):
        y = target(lambda next_obs: next_value(state.slow, next_obs, key), batch, config.discount)
        (loss, q_mean), grad = eqx.filter_value_and_grad(critic_loss, has_aux=True)(state.critic, batch, y)
        change, critic_opt = optim.update(grad, state.critic_opt)
        critic = eqx.apply_updates(state.critic, change)

        step = state.step + 1
        arrays, static = eqx.partition(state.slow, eqx.is_array)
        move = lambda arrays: eqx.filter(move_slow(eqx.combine(arrays, static), critic, batch), eqx.is_array)
        arrays = jax.lax.cond(step % config.policy_freq == 0, move, lambda arrays: arrays, arrays)
        slow = eqx.combine(arrays, static)
        metrics = {"actor/loss": slow.loss, "critic/loss": loss, "critic/q_mean": q_mean}
        return TD3BCState(step, critic, critic_opt, slow), metrics

    return Learner(init, update, lambda state: state.slow.actor, lambda s: GreedyValue(s.slow.actor, s.critic))
