"""The NeoRL-2 environments against the recorded transitions, the reference policies and a hand-worked step."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from benchmarks.neorl2 import REFERENCES, dmsd, pipeline, safety_half_cheetah
from benchmarks.neorl2.published import PUBLISHED_RETURNS, PUBLISHED_SCORES
from benchmarks.neorl2.task import TaskVectorEnv
from dawm.evaluate.mujoco_batch import make_batch
from dawm.evaluate.rollouts import make_environment

IDS = [f"benchmarks.neorl2:{name}" for name in REFERENCES]
ARRAY_TASKS = [("benchmarks.neorl2:DMSD-v0", 100), ("benchmarks.neorl2:Pipeline-v0", 1000)]


def recorded(shared_data, name):
    with np.load(shared_data / "neorl2" / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def returns_of(env_id, act, episodes, seed, **options):
    """Returns of `episodes` whole episodes of the batched environment."""
    envs = gymnasium.make_vec(env_id, episodes, **options)
    obs, _ = envs.reset(seed=seed)
    total, done = np.zeros(episodes), np.zeros(episodes, bool)
    while not done.all():
        obs, reward, _, done, _ = envs.step(act(obs))
        total += reward
    return total


def agree(sample, mean, spread, count):
    """Whether a sample's mean is within four standard errors of a known `mean` ± `spread` over `count` episodes."""
    error = np.hypot(sample.std(ddof=1) / np.sqrt(len(sample)), spread / np.sqrt(count))
    return abs(sample.mean() - mean) < 4 * error


# -- the dynamics ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["DMSD-train", "DMSD-val"])
def test_dmsd_predicts_every_recorded_step(shared_data, name):
    data = recorded(shared_data, name)
    error = np.abs(dmsd.predict(data["obs"], data["action"]) - data["next_obs"])
    assert error[:, :2].max() < 2.5e-7
    assert error[:, 2:4].max() < 1.5e-7
    jumps = (error[:, 4:] > 0).reshape(-1, 100, 2)
    assert not np.delete(jumps, 49, axis=1).any()  # next_obs of the row with t = 49 holds the new target
    assert abs(jumps[:, 49].mean() - 0.5) < 4 * 0.5 / np.sqrt(jumps[:, 49].size)
    np.testing.assert_array_equal(dmsd.reward(data["next_obs"]), data["reward"])


def test_dmsd_with_the_other_mass_does_not_fit(shared_data):
    data = recorded(shared_data, "DMSD-val")
    error = np.abs(dmsd.predict(data["obs"], data["action"], mass=30.0) - data["next_obs"])
    assert 0.03 < np.median(error[:, 2:4]) < 0.2  # 9.3e-2 on the training set


def test_dmsd_replays_whole_episodes_in_double_precision(shared_data):
    data = {
        k: v.reshape(1000, 100, *v.shape[1:]).astype(np.float64) for k, v in recorded(shared_data, "DMSD-train").items()
    }
    task, first, last = dmsd.DMSD(), data["obs"][:, 0], data["next_obs"][:, -1]
    state = dmsd.State(first[:, :2], first[:, 2:4], np.stack([first[:, 4:], last[:, 4:]], -1), np.zeros(1000, int))
    for t in range(100):
        state = task.advance(state, data["action"][:, t], np.array(np.nan))
        np.testing.assert_allclose(task.observe(state), data["next_obs"][:, t], rtol=0, atol=2.5e-7)


def test_dmsd_step_by_hand():
    """x = (0.1, -0.2), v = (0.3, 0), a = (2, -0.1): u = (30, -3), pulls -0.4 - 0.4 - 2.4 and 0.8 + 0.2 + 1.2."""
    position, velocity = dmsd.motion(np.array([0.1, -0.2]), np.array([0.3, 0.0]), np.array([2.0, -0.1]))
    np.testing.assert_allclose(position, [0.16, -0.2])
    np.testing.assert_allclose(velocity, [0.3 + 0.01 * (-3.2 + 30), 0.01 * (2.2 - 3)])


def test_dmsd_can_hold_any_target():
    """The force u_i = 2k T_i - k T_j keeps the masses at rest on their targets, at the best reward there is."""
    target = np.array([1.5, -1.5])
    action = (4 * target - 2 * target[::-1]) / 30
    position, velocity = dmsd.motion(target, np.zeros(2), action)
    np.testing.assert_allclose([position, velocity], [target, [0, 0]], atol=1e-12)
    assert np.isclose(dmsd.reward(np.concatenate([position, velocity, target])), 2 * np.log(100))


