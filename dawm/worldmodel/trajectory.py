"""The trajectory model: p(s_t+1, r_t, s_t+2, r_t+1, ... | s_t, a_t, g) by diffusion, actions by inverse dynamics,
ends by a head.

DWM (arXiv 2402.03570) diffuses a window of future states and rewards given the current state, the current action and a
return-to-go g; DAWM (arXiv 2509.19538) completes it into one-step transitions with an inverse dynamics model.

    denoising loss     E |F(c_in (x + sigma n); sigma, s_t, a_t, g) - F*|^2, g dropped with probability `label_dropout`
    guidance           D = w D(x | g) + (1 - w) D(x | no g)                              (DWM Alg. 20, line 6)
    ends               e_h ~ Bernoulli(p(end | s_h, a_h, s_h+1)); a future stops at its first end

Departures from the papers, in every preset: ends are modelled (neither paper does); only recorded steps and the padding
after an end count in the loss; the return-to-go is standardised over the data and not divided by a hand constant per
task. The `paper` preset follows DWM where it is explicit; what it leaves open is listed in docs/methods.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.data.normalise import NORMALISERS, Limits, Standard
from dawm.data.windows import Windows
from dawm.diffusion.denoiser import Denoise
from dawm.diffusion.guidance import classifier_free
from dawm.diffusion.process import ProcessConfig
from dawm.nets.mlp import MLPBodyConfig
from dawm.nets.registry import BodyConfig, make_body
from dawm.run.mesh import spread
from dawm.types import Prediction, Segment, Start
from dawm.worldmodel.base import AbstractDiffusionModel, Parts
from dawm.worldmodel.coordinates import COORDINATES, AbstractCoordinates
from dawm.worldmodel.ends import EndNetwork
from dawm.worldmodel.networks import Networks
from dawm.worldmodel.onestep import Scales


@dataclass(frozen=True)
class TrajectoryConfig:
    """What is diffused, how, and what steers it."""

    kind: Literal["trajectory"] = "trajectory"
    horizon: int = 8  # T: rows of the window (DWM section 6.6)
    coordinates: Literal["states", "differences", "residual"] = "residual"
    normaliser: Literal["standard", "limits", "cdf", "normal"] = "standard"  # of states, in the coordinates "states"
    marginals: Literal["normal", "plain"] = "normal"  # of what is diffused, in the coordinates "residual"
    returns: Literal["episode", "window"] = "episode"  # what the return-to-go counts
    discount: float = 0.99
    label_dropout: float = 0.1  # share of training windows without return-to-go
    guidance: float = 1.0  # w; 1 is the plain conditional model, 0 ignores the return-to-go
    process: ProcessConfig = field(default_factory=lambda: ProcessConfig(shared=4))
    body: BodyConfig = field(default_factory=lambda: MLPBodyConfig(conditioning="noise"))

    members: ClassVar[int] = 0  # one model, no ensemble
    dynamics: ClassVar[bool] = True

    @property
    def window(self) -> int:
        """Transitions of a training window."""
        return self.horizon

    def __post_init__(self):
        if self.horizon < 2:
            raise ValueError(f"horizon must be at least 2, got {self.horizon}")
        if not 0 <= self.label_dropout < 1:
            raise ValueError(f"label_dropout must be in [0, 1), got {self.label_dropout}")
        if not 0 < self.discount <= 1:
            raise ValueError(f"discount must be in (0, 1], got {self.discount}")


class TrajectoryModel(AbstractDiffusionModel):
    """The whole model of one window; methods are for one example, without a batch axis, where nothing else is said."""

    body: Callable[..., Array]  # a row of nets.registry.BODIES
    coordinates: AbstractCoordinates
    ends: EndNetwork
    scales: Scales
    returns: Standard  # of the return-to-go, as a vector of length one
    config: TrajectoryConfig = eqx.field(static=True)

    @property
    def trained(self) -> Callable[..., Array]:
        return self.body

    def with_trained(self, part: Callable[..., Array]) -> TrajectoryModel:
        return eqx.tree_at(lambda m: m.body, self, part)

    @property
    def count(self) -> int:
        return 1

    def first(self, members):
        return self

    @property
    def steps(self) -> int:
        return self.coordinates.rows - (self.config.coordinates == "states")  # its first row is the known start

    @property
    def shape(self) -> tuple[int, int]:
        return self.coordinates.rows, self.coordinates.channels

    # -- training -----------------------------------------------------------------------------------------------------

    def annotate(self, windows, fold):
        return self.coordinates.annotate(windows)

    def batch_loss(self, windows, notes, key, batch):
        key_rows, key_loss = jr.split(key)
        one = lambda row, key, sigma: self.loss(windows.segment(row), notes[windows.rows(row)], key, sigma)
        rows, keys = spread((windows.draw(key_rows, batch), jr.split(key_loss, batch)))
        total, counted = self.process.at_levels(one, jr.fold_in(key, 2), rows, keys)
        return total.sum() / counted.sum(), {}

    def loss(
        self, segment: Segment, notes: Float[Array, "time k"], key: PRNGKeyArray, sigma: Float[Array, ""] | None = None
    ) -> tuple[Array, Array]:
        """(sum of the weighted squared errors, number of entries that count) of one window, at a level or any."""
        key_error, key_drop = jr.split(key)
        x0, counted = self.coordinates.encode(segment, notes)
        start = Start(segment.obs[0], segment.action[0], segment.return_to_go, segment.source)
        keep = jr.bernoulli(key_drop, 1.0 - self.config.label_dropout)
        known = self.coordinates.known(start)
        error = self.process.error(self._denoise(start, keep), x0, key_error, sigma=sigma, known=known and known[0])
        return jnp.where(counted, error, 0.0).sum(), counted.sum()

    def diffused(self, windows, notes, rows):
        one = lambda row: self.coordinates.encode(windows.segment(row), notes[windows.rows(row)])[0]
        return jax.vmap(one)(rows)

    # -- generation ---------------------------------------------------------------------------------------------------

    def generate(self, start: Start, key: PRNGKeyArray, skip: int = 0) -> Segment:
        """One future of the start, in raw units."""
        key_sample, key_ends = jr.split(key)
        x = self.sample(start, key_sample, skip)
        obs, action, reward = self.coordinates.decode(x, start)
        ends = jax.vmap(self.end_probability)(obs[:-1], action, obs[1:])
        terminal = jr.uniform(key_ends, ends.shape) < ends
        valid = jnp.cumsum(terminal) - terminal == 0
        reached = obs[jnp.minimum(jnp.arange(len(obs)), valid.sum())]  # after the end it stays where it ended
        action, reward = jnp.where(valid[:, None], action, 0.0), jnp.where(valid, reward, 0.0)
        return Segment(reached, action, reward, terminal & valid, valid, start.return_to_go, start.source)

    def sample(self, start: Start, key: PRNGKeyArray, skip: int = 0) -> Float[Array, "time c"]:
        """One window in the model's coordinates."""
        denoise = self._denoise(start, jnp.asarray(True))
        if self.config.guidance != 1.0:
            denoise = classifier_free(denoise, self._denoise(start, jnp.asarray(False)), self.config.guidance)
        mask, value = self.coordinates.known(start) or (None, None)
        shape = (self.coordinates.rows, self.coordinates.channels)
        return self.process.sample(denoise, shape, key, known=mask, value=value, around=start.near, skip=skip)

    def advance(self, obs, action, source, key):
        """The first step of futures that are asked for the mean return-to-go of the data."""
        asked = jnp.broadcast_to(self.returns.mean[0], source.shape)
        keys = jr.split(key, source.shape)
        return jax.vmap(jax.vmap(self._first_step))(Start(obs, action, asked, source), keys)

    def _first_step(self, start: Start, key: PRNGKeyArray) -> Prediction:
        first = self.sample(start, key)[:2]  # of which `decode` makes one step at least
        states, _, rewards = self.coordinates.decode(first, start)
        return Prediction(states[1], rewards[0], self.end_probability(start.obs, start.action, states[1]))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _denoise(self, start: Start, keep: Array) -> Denoise:
        """`denoise(x, sigma)` for this start, with or without its return-to-go."""
        value = self.returns.apply(start.return_to_go[None])[0]
        steer = jnp.where(keep, jnp.stack([value, jnp.ones_like(value)]), 0.0)
        conditions = (*self.coordinates.conditions(start), steer)
        return self.process.wrap(lambda x, noise, _: self.body(x, noise, conditions))


