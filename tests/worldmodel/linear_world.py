"""A task whose law is known: a linear system with correlated Gaussian noise, a linear-Gaussian policy, and a clock.

    p' = A p + B (a - 1) + L w          p in R^2, w standard normal, L L^T has correlation 0.8
    r  = C p + D (a - 1) + S v          v standard normal
    f' = f - 0.1                        the step ends the MDP where f' < 0; recordings are cut after LENGTH steps
    a  = 1 + K p + E n                  n standard normal; actions live in [-1, 3] and stay inside

An observation is (p, f). Given (p, f, a) with f large enough, next state, reward and discounted return of a window are
jointly Gaussian, so the law of the first step given the return of the window has a closed form.
"""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from filelock import FileLock

from dawm.data.dataset import Dataset, DatasetInfo
from dawm.diffusion.process import ProcessConfig
from dawm.nets.mlp import MLPBodyConfig
from dawm.run.loop import LoopConfig
from dawm.run.optim import OptimConfig
from dawm.worldmodel.behaviour import BehaviourConfig
from dawm.worldmodel.ends import EndsConfig
from dawm.worldmodel.fit import WorldModelConfig, train_world_model
from dawm.worldmodel.gaussian import EnsembleModelConfig
from dawm.worldmodel.inverse import InverseConfig
from dawm.worldmodel.networks import NetworksConfig
from dawm.worldmodel.onestep import EnsembleConfig, StepConfig
from dawm.worldmodel.reward import RewardConfig
from dawm.worldmodel.trajectory import TrajectoryConfig

A, B = np.array([[0.9, 0.2], [-0.1, 0.8]]), np.array([0.1, 0.6])
L = 0.1 * np.linalg.cholesky(np.array([[1.0, 0.8], [0.8, 1.0]]))
C, D, S = np.array([1.0, 0.5]), 0.3, 0.2
K, E = np.array([-0.2, -0.1]), 0.4
LENGTH, DISCOUNT, HORIZON = 14, 0.9, 4


def mean_step(obs: np.ndarray, action: np.ndarray) -> np.ndarray:
    """The mean of the next observation, (n, 3)."""
    following = obs[:, :2] @ A.T + (action - 1) * B
    return np.column_stack([following, obs[:, 2] - 0.1])


def make_data(episodes: int, seed: int = 0) -> Dataset:
    """Recordings of the task; about half of the episodes end, the others are cut."""
    rng, columns, ends = np.random.default_rng(seed), [], []
    for episode in range(episodes):
        p, fuel = rng.normal(size=2) * 0.7, rng.uniform(0.3, 2.5)
        for _ in range(LENGTH):
            action = 1 + K @ p + E * rng.normal()
            following = A @ p + B * (action - 1) + L @ rng.normal(size=2)
            reward = C @ p + D * (action - 1) + S * rng.normal()
            columns.append((np.append(p, fuel), action, reward, np.append(following, fuel - 0.1), fuel < 0.1, episode))
            p, fuel = following, fuel - 0.1
            if fuel < 0:
                break
        ends.append(len(columns))
    obs, action, reward, next_obs, terminal, source = (np.array(c) for c in zip(*columns, strict=True))
    return Dataset(
        obs=obs.astype(np.float32),
        action=action[:, None].astype(np.float32),
        reward=reward.astype(np.float32),
        next_obs=next_obs.astype(np.float32),
        terminal=terminal,
        episode_ends=np.array(ends),
        source=source.astype(np.int32),
        act_low=np.array([-1.0], np.float32),
        act_high=np.array([3.0], np.float32),
        info=DatasetInfo(name="linear", origin=f"linear:{episodes}"),
    )


