"""d3rlpy's own learners with the settings of dawm's, for comparisons of speed and of scores. The module needs d3rlpy.

Set alike: batch, sizes of the networks, standardised observations, actions from the environment's range to [-1, 1], and
for ReBRAC the two penalties and LayerNorm in the critics. Everything else is d3rlpy's default.
"""

from __future__ import annotations

import logging
from typing import Any

import d3rlpy
import numpy as np
import structlog
import torch

from dawm.agents.rebrac import ReBRACConfig
from dawm.data.dataset import Dataset
from dawm.errors import ConfigError
from dawm.types import Spec

KINDS = ("td3bc", "iql", "rebrac")


def as_dataset(
    obs: np.ndarray, action: np.ndarray, reward: np.ndarray, terminal: np.ndarray, episode_ends: np.ndarray
) -> Any:
    """A d3rlpy dataset of flat columns; an episode whose last row is not terminal was cut, and d3rlpy drops its last
    step, whose next observation it cannot store.
    """
    cut = np.zeros(len(reward), bool)
    cut[np.asarray(episode_ends) - 1] = True
    flags = terminal.astype(np.float32), (cut & ~terminal).astype(np.float32)
    columns = obs.astype(np.float32), action.astype(np.float32), reward.astype(np.float32)
    _quiet()
    return d3rlpy.dataset.MDPDataset(*columns, *flags, action_space=d3rlpy.ActionSpace.CONTINUOUS)


def from_log(data: Dataset) -> Any:
    """A d3rlpy dataset of a log."""
    return as_dataset(data.obs, data.action, data.reward, data.terminal, data.episode_ends)


def make_algo(
    kind: str,
    dataset: Any,
    *,
    batch: int = 256,
    width: int = 256,
    depth: int = 2,
    bounds: Spec | None = None,
    seed: int = 0,
    threads: int = 1,
) -> Any:
    """An algorithm of d3rlpy, built for a dataset; with `bounds`, its inputs and outputs are scaled. Raises ConfigError
    for a kind that is none of `KINDS`.
    """
    if kind not in KINDS:
        raise ConfigError(f"d3rlpy is compared on {', '.join(KINDS)}; `{kind}` is none of them.")
    torch.set_num_threads(threads)
    d3rlpy.seed(seed)
    _quiet()
    plain = lambda **more: d3rlpy.models.VectorEncoderFactory(hidden_units=[width] * depth, **more)
    shared: dict[str, Any] = {"batch_size": batch}
    if bounds is not None:
        low, high = (np.asarray(bound, np.float32) for bound in (bounds.act_low, bounds.act_high))
        shared["observation_scaler"] = d3rlpy.preprocessing.StandardObservationScaler()
        shared["action_scaler"] = d3rlpy.preprocessing.MinMaxActionScaler(minimum=low, maximum=high)
    encoders = {"actor_encoder_factory": plain(), "critic_encoder_factory": plain()}
    if kind == "iql":
        config: Any = d3rlpy.algos.IQLConfig(**shared, **encoders, value_encoder_factory=plain())
    elif kind == "td3bc":
        config = d3rlpy.algos.TD3PlusBCConfig(**shared, **encoders)
    else:
        encoders["critic_encoder_factory"] = plain(use_layer_norm=True)
        ours = ReBRACConfig()
        penalties = {"actor_beta": ours.actor_penalty, "critic_beta": ours.critic_penalty}
        config = d3rlpy.algos.ReBRACConfig(**shared, **encoders, **penalties)
    algo = config.create(device="cpu:0")
    algo.build_with_dataset(dataset)
    return algo


def train(algo: Any, dataset: Any, updates: int) -> None:
    """All updates through d3rlpy's own `fit`, with nothing written and nothing shown."""
    silent = d3rlpy.logging.NoopAdapterFactory()
    algo.fit(dataset, n_steps=updates, n_steps_per_epoch=updates, logger_adapter=silent, show_progress=False)


def _quiet() -> None:
    """d3rlpy narrates what it does on standard output; ours holds results only."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
