"""Futures under a policy: closed forms of a linear system, ends, and generation that resumes."""

from __future__ import annotations

import json

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from linear_world import trained_ensemble

from dawm.agents.config import PolicyConfig
from dawm.agents.policy import Standardise, TrainedPolicy
from dawm.errors import ConfigError, NumericalError
from dawm.pipeline import run_pipeline
from dawm.presets import RunConfig
from dawm.synth.generator import GenerateConfig, flatten, generate
from dawm.synth.rollouts import roll
from dawm.synth.safeguards import SafeguardConfig
from dawm.types import Prediction, Spec, Start

A, B, NOISE, END = 0.9, 0.5, 0.2, 0.25
OFFSET = np.array([0.0, 0.3, -0.4])  # of each member
GAIN = np.array([-0.2, -0.6])  # of each seed: a = g s


class System(eqx.Module):
    """s' = A s + B a + offset of the member + noise n, r = s + a, an end with a fixed probability."""

    offset: jnp.ndarray
    noise: float = 0.0
    end: float = 0.0

    @property
    def count(self) -> int:
        return len(self.offset)

    def advance(self, obs, action, source, key):
        following = A * obs + B * action + self.offset[:, None, None] + self.noise * jr.normal(key, obs.shape)
        return Prediction(following, (obs + action)[..., 0], jnp.full(source.shape, self.end))


class Gain(eqx.Module):
    """The action, in [-1, 1], of a standardised observation."""

    gain: jnp.ndarray

    def __call__(self, obs):
        return self.gain * obs


def policy(gains=GAIN, bound: float = 50.0) -> TrainedPolicy:
    """a = gain * s, clipped to the bounds."""
    actor, still = Gain(jnp.asarray(gains)[:, None] / bound), Standardise(jnp.zeros(1), jnp.ones(1))
    return TrainedPolicy(actor, still, Spec(1, 1, (-bound,), (bound,)), PolicyConfig(seeds=len(gains)), step=0)


def starts(n: int, value=None) -> Start:
    obs = np.linspace(-1, 1, n) if value is None else np.full(n, value)
    zeros = np.zeros(n, np.float32)
    return Start(obs[:, None].astype(np.float32), zeros[:, None] + 7, zeros, np.arange(n))


