"""The transition model against a log whose joint law is known, and what it refuses."""

from __future__ import annotations

import jax
import jax.random as jr
import numpy as np
import pytest
from linear_world import minimise, tiny_config, tiny_networks

from dawm.data.dataset import Dataset, DatasetInfo
from dawm.errors import ConfigError
from dawm.evaluate.calibrate import calibrate_model
from dawm.nets.mlp import MLPBodyConfig
from dawm.presets import RunConfig
from dawm.synth.futures import build_library
from dawm.synth.generator import GenerateConfig, generate
from dawm.synth.safeguards import SafeguardConfig
from dawm.types import Start
from dawm.worldmodel.dynamics import dynamics_of
from dawm.worldmodel.fit import annotated, assemble, training_rows
from dawm.worldmodel.networks import Networks, fit_scales
from dawm.worldmodel.trained import TrainedModel
from dawm.worldmodel.transition import TransitionConfig, TransitionModel

UPPER, LENGTH = 0.3, 10  # weight of the upper mode of s; steps of an episode


def law(n: int, seed: int) -> dict[str, np.ndarray]:
    """s bimodal at +-1; a = 0.5 s + 0.3 n; s' = 0.8 s + 0.5 a + 0.1 n; r = s - a; an end where s' > 0.9."""
    rng = np.random.default_rng(seed)
    s = np.where(rng.random(n) < UPPER, 1.0, -1.0) + 0.2 * rng.normal(size=n)
    a = np.clip(0.5 * s + 0.3 * rng.normal(size=n), -2, 2)
    following = 0.8 * s + 0.5 * a + 0.1 * rng.normal(size=n)
    return {"s": s, "a": a, "r": s - a, "s'": following, "end": following > 0.9}


def log(n: int = 6_000) -> Dataset:
    """Every row an episode of its own where it ends; the others in order, cut."""
    rows = {name: column.astype(np.float32) for name, column in law(n, 0).items()}
    last = (rows["end"] > 0) | (np.arange(n) % LENGTH == LENGTH - 1)
    return Dataset(
        obs=rows["s"][:, None],
        action=rows["a"][:, None],
        reward=rows["r"],
        next_obs=rows["s'"][:, None],
        terminal=rows["end"] > 0,
        episode_ends=np.flatnonzero(last) + 1,
        source=(np.arange(n) % 3).astype(np.int32),
        act_low=np.full(1, -2.0, np.float32),
        act_high=np.full(1, 2.0, np.float32),
        info=DatasetInfo(name="bimodal", origin="bimodal"),
    )


@pytest.fixture(scope="module")
def data():
    return log()


@pytest.fixture(scope="module")
def trained(data):
    """Its second phase alone: it is built on nothing that the first phase trains."""
    body = MLPBodyConfig(width=64, depth=2, embed=32)
    config = tiny_config(model=TransitionConfig(body=body), networks=tiny_networks())
    scales = fit_scales(data, data.spec)
    networks = Networks(config.networks, 1, 1, True, key=jr.key(0))
    model = assemble(config, data.spec, scales, networks, data, key=jr.key(1))
    assert isinstance(model, TransitionModel)
    windows, fold = training_rows(data, config)
    notes = annotated(model, windows, fold)
    loss = lambda body, key: model.with_trained(body).batch_loss(windows, notes, key, 512)[0]
    model = model.with_trained(minimise(loss, model.trained, 1_500, 4e-3))
    facts = {"name": data.info.name, "origin": data.info.origin, "fingerprint": data.fingerprint}
    return TrainedModel(model, config, data.spec, facts, {}, fresh=networks)


def test_a_transition_survives_its_coordinates(trained, data):
    model = trained.model
    columns = (data.obs, data.action, data.reward, data.next_obs, data.terminal)
    again = jax.vmap(model.decode)(jax.vmap(model.encode)(*columns))
    for a, b in zip(again, columns, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_joint_law_is_recovered(trained, data):
    n = 6_000
    far = np.full((n, 1), 9.0, np.float32)
    start = Start(far, far, far[:, 0], (np.arange(n) % 3).astype(np.int32))
    made = trained.generate(start, jr.key(2))
    s, a, r, following = made.obs[:, 0, 0], made.action[:, 0, 0], made.reward[:, 0], made.obs[:, 1, 0]
    fresh = law(100_000, 1)
    ours, exact = np.stack([s, a, r, following]), np.stack([fresh[k] for k in ("s", "a", "r", "s'")])
    np.testing.assert_allclose(ours.mean(1), exact.mean(1), atol=0.08)
    np.testing.assert_allclose(ours.std(1), exact.std(1), rtol=0.06)
    np.testing.assert_allclose(np.corrcoef(ours), np.corrcoef(exact), atol=0.04)
    assert (s > 0).mean() == pytest.approx(UPPER, abs=0.04)
    assert (np.abs(s) < 0.3).mean() < 0.02  # 0.0002 exactly: the modes are apart
    assert np.std(following - 0.8 * s - 0.5 * a) == pytest.approx(0.1, rel=0.35)
    assert np.abs(r - s + a).mean() < 0.08  # 0 exactly
    ended = made.terminal[:, 0]
    assert ended.mean() == pytest.approx(fresh["end"].mean(), rel=0.15)
    assert (ended == (following > 0.9)).mean() > 0.93
    np.testing.assert_array_equal(made.source, start.source)


def test_generated_rows_are_a_dataset_of_single_steps(trained, data):
    made = generate(trained, data, GenerateConfig(transitions=300, shard=128))
    assert (made.lengths == 1).all()
    assert np.abs(made.action).max() <= 2


def test_nothing_that_needs_dynamics_is_begun(trained, data, tmp_path):
    refused = "`transition` draws whole transitions and does not say what a given action leads to, which {} needs"
    with pytest.raises(ConfigError, match=refused.format("calibration")):
        calibrate_model(trained, data, folder=tmp_path)
    with pytest.raises(ConfigError, match=refused.format("a library of futures")):
        build_library(trained, data, folder=tmp_path / "futures")
    with pytest.raises(ConfigError, match=refused.format("looking ahead in it")):
        dynamics_of(trained, "model")
    with pytest.raises(ConfigError, match=refused.format("a policy that acts in it")):
        generate(trained, data, GenerateConfig(actions="policy"), folder=tmp_path / "made")
    for guards in ({"penalty": 1.0}, {"stop": 0.9}, {"constraint": "next_obs[0] > 1"}):
        with pytest.raises(ConfigError, match="a penalty, a stop or a constraint needs"):
            generate(trained, data, GenerateConfig(safeguards=SafeguardConfig(**guards)), folder=tmp_path / "made")
    with pytest.raises(ConfigError, match="draws transitions that start anywhere"):
        generate(trained, data, GenerateConfig(starts="high_return"), folder=tmp_path / "made")
    with pytest.raises(ConfigError, match="a library of futures needs"):
        RunConfig(world_model=trained.config, futures=4)
    assert list(tmp_path.iterdir()) == []
