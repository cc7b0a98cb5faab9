"""A world in which every law is known: linear, heteroscedastic, bimodal, two provenances, a stochastic end.

    x0' = 0.8 x0 + 0.5 a + SHIFT (+ of log 0, - of log 1) + 0.2 n
    x1' = 0.5 x1 + scale(x0) n,           scale(x0) = 0.05 + 0.45 / (1 + exp(-4 x0))
    x2' = 0.5 x2 +- 0.8 + 0.1 n,          + with probability 1 / (1 + exp(-2 a))
    r   = x0 - x1 + 0.1 n
    end with probability 0.4 / (1 + exp(-3 x0'))

Every n is a standard normal of its own. Actions are uniform in [-1, 1]; recordings are cut after LENGTH steps.
"""

from __future__ import annotations

import functools

import numpy as np
from linear_world import train_once

from dawm.data.dataset import Dataset, DatasetInfo
from dawm.nets.mlp import MLPBodyConfig
from dawm.run.loop import LoopConfig
from dawm.run.optim import OptimConfig
from dawm.worldmodel.autoencoder import AutoencoderConfig
from dawm.worldmodel.ends import EndsConfig
from dawm.worldmodel.fit import WorldModelConfig
from dawm.worldmodel.inverse import InverseConfig
from dawm.worldmodel.latent import LatentConfig
from dawm.worldmodel.networks import NetworksConfig
from dawm.worldmodel.onestep import EnsembleConfig, StepConfig
from dawm.worldmodel.reward import RewardConfig

SHIFT, LENGTH = 0.4, 12


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def scale(x0):
    return 0.05 + 0.45 * sigmoid(4 * x0)


def upper(action):
    """Probability of the upper mode of x2'."""
    return sigmoid(2 * action)


def step(rng, x, action, source):
    """(x', reward, end probability) for rows x (n, 3), actions (n,) and sources (n,)."""
    noise = rng.normal(size=(4, len(x)))
    sign = np.where(rng.random(len(x)) < upper(action), 1, -1)
    following = np.stack(
        [
            0.8 * x[:, 0] + 0.5 * action + np.where(source == 0, SHIFT, -SHIFT) + 0.2 * noise[0],
            0.5 * x[:, 1] + scale(x[:, 0]) * noise[1],
            0.5 * x[:, 2] + 0.8 * sign + 0.1 * noise[2],
        ],
        1,
    )
    return following, x[:, 0] - x[:, 1] + 0.1 * noise[3], 0.4 * sigmoid(3 * following[:, 0])


def make_data(episodes: int, seed: int = 0) -> Dataset:
    """Recordings of both logs, in turn."""
    rng, n = np.random.default_rng(seed), episodes
    x, source = rng.uniform(-1, 1, (n, 3)), np.arange(n) % 2
    columns, alive = [], np.ones((LENGTH, n), bool)
    for t in range(LENGTH):
        action = rng.uniform(-1, 1, n)
        following, reward, end = step(rng, x, action, source)
        ends = rng.random(n) < end
        columns.append((x, action[:, None], reward, following, ends, source))
        if t + 1 < LENGTH:
            alive[t + 1] = alive[t] & ~ends
        x = following
    kept = alive.T
    stack = lambda i: np.stack([c[i] for c in columns], 1)[kept]
    floats = lambda i: stack(i).astype(np.float32)
    return Dataset(
        obs=floats(0),
        action=floats(1),
        reward=floats(2),
        next_obs=floats(3),
        terminal=stack(4),
        episode_ends=np.cumsum(kept.sum(1)),
        source=stack(5).astype(np.int32),
        act_low=-np.ones(1, np.float32),
        act_high=np.ones(1, np.float32),
        info=DatasetInfo(name="known", origin=f"known:{episodes}", sources=("first", "second")),
    )


def config(steps: int = 2000, **changes) -> WorldModelConfig:
    networks = NetworksConfig(
        anchor=StepConfig(width=32, depth=1),
        inverse=InverseConfig(width=16, depth=1),
        ends=EndsConfig(width=32, depth=2),
        reward=RewardConfig(width=16, depth=1),
        one_step=StepConfig(width=32, depth=1, linear_skip=False),
        ensemble=EnsembleConfig(members=3, elites=2, width=32, depth=2),
        batch_size=128,
        optim=OptimConfig(learning_rate=4e-3),
        loop=LoopConfig(steps=600, chunk=200, monitor_every=600, save_every=600),
    )
    model = {
        "members": 2,
        "context": 32,
        "provenance": 4,
        "label_dropout": 0.3,
        "body": MLPBodyConfig(width=64, depth=2, embed=32),
        "autoencoder": AutoencoderConfig(width=32, depth=1, kl=0.02),
    }
    return WorldModelConfig(
        model=LatentConfig(**(model | changes)),
        networks=networks,
        batch_size=256,
        optim=OptimConfig(learning_rate=4e-3),
        loop=LoopConfig(steps=steps, chunk=250, monitor_every=steps, save_every=1000),
        ema=0.99,
        holdout=0.25,
        measure_windows=200,
        measure_samples=8,
    )


@functools.cache
def data() -> Dataset:
    return make_data(1200)


@functools.cache
def trained(latent: str):
    """A trained model of each kind of latent, with its run folder.

    A latent that is learnt moves while the diffusion learns it, which takes twice the updates.
    """
    steps = 4000 if latent == "autoencoder" else 2000
    return train_once(data(), config(steps, latent=latent), f"known-{latent}")
