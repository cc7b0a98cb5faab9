"""Rollouts: equal to a plain Gymnasium loop, reproducible, every episode once; and errors that name the environment."""

import sys
import types

import gymnasium as gym
import numpy as np
import pytest

from dawm.errors import ConfigError, MissingExtraError
from dawm.evaluate import rollouts
from dawm.evaluate.rollouts import make_environment, rollout
from dawm.types import Spec


class Counter(gym.Env):
    """An episode has as many steps as the seed of its reset says: ended where that is even, else cut. The reward is the
    action, the observation the step; stepping on after the end is an error."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        self.length, self.done = seed, 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.done += 1
        assert self.done <= self.length, "stepped after its end"
        over = self.done == self.length
        return (
            np.full(1, self.done, np.float32),
            float(action[0]),
            over and self.length % 2 == 0,
            over and self.length % 2 == 1,
            {},
        )


class Keyed(Counter):
    """The same behind a dictionary, whose keys are not in order."""

    observation_space = gym.spaces.Dict({"b": Counter.observation_space, "a": Counter.observation_space})

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        return {"b": obs + 1, "a": obs}, info


class Costly(Counter):
    """The same, and every second step breaks a limit; only those say so, and the first says something else."""

    def step(self, action):
        *rest, info = super().step(action)
        said = {"cost": 2.0} if self.done % 2 == 0 else {"cost": "none"} if self.done == 1 else {}
        return *rest, info | said


@pytest.fixture(autouse=True)
def registered():
    module = types.ModuleType("toy_environments")
    sys.modules["toy_environments"] = module
    gym.register("Counter-v0", Counter, disable_env_checker=True)
    gym.register("Keyed-v0", Keyed, disable_env_checker=True)
    gym.register("Costly-v0", Costly, disable_env_checker=True)
    gym.register("Buttons-v0", lambda: gym.make("CartPole-v1"), disable_env_checker=True)
    yield
    for name in ("Counter-v0", "Keyed-v0", "Costly-v0", "Buttons-v0"):
        del gym.registry[name]
    del sys.modules["toy_environments"]


def linear(scale):
    """A policy of three outputs at most, different for each member."""
    return lambda obs: np.tanh(scale * obs.sum(-1, keepdims=True) * np.arange(1, len(obs) + 1)[:, None, None])


def plain(env_id, act, seed, member):
    """One episode by the loop of Gymnasium's own documentation."""
    env = gym.make(env_id)
    obs, _ = env.reset(seed=seed)
    total, steps, over = 0.0, 0, False
    while not over:
        rows = np.zeros((member + 1, 1, len(obs)), np.float32)
        rows[member, 0] = obs
        action = np.broadcast_to(act(rows)[member, 0], env.action_space.shape)
        obs, reward, ended, cut, _ = env.step(action.astype(np.float32))
        total, steps, over = total + float(reward), steps + 1, ended or cut
    return total, steps, ended


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "Hopper-v5"])
def test_equal_to_a_plain_loop(env_id):
    if env_id.startswith("Hopper"):
        pytest.importorskip("mujoco")
        pytest.importorskip("imageio")
    size = gym.make(env_id).action_space.shape[0]
    act = lambda obs: np.broadcast_to(linear(0.3)(obs), (*obs.shape[:2], size))
    found = rollout(act, env_id, episodes=2, seed=7, members=2)
    for m in range(2):
        for e in range(2):
            total, steps, ended = plain(env_id, act, 7 + e, m)
            assert found.returns[m, e] == pytest.approx(total, rel=1e-9)
            assert (found.lengths[m, e], found.terminated[m, e]) == (steps, ended)
    again = rollout(act, env_id, episodes=2, seed=7, members=2)
    np.testing.assert_array_equal(found.returns, again.returns)


