"""The coordinates in which a window of states and rewards is diffused: one class each, and a table.

`states` (the paper)  row h = (s_t+h, r_t+h) in normalised units; the state of row 0 is known and clamped (inpainting).
    A window of T rows gives T - 1 complete transitions; the actions are inferred from the generated pairs.
`differences`         row h = (s_t+h+1 - s_t+h, r_t+h), standardised; T transitions, actions inferred from the pairs.
`residual` (default)  row h = (whitened deviation d_h, whitened residual e_h) with

        u_h = b(s_t+h) + std * d_h,     s_t+h+1, r_t+h = f(s_t+h, u_h) + std * e_h

    where b is the mean action of the log in a state (the behaviour) and f a one-step network (the anchor). This is the
    same window of states and rewards, written so that the dynamics are as exact as the anchor by construction: an
    error of the diffusion in u_h is only another action, not a state that no action reaches. And actions answer to the
    states that were generated: the body sees none of them, and without b its actions had nothing to do with the
    states from the second step on. In the first two coordinates a small blur of the states is a violation of the
    dynamics, which is what makes synthetic data harmful in nearly deterministic tasks.

In `residual`, u_h is the inverse dynamics model's answer on the recorded pair, and e_h is measured with the recorded
action, so that it holds the anchor's error and the noise of the environment, and nothing of the inverse model's.
Both are far from Gaussian (actions crowd at their bounds, errors have heavy tails), and a diffusion of few updates and
few steps draws them too narrow and too round. So their normal scores are diffused: the marginals are then right by
construction, and what is left to learn is how entries depend on each other and on the start.
"""

from __future__ import annotations

import abc
import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from dawm.data.normalise import AbstractNormaliser, Limits, NormalScores
from dawm.data.windows import Windows, ended
from dawm.types import Segment, Start
from dawm.worldmodel.behaviour import Behaviour
from dawm.worldmodel.inverse import InverseDynamics
from dawm.worldmodel.onestep import Scales, StepNetwork
from dawm.worldmodel.squares import thin


class AbstractCoordinates(eqx.Module):
    """Between windows in raw units and the array x of shape (rows, channels) that is diffused."""

    rows: eqx.AbstractVar[int]
    channels: eqx.AbstractVar[int]
    inverse: eqx.AbstractVar[InverseDynamics]

    def with_normal_marginals(self, windows: Windows | None) -> AbstractCoordinates:
        """The same, in normal scores of what these windows hold where the coordinates provide for it."""
        del windows
        return self

    @abc.abstractmethod
    def annotate(self, windows: Windows) -> Float[Array, "n k"]:
        """What `encode` needs of every row and is worth computing once."""

    @abc.abstractmethod
    def encode(
        self, segment: Segment, notes: Float[Array, "time k"]
    ) -> tuple[Float[Array, "time c"], Bool[Array, "time c"]]:
        """x of a window, and which entries count in the loss."""

    @abc.abstractmethod
    def known(self, start: Start) -> tuple[Bool[Array, "time c"], Float[Array, "time c"]] | None:
        """Entries that the start settles, and their values; None if there are none."""

    @abc.abstractmethod
    def conditions(self, start: Start) -> tuple[Array, ...]:
        """Standardised vectors that steer the body (the return-to-go is added by the model)."""

    @abc.abstractmethod
    def decode(
        self, x: Float[Array, "time c"], start: Start
    ) -> tuple[Float[Array, "steps+1 obs"], Float[Array, "steps act"], Float[Array, " steps"]]:
        """Observations, actions and rewards in raw units; the first two rows of a window give its first step."""


def infer_action(inverse: InverseDynamics, scales: Scales, obs: Array, next_obs: Array) -> Float[Array, " act"]:
    """The raw action that the inverse dynamics model finds between two raw observations."""
    inferred = inverse.infer(scales.obs.apply(obs), scales.change.apply(next_obs - obs))
    return inferred * scales.act_scale + scales.act_centre


def recorded(segment: Segment) -> Bool[Array, " time"]:
    """Steps whose content is known: recorded ones, and the padding after a terminal (which stays where it ended)."""
    return segment.valid | ended(segment)


class States(AbstractCoordinates):
    """The paper's window: absolute normalised states and rewards, the first state clamped."""

    scales: Scales
    inverse: InverseDynamics
    obs: AbstractNormaliser
    reward: Limits
    rows: int = eqx.field(static=True)
    channels: int = eqx.field(static=True)

    @staticmethod
    def build(scales, inverse, behaviour, anchor, obs_norm, reward_norm, spread, horizon) -> States:
        return States(  # by name: the abstract fields come first
            scales=scales,
            inverse=inverse,
            obs=obs_norm,
            reward=reward_norm,
            rows=horizon,
            channels=scales.obs.mean.shape[0] + 1,
        )

    def annotate(self, windows):
        return jnp.zeros((len(windows), 0))

    def encode(self, segment, notes):
        x = jnp.concatenate([self.obs.apply(segment.obs[:-1]), self.reward.apply(segment.reward[:, None])], 1)
        state_known = jnp.concatenate([jnp.ones(1, bool), recorded(segment)[:-1]])
        counted = jnp.broadcast_to(state_known[:, None], x.shape).at[:, -1].set(recorded(segment))
        return x, counted & ~self._mask()

    def known(self, start):
        value = jnp.zeros((self.rows, self.channels)).at[0, :-1].set(self.obs.apply(start.obs))
        return self._mask(), value

    def conditions(self, start):
        return (self.scales.action(start.action),)

    def decode(self, x, start):
        obs = jnp.concatenate([start.obs[None], self.obs.invert(x[1:, :-1])])
        reward = self.reward.invert(x[:-1, -1:])[:, 0]
        inferred = jax.vmap(lambda s, n: infer_action(self.inverse, self.scales, s, n))(obs[:-1], obs[1:])
        return obs, inferred.at[0].set(start.action), reward

    def _mask(self):
        return jnp.zeros((self.rows, self.channels), bool).at[0, :-1].set(True)


