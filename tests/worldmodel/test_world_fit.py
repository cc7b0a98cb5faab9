"""Training: the same bits however often it is interrupted, blind to held-out episodes, and honestly measured."""

from __future__ import annotations

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from linear_world import DISCOUNT, HORIZON, LENGTH, rows_of, tiny_config

from dawm.data.windows import make_windows
from dawm.errors import CheckpointError, ConfigError, FileError
from dawm.run.folder import RunFolder
from dawm.types import Start
from dawm.worldmodel import holdout
from dawm.worldmodel.fit import train_world_model, verdict
from dawm.worldmodel.trained import TrainedModel


class Killed(BaseException):
    """What a SIGKILL would do, at a place of our choosing."""


def kill_at(monkeypatch, target, name, count):
    """The `count`-th call of `target.name` never returns."""
    original, calls = getattr(target, name), [0]

    def deadly(*args, **kwargs):
        calls[0] += 1
        if calls[0] == count:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(target, name, deadly)


def some_starts(data, count):
    return Start(data.obs[:count], data.action[:count], data.reward[:count], data.source[:count])


def metrics(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in RunFolder(folder).metrics.rows()]


def test_killed_in_either_phase_and_taken_up_again_gives_the_same_bits(data, trained, tmp_path, monkeypatch):
    config, folder = tiny_config(), tmp_path / "model"
    with monkeypatch.context() as patch:
        kill_at(patch, RunFolder, "save_state", 2)  # of the networks: the first checkpoint stays
        with pytest.raises(Killed):
            train_world_model(data, config, folder=folder)
    assert RunFolder(folder / "networks").checkpoints() == [200]
    with monkeypatch.context() as patch:
        kill_at(patch, holdout, "measure", 2)  # the second look at held-out data, before the second checkpoint
        with pytest.raises(Killed):
            train_world_model(data, config, folder=folder)
    assert RunFolder(folder).checkpoints() == [200]
    with pytest.raises(FileError, match=r"is not finished\. Go on with: dawm resume"):
        TrainedModel.load(folder)
    resumed = train_world_model(data, config, folder=folder)
    assert resumed.fingerprint == trained.fingerprint
    assert resumed.measured == trained.measured
    assert metrics(folder) == metrics(trained.folder)


def test_held_out_episodes_leave_no_trace_in_the_model(data, trained):
    """Rewriting every held-out episode changes the measurements and not one bit of the model."""
    _, held = data.split_episodes(0.1, 0)
    rows = np.isin(data.episode_of, held)
    assert 0.05 < rows.mean() < 0.15
    obs, next_obs = data.obs.copy(), data.next_obs.copy()
    obs[rows], next_obs[rows] = -3.0 * obs[rows], 1e3 + next_obs[rows]
    reward = np.where(rows, -1e4, data.reward).astype(np.float32)
    other = train_world_model(dataclasses.replace(data, obs=obs, next_obs=next_obs, reward=reward), tiny_config())
    assert other.fingerprint == trained.fingerprint
    assert other.measured["models"]["persistence"] != trained.measured["models"]["persistence"]


