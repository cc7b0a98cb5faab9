"""The transition model: p(s, a, r, s' - s, end), whole transitions drawn from nothing, as SynthER draws them.

    z = [standardised s, a, r, s' - s; end as 0 or 1] ~ diffusion,      end = (last channel > 1/2)

Source: Lu et al. 2023 (SynthER, arXiv 2303.06614) and its code: EDM (Karras et al. 2022) with a residual MLP on single
transitions, inputs standardised, the end a channel that is not standardised and is thresholded at 0.5. It upsamples the
log. It has no dynamics: what is drawn does not start where it is asked to, and no action can be given. So `generate`
ignores the start (its provenance is carried along, which the model knows nothing of), and `advance` is refused.

Departures: s' - s is diffused in the place of s', whose blur is poison in nearly deterministic tasks; actions are
clipped to their bounds; rows whose next state was not recorded do not count; the network has 3 blocks of 512 units and
the sampler few deterministic steps, where SynthER has 6 layers of 2,048 and 128 stochastic ones. Its sampler is a
setting: `process.step = "churned_heun"`, `process.churn = 0.414`, `process.levels = "karras"`, `process.steps = 128`,
`process.sigma_min = 0.002`, `process.sigma_max = 80`, with `process.noise_mean = -1.2` in training.
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

from dawm.data.normalise import Standard
from dawm.diffusion.process import ProcessConfig
from dawm.nets.mlp import MLPBodyConfig
from dawm.nets.registry import BodyConfig, make_body
from dawm.run.mesh import spread
from dawm.types import Segment
from dawm.worldmodel.base import AbstractDiffusionModel, Parts, require_dynamics
from dawm.worldmodel.ends import EndNetwork
from dawm.worldmodel.onestep import Scales

THRESHOLD = 0.5  # of the end channel


@dataclass(frozen=True)
class TransitionConfig:
    """What is diffused is fixed; how, is not."""

    kind: Literal["transition"] = "transition"
    process: ProcessConfig = field(default_factory=lambda: ProcessConfig(step="angular_heun", steps=8))
    body: BodyConfig = field(default_factory=lambda: MLPBodyConfig(width=512, depth=3, embed=64))

    members: ClassVar[int] = 0
    dynamics: ClassVar[bool] = False
    horizon: ClassVar[int] = 1
    window: ClassVar[int] = 1
    returns: ClassVar[Literal["episode", "window"]] = "episode"
    discount: ClassVar[float] = 0.99


class TransitionModel(AbstractDiffusionModel):
    """A diffusion over single transitions without any condition."""

    body: Callable[..., Array]
    action: Standard  # of the recorded actions
    ends: EndNetwork  # not used in generation: the probability of an end at a given step
    scales: Scales
    config: TransitionConfig = eqx.field(static=True)

    @property
    def trained(self) -> Callable[..., Array]:
        return self.body

    def with_trained(self, part: Callable[..., Array]) -> TransitionModel:
        return eqx.tree_at(lambda m: m.body, self, part)

    @property
    def count(self) -> int:
        return 1

    def first(self, members):
        return self

    @property
    def steps(self) -> int:
        return 1

    @property
    def shape(self) -> tuple[int, int]:
        return 1, channels(len(self.scales.obs.mean), len(self.action.mean))

    # -- training -----------------------------------------------------------------------------------------------------

    def annotate(self, windows, fold):
        """The rows as they are diffused."""
        return jax.vmap(self.encode)(
            windows.obs, windows.action, windows.reward, windows.next_obs, windows.terminal * 1.0
        )

    def batch_loss(self, windows, notes, key, batch):
        key_rows, key_loss = jr.split(key)
        rows = spread(windows.draw(key_rows, batch))
        one = lambda x0, key, sigma: self.process.error(self._denoise(), x0[None], key, sigma=sigma).mean()
        errors = self.process.at_levels(one, jr.fold_in(key, 2), notes[rows], spread(jr.split(key_loss, batch)))
        counted = windows.recorded[rows]
        return jnp.where(counted, errors, 0.0).sum() / jnp.maximum(counted.sum(), 1), {}

    def diffused(self, windows, notes, rows):
        return notes[rows][:, None]

    # -- use ----------------------------------------------------------------------------------------------------------

    def generate(self, start, key, skip=0):
        """One transition that does not begin at the start (see the module docstring), but near `start.near`."""
        x = self.process.sample(self._denoise(), self.shape, key, around=start.near, skip=skip)[0]
        obs, action, reward, next_obs, end = self.decode(x)
        terminal = (end > THRESHOLD)[None]
        return Segment(
            obs=jnp.stack([obs, next_obs]),
            action=action[None],
            reward=reward[None],
            terminal=terminal,
            valid=jnp.ones_like(terminal),
            return_to_go=start.return_to_go,
            source=start.source,
        )

    def advance(self, obs, action, source, key):
        require_dynamics(self.config, "a step under a given action")
        raise AssertionError("a transition model has no dynamics")

    def encode(self, obs, action, reward, next_obs, end) -> Float[Array, " channels"]:
        """A raw transition as it is diffused."""
        scales = self.scales
        parts = scales.obs.apply(obs), self.action.apply(action), scales.reward.apply(reward[None])
        return jnp.concatenate([*parts, scales.change.apply(next_obs - obs), jnp.asarray(end, jnp.float32)[None]])

    def decode(self, x: Float[Array, " channels"]) -> tuple[Array, Array, Array, Array, Array]:
        """(s, a, r, s', end channel) in raw units; actions inside their bounds."""
        scales, n, m = self.scales, len(self.scales.obs.mean), len(self.action.mean)
        state, act, reward, change, end = jnp.split(x, (n, n + m, n + m + 1, 2 * n + m + 1))
        obs, low = scales.obs.invert(state), scales.act_centre - scales.act_scale
        action = jnp.clip(self.action.invert(act), low, scales.act_centre + scales.act_scale)
        return obs, action, scales.reward.invert(reward)[0], obs + scales.change.invert(change), end[0]

    def _denoise(self):
        return self.process.wrap(lambda x, noise, _: self.body(x, noise, ()))


def channels(obs_dim: int, act_dim: int) -> int:
    """Numbers of a transition."""
    return 2 * obs_dim + act_dim + 2


def make_transition(config: TransitionConfig, parts: Parts, *, key: PRNGKeyArray) -> TransitionModel:
    """The untrained model; its normalisers are fitted on the training rows."""
    spec = parts.spec
    blank = np.zeros((2, spec.act_dim), np.float32)  # NumPy: this also runs under `eval_shape`
    blank[1] = 1.0
    build = lambda key: make_body(config.body, 1, channels(spec.obs_dim, spec.act_dim), (), key=key)
    return TransitionModel(
        body=eqx.filter_jit(build)(key),
        action=Standard.fit(blank if parts.train is None else parts.train.action),
        ends=parts.networks.ends,
        scales=parts.scales,
        config=config,
    )
