"""Policy updates: the program that `train_policy` runs, a plain PyTorch loop, and d3rlpy.

One update is one of the critics, on a batch of 256 that each program draws itself from a log of Hopper's sizes;
networks have two hidden layers of 256 units (ReBRAC: three). Ours is the compiled chunk of `dawm.run.loop`, for one
seed, with its metrics fetched as training fetches them; data are on the device. The PyTorch loop is written here as
CORL formulates it; d3rlpy is driven through its public `update` and `sample_transition_batch`, as its `fit` does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.speed.comparison import OURS, Comparison, Program, Settings, Work, compare
from benchmarks.speed.flops import learner_update
from dawm.types import Spec, Transition

BATCH, WIDTH, ROWS = 256, 256, 100_000
HOPPER = Spec(11, 3, (-1.0,) * 3, (1.0,) * 3)
DEPTH = {"td3bc": 2, "iql": 2, "rebrac": 3}
WORDS = {"td3bc": "TD3+BC updates", "iql": "IQL updates", "rebrac": "ReBRAC updates"}


def comparisons(settings: Settings) -> list[Comparison]:
    """One for each learner."""
    return [
        Comparison(
            kind,
            WORDS[kind],
            "updates/s",
            (
                Program(OURS, lambda kind=kind: ours(kind, settings)),
                Program("PyTorch loop", lambda kind=kind: in_torch(kind, settings)),
                Program("d3rlpy", lambda kind=kind: in_d3rlpy(kind, settings)),
            ),
        )
        for kind in DEPTH
    ]


def measure(settings: Settings) -> dict[str, Any]:
    """A row for each learner."""
    return {"rows": [compare(comparison, settings) for comparison in comparisons(settings)]}


def updates(settings: Settings) -> int:
    """In one call."""
    return settings.either(200, 5)


def flops(kind: str) -> float:
    """Of one update; counted alike for all programs, whatever else they compute."""
    return learner_update(kind, BATCH, HOPPER.obs_dim, HOPPER.act_dim, WIDTH, DEPTH[kind])


def rows() -> Transition:
    """A log of Hopper's sizes that is standardised already: noise, on which no loss overflows."""
    rng = np.random.default_rng(0)
    normal = lambda *size: rng.normal(size=size).astype(np.float32)
    action = lambda: np.tanh(normal(ROWS, HOPPER.act_dim))
    obs, reward, ended = normal(ROWS, HOPPER.obs_dim), normal(ROWS), rng.random(ROWS) < 0.01
    followed = obs + 0.1 * normal(ROWS, HOPPER.obs_dim)
    return Transition(obs, action(), reward, followed, action(), ended, np.full(ROWS, -1))


def ours(kind: str, settings: Settings) -> Work:
    from benchmarks.speed.chunk import chunk_of
    from dawm.agents.config import PolicyConfig
    from dawm.agents.fit import policy_update
    from dawm.agents.policy import initial_state, seeds_of
    from dawm.agents.registry import AGENTS
    from dawm.data.sampling import make_pool

    count, nothing = updates(settings), np.zeros(HOPPER.obs_dim, np.float32)
    config = PolicyConfig(algo=AGENTS[kind][0](), batch_size=BATCH)
    state = initial_state(config, HOPPER, nothing, nothing + 1)
    call = chunk_of(policy_update(config, HOPPER), state, make_pool(rows()), count, seeds_of(config))
    return Work(call, count, flops(kind))


def in_torch(kind: str, settings: Settings) -> Work:
    from benchmarks.peers import pytorch

    count = updates(settings)
    update = pytorch.make_update(kind, rows(), batch=BATCH, width=WIDTH, threads=settings.threads)

    def call() -> None:
        for _ in range(count):
            update()

    return Work(call, count, flops(kind))


def in_d3rlpy(kind: str, settings: Settings) -> Work:
    from benchmarks.peers import d3

    data, ends = rows(), np.arange(1_000, ROWS + 1, 1_000)
    dataset = d3.as_dataset(data.obs, data.action, data.reward, data.terminal, ends)
    algo = d3.make_algo(kind, dataset, batch=BATCH, width=WIDTH, depth=DEPTH[kind], threads=settings.threads)
    count = updates(settings)

    def call() -> None:
        for _ in range(count):
            algo.update(dataset.sample_transition_batch(BATCH))

    return Work(call, count, flops(kind))
