"""Episodes of a policy in a Gymnasium environment: all members and all episodes step together.

One call of the policy a step serves every environment. Its shape never changes (a finished episode keeps its last
observation there), so it is compiled once; finished environments are not stepped. Episode e of every member starts from
`reset(seed=seed + e)`, so members meet the same starts and a repetition gives the same numbers.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from dawm.errors import ConfigError, MissingExtraError, suggest
from dawm.types import Spec

MAX_ENVIRONMENTS = 128  # alive at once; more episodes are played in waves
MUJOCO_PACKAGES = ("mujoco", "imageio", "glfw")  # what Gymnasium's MuJoCo environments import, also without rendering
DEFAULT_LIMIT = 10_000  # steps, where the environment states no limit


class Episodes(NamedTuple):
    """What happened, for m members and e episodes each."""

    returns: Float[np.ndarray, "m e"]  # undiscounted, raw units
    lengths: Int[np.ndarray, "m e"]  # steps
    terminated: Bool[np.ndarray, "m e"]  # the MDP ended; False: the time limit cut it


def rollout(
    act: Callable[[np.ndarray], Any],
    env_id: str,
    *,
    episodes: int,
    seed: int,
    members: int = 1,
    spec: Spec | None = None,
    horizon: int | None = None,
) -> Episodes:
    """Play `episodes` whole episodes with each of `members` policies.

    `act` maps observations (m, n, obs) float32 to actions (m, n, act), both in raw units; n is the same in all calls.
    One with a memory has a `begin()`, which is called before the first step of episodes.
    `env_id` is a Gymnasium id, or "module:Id" for one that a module registers. With `spec`, its sizes are compared with
    the environment's. `horizon` cuts episodes earlier than the environment does.

    Raises ConfigError for an environment that does not exist or does not fit, MissingExtraError where MuJoCo is absent.
    """
    if episodes < 1 or members < 1:
        raise ConfigError(f"`episodes` and `members` must be at least 1, got {episodes} and {members}.")
    width = min(episodes, max(1, MAX_ENVIRONMENTS // members))
    waves = [range(first, min(first + width, episodes)) for first in range(0, episodes, width)]
    envs: list[Any] = []
    try:
        while len(envs) < members * width:
            envs.append(make_environment(env_id))
            if len(envs) == 1 and spec is not None:
                _check_fit(envs[0], env_id, spec)
        grid = [envs[m * width : (m + 1) * width] for m in range(members)]
        parts = [_play(act, grid, numbers, seed, horizon) for numbers in waves]
    finally:
        for env in envs:
            env.close()
    return Episodes(*(np.concatenate(values, axis=1) for values in zip(*parts, strict=True)))


def _play(act: Callable, envs: list[list[Any]], numbers: range, seed: int, horizon: int | None) -> Episodes:
    """The episodes of the given numbers, for each member one environment an episode."""
    shape = (len(envs), len(envs[0]))
    first = envs[0][0]
    limit = horizon or (first.spec.max_episode_steps if first.spec else None) or DEFAULT_LIMIT
    obs = np.zeros((*shape, *first.observation_space.shape), np.float32)
    returns, lengths, terminated = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape, bool)
    if (begin := getattr(act, "begin", None)) is not None:
        begin()
    alive = [(m, e) for m in range(shape[0]) for e in range(len(numbers))]
    for m, e in alive:
        obs[m, e] = envs[m][e].reset(seed=seed + numbers[e])[0]
    while alive:
        actions, going = np.asarray(act(obs)), []
        for m, e in alive:
            space = envs[m][e].action_space
            action = actions[m, e].astype(space.dtype).reshape(space.shape)
            obs[m, e], reward, ended, cut, _ = envs[m][e].step(action)
            returns[m, e] += float(reward)
            lengths[m, e] += 1
            terminated[m, e] = ended
            if not (ended or cut or lengths[m, e] >= limit):
                going.append((m, e))
        alive = going
    return Episodes(*(values[:, : len(numbers)] for values in (returns, lengths, terminated)))


def make_environment(env_id: str) -> Any:
    """The Gymnasium environment `env_id` with a flat observation (dictionaries are joined in order of their keys)."""
    import gymnasium as gym

    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(f"the module of the environment `{env_id}` cannot be imported: {error}.") from None
    try:
        env = gym.make(name)
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        package = getattr(error, "name", None) or "mujoco"
        if "mujoco" in str(error).lower() or package in MUJOCO_PACKAGES:
            raise MissingExtraError(package, "mujoco", f"the environment `{env_id}`") from None
        raise ConfigError(f"the environment `{env_id}` cannot be made: {error}.") from None
    except gym.error.UnregisteredEnv:
        raise ConfigError(f"there is no environment `{env_id}`{suggest(name, _known(name))}") from None
    except gym.error.Error as error:
        raise ConfigError(f"the environment `{env_id}` cannot be made: {error}") from None
    if not isinstance(env.action_space, gym.spaces.Box):
        raise ConfigError(f"`{env_id}` has the actions {env.action_space}: the policies here act in continuous boxes.")
    if isinstance(env.observation_space, gym.spaces.Box) and len(env.observation_space.shape) == 1:
        return env
    if not env.observation_space.is_np_flattenable:
        raise ConfigError(
            f"`{env_id}` has {env.observation_space} as its observations, which cannot be made one vector."
        )
    return gym.wrappers.FlattenObservation(env)


def _known(name: str) -> list[str]:
    """Registered ids, to suggest from; those with the same name and another version first."""
    import gymnasium as gym

    stem = name.split("-v")[0].lower()
    same = [known for known in gym.registry if known.split("-v")[0].lower() == stem]
    return sorted(same) or sorted(gym.registry)


def _check_fit(env: Any, env_id: str, spec: Spec) -> None:
    have = {"observation": env.observation_space.shape[0], "action": int(np.prod(env.action_space.shape))}
    want = {"observation": spec.obs_dim, "action": spec.act_dim}
    for name in have:
        if have[name] != want[name]:
            raise ConfigError(
                f"`{env_id}` has {have[name]} {name} dimensions and the policy has {want[name]}: it was trained for "
                "another environment. Name the one of its data with --env."
            )