class Differences(AbstractCoordinates):
    """Standardised changes of state and rewards."""

    scales: Scales
    inverse: InverseDynamics
    rows: int = eqx.field(static=True)
    channels: int = eqx.field(static=True)

    @staticmethod
    def build(scales, inverse, behaviour, anchor, obs_norm, reward_norm, spread, horizon) -> Differences:
        return Differences(scales=scales, inverse=inverse, rows=horizon, channels=scales.obs.mean.shape[0] + 1)

    def annotate(self, windows):
        return jnp.zeros((len(windows), 0))

    def encode(self, segment, notes):
        x = jax.vmap(self.scales.targets)(segment.obs[:-1], segment.reward, segment.obs[1:])
        return x, jnp.broadcast_to(recorded(segment)[:, None], x.shape)

    def known(self, start):
        return None

    def conditions(self, start):
        return (self.scales.obs.apply(start.obs), self.scales.action(start.action))

    def decode(self, x, start):
        changes = self.scales.change.invert(x[:, :-1])
        obs = start.obs + jnp.concatenate([jnp.zeros_like(start.obs)[None], jnp.cumsum(changes, 0)])
        inferred = jax.vmap(lambda s, n: infer_action(self.inverse, self.scales, s, n))(obs[:-1], obs[1:])
        return obs, inferred.at[0].set(start.action), self.scales.reward.invert(x[:, -1:])[:, 0]


class Residual(AbstractCoordinates):
    """Deviations from the behaviour and residuals of the anchor, as their normal scores, unrolled into states."""

    scales: Scales
    inverse: InverseDynamics
    behaviour: Behaviour
    anchor: StepNetwork
    spread: Float[Array, " act+obs+1"]  # standard deviations: of scaled actions, of the standardised outcome
    marginal: NormalScores | None  # of both; None diffuses them as they are
    rows: int = eqx.field(static=True)
    channels: int = eqx.field(static=True)

    @staticmethod
    def build(scales, inverse, behaviour, anchor, obs_norm, reward_norm, spread, horizon) -> Residual:
        act_dim, obs_dim = scales.act_scale.shape[0], scales.obs.mean.shape[0]
        return Residual(
            scales=scales,
            inverse=inverse,
            behaviour=behaviour,
            anchor=anchor,
            spread=spread,
            marginal=None,
            rows=horizon,
            channels=act_dim + obs_dim + 1,
        )

    def with_normal_marginals(self, windows: Windows | None) -> Residual:
        """The same with the normal scores of what these windows hold; blank ones, for a checkpoint to fill, of none."""
        values = np.zeros((2, self.channels), np.float32)  # NumPy: this also runs under `eval_shape`
        if windows is not None:
            values = np.asarray(eqx.filter_jit(self.annotate)(windows))[thin(np.asarray(windows.recorded))]
        return dataclasses.replace(self, marginal=NormalScores.fit(values))

    def annotate(self, windows):
        def row(obs, action, reward, next_obs):
            obs_z, change_z = self.scales.obs.apply(obs), self.scales.change.apply(next_obs - obs)
            error = self.scales.targets(obs, reward, next_obs) - self.anchor(self.scales.inputs(obs, action))
            deviation = self.inverse.infer(obs_z, change_z) - self.behaviour(obs_z)
            x = jnp.concatenate([deviation, error]) / self.spread
            return x if self.marginal is None else self.marginal.apply(x)

        columns = (windows.obs, windows.action, windows.reward, windows.next_obs)
        return jax.lax.map(lambda columns: row(*columns), columns, batch_size=4096)

    def encode(self, segment, notes):
        x = jnp.where(segment.valid[:, None], notes, 0.0)
        counted = jnp.broadcast_to(recorded(segment)[:, None], x.shape)
        act_dim = segment.action.shape[-1]
        return x.at[0, :act_dim].set(0.0), counted.at[0, :act_dim].set(False)  # the first action is given, not diffused

    def known(self, start):
        act_dim = start.action.shape[-1]
        mask = jnp.zeros((self.rows, self.channels), bool).at[0, :act_dim].set(True)
        return mask, jnp.zeros((self.rows, self.channels))

    def conditions(self, start):
        return (self.scales.obs.apply(start.obs), self.scales.action(start.action))

    def decode(self, x, start):
        x = self.spread * (x if self.marginal is None else self.marginal.invert(x))
        deviations, errors = jnp.split(x, [start.action.shape[-1]], 1)

        def follow(obs, action, error):
            return self.scales.outcome(obs, self.anchor(self.scales.inputs(obs, action)) + error)

        def step(obs, row):
            deviation, error = row
            scaled = jnp.clip(self.behaviour(self.scales.obs.apply(obs)) + deviation, -1.0, 1.0)
            action = scaled * self.scales.act_scale + self.scales.act_centre
            following, reward = follow(obs, action, error)
            return following, (following, action, reward)

        second, first_reward = follow(start.obs, start.action, errors[0])  # whose action is given
        _, (later, actions, rewards) = jax.lax.scan(step, second, (deviations[1:], errors[1:]))
        obs = jnp.concatenate([start.obs[None], second[None], later])
        join = lambda first, rest: jnp.concatenate([first[None], rest])
        return obs, join(start.action, actions), join(first_reward, rewards)


COORDINATES = {"states": States, "differences": Differences, "residual": Residual}
