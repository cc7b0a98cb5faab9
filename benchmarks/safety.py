"""How often a policy breaks a limit that its environment reports as `info["unsafe"]`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from dawm.agents.policy import TrainedPolicy

WIDTH = 64  # environments alive at once


def unsafe_steps(policy: TrainedPolicy, env: str, *, episodes: int, seed: int) -> dict[str, Any]:
    """Share of unsafe steps of each seed of a policy, in the episodes of `score_policy`.

    The environment must never end an episode early. Returns JSON values: env, episodes, `rate` of each seed, `unsafe`
    counts (seeds x episodes), `steps` per episode.
    """
    width = min(episodes, max(1, WIDTH // policy.members))
    parts, steps = [], 0
    for first in range(0, episodes, width):
        counts, steps = _play(policy, env, range(first, min(first + width, episodes)), seed)
        parts.append(counts)
    unsafe = np.concatenate(parts, axis=1)
    rate = unsafe.mean(1) / steps
    return {"env": env, "episodes": episodes, "rate": rate.tolist(), "unsafe": unsafe.tolist(), "steps": steps}


def _play(policy: TrainedPolicy, env: str, numbers: range, seed: int) -> tuple[np.ndarray, int]:
    """Counts of unsafe steps, (members, len(numbers)), and the length of an episode."""
    shape = (policy.members, len(numbers))
    envs = gymnasium.make_vec(env, num_envs=shape[0] * shape[1], vectorization_mode="sync")
    seeds: Any = [seed + number for _ in range(shape[0]) for number in numbers]
    obs, _ = envs.reset(seed=seeds)
    counts, steps, done = np.zeros(shape[0] * shape[1], int), 0, np.zeros(1, bool)
    while not done.all():
        action = policy.act(obs.reshape(*shape, -1).astype(np.float32))
        obs, _, ended, done, info = envs.step(action.reshape(envs.action_space.shape))
        if ended.any() or done.any() != done.all():
            raise ValueError(f"`{env}` ends episodes early: rates of unsafe steps need episodes of one length.")
        counts += info["unsafe"].astype(int)
        steps += 1
    envs.close()
    return counts.reshape(shape), steps