def test_pipeline_predicts_every_recorded_step(shared_data):
    data = recorded(shared_data, "Pipeline-train")
    guess, truth = pipeline.predict(data["obs"], data["action"]), data["next_obs"]
    assert np.abs(guess[:, 0] - truth[:, 0]).max() < 1e-5
    np.testing.assert_array_equal(guess[:, 2:], truth[:, 2:])
    assert abs((guess[:, 1] != truth[:, 1]).mean() - 0.00225) < 4 * np.sqrt(0.00225 / 1e5)
    np.testing.assert_allclose(pipeline.reward(truth), data["reward"], atol=1e-6)


def test_pipeline_replays_whole_episodes_exactly(shared_data):
    data = {k: v.reshape(100, 1000, *v.shape[1:]) for k, v in recorded(shared_data, "Pipeline-train").items()}
    flow = data["obs"][:, 0, :1]
    task = pipeline.Pipeline()
    state = pipeline.State(np.repeat(flow, 45, 1), np.zeros((100, 25), np.float32), data["obs"][:, 0, 1])
    for t in range(1000):
        state = task.advance(state, data["action"][:, t], data["next_obs"][:, t, 1])
        np.testing.assert_array_equal(task.observe(state), data["next_obs"][:, t])


def test_pipeline_action_shows_after_twenty_steps():
    env = gymnasium.make("benchmarks.neorl2:Pipeline-v0", start=80)
    first, _ = env.reset(seed=0)
    flows = [env.step(np.array([0.5 if t == 0 else 0.0], np.float32))[0][0] - first[0] for t in range(22)]
    np.testing.assert_allclose(flows, [0] * 19 + [0.5] * 3, atol=1e-5)  # flows[19] is q_{t+20}


@pytest.mark.parametrize("name", ["SafetyHalfCheetah-train", "SafetyHalfCheetah-val"])
def test_safety_half_cheetah_moves_like_the_recording(shared_data, name):
    pytest.importorskip("gymnasium.envs.mujoco", exc_type=ImportError)
    data = recorded(shared_data, name)
    from benchmarks.neorl2 import safety_half_cheetah

    env = gymnasium.make("benchmarks.neorl2:SafetyHalfCheetah-v0")
    env.reset(seed=0)
    rows = np.random.default_rng(0).choice(len(data["reward"]), 500, replace=False)
    errors = np.empty((len(rows), 18))
    rewards = np.empty(len(rows))
    for i, row in enumerate(rows):
        obs = data["obs"][row].astype(np.float64)
        env.unwrapped.set_state(obs[:9], obs[9:])
        reached, rewards[i], terminated, truncated, info = env.unwrapped.step(data["action"][row])
        errors[i] = reached - data["next_obs"][row]
        assert (terminated, truncated, info["cost"]) == (False, False, False)
    assert np.median(np.abs(errors)) < 3e-6
    assert np.quantile(np.abs(errors), 0.99) < 1e-4
    assert np.abs(rewards - data["reward"][rows]).max() < 5e-4
    formula = safety_half_cheetah.reward(data["obs"].astype(np.float64), data["action"], data["next_obs"])
    assert np.abs(formula - data["reward"]).max() < 2e-4  # rounding of x at 100


def test_speed_limit_replaces_the_reward_and_goes_on():
    pytest.importorskip("gymnasium.envs.mujoco", exc_type=ImportError)
    from benchmarks.neorl2 import safety_half_cheetah as task

    env = gymnasium.make("benchmarks.neorl2:SafetyHalfCheetah-v0").unwrapped
    env.reset(seed=0)
    for speed, unsafe in ((2.0, False), (5.0, True)):
        velocity = np.zeros(9)
        velocity[0] = speed
        env.set_state(np.eye(9)[1], velocity)  # in the air: nothing brakes
        obs = np.concatenate([env.data.qpos, env.data.qvel])
        reached, reward, terminated, truncated, info = env.step(np.full(6, 0.5))
        expected = -100.0 if unsafe else (reached[0] - obs[0]) / 0.05 - 0.1 * 6 * 0.25
        assert np.isclose(reward, expected)
        assert np.isclose(task.reward(obs, np.full(6, 0.5), reached), expected)
        assert (info["cost"], terminated, truncated) == (unsafe, False, False)