def first_step_given_return(p, action, deviations, horizon=HORIZON):
    """Mean (3,) and covariance (3, 3) of (p', r) given (p, a) and a window return that lies `deviations` standard
    deviations above its mean; and that return.
    """

    def outcome(z):  # everything is affine in the standard normals z of (w, v, n) at each step
        state, act, total, first = p, action, 0.0, None
        for h, (w0, w1, v, n) in enumerate(z.reshape(horizon, 4)):
            if h:
                act = 1 + K @ state + E * n
            reward = C @ state + D * (act - 1) + S * v
            state = A @ state + B * (act - 1) + L @ np.array([w0, w1])
            total += DISCOUNT**h * reward
            first = np.append(state, reward) if h == 0 else first
        return np.append(first, total)

    mean = outcome(np.zeros(4 * horizon))
    matrix = np.stack([outcome(z) - mean for z in np.eye(4 * horizon)], 1)
    cov = matrix @ matrix.T
    gain = cov[:3, 3] / cov[3, 3]
    asked = mean[3] + deviations * np.sqrt(cov[3, 3])
    return mean[:3] + gain * (asked - mean[3]), cov[:3, :3] - np.outer(gain, cov[3, :3]), asked


def tiny_networks(**changes) -> NetworksConfig:
    settings = {
        "anchor": StepConfig(width=32, depth=1),
        "behaviour": BehaviourConfig(width=32, depth=1),
        "inverse": InverseConfig(width=32, depth=2),
        "ends": EndsConfig(width=32, depth=2),
        "reward": RewardConfig(width=16, depth=1),
        "one_step": StepConfig(width=32, depth=1, linear_skip=False),
        "ensemble": EnsembleConfig(members=2, width=32, depth=1),
        "batch_size": 64,
        "optim": OptimConfig(learning_rate=5e-3),
        "loop": LoopConfig(steps=600, chunk=100, monitor_every=600, save_every=200),
    }
    return NetworksConfig(**(settings | changes))


def tiny_config(**changes) -> WorldModelConfig:
    settings = {
        "model": TrajectoryConfig(
            horizon=HORIZON,
            returns="window",
            discount=DISCOUNT,
            process=ProcessConfig(steps=12),
            body=MLPBodyConfig(width=64, depth=2, embed=16),
        ),
        "networks": tiny_networks(),
        "batch_size": 64,
        "optim": OptimConfig(learning_rate=4e-3),
        "loop": LoopConfig(steps=1_000, chunk=100, monitor_every=200, save_every=200),
        "ema": 0.98,
        "measure_windows": 100_000,
        "measure_samples": 8,
    }
    return WorldModelConfig(**(settings | changes))


@functools.cache
def data() -> Dataset:
    return make_data(300)


@functools.cache
def trained():
    """The model that all tests share, in the default coordinates, with its run folder."""
    return train_once(data(), tiny_config(), "linear")


@functools.cache
def trained_ensemble():
    """The Gaussian ensemble as a world model: three members, of which two are elites."""
    networks = tiny_networks(
        ensemble=EnsembleConfig(members=3, elites=2, width=32, depth=1),
        loop=LoopConfig(steps=200, chunk=100, monitor_every=200, save_every=200),
    )
    config = tiny_config(model=EnsembleModelConfig(horizon=2), networks=networks, measure_windows=20)
    return train_once(data(), config, "linear-ensemble")


def train_once(data, config, name):
    """A model that one process of this test run trains and the others read."""
    folder = Path(os.environ["JAX_COMPILATION_CACHE_DIR"]) / "models" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        return train_world_model(data, config, folder=folder)


@functools.cache
def temporary() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="dawm-tests-")
    temporary.keep = folder  # removed when the process ends
    return Path(folder.name)


def compile_once() -> None:
    """Programs that were compiled once are read back, however often a test trains anew: most of the time is theirs."""
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(temporary() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def minimise(loss, model, steps: int, learning_rate: float = 1e-2):
    """`model` after Adam on `loss(model, key)` with a rate that falls to nothing."""
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    params, static = eqx.partition(model, eqx.is_inexact_array)

    @jax.jit
    def run(params):
        def step(carry, key):
            params, state = carry
            grads = jax.grad(lambda params: loss(eqx.combine(params, static), key))(params)
            change, state = optimiser.update(grads, state)
            return (optax.apply_updates(params, change), state), None

        return jax.lax.scan(step, (params, optimiser.init(params)), jr.split(jr.key(9), steps))[0][0]

    return eqx.combine(run(params), static)


def rows_of(windows, rows):
    return jax.device_get(jax.vmap(windows.segment)(jnp.asarray(rows)))
