"""How much of a log is drawn where nobody says: wide where episodes differ by luck, narrow where behaviour does."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from toys import dataset, rows

from dawm.agents import focus, share
from dawm.agents.bc import BCConfig
from dawm.agents.config import PolicyConfig
from dawm.agents.fit import train_policy
from dawm.agents.priority import PriorityConfig
from dawm.agents.share import SHARES, best_share, errors_by_share
from dawm.data.dataset import Dataset
from dawm.errors import ConfigError
from dawm.run.config import from_dict
from dawm.run.loop import LoopConfig


@pytest.fixture(autouse=True)
def toys_are_logs(monkeypatch):
    """No least number of rows, and clones that toys are large enough for."""
    monkeypatch.setattr(focus, "LEAST_ROWS", 1)
    monkeypatch.setattr(share, "WIDTH", 32)
    monkeypatch.setattr(share, "BATCH", 64)


def log(mixed: bool, seed: int = 0) -> Dataset:
    """60 episodes of 20 steps in 4 dimensions. Of agents whose gain goes with their return, or of one and its luck."""
    rng = np.random.default_rng(seed)
    luck = np.repeat(rng.uniform(size=60), 20)
    obs = rng.normal(size=(1_200, 4))
    gain = 1.6 * luck - 0.8 if mixed else 0.5
    action = np.tanh(gain * obs.sum(1) / 2) + 0.1 * rng.normal(size=1_200)
    return dataset(rows(obs, np.clip(action, -1, 1), luck), episode=20)


def test_a_log_of_one_agent_is_drawn_whole():
    errors = errors_by_share(log(mixed=False), 4_000, 0)
    assert list(errors) == list(SHARES)
    assert best_share(errors) == 1
    assert errors[1.0] < 0.8 * errors[0.1]  # the noise is 0.01, and few rows cost more


def test_of_a_log_of_many_agents_the_better_ones_are():
    errors = errors_by_share(log(mixed=True), 4_000, 0)
    assert best_share(errors) < 1
    assert min(errors.values()) < 0.5 * errors[1.0]


def test_units_and_origin_of_the_rewards_do_not_matter():
    data = log(mixed=True)
    other = replace(data, reward=(3 * data.reward - 7).astype(np.float32))
    first, second = (errors_by_share(d, 400, 0) for d in (data, other))
    np.testing.assert_allclose(list(first.values()), list(second.values()), rtol=0.02)


def test_the_larger_of_two_shares_that_tie_is_taken():
    assert best_share({1.0: 0.2, 0.5: 0.1, 0.25: 0.1}) == 0.5
    assert best_share({}) == 1


def test_nothing_is_compared_where_all_shares_draw_alike(monkeypatch):
    data = log(mixed=True)
    assert errors_by_share(replace(data, reward=np.ones_like(data.reward)), 400, 0) == {}
    assert errors_by_share(data.select([0]), 400, 0) == {}
    monkeypatch.setattr(focus, "LEAST_ROWS", 10_000)
    assert errors_by_share(data.select(range(50)), 400, 0) == {}


def test_of_a_large_log_some_episodes_are_looked_at(monkeypatch):
    monkeypatch.setattr(share, "ROWS", 200)
    some = share._some(log(mixed=True), 0)
    assert (some.episodes, len(some)) == (10, 200)
    assert set(errors_by_share(log(mixed=True), 40, 0)) == set(SHARES)


def test_a_policy_draws_what_was_found_and_keeps_it_with_the_run(tmp_path):
    """`auto` is the share by itself, to the bit, and a folder that holds a choice is not asked again."""
    data, loop = log(mixed=True), LoopConfig(1_600, chunk=400, monitor_every=1_600)
    config = PolicyConfig(BCConfig(width=8), 16, focus="auto", seeds=2, loop=loop)
    found = best_share(errors_by_share(data, 1_600, 0))
    assert found < 1
    policy = train_policy(data, config, folder=tmp_path / "p")
    assert policy.fingerprint == train_policy(data, replace(config, focus=found)).fingerprint
    kept = json.loads((tmp_path / "p" / "focus.json").read_text())
    assert kept["share"] == found
    assert [float(part) for part in kept["errors"]] == list(SHARES)
    (tmp_path / "q").mkdir()
    for name in ("run.toml", "provenance.json"):
        (tmp_path / "q" / name).write_bytes((tmp_path / "p" / name).read_bytes())
    (tmp_path / "q" / "focus.json").write_text(json.dumps({"share": 1.0, "errors": {}}))
    again = train_policy(data, config, folder=tmp_path / "q")
    assert again.fingerprint == train_policy(data, replace(config, focus=1.0)).fingerprint


def test_words_and_contradictions_are_refused():
    with pytest.raises(ConfigError, match=r"`focus` cannot be 'aut'; did you mean `auto`\?"):
        from_dict(PolicyConfig, {"focus": "aut"})
    with pytest.raises(ValueError, match=r"focus and priority\.kind both say"):
        PolicyConfig(focus="auto", priority=PriorityConfig(kind="novelty"))