def test_every_episode_once_with_its_own_length_and_end():
    shapes = set()

    def act(obs):
        shapes.add(obs.shape)
        return np.stack([np.full(obs.shape[1:], 0.5), np.full(obs.shape[1:], -1.0)])

    found = rollout(act, "Counter-v0", episodes=4, seed=3, members=2)
    np.testing.assert_array_equal(found.lengths, [[3, 4, 5, 6]] * 2)
    np.testing.assert_array_equal(found.terminated, [[False, True, False, True]] * 2)
    np.testing.assert_allclose(found.returns, [[1.5, 2.0, 2.5, 3.0], [-3.0, -4.0, -5.0, -6.0]])
    assert shapes == {(2, 4, 1)}  # one shape, so one compilation


def test_waves_change_nothing(monkeypatch):
    whole = rollout(linear(1.0), "Counter-v0", episodes=5, seed=1, members=2)
    monkeypatch.setattr(rollouts, "MAX_ENVIRONMENTS", 4)
    waves = rollout(linear(1.0), "Counter-v0", episodes=5, seed=1, members=2)
    for a, b in zip(whole, waves, strict=True):
        np.testing.assert_array_equal(a, b)


def test_costs_are_added_up_where_an_environment_reports_any(monkeypatch):
    assert rollout(linear(1.0), "Counter-v0", episodes=2, seed=1).costs is None
    whole = rollout(linear(1.0), "Costly-v0", episodes=5, seed=1, members=2)
    np.testing.assert_array_equal(whole.costs, [[0.0, 2.0, 2.0, 4.0, 4.0]] * 2)
    monkeypatch.setattr(rollouts, "MAX_ENVIRONMENTS", 2)  # one episode a wave, and the first reports nothing
    np.testing.assert_array_equal(rollout(linear(1.0), "Costly-v0", episodes=5, seed=1, members=2).costs, whole.costs)


def test_a_horizon_cuts_and_does_not_terminate():
    found = rollout(linear(1.0), "Counter-v0", episodes=2, seed=4, horizon=2)
    np.testing.assert_array_equal(found.lengths, [[2, 2]])
    assert not found.terminated.any()


def test_dictionaries_are_joined_in_order_of_their_keys():
    np.testing.assert_allclose(make_environment("Keyed-v0").reset(seed=3)[0], [0.0, 1.0])


def test_ids_may_name_the_module_that_registers_them():
    found = rollout(linear(1.0), "toy_environments:Counter-v0", episodes=1, seed=3)
    assert found.lengths[0, 0] == 3
    with pytest.raises(ConfigError, match=r"module of the environment `no_such_module:X-v0`"):
        make_environment("no_such_module:X-v0")


def test_unknown_ids_are_answered_with_near_ones():
    with pytest.raises(ConfigError, match=r"no environment `Pendulm-v1`; did you mean `Pendulum-v1`"):
        make_environment("Pendulm-v1")
    with pytest.raises(ConfigError, match=r"no environment `pendulum-v1`; did you mean `Pendulum-v1`"):
        make_environment("pendulum-v1")
    with pytest.raises(ConfigError, match=r"no environment `Pendulum-v9`; did you mean `Pendulum-v1`"):
        make_environment("Pendulum-v9")


def test_environments_that_do_not_fit_are_named():
    with pytest.raises(ConfigError, match=r"`Pendulum-v1` has 3 observation dimensions and the policy has 11"):
        rollout(linear(1.0), "Pendulum-v1", episodes=1, seed=0, spec=Spec(11, 3, (-1.0,) * 3, (1.0,) * 3))
    with pytest.raises(ConfigError, match=r"`Buttons-v0` has the actions Discrete\(2\)"):
        make_environment("Buttons-v0")
    with pytest.raises(ConfigError, match="at least 1"):
        rollout(linear(1.0), "Pendulum-v1", episodes=0, seed=0)


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (gym.error.DependencyNotInstalled("MuJoCo is not installed, run `pip install gymnasium[mujoco]`"), "mujoco"),
        (ModuleNotFoundError("No module named 'imageio'", name="imageio"), "imageio"),
    ],
)
def test_a_missing_simulator_names_the_extra(monkeypatch, error, package):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(gym, "make", refuse)
    with pytest.raises(MissingExtraError, match=rf"`Hopper-v5` needs `{package}`.*pip install 'dawm\[mujoco\]'"):
        make_environment("Hopper-v5")
