"""The batched simulators against Gymnasium's own loop, to the bit; and what they leave to it."""

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("imageio")

from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv

from dawm.evaluate import mujoco_batch, rollouts
from dawm.evaluate.mujoco_batch import make_batch, usable_cores
from dawm.evaluate.mujoco_tasks import Law, Move, Outcome, half_cheetah
from dawm.evaluate.rollouts import make_environment, rollout

HOPPER = "gymnasium.envs.mujoco.hopper_v5:HopperEnv"
LOOSE = {
    "frame_skip": 2,
    "forward_reward_weight": 1.7,
    "ctrl_cost_weight": 0.03,
    "healthy_reward": 0.4,
    "healthy_state_range": (-4.0, 4.5),
    "healthy_z_range": (0.6, 1.4),
    "healthy_angle_range": (-0.9, 0.7),
    "reset_noise_scale": 0.05,
    "exclude_current_positions_from_observation": False,
}


class OddCheetah(HalfCheetahEnv):
    """HalfCheetah whose reward is doubled."""

    def step(self, action):
        obs, reward, *rest = super().step(action)
        return obs, 2 * reward, *rest


class OwnCheetah(OddCheetah):
    """The same, and it says so of many."""

    def batched_outcome(self) -> Law:
        plain = half_cheetah(self)

        def law(move: Move) -> Outcome:
            found = plain(move)
            return found._replace(reward=2 * found.reward)

        return law


class LateCheetah(OwnCheetah):
    """Inherits the law."""


REGISTERED = {
    "LooseHopper-v0": {"entry_point": HOPPER, "kwargs": LOOSE, "max_episode_steps": 200},
    "FallenHopper-v0": {"entry_point": HOPPER, "kwargs": {"terminate_when_unhealthy": False}, "max_episode_steps": 60},
    "FallenWalker-v0": {
        "entry_point": "gymnasium.envs.mujoco.walker2d_v4:Walker2dEnv",
        "kwargs": {"terminate_when_unhealthy": False},
        "max_episode_steps": 60,
    },
    "WholeCheetah-v0": {
        "entry_point": "gymnasium.envs.mujoco.half_cheetah_v5:HalfCheetahEnv",
        "kwargs": {"exclude_current_positions_from_observation": False, "ctrl_cost_weight": 0.3},
        "max_episode_steps": 40,
    },
    "OddCheetah-v0": {"entry_point": OddCheetah, "max_episode_steps": 30},
    "OwnCheetah-v0": {"entry_point": OwnCheetah, "max_episode_steps": 30},
    "LateCheetah-v0": {"entry_point": LateCheetah, "max_episode_steps": 30},
}


@pytest.fixture(autouse=True)
def registered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log into the working directory
    for name, row in REGISTERED.items():
        gym.register(name, **row)
    yield
    for name in REGISTERED:
        del gym.registry[name]


def policies(env_id, scale=0.3):
    """Three random linear policies. Sums without matrix products have the same bits for any number of rows."""
    env = make_environment(env_id)
    sizes = env.observation_space.shape[0], env.action_space.shape[0]
    weights = np.random.default_rng(1).normal(size=(3, 1, *sizes)) * scale
    return lambda obs: np.tanh((obs[..., None] * weights).sum(2)).astype(np.float32)


def by_gymnasium(act, env_id, member, seed):
    """(return, length, terminated) of one episode by the loop of Gymnasium's own documentation."""
    env = gym.make(env_id)
    obs, _ = env.reset(seed=seed)
    total, steps, over = 0.0, 0, False
    while not over:
        rows = np.zeros((3, 1, len(obs)), np.float32)
        rows[member, 0] = obs
        obs, reward, ended, cut, _ = env.step(act(rows)[member, 0])
        total, steps, over = total + float(reward), steps + 1, ended or cut
    return total, steps, ended


def check(env_id, episodes=2, seed=11):
    assert make_batch(make_environment(env_id), 1) is not None
    act = policies(env_id)
    found = rollout(act, env_id, episodes=episodes, seed=seed, members=3)
    for m in range(3):
        for e in range(episodes):
            known = by_gymnasium(act, env_id, m, seed + e)
            assert (found.returns[m, e], found.lengths[m, e], found.terminated[m, e]) == known
    return found


@pytest.mark.parametrize("env_id", ["Hopper-v4", "Hopper-v5", "Walker2d-v4", "Walker2d-v5"])
def test_tasks_that_end_are_gymnasiums_to_the_bit(env_id):
    found = check(env_id, episodes=4)
    assert found.terminated.all()
    assert len(np.unique(found.lengths)) > 3


@pytest.mark.parametrize("version", ["v4", "v5"])
def test_half_cheetah_is_gymnasiums_to_the_bit(version):
    env_id, act = f"HalfCheetah-{version}", policies(f"HalfCheetah-{version}")
    assert make_batch(make_environment(env_id), 1) is not None
    found = rollout(act, env_id, episodes=1, seed=3, members=3)
    np.testing.assert_array_equal(found.lengths, 1000)
    assert not found.terminated.any()
    assert (found.returns[1, 0], 1000, False) == by_gymnasium(act, env_id, 1, 3)


@pytest.mark.parametrize("env_id", ["LooseHopper-v0", "FallenHopper-v0", "FallenWalker-v0", "WholeCheetah-v0"])
def test_options_of_the_registration_are_the_environments(env_id):
    found = check(env_id)
    assert found.terminated.all() == (env_id == "LooseHopper-v0")


