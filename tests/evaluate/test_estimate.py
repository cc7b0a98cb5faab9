"""Estimates of a policy's value without its environment, where the value is known in closed form."""

from __future__ import annotations

import json
from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from dawm.agents.bc import BCConfig
from dawm.agents.config import PolicyConfig
from dawm.agents.fit import train_policy
from dawm.agents.policy import load_policy
from dawm.data.dataset import Dataset, DatasetInfo
from dawm.errors import ConfigError
from dawm.evaluate.estimate import EstimateConfig, _recorded, estimate_policy, verdict
from dawm.evaluate.fqe import FQEConfig, fitted_values
from dawm.evaluate.imagined import ImagineConfig, imagined_returns
from dawm.run.loop import LoopConfig
from dawm.types import Prediction
from dawm.worldmodel.fit import WorldModelConfig, train_world_model
from dawm.worldmodel.gaussian import EnsembleModelConfig
from dawm.worldmodel.networks import NetworksConfig

DISCOUNT = 0.8
SMALL = FQEConfig(
    members=3, discount=DISCOUNT, learning_rate=3e-3, width=32, batch_size=128, loop=LoopConfig(1200, 300, 1200, 1200)
)


def linear_log(episodes: int = 60, steps: int = 20, terminal: bool = False) -> Dataset:
    """s' = 0.9 s + 0.5 a, r = s, actions uniform in [-1, 1]; episodes are cut, or every step ends one."""
    rng = np.random.default_rng(0)
    s, columns = rng.uniform(-1, 1, episodes), []
    for _ in range(steps):
        a = rng.uniform(-1, 1, episodes)
        columns.append((s, a, 0.9 * s + 0.5 * a))
        s = columns[-1][2]
    s, a, following = (np.stack(c, 1).reshape(-1).astype(np.float32) for c in zip(*columns, strict=True))
    n = len(s)
    return Dataset(
        obs=s[:, None],
        action=a[:, None],
        reward=s,
        next_obs=following[:, None],
        terminal=np.full(n, terminal),
        episode_ends=np.arange(1, n + 1) if terminal else np.arange(steps, n + 1, steps),
        source=np.full(n, -1, np.int32),
        act_low=-np.ones(1, np.float32),
        act_high=np.ones(1, np.float32),
        info=DatasetInfo(name="linear"),
    )


def value(s0, action):
    """Of always doing `action`: s_t = 5 a + (s_0 − 5 a) 0.9^t."""
    return 5 * action / (1 - DISCOUNT) + (s0 - 5 * action) / (1 - 0.9 * DISCOUNT)


def test_fitted_q_finds_the_values_of_two_policies():
    data, actions = linear_log(), np.array([0.2, -0.1])
    always = lambda n: np.broadcast_to(actions[:, None, None], (2, n, 1))
    found = fitted_values(data, always(len(data)), always(data.episodes), SMALL)
    exact = [value(data.obs[data.episode_starts, 0], a).mean() for a in actions]
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found.mean(1), exact, atol=0.25)
    assert found.std(1).min() > 0  # bootstraps differ
    assert (found[0] > found[1]).all()


def test_an_end_is_not_bootstrapped_through():
    data = linear_log(20, 10, terminal=True)
    zero = np.zeros((1, len(data), 1))
    found = fitted_values(data, zero, zero, replace(SMALL, loop=LoopConfig(400, 200, 400, 400)))
    assert found.mean() == pytest.approx(data.reward.mean(), abs=0.1)


class Linear(eqx.Module):
    """The system itself, member i with a reward of i more; ends with a fixed probability."""

    end: float
    drift: float = 0.0
    count: int = eqx.field(static=True, default=2)

    def advance(self, obs, action, source, key):
        extra = jnp.arange(2.0)[:, None]
        following = 0.9 * obs + 0.5 * action + self.drift
        return Prediction(following, obs[..., 0] + extra, jnp.full(obs.shape[:2], self.end))