def test_every_future_keeps_its_member_and_its_seed():
    n, h = 17, 4  # no multiple of 3 x 2
    made = roll(System(jnp.asarray(OFFSET)), policy(), starts(n), h, 0.0, jr.key(0))
    state, gain, offset = starts(n).obs[:, 0], GAIN[np.arange(n) // 3 % 2], OFFSET[np.arange(n) % 3]
    for t in range(h):
        np.testing.assert_allclose(made.obs[:, t, 0], state, atol=1e-5)
        np.testing.assert_allclose(made.action[:, t, 0], gain * state, atol=1e-5)
        np.testing.assert_allclose(made.reward[:, t], (1 + gain) * state, atol=1e-5)
        state = (A + B * gain) * state + offset
    assert made.valid.all()
    np.testing.assert_array_equal(made.source, np.arange(n))


def test_mean_and_spread_follow_the_closed_form():
    """Of s' = (A + B g) s + B sigma n + NOISE n', whose variance is a geometric sum."""
    n, h, start, sigma, bound = 6_000, 5, 2.0, 0.01, 50.0
    made = roll(System(jnp.zeros(1), noise=NOISE), policy(GAIN[:1]), starts(n, start), h, sigma, jr.key(1))
    factor, each = A + B * GAIN[0], (B * sigma * bound) ** 2 + NOISE**2
    for t in range(1, h + 1):
        spread = np.sqrt(each * (1 - factor ** (2 * t)) / (1 - factor**2))
        assert made.obs[:, t, 0].mean() == pytest.approx(start * factor**t, abs=5 * spread / np.sqrt(n))
        assert made.obs[:, t, 0].std() == pytest.approx(spread, rel=5 / np.sqrt(2 * n))


def test_a_future_stops_at_its_first_end():
    n, h = 6_000, 4
    made = roll(System(jnp.zeros(1), end=END), policy(), starts(n), h, 0.0, jr.key(2))
    lengths = made.valid.sum(1)
    for t in range(h):
        assert (lengths > t).mean() == pytest.approx((1 - END) ** t, abs=5 * 0.5 / np.sqrt(n))
    assert (made.terminal.sum(1) <= 1).all()
    assert (made.terminal[np.arange(n), lengths - 1] | (lengths == h)).all()
    columns = flatten(made)
    assert columns["lengths"].tolist() == lengths.tolist()
    assert columns["terminal"].sum() == made.terminal.sum()


def test_actions_stay_inside_their_bounds():
    made = roll(System(jnp.zeros(1)), policy([3.0], bound=1.0), starts(50, 0.5), 3, 2.0, jr.key(3))
    assert np.abs(made.action).max() == 1.0
    assert (np.abs(made.action) < 1.0).any()


def test_a_model_that_leaves_the_numbers_is_named():
    with pytest.raises(NumericalError, match=r"of 8 futures .* at step \d of 5\. Lower generate\.length"):
        roll(System(jnp.full(1, 3e38)), policy([0.4]), starts(8), 5, 0.0, jr.key(0))


# -- generation --------------------------------------------------------------------------------------------------------


def acting() -> TrainedPolicy:
    """In the linear world, whose actions are in [-1, 3]."""
    still = Standardise(jnp.zeros(3), jnp.ones(3))
    actor = First(jnp.asarray([0.0, 0.2])[:, None])
    return TrainedPolicy(actor, still, Spec(3, 1, (-1.0,), (3.0,)), PolicyConfig(seeds=2), step=3)


class First(eqx.Module):
    """An action that reads the first state only."""

    gain: jnp.ndarray

    def __call__(self, obs):
        return self.gain * obs[:1]


def test_generation_under_a_policy_resumes_and_says_who_acted(data, tmp_path):
    model, who = trained_ensemble(), acting()
    guards = SafeguardConfig(penalty=1.0, samples=4)
    config = GenerateConfig(transitions=500, shard=40, actions="policy", length=5, safeguards=guards)
    made = generate(model, data, config, folder=tmp_path / "a", policy=who, policy_path="../policy")
    assert made.lengths.max() == 5
    train, _ = data.split(model.config.holdout, model.config.seed)
    assert {(*s,) for s in made.obs[made.episode_starts]} <= {(*s,) for s in train.obs}
    facts = json.loads((tmp_path / "a/generation.json").read_text())
    assert facts["policy"]["fingerprint"] == who.fingerprint
    assert facts["safeguards"]["mean_penalty"] > 0
    shards = sorted((tmp_path / "a/shards").iterdir())
    before = shards[-1].read_bytes()
    shards[-1].unlink()
    (tmp_path / "a/finished").unlink()
    again = generate(model, data, config, folder=tmp_path / "a", policy=who, policy_path="../policy")
    assert again.fingerprint == made.fingerprint
    assert shards[-1].read_bytes() == before
    free = generate(model, data, GenerateConfig(transitions=500, shard=40, actions="policy"), policy=who)
    seed = np.repeat(np.arange(free.episodes) % 40 // model.model.count % 2, free.lengths)
    expected = np.clip(1 + 2 * np.where(seed == 0, 0.0, 0.2) * free.obs[:, 0], -1, 3)
    np.testing.assert_allclose(free.action[:, 0], expected, atol=1e-5)


def test_what_does_not_fit_is_refused(data, tmp_path):
    model, config = trained_ensemble(), GenerateConfig(actions="policy")
    with pytest.raises(ConfigError, match="needs the policy that acts"):
        generate(model, data, config)
    with pytest.raises(ConfigError, match=r"a policy is given and generate\.actions is `model`"):
        generate(model, data, GenerateConfig(), policy=acting())
    with pytest.raises(ConfigError, match="1 observation and 1 action dimensions, the model 3 and 1"):
        generate(model, data, config, policy=policy())
    with pytest.raises(ConfigError, match="noising noises and denoises"):
        generate(model, data, GenerateConfig(noising=0.5))
    with pytest.raises(ValueError, match="no return is asked for"):
        GenerateConfig(actions="policy", return_factor=1.1)
    with pytest.raises(ValueError, match="length must be at least 1"):
        GenerateConfig(actions="policy", length=0)
    with pytest.raises(ConfigError, match="a policy that was trained before"):
        run_pipeline(data, RunConfig(generate=config), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
