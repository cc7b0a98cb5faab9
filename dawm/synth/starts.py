"""Where generation starts, and which return it asks for.

Starts are recorded (s_t, a_t), or with `action_noise` recorded states and actions beside the recorded ones, of which
only the model knows what they lead to. The return that is asked for is the recorded return-to-go of the start, or a
quantile of the data's, times a factor: never a constant chosen by hand for a task. Asking for more than the data hold
is possible and has hurt in our measurements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dawm.data.dataset import Dataset
from dawm.data.windows import make_windows
from dawm.types import Start
from dawm.worldmodel.trained import TrainedModel

if TYPE_CHECKING:
    from dawm.synth.generator import GenerateConfig


def draw_starts(
    data: Dataset, count: int, rng: np.random.Generator, model: TrainedModel, config: GenerateConfig
) -> Start:
    """`count` starts from the rows of `data`, with replacement."""
    rows = rng.choice(start_rows(data, config), count)
    to_go = return_to_go(data, model)
    asked = (
        to_go[rows] if config.return_quantile is None else np.full(count, np.quantile(to_go, config.return_quantile))
    )
    action = data.action[rows]
    if config.action_noise > 0:
        noise = config.action_noise * data.spec.act_scale * rng.normal(size=action.shape)
        action = np.clip(action + noise, data.act_low, data.act_high).astype(np.float32)
    return Start(data.obs[rows], action, (asked * config.return_factor).astype(np.float32), data.source[rows])


def start_rows(data: Dataset, config: GenerateConfig) -> np.ndarray:
    """The rows that may be a start: all of them, or those of the best episodes."""
    if config.starts == "uniform":
        return np.arange(len(data))
    best = np.argsort(-data.returns)[: max(1, round(config.high_return * data.episodes))]
    return np.flatnonzero(np.isin(data.episode_of, best))


def return_to_go(data: Dataset, model: TrainedModel) -> np.ndarray:
    """The return-to-go of every row, counted as the model counts it."""
    settings = model.config.model
    windows = make_windows(data, settings.horizon, discount=settings.discount, returns=settings.returns)
    return np.asarray(windows.return_to_go)