# -- starts ----------------------------------------------------------------------------------------------------------


def test_dmsd_starts(shared_data):
    task, rng = dmsd.DMSD(), np.random.default_rng(0)
    starts = [task.start(rng, None, None) for _ in range(4000)]
    position, velocity, targets = (
        np.array([getattr(s, k) for s in starts]) for k in ("position", "velocity", "targets")
    )
    for sample, bound in ((position, 0.25), (velocity, 0.1), (targets[..., 0], 1.5)):
        assert 0.99 * bound < np.abs(sample).max() <= bound
        assert abs(sample.mean()) < 4 * bound / np.sqrt(3 * sample.size)
    assert abs((targets[..., 0] != targets[..., 1]).mean() - 0.5) < 4 * 0.5 / np.sqrt(8000)
    first = recorded(shared_data, "DMSD-train")["obs"][::100]
    for sample, bound in ((first[:, :2], 0.25), (first[:, 2:4], 0.1), (first[:, 4:], 1.5)):
        assert 0.98 * bound < np.abs(sample).max() <= bound


def test_dmsd_seed_means_the_original_episode():
    """The order of draws of the original: constants, then for each mass a count and its targets, then x, then v."""
    draw = np.random.RandomState(7)
    draw.uniform(size=8)
    targets = [draw.uniform(-1.5, 1.5, draw.randint(1, 3)) for _ in range(2)]
    x, v = draw.uniform(-0.25, 0.25, 2), draw.uniform(-0.1, 0.1, 2)
    obs, _ = gymnasium.make("benchmarks.neorl2:DMSD-v0").reset(seed=7)
    np.testing.assert_allclose(obs, [*x, *v, targets[0][0], targets[1][0]], rtol=1e-6)


def test_pipeline_seed_means_the_original_episode():
    draw = np.random.Generator(np.random.PCG64(7))
    flow, _, target = draw.uniform(80, 120), draw.random(), draw.choice([50, 80, 110, 140])
    obs, _ = gymnasium.make("benchmarks.neorl2:Pipeline-v0").reset(seed=7)
    np.testing.assert_allclose(obs[:27], [flow, target] + [flow] * 25, rtol=1e-6)
    assert not obs[27:].any()


def test_pipeline_targets_at_the_start():
    first = {kind: gymnasium.make_vec(IDS[1], 2000, start=kind).reset(seed=0)[0] for kind in ("uniform", 80)}
    values, counts = np.unique(first["uniform"][:, 1], return_counts=True)
    assert values.tolist() == [50, 80, 110, 140]
    assert np.abs(counts - 500).max() < 4 * np.sqrt(2000 * 0.25 * 0.75)
    assert (first[80][:, 1] == 80).all()
    assert first["uniform"][:, 0].min() > 80
    assert first["uniform"][:, 0].max() < 120
    with pytest.raises(ValueError, match="must be 'uniform', 'carried' or one of"):
        gymnasium.make(IDS[1], start=81)
    with pytest.raises(ValueError, match="must be 'uniform', 'carried' or one of"):
        gymnasium.make(IDS[1], start="random")


def test_pipeline_carries_its_target_only_when_asked():
    changes = {}
    for kind in ("uniform", "carried"):
        env = gymnasium.make(IDS[1], start=kind)
        targets = [env.reset(seed=0 if i == 0 else None)[0][1] for i in range(400)]
        changes[kind] = np.mean(np.diff(targets) != 0)
    assert abs(changes["uniform"] - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 399)
    assert changes["carried"] < 0.02  # 0.00225 expected


# -- the reference policies ------------------------------------------------------------------------------------------


def test_pipeline_rule_reaches_its_ceiling():
    """Known: 815.6 ± 144 (over episodes) from 80, 783.5 ± 140 from uniform targets, 150 episodes each."""
    from_80 = returns_of(IDS[1], pipeline.feed_forward, 400, 1, start=80)
    uniform = returns_of(IDS[1], pipeline.feed_forward, 400, 2)
    assert agree(from_80, 815.6, 144, 150)
    assert agree(uniform, 783.5, 140, 150)
    low, high = REFERENCES["Pipeline-v0"]
    assert 101 < 100 * (uniform.mean() - low) / (high - low) < 106


