"""What TD3 and its offline kin share: twin critics, a deterministic policy, target networks that follow slowly.

    critics  y = target(v),   v(s') = next_value(critic', s', a'),   a' = clip(π'(s') + ε),   ε = clip(N(0, σ²), ±c)
    actor    every `policy_freq` updates, with all target networks (Fujimoto et al. 2018, Algorithm 1)

An algorithm is a `Form`: what its critic is, what it minimises, what its policy climbs. Its configuration is a
`TD3Config` with fields of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dawm.agents.actors import DeterministicActor
from dawm.agents.base import Learner, check_updates
from dawm.agents.critics import absolute_error, moved
from dawm.agents.targets import Ahead, Target
from dawm.types import Spec, Transition


@dataclass(frozen=True)
class TD3Config:
    """What the configurations of the family have in common; defaults: CORL's TD3+BC."""

    kind: str = ""
    learning_rate: float = 3e-4  # actor and critics
    discount: float = 0.99
    target_update_rate: float = 0.005  # "tau" elsewhere
    policy_noise: float = 0.2  # std of the noise on target actions, in units of half the action range
    noise_clip: float = 0.5
    policy_freq: int = 2  # critic updates for each update of the actor and of the targets
    width: int = 256  # hidden units a layer
    depth: int = 2  # hidden layers

    def __post_init__(self):
        check_updates(self.learning_rate, self.discount, self.target_update_rate)
        if self.policy_freq < 1:
            raise ValueError(f"policy_freq must be at least 1, got {self.policy_freq}")


class Form(NamedTuple):
    """One algorithm of the family; b rows, a critic's output may have further axes (quantiles)."""

    critic: Callable[[PRNGKeyArray], Any]
    next_value: Callable[[Any, Array, Array], Array]  # (critic, obs, action) -> (b, ...), pessimistic
    targets: Callable[[Target, Callable[[Array], Array], Transition, Array], Array]  # (.., value, batch, a') -> y
    critic_loss: Callable[[Any, Transition, Array], tuple[Array, Array]]  # (critic, batch, y) -> (loss, mean of Q)
    climbs: Callable[[Any, Array, Array], Array]  # (critic, obs, action) -> (b,), what the policy makes large
    actor_loss: Callable[[Array, Array, Transition], Array]  # (what it climbs, actions, batch) -> loss


class Slow(eqx.Module):
    """The part of the state that moves once in `policy_freq` updates."""

    actor: DeterministicActor
    opt: optax.OptState
    target_actor: DeterministicActor
    target_critic: Any
    loss: Float[Array, ""]  # of the actor, at its last update; 0 before the first


class TD3State(eqx.Module):
    """All that an update changes."""

    step: Int[Array, ""]
    critic: Any
    critic_opt: optax.OptState
    slow: Slow


class GreedyValue(eqx.Module):
    """The pessimistic value of what the policy would do, averaged over quantiles if the critic has them."""

    actor: DeterministicActor
    critic: Any
    next_value: Callable[[Any, Array, Array], Array] = eqx.field(static=True)

    def __call__(self, obs: Float[Array, " obs"]) -> Float[Array, ""]:
        return self.next_value(self.critic, obs[None], self.actor(obs)[None]).mean()


def make_td3(config: TD3Config, spec: Spec, form: Form, target: Target) -> Learner:
    """The learner of a form.

    Metrics: `critic/loss`, `critic/q_mean` (of the recorded actions), `actor/loss` (of its last update).
    """
    optim = optax.adam(config.learning_rate)

    def init(key):
        key_actor, key_critic = jr.split(key)
        actor = DeterministicActor(spec.obs_dim, spec.act_dim, width=config.width, depth=config.depth, key=key_actor)
        critic = form.critic(key_critic)
        slow = Slow(actor, optim.init(eqx.filter(actor, eqx.is_inexact_array)), actor, critic, jnp.zeros(()))
        return TD3State(jnp.zeros((), jnp.int32), critic, optim.init(eqx.filter(critic, eqx.is_inexact_array)), slow)

    def noisy(actor, obs, key):
        noise = config.policy_noise * jr.normal(key, (len(obs), spec.act_dim))
        noise = jnp.clip(noise, -config.noise_clip, config.noise_clip)
        return jnp.clip(jax.vmap(actor)(obs) + noise, -1.0, 1.0)

    def actor_loss(actor, critic, batch):
        action = jax.vmap(actor)(batch.obs)
        return form.actor_loss(form.climbs(critic, batch.obs, action), action, batch)

    def move_slow(slow, critic, batch):
        loss, grad = eqx.filter_value_and_grad(actor_loss)(slow.actor, critic, batch)
        change, opt = optim.update(grad, slow.opt)
        actor = eqx.apply_updates(slow.actor, change)
        rate = config.target_update_rate
        return Slow(actor, opt, moved(slow.target_actor, actor, rate), moved(slow.target_critic, critic, rate), loss)

    def update(state, batch, key):
        slow = state.slow
        value = lambda obs: form.next_value(slow.target_critic, obs, noisy(slow.target_actor, obs, key))
        act = lambda obs, key: noisy(slow.target_actor, obs, key)
        each = lambda obs: _each(slow.target_critic, obs, act(obs, key))
        ahead = Ahead(act, each, jr.fold_in(key, 0))  # of its own: `key` itself is what the noise is drawn from
        y = form.targets(target.under(ahead), value, batch, noisy(slow.target_actor, batch.next_obs, key))
        (loss, q_mean), grad = eqx.filter_value_and_grad(form.critic_loss, has_aux=True)(state.critic, batch, y)
        change, critic_opt = optim.update(grad, state.critic_opt)
        critic = eqx.apply_updates(state.critic, change)

        step = state.step + 1
        arrays, static = eqx.partition(slow, eqx.is_array)
        move = lambda arrays: eqx.filter(move_slow(eqx.combine(arrays, static), critic, batch), eqx.is_array)
        arrays = jax.lax.cond(step % config.policy_freq == 0, move, lambda arrays: arrays, arrays)
        slow = eqx.combine(arrays, static)
        metrics = {"actor/loss": slow.loss, "critic/loss": loss, "critic/q_mean": q_mean}
        if batch.weight is not None:
            metrics["critic/td_error"] = absolute_error(state.critic, batch, y)
        return TD3State(step, critic, critic_opt, slow), metrics

    value = lambda state: GreedyValue(state.slow.actor, state.critic, form.next_value)
    return Learner(init, update, lambda state: state.slow.actor, value)


def _each(critic: Any, obs: Float[Array, "n obs"], action: Float[Array, "n act"]) -> Float[Array, "n critics"]:
    """What each critic says, averaged over its quantiles if it has any."""
    q = critic.rows(obs, action)
    return q.reshape(*q.shape[:2], -1).mean(-1)