def test_the_unhealthy_last_step_is_paid_in_v4_only():
    law = {}
    for version in ("v4", "v5"):
        batch = make_batch(make_environment(f"Hopper-{version}"), 1)
        law[version] = batch._law
    before, after = np.zeros((2, 12)), np.zeros((2, 12))
    after[:, 0], after[:, 1] = 0.016, [1.0, 0.5]  # 2 m/s; the second lies
    move = Move(before, after, np.full((2, 3), 0.5, np.float32))
    cost = np.float32(1e-3 * 0.75)
    np.testing.assert_allclose(law["v5"](move).reward, [3 - cost, 2 - cost], rtol=1e-7)
    np.testing.assert_allclose(law["v4"](move).reward, [3 - cost, 3 - cost], rtol=1e-7)
    for version in law:
        np.testing.assert_array_equal(law[version](move).terminated, [False, True])


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_threads_and_waves_change_nothing(monkeypatch, cores):
    act = policies("Walker2d-v5")
    whole = rollout(act, "Walker2d-v5", episodes=5, seed=2, members=3)
    monkeypatch.setattr(mujoco_batch, "usable_cores", lambda: cores)
    monkeypatch.setattr(rollouts, "MAX_ENVIRONMENTS", 6)
    for a, b in zip(whole, rollout(act, "Walker2d-v5", episodes=5, seed=2, members=3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_the_policy_sees():
    seen, inner = [], policies("Hopper-v5")

    def act(obs):
        assert obs.dtype == np.float32
        seen.append(obs.copy())
        return inner(obs)

    found = rollout(act, "Hopper-v5", episodes=4, seed=0, members=3)
    assert {rows.shape for rows in seen} == {(3, 4, 11)}
    starts = np.stack([make_environment("Hopper-v5").reset(seed=e)[0] for e in range(4)]).astype(np.float32)
    np.testing.assert_array_equal(seen[0], np.broadcast_to(starts, (3, 4, 11)))
    first = np.unravel_index(found.lengths.argmin(), (3, 4))
    last = seen[found.lengths[first]][first]
    assert found.lengths[first] < len(seen)
    for rows in seen[found.lengths[first] :]:
        np.testing.assert_array_equal(rows[first], last)


def test_a_horizon_cuts_before_the_time_limit_and_not_after():
    act = policies("WholeCheetah-v0")
    np.testing.assert_array_equal(rollout(act, "WholeCheetah-v0", episodes=1, seed=0, members=3, horizon=7).lengths, 7)
    np.testing.assert_array_equal(
        rollout(act, "WholeCheetah-v0", episodes=1, seed=0, members=3, horizon=99).lengths, 40
    )


def test_a_class_may_bring_its_own_law():
    check("OwnCheetah-v0")
    plain = rollout(policies("HalfCheetah-v5"), "HalfCheetah-v5", episodes=1, seed=1, members=3, horizon=30)
    double = rollout(policies("OwnCheetah-v0"), "OwnCheetah-v0", episodes=1, seed=1, members=3)
    np.testing.assert_allclose(double.returns, 2 * plain.returns, rtol=1e-12)


@pytest.mark.parametrize("env_id", ["OddCheetah-v0", "LateCheetah-v0", "Swimmer-v5", "Pendulum-v1"])
def test_other_classes_are_left_to_gymnasium(env_id):
    assert make_batch(make_environment(env_id), 1) is None
    if env_id.startswith("Odd"):
        act = policies(env_id)
        found = rollout(act, env_id, episodes=1, seed=4, members=3)
        assert (found.returns[2, 0], 30, False) == by_gymnasium(act, env_id, 2, 4)


def test_other_wrappers_and_pictures_are_left_to_gymnasium():
    env = gym.make("Hopper-v5")
    assert make_batch(gym.wrappers.ClipAction(env), 1) is None
    assert make_batch(gym.wrappers.FlattenObservation(env), 1) is None
    env.unwrapped.render_mode = "rgb_array"
    assert make_batch(env, 1) is None


@pytest.mark.parametrize("name", ["control_cost", "_get_obs"])
def test_a_class_that_was_changed_in_place_is_left_to_gymnasium(monkeypatch, name):
    inner = getattr(HopperEnv, name)
    monkeypatch.setattr(HopperEnv, name, lambda self, *rest: inner(self, *rest))
    assert make_batch(make_environment("Hopper-v5"), 1) is not None  # the same by another road
    monkeypatch.setattr(HopperEnv, name, lambda self, *rest: inner(self, *rest) * (1 + 2**-20))
    assert make_batch(make_environment("Hopper-v5"), 1) is None
    act = policies("Hopper-v5")
    found = rollout(act, "Hopper-v5", episodes=1, seed=4, members=3)
    total, steps, ended = by_gymnasium(act, "Hopper-v5", 0, 4)
    assert (found.returns[0, 0], found.lengths[0, 0], found.terminated[0, 0]) == (total, steps, ended)


def test_cores_are_those_of_the_process_and_a_sweep_can_lower_them(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(mujoco_batch.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert usable_cores() == 4
    for asked, cores in (("1", 1), ("3", 3), ("9", 4), ("4,2", 4), ("0", 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert usable_cores() == cores