def test_simple_policies_return_what_the_notes_say():
    rng = np.random.default_rng(3)
    noise = lambda dim: lambda obs: rng.uniform(-1, 1, (len(obs), dim)).astype(np.float32)
    still = lambda obs: np.zeros((len(obs), 2), np.float32)
    assert agree(returns_of(IDS[0], noise(2), 1000, 4), 38, 72, 500)
    assert agree(returns_of(IDS[0], still, 1000, 5), 104, 97, 200)
    assert agree(returns_of(IDS[1], noise(1), 200, 6), -149, 424, 100)


def test_safety_half_cheetah_simple_policies():
    pytest.importorskip("gymnasium.envs.mujoco", exc_type=ImportError)
    env = gymnasium.make(IDS[2])
    env.action_space.seed(0)
    totals = {"random": [], "still": []}
    for kind, episodes in (("random", 8), ("still", 2)):
        for seed in range(episodes):
            env.reset(seed=seed)
            total, truncated, steps = 0.0, False, 0
            while not truncated:
                action = env.action_space.sample() if kind == "random" else np.zeros(6, np.float32)
                _, reward, terminated, truncated, _ = env.step(action)
                total, steps = total + reward, steps + 1
                assert not terminated
            assert steps == 1000
            totals[kind].append(total)
    assert agree(np.array(totals["random"]), -255, 55, 20)
    assert np.abs(totals["still"]).max() < 1.5  # -0.1 in the mean


# -- Gymnasium -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", IDS)
def test_passes_the_checker_of_gymnasium(env_id):
    if "Cheetah" in env_id:
        pytest.importorskip("gymnasium.envs.mujoco", exc_type=ImportError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # infinite bounds are meant
        check_env(gymnasium.make(env_id).unwrapped, skip_render_check=True)


@pytest.mark.parametrize(("env_id", "limit"), ARRAY_TASKS)
def test_batch_equals_single_environments_through_the_end_of_an_episode(env_id, limit):
    batch = gymnasium.make_vec(env_id, 3)
    loop = gymnasium.make_vec(env_id, 3, vectorization_mode="sync")
    assert isinstance(batch.unwrapped, TaskVectorEnv)
    assert batch.observation_space == loop.observation_space
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(batch.reset(seed=11)[0], loop.reset(seed=11)[0])
    for t in range(limit + 60):
        action = rng.uniform(-1.2, 1.2, batch.action_space.shape).astype(np.float32)
        one, two = batch.step(action), loop.step(action)
        for left, right in zip(one[:4], two[:4], strict=True):
            np.testing.assert_array_equal(left, right)
        assert one[3].all() == (t + 1 == limit)
        assert not one[2].any()


def test_dmsd_target_is_seen_to_jump_at_step_fifty():
    envs = gymnasium.make_vec(IDS[0], 64)
    obs, _ = envs.reset(seed=0)
    jumps = []
    for _ in range(100):
        after, *_ = envs.step(np.zeros((64, 2), np.float32))
        jumps.append((after[:, 4:] != obs[:, 4:]).any())
        obs = after
    assert np.flatnonzero(jumps).tolist() == [49]


# -- the published table ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", REFERENCES)
def test_published_scores_follow_from_published_returns(task):
    low, high = REFERENCES[task]
    for method, value in PUBLISHED_RETURNS[task].items():
        assert abs(100 * (value - low) / (high - low) - PUBLISHED_SCORES[task][method][0]) < 0.011, method


def test_the_batched_law_of_safety_half_cheetah_is_its_step(monkeypatch):
    monkeypatch.setattr(safety_half_cheetah, "SPEED_LIMIT", 0.3)  # so that random actions break it now and then
    env_id, actions = "benchmarks.neorl2:SafetyHalfCheetah-v0", np.random.default_rng(0).uniform(-1, 1, (100, 6))
    env = make_environment(env_id)
    batch = make_batch(env, 1)
    assert batch is not None
    batch.reset(np.arange(1), [5])
    plain = gymnasium.make(env_id)
    plain.reset(seed=5)
    rewards = set()
    for action in actions.astype(np.float32):
        obs, reward, ended, cut, info = plain.step(action)
        ours = batch.step(np.arange(1), action[None])
        np.testing.assert_array_equal(ours[0][0], obs)
        assert (ours[1][0], ours[2][0], ours[3][0], ours[4][0]) == (reward, ended, cut, info["cost"])
        rewards.add(reward == -100.0)
    batch.close()
    assert rewards == {True, False}
