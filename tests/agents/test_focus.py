"""Trajectory weighting: the effective size of the log, what it depends on, and whom the learners then follow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from toys import dataset, rows

from dawm.agents.bc import BCConfig
from dawm.agents.config import PolicyConfig
from dawm.agents.fit import train_policy
from dawm.agents.iql import IQLConfig
from dawm.agents.policy import load_policy
from dawm.agents.priority import PriorityConfig
from dawm.agents.td3bc import TD3BCConfig
from dawm.data import focus as module
from dawm.data.focus import PRICE, SHARES, share_of, sharpness, trajectory_mass
from dawm.errors import ConfigError
from dawm.run.config import from_dict
from dawm.run.folder import RunFolder
from dawm.run.loop import LoopConfig


@pytest.fixture(autouse=True, scope="module")
def toys_are_logs():
    """No least number of rows, which all logs of this module are below; but for the test of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LEAST_ROWS", 1)
        yield


def effective(mass: np.ndarray) -> float:
    """Kish's effective size, as a share."""
    mass = mass.astype(np.float64)
    return mass.sum() ** 2 / (mass**2).sum() / len(mass)


def mass_of(returns, lengths, focus):
    """Mass of each row of a log."""
    return trajectory_mass(np.repeat(returns, lengths), sharpness(returns, lengths, focus))


logs = st.lists(st.tuples(st.integers(-10_000, 10_000), st.integers(1, 50)), min_size=2, max_size=30)


@given(logs, st.floats(0.02, 1.0))
def test_the_log_is_in_effect_as_large_as_asked_or_its_best_episodes_alone(log, focus):
    returns, lengths = (np.array(column) for column in zip(*log, strict=True))
    mass = mass_of(returns, lengths, focus)
    assert len(mass) == lengths.sum()
    assert mass.max() == 1
    tied = lengths[returns == returns.max()].sum() / lengths.sum()
    if tied >= focus:
        assert effective(mass) >= tied * (1 - 1e-5)
    else:
        assert effective(mass) == pytest.approx(focus, rel=0.01)
    each = mass[np.cumsum(lengths) - 1]
    assert (np.diff(each[np.argsort(returns)]) >= 0).all()  # never more of a worse episode


@given(logs, st.floats(0.05, 0.9), st.floats(0.01, 100.0), st.floats(-1e3, 1e3))
def test_units_and_origin_of_the_rewards_do_not_matter(log, focus, scale, shift):
    returns, lengths = (np.array(column) for column in zip(*log, strict=True))
    if np.ptp(returns) < 1:
        return
    other = mass_of(scale * returns + shift, lengths, focus)
    np.testing.assert_allclose(effective(other), effective(mass_of(returns, lengths, focus)), rtol=1e-3)


def test_episodes_that_are_alike_are_drawn_alike():
    np.testing.assert_array_equal(mass_of(np.full(3, 7.0), np.array([2, 1, 4]), 0.1), np.ones(7))
    tied = mass_of(np.array([0.0, 1.0, 1.0]), np.array([8, 1, 1]), 0.1)
    np.testing.assert_allclose(tied, [0.0] * 8 + [1.0] * 2, atol=1e-12)


def test_a_log_is_never_left_with_too_few_rows_to_learn_from(monkeypatch):
    rng, lengths = np.random.default_rng(0), np.full(100, 50)
    returns = rng.normal(size=100)
    for least, share in ((1, 0.1), (1_000, 0.2), (5_000, 1.0), (10_000, 1.0)):
        monkeypatch.setattr(module, "LEAST_ROWS", least)
        assert effective(mass_of(returns, lengths, 0.1)) == pytest.approx(share, rel=0.01)


def test_how_much_is_drawn_follows_from_the_returns():
    """Of normal returns a quarter, of two kinds of episodes the better half, of a few failures all but these."""
    rng, lengths = np.random.default_rng(0), np.full(1_000, 50)
    kinds = np.repeat([0.0, 1.0], 500)
    failures = np.where(rng.uniform(size=1_000) < 0.02, 0.0, 1.0) + rng.normal(0, 0.01, 1_000)
    rare = np.where(rng.uniform(size=1_000) < 0.1, 1.0, 0.0) + rng.normal(0, 0.01, 1_000)
    assert [share_of(r, lengths) for r in (kinds, failures, rare)] == [0.5, 1.0, 0.1]
    many = norm.ppf((np.arange(100_000) + 0.5) / 100_000)  # of fewer the best is nearer, and the draw a little narrower
    assert share_of(many, np.ones(100_000, int)) == 0.25


