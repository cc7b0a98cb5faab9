"""Where generation starts, and which return it asks for.

Starts are recorded (s_t, a_t): all alike, those of the best episodes, or more often where the log is thin. With
`action_noise` they are recorded states and actions beside the recorded ones, of which only the model knows what they
lead to. The return that is asked for is the recorded return-to-go of the start, or a quantile of the data's, times a
factor: never a constant chosen by hand for a task. Asking for more than the data hold is possible and has hurt in our
measurements.

With `noising` below 1 a future does not begin as noise: what was recorded after the start is noised as far as the
remaining levels of the sampler take away, and denoised again (SDEdit, Meng et al. 2022). Few levels keep it close.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from dawm.agents.cloning import log_support
from dawm.agents.priority import PriorityConfig, novelty_mass
from dawm.data.arrays import next_obs_unknown
from dawm.data.dataset import Dataset
from dawm.errors import ConfigError
from dawm.types import Start
from dawm.worldmodel.base import AbstractDiffusionModel
from dawm.worldmodel.fit import annotated, training_rows, windows_of
from dawm.worldmodel.trained import TrainedModel

if TYPE_CHECKING:
    from dawm.synth.generator import GenerateConfig


class Starts:
    """The places of a log where futures may start."""

    def __init__(self, data: Dataset, model: TrainedModel, config: GenerateConfig):
        self.data, self.config = data, config
        self.rows = start_rows(data, config)
        self.return_to_go = return_to_go(data, model)
        self.skip, self.near, self.odds = 0, None, None
        if config.noising < 1:
            if not isinstance(model.model, AbstractDiffusionModel):
                raise ConfigError(
                    f"generate.noising noises and denoises recorded futures; a world model of kind"
                    f" `{model.config.model.kind}` has no diffusion. Leave it at 1."
                )
            steps = model.model.process.config.steps
            self.skip = steps - max(1, round(config.noising * steps))
            self.near = Recorded(data, model, model.model)
            self.rows = self.rows[self.near.whole[self.rows]]
            if len(self.rows) == 0:
                raise ConfigError(
                    "generate.noising stays near recorded futures, and no start has one as long as the model's: the"
                    " episodes are too short. Leave it at 1."
                )

        if config.starts == "novel":
            self.odds = novelty(data, self.rows, config.seed)

    def draw(self, count: int, rng: np.random.Generator) -> Start:
        """`count` starts, with replacement."""
        data, config = self.data, self.config
        rows = rng.choice(self.rows, count, p=self.odds)
        asked = self.return_to_go[rows]
        if config.return_quantile is not None:
            asked = np.full(count, np.quantile(self.return_to_go, config.return_quantile))
        action = data.action[rows]
        if config.action_noise > 0:
            noise = config.action_noise * data.spec.act_scale * rng.normal(size=action.shape)
            action = np.clip(action + noise, data.act_low, data.act_high).astype(np.float32)
        near = None if self.near is None else self.near(rows)
        asked = (asked * config.return_factor).astype(np.float32)
        return Start(data.obs[rows], action, asked, data.source[rows], near)


class Recorded:
    """What followed each row of a log, as the model diffuses it."""

    def __init__(self, data: Dataset, trained: TrainedModel, model: AbstractDiffusionModel):
        settings = trained.config.model
        self.windows, fold = training_rows(data, trained.config)
        self.model, self.notes = model, annotated(model, self.windows, fold)
        left = data.episode_ends[data.episode_of] - np.arange(len(data))
        ends = data.terminal[data.episode_ends - 1][data.episode_of]  # what follows an end is known
        self.whole = ((left >= settings.window) | ends) & ~next_obs_unknown(data)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(_diffused(self.model, self.windows, self.notes, jnp.asarray(rows)))


@eqx.filter_jit
def _diffused(model, windows, notes, rows):
    return model.diffused(windows, notes, rows)


def novelty(data: Dataset, rows: np.ndarray, seed: int) -> np.ndarray:
    """Probability of each of some rows as a start, larger where little of the log is near: (n,), sums to 1.

    The masses of `agents.priority`, novelty, with the default exponent: the rarest 1 % of the rows begin 16 % of the
    futures.
    """
    mass = novelty_mass(log_support(data, seed), data.transitions(), PriorityConfig.exponent)[rows].astype(np.float64)
    return mass / mass.sum()


def start_rows(data: Dataset, config: GenerateConfig) -> np.ndarray:
    """The rows that may be a start: all of them, or those of the best episodes."""
    if config.starts in ("uniform", "novel"):
        return np.arange(len(data))
    best = np.argsort(-data.returns)[: max(1, round(config.high_return * data.episodes))]
    return np.flatnonzero(np.isin(data.episode_of, best))


def return_to_go(data: Dataset, model: TrainedModel) -> np.ndarray:
    """The return-to-go of every row, counted as the model counts it."""
    return np.asarray(windows_of(data, model.config, model.config.model.horizon).return_to_go)
