"""The trajectory model: p(s_t+1, r_t, s_t+2, r_t+1, ... | s_t, a_t, g) by diffusion, actions by inverse dynamics, ends by a head.

DWM (arXiv 2402.03570) diffuses a window of future states and rewards given the current state, the current action and a
return-to-go g; DAWM (arXiv 2509.19538) completes it into one-step transitions with an inverse dynamics model.

    denoising loss     E |F(c_in (x + sigma n); sigma, s_t, a_t, g) - F*|^2, g dropped with probability `label_dropout`
    guidance           D = w D(x | g) + (1 - w) D(x | no g)                              (DWM Alg. 20, line 6)
    ends               e_h ~ Bernoulli(p(end | s_h, a_h, s_h+1)); a future stops at its first end

Departures from the papers, in every preset: ends are modelled (neither paper does); only recorded steps and the padding
after an end count in the loss; the return-to-go is standardised over the data and not divided by a hand constant per task.
The `paper` preset follows DWM where it is explicit; what it leaves open is listed in docs/methods.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.data.normalise import Standard
from dawm.diffusion.process import Process, ProcessConfig, make_process
from dawm.nets.mlp import MLPBodyConfig
from dawm.nets.registry import BodyConfig
from dawm.types import Prediction, Segment, Start
from dawm.worldmodel.coordinates import AbstractCoordinates
from dawm.worldmodel.ends import EndNetwork, end_inputs
from dawm.worldmodel.onestep import Scales


@dataclass(frozen=True)
class TrajectoryConfig:
    """What is diffused, how, and what steers it."""

    kind: Literal["trajectory"] = "trajectory"
    horizon: int = 8  # T: rows of the window (DWM section 6.6)
    coordinates: Literal["states", "differences", "residual"] = "residual"
    normaliser: Literal["standard", "limits", "cdf"] = "standard"  # of the states, in the coordinates "states"
    returns: Literal["episode", "window"] = "episode"  # what the return-to-go counts
    discount: float = 0.99
    label_dropout: float = 0.1  # share of training windows without return-to-go
    guidance: float = 1.0  # w; 1 is the plain conditional model, 0 ignores the return-to-go
    process: ProcessConfig = field(default_factory=ProcessConfig)
    body: BodyConfig = field(default_factory=MLPBodyConfig)

    def __post_init__(self):
        if self.horizon < 2:
            raise ValueError(f"horizon must be at least 2, got {self.horizon}")
        if not 0 <= self.label_dropout < 1:
            raise ValueError(f"label_dropout must be in [0, 1), got {self.label_dropout}")
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount must be in (0, 1], got {self.discount}")


class TrajectoryModel(eqx.Module):
    """The whole model of one window; every method is for one example, without a batch axis."""

    body: eqx.Module
    coordinates: AbstractCoordinates
    ends: EndNetwork
    scales: Scales
    returns: Standard  # of the return-to-go, as a vector of length one
    config: TrajectoryConfig = eqx.field(static=True)

    @property
    def process(self) -> Process:
        return make_process(self.config.process)

    # -- training -------------------------------------------------------------------------------------------------------

    def loss(self, segment: Segment, notes: Float[Array, "time k"], key: PRNGKeyArray) -> tuple[Array, Array]:
        """(sum of the weighted squared errors, number of entries that count) of one window."""
        key_sigma, key_noise, key_drop = jr.split(key, 3)
        x0, counted = self.coordinates.encode(segment, notes)
        start = Start(segment.obs[0], segment.action[0], segment.return_to_go, segment.source)
        keep = jr.bernoulli(key_drop, 1.0 - self.config.label_dropout)
        process = self.process
        sigma = process.draw_sigma(key_sigma)
        noisy = x0 + sigma * jr.normal(key_noise, x0.shape)
        error = self._denoise(start, keep, self.coordinates.fixed(start))(noisy, sigma) - x0
        return process.weight(sigma) * jnp.where(counted, jnp.square(error), 0.0).sum(), counted.sum()

    # -- generation -----------------------------------------------------------------------------------------------------

    def generate(self, start: Start, key: PRNGKeyArray) -> Segment:
        """One future of the start, in raw units."""
        key_sample, key_ends = jr.split(key)
        x = self.sample(start, key_sample)
        obs, action, reward = self.coordinates.decode(x, start)
        ends = jax.vmap(self.end_probability)(obs[:-1], action, obs[1:])
        terminal = jr.uniform(key_ends, ends.shape) < ends
        valid = jnp.cumsum(terminal) - terminal == 0
        return Segment(obs, action, reward, terminal & valid, valid, start.return_to_go, start.source)

    def sample(self, start: Start, key: PRNGKeyArray) -> Float[Array, "time c"]:
        """One window in the model's coordinates."""
        fixed = self.coordinates.fixed(start)
        with_returns = self._denoise(start, jnp.asarray(True), fixed)
        if self.config.guidance == 1.0:
            denoise = with_returns
        else:
            without = self._denoise(start, jnp.asarray(False), fixed)
            w = self.config.guidance
            denoise = lambda x, sigma: w * with_returns(x, sigma) + (1 - w) * without(x, sigma)  # noqa: E731
        return self.process.sample(denoise, (self.coordinates.rows, self.coordinates.channels), key)

    def predict(self, obs: Float[Array, "obs"], action: Float[Array, "act"], *, key: PRNGKeyArray) -> Prediction:
        """A sample of the first step, for the mean return-to-go of the data (`Dynamics`)."""
        start = Start(obs, action, self.returns.mean[0], jnp.asarray(-1))
        states, actions, rewards = self.coordinates.decode(self.sample(start, key), start)
        return Prediction(states[1], rewards[0], self.end_probability(obs, action, states[1]))

    def end_probability(self, obs, action, next_obs) -> Float[Array, ""]:
        """Probability that the step (s, a, s') ends the MDP."""
        parts = (self.scales.obs.apply(obs), self.scales.action(action), self.scales.change.apply(next_obs - obs))
        return self.ends.probability(end_inputs(*parts, self.scales.obs.apply(next_obs)))

    # -- inside ---------------------------------------------------------------------------------------------------------

    def _denoise(self, start: Start, keep: Array, fixed):
        """`denoise(x, sigma)` for this start; entries that the start settles are shown clean and answered exactly."""
        value = self.returns.apply(start.return_to_go[None])[0]
        steer = jnp.where(keep, jnp.stack([value, jnp.ones_like(value)]), 0.0)
        conditions = (*self.coordinates.conditions(start), steer)

        def body(x, noise):
            shown = x if fixed is None else jnp.where(fixed[0], fixed[1], x)
            return self.body(shown, noise, conditions)

        denoise = self.process.wrap(body)
        if fixed is None:
            return denoise
        return lambda x, sigma: jnp.where(fixed[0], fixed[1], denoise(x, sigma))
