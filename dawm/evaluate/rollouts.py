"""Episodes of a policy in a Gymnasium environment: all members and all episodes step together.

One call of the policy a step serves every environment. Its shape never changes (a finished episode keeps its last
observation there), so it is compiled once; finished environments are not stepped. Episode e of every member starts from
`reset(seed=seed + e)`, so members meet the same starts and a repetition gives the same numbers.

Where the task is one that `mujoco_batch.py` knows, all episodes step there, on all cores, to the same bits; any other
is stepped one environment after the other.

What an environment reports as `info["cost"]` (Safety-Gymnasium's name; here 1 where a limit is broken) is added up.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from dawm.errors import ConfigError, MissingExtraError, suggest
from dawm.evaluate.mujoco_batch import Slots, Stepped, make_batch
from dawm.types import Spec

MAX_ENVIRONMENTS = 128  # alive at once; more episodes are played in waves
MUJOCO_PACKAGES = ("mujoco", "imageio", "glfw")  # what Gymnasium's MuJoCo environments import, also without rendering
DEFAULT_LIMIT = 10_000  # steps, where the environment states no limit


class Episodes(NamedTuple):
    """What happened, for m members and e episodes each."""

    returns: Float[np.ndarray, "m e"]  # undiscounted, raw units
    lengths: Int[np.ndarray, "m e"]  # steps
    terminated: Bool[np.ndarray, "m e"]  # the MDP ended; False: the time limit cut it
    costs: Float[np.ndarray, "m e"] | None = None  # undiscounted sums of `info["cost"]`; None where none is reported


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
    most = max(1, MAX_ENVIRONMENTS // members)
    width = -(-episodes // -(-episodes // most))  # waves of nearly one size
    waves = [range(first, min(first + width, episodes)) for first in range(0, episodes, width)]
    with closing(make_environment(env_id)) as env:
        if spec is not None:
            _check_fit(env, env_id, spec)
        size = members * width
        with closing(make_batch(env, size) or Separate(env, env_id, size)) as crowd:
            parts = [_play(act, env, crowd, (members, width), numbers, seed, horizon) for numbers in waves]
    returns, lengths, terminated, costs = zip(*parts, strict=True)
    if all(cost is None for cost in costs):
        return Episodes(*(np.concatenate(values, 1) for values in (returns, lengths, terminated)))
    costs = [np.zeros(length.shape) if cost is None else cost for cost, length in zip(costs, lengths, strict=True)]
    return Episodes(*(np.concatenate(values, 1) for values in (returns, lengths, terminated, costs)))


class Crowd(Protocol):
    """Environments of one kind, each in a slot; k of them are reset or stepped in a call."""

    def reset(self, slots: Slots, seeds: Sequence[int]) -> Float[np.ndarray, "k obs"]:
        """Begin episodes: their first observations."""
        ...

    def step(self, slots: Slots, actions: Float[np.ndarray, "k ..."]) -> Stepped:
        """Step once; actions have the shape and the precision of the action space."""
        ...

    def close(self) -> None:
        """Give back what the environments hold."""
        ...


class Separate:
    """Gymnasium environments that are stepped one after the other; `first` is one of them, and its owner closes it."""

    def __init__(self, first: Any, env_id: str, size: int):
        self._envs = [first, *(make_environment(env_id) for _ in range(size - 1))]

    def reset(self, slots: Slots, seeds: Sequence[int]) -> Float[np.ndarray, "k obs"]:
        return np.stack([self._envs[slot].reset(seed=seed)[0] for slot, seed in zip(slots, seeds, strict=True)])

    def step(self, slots: Slots, actions: Float[np.ndarray, "k ..."]) -> Stepped:
        found = [self._envs[slot].step(action) for slot, action in zip(slots, actions, strict=True)]
        obs, reward, ended, cut, info = zip(*found, strict=True)
        costs = [said.get("cost") for said in info]
        known = [isinstance(cost, (int, float, np.number, np.bool_)) for cost in costs]  # another thing is no cost
        cost = np.array([c if k else 0.0 for c, k in zip(costs, known, strict=True)], float) if any(known) else None
        return np.stack(obs), np.array(reward, np.float64), np.array(ended, bool), np.array(cut, bool), cost

    def close(self) -> None:
        for env in self._envs[1:]:
            env.close()


def _play(
    act: Callable, env: Any, crowd: Crowd, shape: tuple[int, int], numbers: range, seed: int, horizon: int | None
) -> Episodes:
    """The episodes of the given numbers, for each member one slot an episode; `env` is one environment of the crowd."""
    limit = horizon or (env.spec.max_episode_steps if env.spec else None) or DEFAULT_LIMIT
    size, space = shape[0] * shape[1], env.action_space
    obs = np.zeros((size, *env.observation_space.shape), np.float32)
    returns, lengths, terminated = np.zeros(size), np.zeros(size, np.int64), np.zeros(size, bool)
    costs, reported = np.zeros(size), False
    if (begin := getattr(act, "begin", None)) is not None:
        begin()
    alive = np.arange(size).reshape(shape)[:, : len(numbers)].ravel()
    obs[alive] = crowd.reset(alive, [seed + number for number in numbers] * shape[0])
    for step in range(1, limit + 1):
        actions = np.asarray(act(obs.reshape(*shape, -1))).astype(space.dtype).reshape(size, *space.shape)
        obs[alive], reward, ended, cut, cost = crowd.step(alive, actions[alive])
        returns[alive] += reward
        if cost is not None:
            costs[alive], reported = costs[alive] + cost, True
        over = ended | cut | (step == limit)
        if over.any():
            lengths[alive[over]], terminated[alive[over]] = step, ended[over]
            alive = alive[~over]
            if not len(alive):
                break
    played = [values.reshape(shape)[:, : len(numbers)] for values in (returns, lengths, terminated, costs)]
    return Episodes(*played) if reported else Episodes(*played[:3])


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
