"""d3rlpy on our arrays: what needs no d3rlpy always, training where it is installed."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from benchmarks.outside import main, train_outside
from dawm.data.dataset import Dataset, DatasetInfo
from dawm.errors import ConfigError

ENV = "Pendulum-v1"


@pytest.fixture
def log(rng) -> Dataset:
    """Noise in the shapes of Pendulum, whose actions reach from -2 to 2: two episodes that were cut."""
    n = 200
    obs = rng.normal(size=(n, 3)).astype(np.float32)
    action = rng.uniform(-2, 2, (n, 1)).astype(np.float32)
    columns = obs, action, rng.normal(size=n).astype(np.float32), obs + 0.1, np.zeros(n, bool)
    bounds = -2 * np.ones(1, np.float32), 2 * np.ones(1, np.float32)
    return Dataset(*columns, np.array([100, 200]), np.zeros(n, int), *bounds, info=DatasetInfo(name="noise", env=ENV))


def test_finished_seeds_are_kept_and_joined(log, tmp_path):
    """Two seeds that are on disk: nothing is trained, and the scores are those of their returns."""
    asked = {"algo": "iql", "updates": 7, "env": ENV, "episodes": 2, "evaluation_seed": 10_000}
    (tmp_path / "settings.json").write_text(json.dumps(asked | {"data": log.fingerprint}))
    for number, returns in enumerate([[1.0, 2.0], [3.0, 6.0]]):
        seed = {"returns": returns, "lengths": [200, 200], "terminated": [False, False]}
        seed |= {"updates_per_second": 10.0 + number, "library": "d3rlpy 0"}
        (tmp_path / f"seed-{number}.json").write_text(json.dumps(seed))
    scores = train_outside(log, ENV, algo="iql", updates=7, seeds=2, episodes=2, out=tmp_path)
    assert scores["return_mean"] == 3.0
    assert scores["returns"] == [[1.0, 2.0], [3.0, 6.0]]
    assert (scores["failure_rate"], scores["updates_per_second"]) == (0.0, 10.5)
    assert json.loads((tmp_path / "scores.json").read_text()) == scores


def test_a_folder_of_other_settings_is_refused(log, tmp_path):
    (tmp_path / "settings.json").write_text(json.dumps({"algo": "td3bc", "updates": 5}))
    with pytest.raises(ConfigError, match="algo 'td3bc', updates 5"):
        train_outside(log, ENV, algo="iql", updates=7, seeds=1, out=tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("d3rlpy") is not None, reason="d3rlpy is installed")
def test_without_d3rlpy_it_is_one_sentence(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["demo", "--env", "Hopper-v5", "--updates", "5", "--out", str(out)]) == 2
    assert "pip install 'dawm[peers]'" in capsys.readouterr().err


@pytest.mark.parametrize("algo", ["td3bc", "iql", "rebrac"])
def test_a_policy_acts_in_the_range_of_the_environment(algo, log):
    """Trained for a moment on noise; d3rlpy's network is in [-1, 1], the environment's actions are in [-2, 2]."""
    pytest.importorskip("d3rlpy")
    from benchmarks.peers import d3

    dataset = d3.from_log(log)
    assert dataset.transition_count == 198  # the last step of each cut episode is lost there
    policy = d3.make_algo(algo, dataset, batch=32, width=16, bounds=log.spec)
    d3.train(policy, dataset, 5)
    before = policy.predict(100 * log.obs)
    d3.train(policy, dataset, 20)
    after = policy.predict(100 * log.obs)
    assert 1.0 < np.abs(after).max() <= 2.0
    assert not np.allclose(before, after)


def test_a_plain_loop_learns_what_is_good():
    """A bandit whose reward is the action: every learner of the PyTorch loops moves its policy up."""
    torch = pytest.importorskip("torch")
    from benchmarks.peers import pytorch
    from dawm.types import Transition

    rng = np.random.default_rng(0)
    action = rng.uniform(-1, 1, (2_000, 1)).astype(np.float32)
    obs, ended = np.ones((2_000, 2), np.float32), np.ones(2_000, bool)
    rows = Transition(obs, action, action[:, 0], obs, action, ended, np.zeros(2_000, int))
    for kind in ("td3bc", "rebrac", "iql"):
        update = pytorch.make_update(kind, rows, batch=128, width=32)
        for _ in range(400):
            update()
        actor = update.__self__.actor
        assert actor(torch.ones(1, 2)).item() > 0.15, kind
