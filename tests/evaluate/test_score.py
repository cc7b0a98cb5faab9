"""The score of a policy: read from its run folder, normalised, spreads scaled and never shifted."""

import json

import gymnasium as gym
import numpy as np
import pytest

from dawm.agents.bc import BCConfig
from dawm.agents.config import PolicyConfig
from dawm.agents.fit import train_policy
from dawm.agents.iql import IQLConfig
from dawm.agents.policy import initial_state, policy_of
from dawm.data.dataset import Dataset, DatasetInfo, References
from dawm.evaluate.rollouts import Episodes
from dawm.evaluate.score import describe_episodes, score_policy
from dawm.pipeline import score_line
from dawm.run.loop import LoopConfig
from dawm.types import Spec

REFERENCES = References(-1600.0, -100.0, "made up for this test")


def trained(folder, seeds):
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(20, 3)).astype(np.float32)
    data = Dataset(
        obs=obs,
        action=rng.uniform(-2, 2, (20, 1)).astype(np.float32),
        reward=np.zeros(20, np.float32),
        next_obs=obs,
        terminal=np.zeros(20, bool),
        episode_ends=np.array([20]),
        source=np.full(20, -1, np.int32),
        act_low=np.array([-2.0], np.float32),
        act_high=np.array([2.0], np.float32),
        info=DatasetInfo(name="pendulum-toy"),
    )
    config = PolicyConfig(algo=BCConfig(width=8), seeds=seeds, loop=LoopConfig(steps=2, chunk=2))
    return train_policy(data, config, folder=folder)


def test_scores_of_a_folder(tmp_path):
    policy = trained(tmp_path / "p", seeds=2)
    result = score_policy(tmp_path / "p", "Pendulum-v1", episodes=2, seed=50, references=REFERENCES)
    assert json.loads((tmp_path / "p" / "scores.json").read_text()) == result
    returns = np.array(result["returns"])
    assert returns.shape == (2, 2)
    assert result["return_mean"] == pytest.approx(returns.mean())
    assert result["return_std"] == pytest.approx(returns.std())
    assert result["normalized_score"] == pytest.approx(100 * (returns.mean() + 1600) / 1500)
    assert result["score_std"] == pytest.approx(100 * returns.std() / 1500)  # a std through the offset would be wrong
    assert (result["env"], result["episodes"], result["seeds"], result["checkpoint"]) == ("Pendulum-v1", 2, 2, 2)
    assert (result["interval_over"], result["lengths"]) == ("seeds", [[200, 200], [200, 200]])
    assert (result["return_cvar"], result["failure_rate"]) == (pytest.approx(returns.min()), 0.0)
    assert (result["costs"], result["cost_mean"], result["cost_rate"]) == (None, None, None)
    assert result["references"] == {"low": -1600.0, "high": -100.0, "source": "made up for this test"}

    env, total = gym.make("Pendulum-v1"), 0.0
    obs, over = env.reset(seed=51)[0], False
    while not over:
        obs, reward, ended, cut, _ = env.step(policy[1](obs))
        total, over = total + float(reward), ended or cut
    assert returns[1, 1] == pytest.approx(total, rel=1e-3)  # member 1, episode 1


def test_all_seeds_as_one_policy(tmp_path):
    """It does the mean of what they do, and leaves the scores of the seeds as they are."""
    policy = trained(tmp_path / "p", seeds=3)
    obs = np.random.default_rng(0).normal(size=(5, 3))
    each = np.stack([policy[i](obs) for i in range(3)])
    assert np.ptp(each, axis=0).max() > 0.01
    np.testing.assert_allclose(policy.mean(obs), each.mean(0), atol=1e-5)
    np.testing.assert_array_equal(policy.mean(obs[0]), policy.mean(obs[:1])[0])
    np.testing.assert_allclose(policy.mean.traced(obs[:, None])[:, 0], each.mean(0), atol=1e-5)
    score_policy(tmp_path / "p", "Pendulum-v1", episodes=2)
    before = (tmp_path / "p" / "scores.json").read_bytes()
    one = score_policy(tmp_path / "p", "Pendulum-v1", episodes=2, mean=True)
    assert (tmp_path / "p" / "scores.json").read_bytes() == before
    assert (one["seeds"], np.shape(one["returns"])) == (1, (1, 2))
    assert one["returns"][0] not in json.loads(before)["returns"]


def test_the_worth_of_all_seeds_is_the_mean_of_what_their_critics_say():
    spec, nothing = Spec(3, 1, (-1.0,), (1.0,)), np.zeros(3, np.float32)

    def untrained(algo):
        config = PolicyConfig(algo=algo, seeds=3)
        return policy_of(initial_state(config, spec, nothing, nothing + 1), spec, config, 0, "")

    policy, obs = untrained(IQLConfig(width=8)), np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    each = np.stack([policy[i].worth(obs) for i in range(3)])
    assert np.ptp(each, axis=0).max() > 0.01
    np.testing.assert_allclose(policy.mean.worth(obs), each.mean(0), rtol=1e-5)
    assert untrained(BCConfig(width=8)).mean.worth is None


def test_without_references_there_is_no_score(tmp_path):
    policy = trained(None, seeds=1)
    result = score_policy(policy, "Pendulum-v1", episodes=2)
    assert result["references"] is None
    assert result["normalized_score"] is None
    assert result["score_interval"] is None
    assert result["interval_over"] == "episodes"
    assert result["return_interval"][0] <= result["return_iqm"] <= result["return_interval"][1]


def test_costs_of_episodes_and_steps():
    lengths, ended = np.array([[10, 30], [20, 20]]), np.zeros((2, 2), bool)
    played = Episodes(np.zeros((2, 2)), lengths, ended, np.array([[1.0, 3.0], [0.0, 2.0]]))
    said = describe_episodes(played, None)
    assert (said["cost_mean"], said["cost_rate"]) == (1.5, [0.1, 0.05])
    assert score_line("careful", said | {"seeds": 2, "episodes": 2, "env": "E"}).endswith(
        ", cost 1.5 an episode over 2 x 2 episodes in E"
    )
