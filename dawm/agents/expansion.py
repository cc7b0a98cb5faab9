"""TD targets that look several steps ahead in a world model: value expansion.

    y_h = r_0 + Σ_{k<h} γ^k α_k r_k + γ^h α_h v(s_h),   h = 1 ... H,   α_k = Π_{u<k} (1 − p_u)

The first step (r_0, s_1, p_0) is the recorded one, or one of a library of futures; the others are asked of a model,
(r_k, s_{k+1}, p_k) ~ model(s_k, a_k), with a_k from the policy of the learner's own targets (its noise included). So
y_h is the learner's Bellman operator applied h times, its fixed point is that of y_1 where the model is right, and y_1
is the ordinary target. Every particle keeps one member of the model from its first step to its last.

    last        y_H: MVE (Feinberg et al. 2018, arXiv 1803.00101), and with the diffusion model the target of DWM
    mean        the mean of y_1 ... y_H, all horizons alike (the yardstick of STEVE without weights)
    calibrated  Σ_h w_h y_h with w_h ∝ 1 / var_h for each row: STEVE (Buckman et al. 2018, arXiv 1807.01675, eq. 8-9)

var_h is the variance of y_h over members of the model (each the mean of its particles) and over the critics. Where
members disagree the short targets count, where the critics do the long ones. Of a model with one member the particles
take the part of the members, and its chance then counts as doubt.

Departures: v is the learner's own pessimistic value, where STEVE averages over critics; two critics, four there; two
members share their random numbers, so that chance cancels from their difference. One critic's target is shared by all
critics. A particle that leaves the box of the log, widened by its own width on each side, goes no further: its longer
targets are that of its last state inside. The critic is trained at recorded (s, a) only, where MVE also trains it on
the imagined states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dawm.agents.targets import Ahead, Outcomes, RiskConfig, Target, Value, risk
from dawm.data.dataset import Dataset
from dawm.errors import ConfigError
from dawm.types import Prediction, Transition, World

LEAST = 1e-8  # a horizon's variance is at least this share of their mean: one without any takes all, and none is 1/0


@dataclass(frozen=True)
class ExpansionConfig:
    """How far to look ahead, and how the horizons are weighed."""

    horizon: int = 0  # H, steps of reward in a target; 0 is off, 1 the ordinary target
    weighting: Literal["last", "mean", "calibrated"] = "last"
    bound: Literal["mean", "lower"] = "mean"  # lower: less `deviations` standard deviations between the members
    deviations: float = 1.0
    members: int = 5  # of the model, at most
    particles: int = 1  # futures of each member; with a library of futures, those take their place
    dynamics: Literal["model", "ensemble", "anchor"] = "model"  # see `worldmodel/dynamics.py`

    def __post_init__(self):
        if self.horizon < 0:
            raise ValueError(f"horizon is a number of steps, 0 for none; got {self.horizon}")
        if self.members < 1 or self.particles < 1:
            raise ValueError(f"members and particles must be at least 1, got {self.members} and {self.particles}")
        if self.deviations < 0:
            raise ValueError(f"deviations is a number of standard deviations, at least 0; got {self.deviations}")


class Scaled(eqx.Module):
    """A model of raw units in those of a learner: standardised observations, actions in [-1, 1], scaled rewards."""

    raw: Any  # Dynamics
    mean: Float[Array, " obs"]
    scale: Float[Array, " obs"]
    centre: Float[Array, " act"]
    half: Float[Array, " act"]
    gain: Float[Array, ""]
    box: Float[Array, "2 obs"]  # lowest and highest standardised observation that means anything

    @property
    def count(self) -> int:
        """Members."""
        return self.raw.count

    def advance(self, obs, action, source, key) -> Prediction:
        """See `types.Dynamics`."""
        out = self.raw.advance(self.mean + self.scale * obs, self.centre + self.half * action, source, key)
        return Prediction((out.next_obs - self.mean) / self.scale, self.gain * out.reward, out.terminal_prob)

    def knows(self, obs: Float[Array, "*b obs"]) -> Bool[Array, "*b"]:
        """Whether a state lies in the box; a state that is not finite does not."""
        return ((obs >= self.box[0]) & (obs <= self.box[1])).all(-1)


def scaled_world(
    world: World | None,
    config: ExpansionConfig,
    data: Dataset,
    mean: np.ndarray,
    scale: np.ndarray,
    gain: float,
    futures: int | None = None,
) -> Scaled | None:
    """The model in the units of a learner, and no more members of it than asked for or than a row has futures.

    `data` is the log, `mean` and `scale` (obs,) standardise its observations. None where expansion is off. Raises
    ConfigError where expansion and the presence of a model disagree, where the model is of another task, or where
    nothing is there to be compared.
    """
    if config.horizon == 0:
        if world is not None:
            raise ConfigError("a world model was given and `expansion.horizon` is 0, so it would not be asked: set it.")
        return None
    if world is None:
        raise ConfigError(
            f"`expansion.horizon` is {config.horizon} and there is no world model: give one (--model DIR)."
        )
    sizes = (world.spec.obs_dim, world.spec.act_dim), (data.spec.obs_dim, data.spec.act_dim)
    if sizes[0] != sizes[1]:
        raise ConfigError(
            f"the world model has {sizes[0][0]} observation and {sizes[0][1]} action dimensions, the data"
            f" {sizes[1][0]} and {sizes[1][1]}: they belong to different tasks."
        )
    raw = world.dynamics(config.dynamics, min(config.members, futures or config.members))
    particles = raw.count * config.particles if futures is None else futures
    if particles < 2 and (config.weighting == "calibrated" or config.bound == "lower"):
        raise ConfigError(
            "`expansion` calibrated or lower compares members of the model or their futures, and this one has a single"
            " member: set expansion.particles to 2 or more, or expansion.dynamics to ensemble."
        )
    low, high = (data.obs.min(0) - mean) / scale, (data.obs.max(0) - mean) / scale
    floats = lambda leaf: jnp.asarray(leaf, jnp.float32)
    box = np.stack([2 * low - high, 2 * high - low])
    centre, half = data.spec.act_centre, data.spec.act_scale
    return Scaled(raw, *map(floats, (mean, scale, centre, half, gain, box)))


def expanded(config: ExpansionConfig, measure: RiskConfig, world: Any) -> Target:
    """The target that looks `config.horizon` steps ahead in `world`, a `Scaled` (or like it), and takes `measure` of
    the particles; with a lower bound, the mean less the deviation between members.
    """
    if config.bound == "lower":
        measure = RiskConfig("disagree" if world.count > 1 else "mean_std", config.deviations)
    if measure.measure == "disagree" and world.count < 2:
        raise ConfigError(
            "`risk.measure` disagree compares members of a world model, and this one has a single member."
        )

    def look(ahead: Ahead) -> Outcomes:
        def outcomes(value: Value, batch: Transition, discount: float) -> Float[Array, "b m *q"]:
            first = _first(batch, world.count, config.particles)
            b, p = batch.reward.shape[0], first.reward.shape[1] // batch.reward.shape[0]
            source = jnp.broadcast_to(jnp.repeat(batch.source, p), first.reward.shape)
            total, factor, obs = roll(world, first, source, ahead, config.horizon, discount)
            if config.weighting == "last":
                total, factor, obs = total[-1:], factor[-1:], obs[-1:]
            flat = obs.reshape(-1, obs.shape[-1])
            joined = lambda found: _sum(total, factor, found.reshape(*total.shape, *found.shape[1:]))
            y = joined(value(flat))  # (h, members, b p, *q)
            weights = jnp.full((len(y), b), 1 / len(y))
            if config.weighting == "calibrated":
                weights = inverse_variance(_grouped(joined(ahead.each(flat)), b))
            y = y.reshape(len(y), world.count, b, p, *y.shape[3:])
            y = (weights.reshape(len(y), 1, b, *[1] * (y.ndim - 3)) * y).sum(0)
            return jnp.moveaxis(y, 0, 2).reshape(b, -1, *y.shape[3:])  # particle i of member i mod m, as futures are

        return outcomes

    return Target(_blind, lambda found: risk(found, measure, world.count), look)


def roll(
    world: Any, first: Prediction, source: Int[Array, "m n"], ahead: Ahead, horizon: int, discount: float
) -> tuple[Float[Array, "h m n"], Float[Array, "h m n"], Float[Array, "h m n obs"]]:
    """(rewards so far, factor of the value that follows, state) after each of 1 ... `horizon` steps of m · n particles.

    `first` is their first step, leaves (m, n, ...).
    """
    m, n, size = first.next_obs.shape

    def step(carry, k):
        total, factor, obs, lost = carry
        key_act, key_model = jr.split(jr.fold_in(ahead.key, k))
        action = ahead.act(obs.reshape(m * n, size), key_act).reshape(m, n, -1)
        out = world.advance(obs, action, source, key_model)
        lost = lost | ~world.knows(out.next_obs) | ~jnp.isfinite(out.reward)
        total = jnp.where(lost, total, total + factor * out.reward)
        factor = jnp.where(lost, factor, factor * discount * (1 - out.terminal_prob))
        obs = jnp.where(lost[..., None], obs, out.next_obs)
        return (total, factor, obs, lost), (total, factor, obs)

    begun = first.reward, discount * (1 - first.terminal_prob), first.next_obs
    _, rest = jax.lax.scan(step, (*begun, ~world.knows(first.next_obs)), jnp.arange(1, horizon))
    return jax.tree.map(lambda one, more: jnp.concatenate([one[None], more]), begun, rest)


def inverse_variance(y: Float[Array, "h b k"]) -> Float[Array, "h b"]:
    """Weights of h horizons for each row from k opinions of each, proportional to 1 / variance; alike if all agree."""
    variance = y.var(-1)
    typical = variance.mean(0)
    weight = 1 / (jnp.where(typical > 0, variance / jnp.where(typical > 0, typical, 1.0), 0.0) + LEAST)
    return weight / weight.sum(0)


def _first(batch: Transition, members: int, particles: int) -> Prediction:
    """The first step of every particle, leaves (members, b · particles of each, ...)."""
    if batch.futures is None:
        shape = (members, len(batch.reward), particles)
        wide = lambda leaf: jnp.broadcast_to(leaf[None, :, None], (*shape, *leaf.shape[1:]))
        steps = Prediction(batch.next_obs, batch.reward, batch.terminal * 1.0)
        return jax.tree.map(lambda leaf: _joined(wide(leaf)), steps)
    each = batch.futures.reward.shape[1] // members
    split = lambda leaf: leaf[:, : each * members].reshape(len(leaf), each, members, *leaf.shape[2:])
    return jax.tree.map(lambda leaf: _joined(jnp.moveaxis(split(leaf), 2, 0)), batch.futures)


def _joined(leaf: Array) -> Array:
    """(members, b, p, ...) -> (members, b p, ...)"""
    return leaf.reshape(leaf.shape[0], -1, *leaf.shape[3:])


def _sum(total: Array, factor: Array, values: Array) -> Array:
    """total + factor · values, where the values may have further axes."""
    over = lambda leaf: leaf.reshape(*leaf.shape, *[1] * (values.ndim - leaf.ndim))
    return over(total) + over(factor) * values


def _grouped(y: Float[Array, "h m n critics"], b: int) -> Float[Array, "h b k"]:
    """The opinions of members (means of their particles) and critics on each row; of the particles of one member."""
    h, m, n, critics = y.shape
    y = y.reshape(h, m, b, n // b, critics)
    y = y.mean(3) if m > 1 else jnp.moveaxis(y[:, 0], 2, 1)
    return jnp.moveaxis(y, 1, 2).reshape(h, b, -1)


def _blind(value: Value, batch: Transition, discount: float) -> Array:
    raise AssertionError("a target that looks ahead is used by a learner as `target.under(ahead)`")
