"""Penalties, stops and filters on rows worked by hand, and on generated futures of a known world."""

from __future__ import annotations

import dataclasses
import json

import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawm.errors import ConfigError
from dawm.pipeline import resume
from dawm.synth.constraints import probability, recorded, violation
from dawm.synth.generator import GenerateConfig, generate
from dawm.synth.safeguards import (
    SafeguardConfig,
    after_first,
    first_of_each,
    from_first,
    penalised,
    spread_of,
    stopped_at,
    without,
)

LENGTHS = np.array([3, 1, 2])
HIT = np.array([False, True, True, False, True, False])


def columns():
    return {
        "reward": np.arange(6, dtype=np.float32),
        "terminal": np.array([False, False, True, False, False, False]),
        "lengths": LENGTHS,
    }


def test_by_hand():
    assert first_of_each(HIT, LENGTHS).tolist() == [False, True, False, False, True, False]
    assert after_first(HIT, LENGTHS).tolist() == [False, False, True, False, False, True]
    stopped, count = stopped_at(columns(), HIT, -9.0)
    assert count == 2
    assert stopped["reward"].tolist() == [0, -9, 3, -9]
    assert stopped["terminal"].tolist() == [False, True, False, True]
    assert stopped["lengths"].tolist() == [2, 1, 1]
    left = without(columns(), from_first(HIT, LENGTHS))
    assert left["reward"].tolist() == [0, 3]
    assert left["lengths"].tolist() == [1, 1]  # the third future is gone
    np.testing.assert_allclose(penalised(columns(), np.full(6, 0.5))["reward"], np.arange(6) - 0.5)


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=8), seed=st.integers(0, 2**31))
def test_futures_stay_whole_from_their_start(lengths, seed):
    lengths = np.array(lengths)
    where = np.random.default_rng(seed).random(lengths.sum()) < 0.3
    future = np.repeat(np.arange(len(lengths)), lengths)
    place = np.concatenate([np.arange(n) for n in lengths])
    rows = {"reward": np.arange(lengths.sum()), "future": future, "place": place, "lengths": lengths}
    left = without(rows, from_first(where, lengths))
    assert left["lengths"].sum() == len(left["reward"])
    assert left["place"].tolist() == [i for n in left["lengths"] for i in range(n)]  # no holes
    for f in range(len(lengths)):
        hits = np.flatnonzero(where[future == f])
        assert (left["future"] == f).sum() == (hits[0] if len(hits) else lengths[f])


def made(trained, data, **safeguards):
    return GenerateConfig(transitions=300, shard=64, safeguards=SafeguardConfig(**safeguards))


def test_a_penalty_lowers_rewards_and_nothing_else(trained, data, tmp_path):
    plain = generate(trained, data, made(trained, data), folder=tmp_path / "plain")
    config = made(trained, data, penalty=0.5)
    less = generate(trained, data, config, folder=tmp_path / "less")
    np.testing.assert_array_equal(plain.next_obs, less.next_obs)
    assert (less.reward < plain.reward).all()
    facts = (tmp_path / "less/generation.json").read_text()
    assert '"mean_penalty"' in facts
    again = generate(trained, data, config)
    assert again.fingerprint == less.fingerprint


def test_stops_come_where_the_spread_is_large(trained, data):
    config = made(trained, data, stop=0.5)
    stopped, plain = generate(trained, data, config), generate(trained, data, made(trained, data))
    assert stopped.lengths.mean() < plain.lengths.mean()
    ended = stopped.terminal & np.isclose(stopped.reward, data.reward.min(), atol=0.3)
    assert ended.mean() > plain.terminal.mean()


def test_unsupported_rows_are_dropped_and_counted(trained, data, tmp_path):
    generate(trained, data, made(trained, data, support=0.3), folder=tmp_path / "kept")
    rate = json.loads((tmp_path / "kept/generation.json").read_text())["safeguards"]["accept_rate"]
    assert 0.1 < rate < 0.8  # the first step of a future passes with probability 0.7
    with pytest.raises(ConfigError, match=r"generate\.safeguards\.support"):
        generate(trained, data, made(trained, data, support=0.999))


def test_spread_is_that_of_the_world(trained, data):
    rows = {name: getattr(data, name)[:200] for name in ("obs", "action", "source")}
    config = SafeguardConfig(samples=16)
    scales = trained.model.scales
    exact = np.array([0.1, 0.1, 0.0, 0.2]) / np.append(scales.change.scale, scales.reward.scale)  # noise of the world
    total = spread_of(trained.model, rows, config, jr.key(0))
    assert np.sqrt(np.square(total).mean()) == pytest.approx(np.sqrt(np.square(exact).mean()), rel=0.25)
    alone = spread_of(trained.model, rows, dataclasses.replace(config, spread="epistemic"), jr.key(0))
    assert (alone == 0).all()  # one model has no members that could disagree


def test_steps_that_would_break_a_limit_cost(trained, data, tmp_path):
    plain = generate(trained, data, made(trained, data))
    config = made(trained, data, constraint="next_obs[0] > 0.3", limit=0.2, cost=5.0)
    safer = generate(trained, data, config, folder=tmp_path / "safer")
    lost = plain.reward - safer.reward
    assert (lost >= -1e-5).all()
    assert lost[plain.next_obs[:, 0] > 0.6].mean() > 10 * max(lost[plain.next_obs[:, 0] < 0.0].mean(), 1e-3)
    rate = json.loads((tmp_path / "safer/generation.json").read_text())["safeguards"]["unsafe_rate"]
    assert rate == pytest.approx((lost > 0).mean(), abs=0.02)

    plain_text = made(trained, data, limit=0.2, cost=5.0)
    folder = tmp_path / "function"
    np.testing.assert_array_equal(
        generate(trained, data, plain_text, folder=folder, constraint=too_far).reward, safer.reward
    )
    (folder / "finished").unlink()
    with pytest.raises(ConfigError, match=r"Python function .*too_far"):
        resume(folder, data)
    with pytest.raises(ConfigError, match="both given"):
        generate(trained, data, config, constraint=too_far)


def too_far(obs, action, reward, next_obs):
    return next_obs[0] > 0.3


def test_noise_on_the_first_action_stays_inside_its_bounds(trained, data):
    config = dataclasses.replace(made(trained, data), action_noise=3.0)
    noisy = generate(trained, data, config)
    first = noisy.action[noisy.episode_starts]
    assert (first >= data.act_low).all()
    assert (first <= data.act_high).all()
    assert first.std() > 1.5 * data.action.std()


def test_how_likely_a_model_says_it_is(trained, data):
    rows = {name: getattr(data, name)[:300] for name in ("obs", "action", "source", "reward", "next_obs")}
    broken = violation("next_obs[0] > 0.3")
    found = probability(trained.model, broken, rows, 16, jr.key(0))
    happened = recorded(broken, rows)
    assert found.shape == happened.shape == (300,)
    assert found.mean() == pytest.approx(happened.mean(), abs=0.06)
    assert found[happened].mean() > 0.6 > 0.3 > found[~happened].mean()
    same = probability(trained.model, lambda obs, action, reward, next_obs: next_obs[0] > 0.3, rows, 16, jr.key(0))
    np.testing.assert_array_equal(found, same)