def make_trajectory(config: TrajectoryConfig, parts: Parts, *, key: PRNGKeyArray) -> TrajectoryModel:
    """The untrained model around trained one-step networks; its normalisers are fitted on the training rows."""
    spec, networks = parts.spec, parts.networks
    blank = np.zeros((2, spec.obs_dim), np.float32)  # NumPy: this also runs under `eval_shape`
    blank[1] = 1.0
    obs = blank if parts.train is None else parts.train.obs
    reward = blank[:, :1] if parts.train is None else parts.train.reward[:, None]
    normalisers = NORMALISERS[config.normaliser].fit(obs), Limits.fit(reward)
    spread = jnp.ones(spec.act_dim + spec.obs_dim + 1)
    if parts.windows is not None:
        spread = residual_spread(parts.scales, networks, parts.windows)
    coordinates = COORDINATES[config.coordinates].build(
        parts.scales, networks.inverse, networks.behaviour, networks.anchor, *normalisers, spread, config.horizon
    )
    if config.marginals == "normal":
        coordinates = coordinates.with_normal_marginals(parts.windows)
    nowhere = Start(jnp.zeros(spec.obs_dim), jnp.zeros(spec.act_dim), jnp.zeros(()), jnp.asarray(-1))
    sizes = (*(len(c) for c in coordinates.conditions(nowhere)), 2)
    build = lambda key: make_body(config.body, coordinates.rows, coordinates.channels, sizes, key=key)
    return TrajectoryModel(
        body=eqx.filter_jit(build)(key),
        coordinates=coordinates,
        ends=networks.ends,
        scales=parts.scales,
        returns=parts.returns,
        config=config,
    )


def residual_spread(scales: Scales, networks: Networks, windows: Windows) -> Float[Array, " act+obs+1"]:
    """Root mean squares of what is left on the training rows, in scaled and standardised units: of the action by the
    behaviour, of the change and the reward by the anchor.
    """

    def error(row):
        obs, action, reward, next_obs = row
        deviation = scales.action(action) - networks.behaviour(scales.obs.apply(obs))
        off = scales.targets(obs, reward, next_obs) - networks.anchor(scales.inputs(obs, action))
        return jnp.concatenate([deviation, off])

    columns = (windows.obs, windows.action, windows.reward, windows.next_obs)
    errors = eqx.filter_jit(lambda columns: jax.lax.map(error, columns, batch_size=4096))(columns)
    return jnp.maximum(jnp.sqrt(jnp.square(errors).mean(0)), 1e-5)