def test_a_loaded_model_generates_the_same_bits(data, trained):
    loaded, starts = TrainedModel.load(trained.folder), some_starts(data, 10)
    assert loaded.fingerprint == trained.fingerprint
    for a, b in zip(loaded.generate(starts, jr.key(1)), trained.generate(starts, jr.key(1)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    assert loaded.config == trained.config
    assert loaded.spec == trained.spec
    assert loaded.data == trained.data
    assert loaded.data["fingerprint"] == data.fingerprint
    assert loaded.measured == json.loads(json.dumps(trained.measured))


def test_a_finished_folder_is_loaded_and_not_trained_again(data, trained, monkeypatch):
    kill_at(monkeypatch, holdout, "measure", 1)
    assert train_world_model(data, tiny_config(), folder=trained.folder).fingerprint == trained.fingerprint


def test_another_configuration_is_refused(data, trained):
    with pytest.raises(ConfigError, match="holds another run"):
        train_world_model(data, tiny_config(seed=1), folder=trained.folder)


def test_a_damaged_model_is_named(trained, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "model")
    content = bytearray((tmp_path / "model" / "model.ckpt").read_bytes())
    content[-100] ^= 1
    (tmp_path / "model" / "model.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.ckpt"):
        TrainedModel.load(tmp_path / "model")


def test_futures_do_not_depend_on_how_many_there_are(data, trained):
    many = trained.generate(some_starts(data, 1_300), jr.key(2))  # more than one compiled batch
    few = trained.generate(some_starts(data, 7), jr.key(2))
    for a, b in zip(many, few, strict=True):
        np.testing.assert_array_equal(np.asarray(a)[:7], b)
    assert len(many.reward) == 1_300
    assert len(np.unique(many.obs[:, 1, 0])) > 1_290  # and no future is given out twice


# -- what is measured --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def held(data, trained):
    """Windows of all held-out rows: states, rewards, validity, computed with NumPy loops."""
    test = data.split(0.1, 0)[1]
    obs, reward = np.zeros((len(test), HORIZON + 1, 3)), np.zeros((len(test), HORIZON))
    action, valid = np.zeros((len(test), HORIZON, 1)), np.zeros((len(test), HORIZON), bool)
    for i, end in enumerate(test.episode_ends[test.episode_of]):
        obs[i, 0] = test.obs[i]
        for h in range(min(HORIZON, end - i)):
            obs[i, h + 1], action[i, h] = test.next_obs[i + h], test.action[i + h]
            reward[i, h], valid[i, h] = test.reward[i + h], True
    return obs, action, reward, valid


def test_every_held_out_row_is_measured(trained, held):
    assert trained.measured["windows"] == len(held[0])
    assert trained.measured["horizon"] == HORIZON
    assert trained.measured["samples_per_start"] == 8


def test_error_of_copying_the_state_equals_an_independent_computation(data, trained, held):
    obs, _, reward, valid = held
    train = data.split(0.1, 0)[0]
    errors = trained.measured["models"]["persistence"]
    for h in range(HORIZON):
        moved = (obs[valid[:, h], h + 1] - obs[valid[:, h], 0]) / train.obs.std(0)
        assert errors["rmse"][h] == pytest.approx(np.sqrt((moved**2).mean()), rel=1e-3)
        assert errors["crps"][h] == pytest.approx(abs(moved).mean(), rel=1e-3)  # one sample: the absolute error
        missed = reward[valid[:, h], h] - train.reward.mean()
        assert errors["reward_rmse"][h] == pytest.approx(np.sqrt((missed**2).mean()), rel=1e-3)
        assert errors["spread"][h] == 0.0


def test_first_step_errors_come_near_the_noise_of_the_task(data, trained):
    """The noise has a standard deviation of 0.1 in two of three dimensions; a sample's error holds it twice."""
    train, models = data.split(0.1, 0)[0], trained.measured["models"]
    floor = np.sqrt(((0.1 / train.obs.std(0)[:2]) ** 2).sum() / 3)
    assert models["one_step"]["rmse"][0] == pytest.approx(floor, rel=0.15)
    assert models["dawm"]["mean_rmse"][0] == pytest.approx(floor, rel=0.2)
    assert models["dawm"]["rmse"][0] == pytest.approx(np.sqrt(2) * floor, rel=0.2)
    assert models["ensemble"]["rmse"][0] == pytest.approx(np.sqrt(2) * floor, rel=0.25)
    assert models["dawm"]["crps"][0] < 0.8 * models["persistence"]["crps"][0]
    ratio = models["dawm"]["rmse"][0] / models["one_step"]["rmse"][0]
    assert trained.measured["first_step_ratio"] == pytest.approx(ratio)


def test_consistency_of_recorded_steps_is_the_error_of_the_one_step_network(trained):
    """At the first step of held-out windows both are the same network's error, in other units and over other rows."""
    consistency = trained.measured["consistency"]
    assert 0.1 < consistency["recorded"] < 1.0
    # generated steps carry the anchor's dynamics and the noise of the task: as far from the network as recorded ones
    assert consistency["generated"][0] == pytest.approx(consistency["recorded"], rel=0.25)
    assert consistency["generated"][-1] < 2 * consistency["recorded"]


def test_inverse_is_measured_on_held_out_actions(trained, held):
    obs, action, _, _ = held
    scales, inverse = trained.model.scales, trained.model.coordinates.inverse
    states, following = jnp.asarray(obs[:, 0], jnp.float32), jnp.asarray(obs[:, 1], jnp.float32)
    inferred = jax.vmap(inverse.infer)(scales.obs.apply(states), scales.change.apply(following - states))
    error = np.square(np.asarray(inferred) - (action[:, 0] - 1) / 2)
    measured, scaled = trained.measured["inverse"], (action[:, 0] - 1) / 2
    assert measured["rmse"] == pytest.approx(np.sqrt(error.mean()), rel=1e-3)
    assert measured["r2"] == pytest.approx(1 - error.mean() / scaled.var(), abs=1e-3)
    assert measured["r2"] > 0.7
    assert measured["nll"] is None  # a deterministic head has no likelihood


def test_ends_come_about_as_often_as_recorded(data, trained, held):
    test, valid = data.split(0.1, 0)[1], held[3]
    dies = np.zeros(len(test) + HORIZON, bool)
    dies[: len(test)] = test.terminal
    recorded = sum((dies[h : h + len(test)] & valid[:, h]).sum() for h in range(HORIZON)) / valid.sum()
    ends = trained.measured["ends"]
    assert ends["real_rate"] == pytest.approx(recorded, rel=1e-5)
    assert ends["generated_rate"] == pytest.approx(recorded, rel=0.35)
    assert ends["brier"] < 0.5 * recorded * (1 - recorded)  # far better than the rate alone


def test_windows_that_were_measured_lie_in_held_out_episodes(data, trained):
    train, test = data.split(0.1, 0)
    assert not set(train.source) & set(test.source)  # the label is the episode's number
    assert trained.data["training_rows"] == len(train)
    windows = make_windows(train, HORIZON, discount=DISCOUNT)
    assert set(rows_of(windows, np.arange(len(train))).source) == set(train.source)
    assert max(train.lengths) <= LENGTH


def test_rows_are_measured_once_each():
    windows = list(range(50))
    rows = holdout.choose_rows(windows, 20, seed=0)  # type: ignore[arg-type]
    assert len(set(rows.tolist())) == 20
    assert holdout.choose_rows(windows, 99, seed=0).tolist() == windows  # type: ignore[arg-type]


def test_metrics_carry_the_held_out_errors(trained):
    looks = [row for row in metrics(trained.folder) if "holdout/dawm/rmse_1" in row]
    assert [row["step"] for row in looks] == [200, 400, 600, 800, 1000]
    last, models = looks[-1], trained.measured["models"]
    assert last["holdout/one_step/rmse_1"] == pytest.approx(models["one_step"]["rmse"][0], rel=0.15)
    assert last["holdout/persistence/rmse_H"] == pytest.approx(models["persistence"]["rmse"][-1], rel=0.15)


def test_parameters_are_counted_by_part(trained):
    counts = trained.measured["parameters"]
    assert counts["anchor"] == (4 * 32 + 32) + (32 * 4 + 4) + 4 * 4  # one hidden layer and the linear skip
    assert counts["one_step"] == (4 * 32 + 32) + (32 * 4 + 4)
    assert counts["ensemble"] == 2 * ((4 * 32 + 32) + (32 * 8 + 8)) + 8
    assert counts["reward"] == (10 * 16 + 16) + (16 + 1) + 10  # of (s, a, s', s' - s), and the linear part
    assert counts["inverse"] == (6 * 32 + 32) + (32 * 32 + 32) + (32 + 1)


@pytest.mark.parametrize(("ratio", "word"), [(1.1, "as precise as"), (1.3, "close to"), (1.6, "LESS PRECISE than")])
def test_verdict_names_the_precision(trained, ratio, word):
    assert word in verdict(trained.measured | {"first_step_mean_ratio": ratio})
