"""Implicit Q-learning: in-sample values by expectile regression, then advantage-weighted regression of the actions.

    value   min_V  E |τ − 1(u < 0)| u²,   u = min_i Q'_i(s, a) − V(s)
    critics min_Q  ½ Σ_i E (Q_i(s, a) − r − γ (1 − terminal) V(s'))²
    actor   max_π  E min(exp(β u), exp_adv_max) log π(a | s)

Kostrikov, Nair & Levine 2022 (arXiv 2110.06169), eq. 4 to 7; order of operations and defaults as in CORL's `iql.py`:
V(s') in the critics' target is the network before its own update, u in the actor's weight is that of the value loss,
and the learning rate of the actor falls to 0 along a cosine over the run, where it is not asked to stay
(`actor_schedule`, which goes with an average of the weights, `policy.average`).

With `advantage = "scaled"` the actor's weight has u divided by its root mean square over the batch, as MARWIL (Wang
et al. 2018, section 4; a running mean there): the weights then do not depend on the unit of the rewards.

With `advantage = "reliable"` (ours) such weights count as far as what advantages say outweighs their error. Of exact
ones TD errors are r + γ V(s') − V(s) = u + noise, so that least squares of TD errors by advantages has the slope 1,
also where the world is stochastic; errors of Q that have nothing to do with them bring it down to
b = signal / (signal + error), parts of the variance of u (the reliability ratio of errors in variables, Fuller 1987,
section 1.1). β is multiplied by (signal − error) / (signal + error) = 2 b − 1, within 0 and 1; b is of running moments
over whole batches, as the root mean square is, and of whatever TD target the run has.

Departures: actions are scaled to [-1, 1] first, where CORL uses raw units; these are the same where the bounds are ±1.
CORL's exceptions for single tasks (deterministic actor and reward scaling on hopper) are settings and no defaults,
since we do not tune per task.
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

from dawm.agents.actors import DeterministicActor, GaussianActor
from dawm.agents.base import Learner, check_updates, imitation, weighted
from dawm.agents.critics import TwinCritic, ValueNet, absolute_error, expectile_loss, moved
from dawm.agents.targets import Ahead, Target, one_step
from dawm.run.optim import ema
from dawm.types import Spec

MEMORY = 0.999  # of the moments that the reliability of advantages is of, in updates


@dataclass(frozen=True)
class IQLConfig:
    """Defaults: CORL."""

    kind: Literal["iql"] = "iql"
    learning_rate: float = 3e-4  # value and critics, and the actor where it has no rate of its own
    actor_learning_rate: float | None = None
    actor_schedule: Literal["cosine", "constant"] = "cosine"  # constant: for a policy of averaged weights
    discount: float = 0.99
    target_update_rate: float = 0.005  # "tau" elsewhere
    expectile: float = 0.7  # "iql_tau" elsewhere; 0.9 for mazes
    temperature: float = 3.0  # β, which multiplies the advantage; 10 for mazes
    advantage: Literal["raw", "scaled", "reliable"] = "raw"  # in the actor's weight; scaled: by its root mean square
    exp_adv_max: float = 100.0  # largest weight of a row
    deterministic: bool = False  # a squared error in place of the Gaussian likelihood
    width: int = 256  # hidden units a layer
    depth: int = 2  # hidden layers

    def __post_init__(self):
        check_updates(self.learning_rate, self.discount, self.target_update_rate)
        if self.actor_learning_rate is not None and self.actor_learning_rate <= 0:
            raise ValueError(f"actor_learning_rate must be positive, got {self.actor_learning_rate}")
        if not 0 < self.expectile < 1:
            raise ValueError(f"expectile must be between 0 and 1, got {self.expectile}")


class Moments(eqx.Module):
    """Running moments over batches, in which both have the mean 0."""

    covariance: Float[Array, ""]  # of advantages and TD errors
    variance: Float[Array, ""]  # of advantages

    @property
    def reliability(self) -> Float[Array, ""]:
        """Slope of TD errors by advantages: 1 of exact advantages, less of noisy ones."""
        return self.covariance / (self.variance + 1e-8)

    @property
    def trust(self) -> Float[Array, ""]:
        """How far the signal of advantages outweighs their error: 1 of exact ones, 0 where it does not."""
        return jnp.clip(2 * self.reliability - 1, 0, 1)


def moments_of(advantage: Float[Array, " n"], td_error: Float[Array, " n"]) -> Moments:
    """Those of one batch."""
    a, d = advantage - advantage.mean(), td_error - td_error.mean()
    return Moments((a * d).mean(), jnp.square(a).mean())


class IQLState(eqx.Module):
    """All that an update changes."""

    step: Int[Array, ""]
    actor: DeterministicActor | GaussianActor
    critic: TwinCritic
    target_critic: TwinCritic
    value: ValueNet
    actor_opt: optax.OptState
    critic_opt: optax.OptState
    value_opt: optax.OptState
    moments: Moments | None = None  # where weights follow the reliability of advantages


def make_iql(config: IQLConfig, spec: Spec, steps: int, target: Target = one_step) -> Learner:
    """IQL for a run of `steps` updates with the given TD target.

    Metrics: `value/loss`, `value/mean`, `critic/loss`, `critic/q_mean`, `actor/loss`, `actor/weight_mean`,
    and `actor/reliability` where weights follow it.
    """
    optim = optax.adam(config.learning_rate)
    rate = config.actor_learning_rate or config.learning_rate
    falls = config.actor_schedule == "cosine"
    actor_optim = optax.adam(optax.cosine_decay_schedule(rate, steps) if falls else rate)
    size: dict[str, Any] = {"width": config.width, "depth": config.depth}

    def init(key):
        key_actor, key_critic, key_value = jr.split(key, 3)
        build = DeterministicActor if config.deterministic else GaussianActor
        actor = build(spec.obs_dim, spec.act_dim, **size, key=key_actor)
        critic = TwinCritic(spec.obs_dim, spec.act_dim, **size, key=key_critic)
        value = ValueNet(spec.obs_dim, **size, key=key_value)
        opts = [
            o.init(eqx.filter(m, eqx.is_inexact_array))
            for o, m in ((actor_optim, actor), (optim, critic), (optim, value))
        ]
        moments = Moments(jnp.zeros(()), jnp.zeros(())) if config.advantage == "reliable" else None
        return IQLState(jnp.zeros((), jnp.int32), actor, critic, critic, value, *opts, moments=moments)

    def value_loss(value, batch, q):
        v = jax.vmap(value)(batch.obs)
        return weighted(expectile_loss(q - v, config.expectile), batch).mean(), (q - v, v.mean())

    def critic_loss(critic, batch, y):
        q = critic.rows(batch.obs, batch.action)
        return weighted(jnp.square(q - y[:, None]), batch).mean(), q.mean()

    def actor_loss(actor, batch, weight):
        if config.deterministic:
            error = jnp.square(jax.vmap(actor)(batch.obs) - batch.action).sum(-1)
        else:
            error = -jax.vmap(actor.log_prob)(batch.obs, batch.action)
        return imitation(weight * error, batch)

    def update(state, batch, key):
        act = lambda obs, key: jax.vmap(state.actor)(obs)
        each = lambda obs: state.target_critic.rows(obs, act(obs, key))
        y = target.under(Ahead(act, each, key))(jax.vmap(state.value), batch, config.discount)  # before V moves
        q = state.target_critic.rows(batch.obs, batch.action).min(-1)
        value, value_opt, loss_v, (advantage, v_mean) = _step(optim, value_loss, state.value, state.value_opt, batch, q)
        critic, critic_opt, loss_q, q_mean = _step(optim, critic_loss, state.critic, state.critic_opt, batch, y)
        moments, temperature = state.moments, config.temperature
        if moments is not None:
            v = q - advantage  # before its update
            moments = ema(moments, moments_of(advantage, y - v), MEMORY, state.step)
            temperature = temperature * moments.trust
        if config.advantage != "raw":
            advantage = advantage / (jnp.sqrt(jnp.square(advantage).mean()) + 1e-8)
        weight = jnp.minimum(jnp.exp(temperature * advantage), config.exp_adv_max)
        loss_pi, grad = eqx.filter_value_and_grad(actor_loss)(state.actor, batch, weight)
        change, actor_opt = actor_optim.update(grad, state.actor_opt)
        actor = eqx.apply_updates(state.actor, change)
        target_critic = moved(state.target_critic, critic, config.target_update_rate)
        metrics = {"value/loss": loss_v, "value/mean": v_mean, "critic/loss": loss_q, "critic/q_mean": q_mean}
        metrics |= {"actor/loss": loss_pi, "actor/weight_mean": weight.mean()}
        if moments is not None:
            metrics["actor/reliability"] = moments.reliability
        if batch.weight is not None:
            metrics["critic/td_error"] = absolute_error(state.critic, batch, y)
        nets, opts = (actor, critic, target_critic, value), (actor_opt, critic_opt, value_opt)
        return IQLState(state.step + 1, *nets, *opts, moments=moments), metrics

    return Learner(init, update, policy=lambda state: state.actor, value=lambda state: state.value)


def _step(optim, loss, model, opt, *args):
    """One gradient step on `loss(model, *args) -> (value, aux)`: (model, opt, value, aux)."""
    (value, aux), grad = eqx.filter_value_and_grad(loss, has_aux=True)(model, *args)
    change, opt = optim.update(grad, opt)
    return eqx.apply_updates(model, change), opt, value, aux
