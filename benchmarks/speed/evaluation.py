"""Steps of evaluation a second: ten episodes of Hopper, 1,000 steps each, through `dawm.evaluate.rollouts`.

The policy has the size of a trained one and random weights, so the environment is one that does not end when the robot
falls. Beside it: the same policy called for one state at a time, as CORL and its kin evaluate; Gymnasium stepped with
no policy; and MuJoCo's own open loop (`mujoco.rollout`, on as many cores as ours) from the same starts with the actions
that the policy took, since a step costs what its contacts cost; it computes no observation and no reward. The last two
are bounds and not peers.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from benchmarks.speed.comparison import OURS, Comparison, Program, Settings, Work, compare
from benchmarks.speed.learners import HOPPER

ENV, EPISODES, LIMIT = "benchmarks.speed.endless:EndlessHopper-v0", 10, 1_000


def comparisons(settings: Settings) -> list[Comparison]:
    """One row of four programs."""
    programs = (
        Program(OURS, lambda: in_dawm(settings)),
        Program("one state at a time", lambda: one_by_one(settings)),
        Program("Gymnasium, no policy", lambda: no_policy(settings)),
        Program("mujoco.rollout, open loop, the same actions", lambda: open_loop(settings)),
    )
    return [Comparison("hopper", "evaluation in Hopper-v5, 10 episodes", "steps/s", programs)]


def measure(settings: Settings) -> dict[str, Any]:
    """The one row."""
    return {"rows": [compare(comparison, settings) for comparison in comparisons(settings)]}


def length(settings: Settings) -> int:
    return settings.either(LIMIT, 20)


def policy() -> Any:
    """An untrained TD3+BC policy of the usual size."""
    from dawm.agents.config import PolicyConfig
    from dawm.agents.policy import initial_state, policy_of

    config, nothing = PolicyConfig(), np.zeros(HOPPER.obs_dim, np.float32)
    return policy_of(initial_state(config, HOPPER, nothing, nothing + 1), HOPPER, config, 0, "speed")


def in_dawm(settings: Settings) -> Work:
    from dawm.evaluate.rollouts import rollout

    act, steps = policy().act, length(settings)
    call = lambda: rollout(act, ENV, episodes=EPISODES, seed=0, horizon=steps)
    return Work(call, EPISODES * steps)


def _environment() -> Any:
    from dawm.evaluate.rollouts import make_environment

    return make_environment(ENV)


def one_by_one(settings: Settings) -> Work:
    member, env, steps = policy()[0], _environment(), length(settings)

    def call() -> None:
        for episode in range(EPISODES):
            obs = env.reset(seed=episode)[0]
            for _ in range(steps):
                obs = env.step(member(obs))[0]

    return Work(call, EPISODES * steps)


def no_policy(settings: Settings) -> Work:
    env, steps = _environment(), length(settings)
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, HOPPER.act_dim)).astype(np.float32)

    def call() -> None:
        for episode in range(EPISODES):
            env.reset(seed=episode)
            for action in actions:
                env.step(action)

    return Work(call, EPISODES * steps)


def open_loop(settings: Settings) -> Work:
    from mujoco import rollout

    from dawm.evaluate.mujoco_batch import usable_cores

    mujoco: Any = importlib.import_module("mujoco")  # without declarations of its types
    env, actions = _environment(), _actions(settings)
    model, inside, whole = env.unwrapped.model, env.unwrapped.data, mujoco.mjtState.mjSTATE_FULLPHYSICS
    starts = np.zeros((EPISODES, mujoco.mj_stateSize(model, whole)))
    for episode, start in enumerate(starts):
        env.reset(seed=episode)
        mujoco.mj_getState(model, inside, start, whole)
    control = np.repeat(actions, env.unwrapped.frame_skip, 1).astype(np.float64)
    data = [mujoco.MjData(model) for _ in range(usable_cores())]
    return Work(lambda: rollout.rollout(model, data, starts, control), EPISODES * length(settings))


def _actions(settings: Settings) -> np.ndarray:
    """Those of our episodes, (episodes, steps, act)."""
    from dawm.evaluate.rollouts import rollout

    act, taken = policy().act, []

    def noted(obs: np.ndarray) -> np.ndarray:
        taken.append(np.array(act(obs)[0]))
        return taken[-1][None]

    rollout(noted, ENV, episodes=EPISODES, seed=0, horizon=length(settings))
    return np.stack(taken, 1)