def test_a_policy_lives_in_a_model():
    data, config = linear_log(), ImagineConfig(starts=16, steps=200, discount=DISCOUNT)
    act = lambda obs: jnp.full((*obs.shape[:-1], 1), 0.2)
    returns, lost = imagined_returns(Linear(0.0), act, data, config)
    assert returns.shape == (2, 16)
    starts = np.random.default_rng([0, 2]).choice(data.episode_starts, 16)
    exact = value(data.obs[starts, 0], 0.2)
    np.testing.assert_allclose(returns[0], exact, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(returns[1], exact + 1 / (1 - DISCOUNT), rtol=1e-3, atol=1e-3)
    assert lost.max() == 0

    shorter, _ = imagined_returns(Linear(0.5), act, data, config)  # ends halve the discount
    g = DISCOUNT / 2
    s0 = data.obs[starts, 0]
    np.testing.assert_allclose(shorter[0], 1 / (1 - g) + (s0 - 1) / (1 - 0.9 * g), rtol=1e-3, atol=1e-3)


def test_a_future_that_leaves_the_log_has_its_worst_reward():
    data, config = linear_log(), ImagineConfig(starts=8, steps=200, discount=DISCOUNT)
    act = lambda obs: jnp.zeros((*obs.shape[:-1], 1))
    for drift in (1e3, jnp.nan):
        returns, lost = imagined_returns(Linear(0.0, drift), act, data, config)
        assert (lost == 1).all()
        np.testing.assert_allclose(returns, data.reward.min() / (1 - DISCOUNT), rtol=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy") / "bc"
    config = PolicyConfig(algo=BCConfig(width=8), seeds=2, loop=LoopConfig(steps=10, chunk=10))
    train_policy(linear_log(), config, folder=folder)
    return folder


def test_an_estimate_of_a_folder(folder):
    small = replace(SMALL, members=2, loop=LoopConfig(20, 10, 20, 20))
    found = estimate_policy(folder, linear_log(), EstimateConfig(small, ImagineConfig(discount=DISCOUNT)))
    assert json.loads((folder / "estimates.json").read_text()) == found
    assert len(found["fqe"]["value"]) == found["seeds"] == 2
    assert found["checkpoint"] == load_policy(folder).step
    assert all(
        low <= v <= high for low, v, high in zip(*(found["fqe"][k] for k in ("low", "value", "high")), strict=True)
    )
    assert len(verdict(found)) == 2


def test_an_estimate_in_a_model_stands_beside_as_many_steps_of_the_log(folder, tmp_path):
    """In a model that was told the system, a policy that repeats one action has its value; without fitted Q."""
    data, steps = linear_log(), 7
    small = WorldModelConfig(
        model=EnsembleModelConfig(), networks=NetworksConfig(loop=LoopConfig(10, 10, 10, 10)), holdout=0.2
    )
    model = train_world_model(data, small, folder=tmp_path / "model")
    config = EstimateConfig(FQEConfig(discount=DISCOUNT), ImagineConfig(starts=8, steps=steps, discount=DISCOUNT))
    found = estimate_policy(folder, data, config, model=model, fitted=False)
    assert "fqe" not in found
    recorded = data.reward.reshape(data.episodes, -1)[:, :steps] @ DISCOUNT ** np.arange(steps)
    assert found["model"]["log"] == pytest.approx(recorded.mean(), rel=1e-5)
    starts = data.obs[np.random.default_rng([0, 2]).choice(data.episode_starts, 8), 0]
    policy = load_policy(folder)
    for seed, told in enumerate(found["model"]["value"]):
        s, total = starts.copy(), np.zeros(8)
        for t in range(steps):
            total += DISCOUNT**t * s
            s = 0.9 * s + 0.5 * policy[seed](s[:, None])[:, 0]
        assert told == pytest.approx(total.mean(), abs=0.02)
    assert found["model"]["linear"] is True
    assert "The dynamics of this log are linear" in verdict(found)[-1]
    found["model"]["linear"] = False
    assert "Do not choose a policy by these estimates" in verdict(found)[-1]
    with pytest.raises(ConfigError, match="nothing to estimate by"):
        estimate_policy(folder, data, config, fitted=False)


def test_an_estimate_of_one_kind_keeps_the_other_of_the_same_weights(folder):
    """What a whole run wrote is not lost to `dawm estimate`, nor the other way round; of other weights nothing."""
    data, small = linear_log(), replace(SMALL, members=2, loop=LoopConfig(20, 10, 20, 20))
    config = EstimateConfig(small, ImagineConfig(discount=DISCOUNT))
    before = {"dataset": data.info.name, "checkpoint": 10, "seeds": 2, "discount": DISCOUNT}
    before |= {"model": {"value": [1.0, 2.0]}, "settings": {"fqe": {}, "model": {"steps": 7}}}
    (folder / "estimates.json").write_text(json.dumps(before))
    found = estimate_policy(folder, data, config)
    stored = json.loads((folder / "estimates.json").read_text())
    assert "model" not in found
    assert stored["fqe"] == found["fqe"]
    assert stored["model"] == before["model"]
    assert stored["settings"] == {"fqe": found["settings"]["fqe"], "model": {"steps": 7}}
    for other in ({"checkpoint": 9}, {"discount": 0.5}):
        (folder / "estimates.json").write_text(json.dumps(before | other))
        assert estimate_policy(folder, data, config) == json.loads((folder / "estimates.json").read_text())
    (folder / "estimates.json").unlink()


def test_a_log_is_summed_over_its_own_steps_where_episodes_are_short():
    data = linear_log(3, 4)
    exact = (data.reward.reshape(3, 4) @ DISCOUNT ** np.arange(4)).mean()
    assert _recorded(data, ImagineConfig(steps=9, discount=DISCOUNT)) == pytest.approx(exact, rel=1e-6)


def test_other_tasks_are_refused(folder):
    data = linear_log()
    wide = replace(data, obs=np.repeat(data.obs, 2, 1), next_obs=np.repeat(data.next_obs, 2, 1))
    with pytest.raises(ConfigError, match="the policy 1 and 1, the data 2 and 1"):
        estimate_policy(folder, wide)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FQEConfig(members=1), "members must be at least 2"),
        (lambda: FQEConfig(discount=1.0), "discount"),
        (lambda: ImagineConfig(starts=1), "starts"),
        (lambda: EstimateConfig(FQEConfig(discount=0.9)), "must agree"),
    ],
)
def test_settings_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()