@given(logs, st.floats(0.01, 100.0), st.floats(-1e3, 1e3))
def test_how_much_is_drawn_depends_on_no_unit(log, scale, shift):
    returns, lengths = (np.array(column) for column in zip(*log, strict=True))
    found = share_of(returns, lengths)
    assert found in SHARES
    if np.ptp(returns) == 0:
        assert found == 1.0
    else:  # but for ties that rounding decides
        mean, other = np.average(returns, weights=lengths), share_of(scale * returns + shift, lengths)
        drawn = [np.average(returns, weights=lengths * _mass(returns, lengths, share)) for share in (found, other)]
        deviation = np.sqrt(np.average((returns - mean) ** 2, weights=lengths))
        assert other == found or abs(np.diff(drawn)[0] / deviation - np.log(other / found) * PRICE) < 1e-2


def _mass(returns, lengths, share):
    return trajectory_mass(returns, sharpness(returns, lengths, share))


def test_a_small_log_is_drawn_whole(monkeypatch):
    monkeypatch.setattr(module, "LEAST_ROWS", 10_000)
    assert share_of(np.arange(100.0), np.full(100, 50)) == 1.0


def test_auto_is_the_share_by_itself_and_the_run_says_which(tmp_path):
    rng = np.random.default_rng(0)
    data = dataset(rows(rng.normal(size=(1_000, 1)), rng.uniform(-1, 1, 1_000), rng.normal(size=1_000)), episode=20)
    config = PolicyConfig(BCConfig(width=8), 16, focus="auto", loop=LoopConfig(8, chunk=4, monitor_every=8))
    found = share_of(data.returns, data.lengths)
    assert found < 1
    policy = train_policy(data, config, folder=tmp_path / "p")
    assert policy.fingerprint == train_policy(data, replace(config, focus=found)).fingerprint
    assert RunFolder(tmp_path / "p").read_config()["config"]["focus"] == found


ALGOS = [BCConfig(width=16), TD3BCConfig(width=16, alpha=0.0), IQLConfig(width=16, temperature=0.0)]


@pytest.mark.parametrize("algo", ALGOS, ids=lambda algo: algo.kind)
def test_learners_follow_the_better_episodes(algo):
    """A tenth of the episodes does 0.6 and is rewarded, the others do -0.6; all that is imitated is the mean action."""
    rng = np.random.default_rng(0)
    good = np.repeat(np.arange(100) % 10 == 0, 20)
    data = dataset(rows(rng.normal(size=(2_000, 1)), np.where(good, 0.6, -0.6), good * 1.0), episode=20)
    loop = LoopConfig(steps=600, chunk=600, monitor_every=600)
    for focus, expected in ((1.0, -0.48), (0.1, 0.6)):
        policy = train_policy(data, PolicyConfig(algo, 64, focus=focus, loop=loop))[0]
        assert policy(np.zeros((1, 1)))[0, 0] == pytest.approx(expected, abs=0.15)


def test_it_is_taken_up_again_to_the_same_bits(tmp_path):
    rng = np.random.default_rng(0)
    data = dataset(rows(rng.normal(size=(200, 1)), rng.uniform(-1, 1, 200), rng.normal(size=200)), episode=20)
    config = PolicyConfig(BCConfig(width=8), 16, focus=0.3, seeds=2, loop=LoopConfig(8, chunk=4, monitor_every=8))
    whole = train_policy(data, config).fingerprint
    train_policy(data, replace(config, loop=replace(config.loop, save_every=4)), folder=tmp_path / "p")
    (tmp_path / "p" / "finished").unlink()
    last = load_policy(tmp_path / "p").step
    (tmp_path / "p" / "checkpoints" / "00000008.ckpt").unlink()
    assert (last, load_policy(tmp_path / "p").step) == (8, 4)
    again = train_policy(data, replace(config, loop=replace(config.loop, save_every=4)), folder=tmp_path / "p")
    assert again.fingerprint == whole


def test_a_word_that_is_none_is_refused():
    with pytest.raises(ConfigError, match=r"`focus` cannot be 'aut'; did you mean `auto`\?"):
        from_dict(PolicyConfig, {"focus": "aut"})


@pytest.mark.parametrize("focus", [0.0, 1.5, -1.0])
def test_impossible_shares_are_refused(focus):
    with pytest.raises(ValueError, match="focus is a share of the log, above 0 and at most 1"):
        PolicyConfig(focus=focus)


@pytest.mark.parametrize("focus", [0.5, "auto"])
def test_two_ways_to_draw_are_refused(focus):
    with pytest.raises(ValueError, match=r"focus and priority\.kind both say which rows are drawn more often"):
        PolicyConfig(focus=focus, priority=PriorityConfig(kind="novelty"))
