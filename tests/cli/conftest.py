"""A small linear task with Pendulum's sizes, the smallest settings that train on it, and one whole run of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

COMPILED = os.environ["JAX_COMPILATION_CACHE_DIR"]  # of this run of the tests (tests/conftest.py)
QUICK_COMPILE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"

TINY = """
episodes = 1
futures = 4
planner = {unknown = 2, planner = {horizon = 2, candidates = 4, refinements = 1}}
[world_model]
batch_size = 16
measure_windows = 8
measure_samples = 2
model = {horizon = 3, process = {step = "euler", steps = 2}, body = {width = 16, depth = 1, embed = 8}}
loop = {steps = 60, chunk = 10, save_every = 20}
[world_model.networks]
batch_size = 8
anchor = {width = 8, depth = 1}
one_step = {width = 8, depth = 1}
inverse = {width = 8, depth = 1}
ends = {width = 8, depth = 1}
ensemble = {members = 2, width = 8, depth = 1}
loop = {steps = 60, chunk = 10, save_every = 20}
[estimate]
starts = 4
steps = 5

[distil]
labels = {count = 32, futures = 8, length = 2}
loop = {steps = 20, chunk = 10, save_every = 10}
[calibrate]
windows = 8
samples = 4
horizon = 2
[generate]
transitions = 400
shard = 64
[policy]
batch_size = 16
seeds = 2
algo = {width = 8}
loop = {steps = 60, chunk = 10, save_every = 20}
"""


def linear_log(seed: int = 0, episodes: int = 24, steps: int = 20) -> dict[str, np.ndarray]:
    """A stable linear system with three states, one action in [-2, 2] and an end where the first state is large."""
    rng = np.random.default_rng(seed)
    dynamics = np.array([[0.95, 0.1, 0], [0, 0.9, 0.1], [0.05, 0, 0.92]])
    force, rows = rng.normal(size=(3, 1)) * 0.2, []
    for _ in range(episodes):
        state = rng.normal(size=3)
        for t in range(steps):
            action = np.clip(rng.normal(size=1), -2, 2)
            following = dynamics @ state + force @ action + 0.02 * rng.normal(size=3)
            end = bool(abs(following[0]) > 2.2)
            rows.append((state, action, -float(state @ state), following, end, t == steps - 1 and not end))
            state = following
            if end:
                break
    names = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts")
    columns = dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True))
    return columns | {"act_low": np.array([-2.0]), "act_high": np.array([2.0])}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, cache):
    """Keep the user's compilation cache out of the tests."""
    monkeypatch.setenv("DAWM_CACHE", str(cache))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)


@pytest.fixture(scope="session")
def cache() -> Path:
    """One for all processes of the test run."""
    return Path(COMPILED) / "cli"


@pytest.fixture(scope="session")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "linear.npz"
    np.savez(path, **linear_log())
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def dawm(cache):
    """`dawm(*words)` runs the command in a process of its own; with `wait=False` it returns the running process."""

    def start(*words, wait: bool = True, check: int | None = 0):
        env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        env |= {"DAWM_CACHE": str(cache), "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {QUICK_COMPILE}"}
        command = [sys.executable, "-m", "dawm", *map(str, words)]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if not wait:
            return process
        out, err = process.communicate()
        assert check is None or process.returncode == check, err
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    return start


@pytest.fixture(scope="session")
def reference(dawm, log, tiny, tmp_path_factory):
    """An uninterrupted `dawm run` and what it printed."""
    out = tmp_path_factory.mktemp("reference") / "run"
    done = dawm("run", log, "--config", tiny, "--env", "Pendulum-v1", "--out", out)
    return out, done
