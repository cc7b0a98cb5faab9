"""The Gaussian ensemble as a world model: it is the yardstick's elites, in every use."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from linear_world import trained_ensemble

from dawm.synth.safeguards import SafeguardConfig, spread_of
from dawm.types import Start
from dawm.worldmodel.fit import windows_of
from dawm.worldmodel.trained import TrainedModel
from dawm.worldmodel.yardsticks import best_members, gaussian_members


@pytest.fixture(scope="module")
def model():
    return trained_ensemble()


def exact(model, obs, action, ddof=0):
    """(mean, variance) of (change, reward) over the elites, raw units: of the mixture of their Gaussians."""
    scales = model.model.scales
    unit = np.append(scales.change.scale, scales.reward.scale)
    mean, log_var = jax.vmap(model.model.ensemble)(jax.vmap(scales.inputs)(obs, action))
    mean, var = np.asarray(mean) * unit + np.append(scales.change.mean, scales.reward.mean), np.exp(log_var) * unit**2
    return mean.mean(1), var.mean(1) + mean.var(1, ddof=ddof)


def test_one_step_is_the_yardsticks_bit_for_bit(model, data):
    _, held = data.split(model.config.holdout, model.config.seed)
    windows = windows_of(held, model.config, 2)
    ensemble, scales = model.networks.ensemble, model.model.scales
    elites = best_members(ensemble, scales, windows, np.arange(len(held)), 2)
    np.testing.assert_array_equal(model.model.elites, elites)
    yardstick = gaussian_members(ensemble, scales, 0.0, elites)
    rows = [jnp.broadcast_to(getattr(held, name)[:50], (2, 50, *shape)) for name, shape in WANTED]
    ours, theirs = (m.advance(*rows, jr.key(0)) for m in (model.model, yardstick))  # not compiled: the same operations
    np.testing.assert_array_equal(ours.next_obs, theirs.next_obs)
    np.testing.assert_array_equal(ours.reward, theirs.reward)
    ends = jax.vmap(jax.vmap(model.model.end_probability))(rows[0], rows[1], ours.next_obs)
    np.testing.assert_allclose(
        ours.terminal_prob, ends, atol=1e-6
    )  # its own classifier, where the yardstick has a rate


WANTED = (("obs", (3,)), ("action", (1,)), ("source", ()))


def test_futures_are_those_of_the_mixture(model, data):
    n = 4_001
    start = Start(*(np.repeat(x[5:6], n, 0) for x in (data.obs, data.action, data.reward, data.source)))
    made = model.generate(start, jr.key(1))
    mean, var = exact(model, data.obs[5:6], data.action[5:6])
    outcome = np.concatenate([made.obs[:, 1] - made.obs[:, 0], made.reward], 1)
    spread = np.sqrt(var[0])
    assert (np.abs(outcome.mean(0) - mean[0]) < 5 * spread / np.sqrt(n)).all()
    np.testing.assert_allclose(outcome.std(0), spread, rtol=5 / np.sqrt(2 * n))
    np.testing.assert_array_equal(made.obs[:, 0], start.obs)
    few = model.generate(jax.tree.map(lambda leaf: leaf[:7], start), jr.key(1))
    np.testing.assert_allclose(few.obs, made.obs[:7], atol=1e-6)  # key and place alone decide


def test_the_penalty_sees_what_the_ensemble_predicts(model, data):
    """MOPO's penalty is the largest predicted standard deviation; ours is that of the mixture, over outcomes."""
    rows = {name: getattr(data, name)[:64] for name in ("obs", "action", "source")}
    _, var = exact(model, rows["obs"], rows["action"], ddof=1)
    scales = model.model.scales
    expected = np.sqrt((var / np.append(scales.change.scale, scales.reward.scale) ** 2).mean(1))
    found = spread_of(model.model, rows, SafeguardConfig(samples=200), jr.key(2))
    np.testing.assert_allclose(found, expected, rtol=0.15)
    assert found.mean() == pytest.approx(expected.mean(), rel=0.03)


def test_there_is_no_second_phase(model):
    assert not (model.folder / "checkpoints").exists()
    assert model.measured["parameters"]["diffusion"] == 0
    assert {"dawm", "ensemble", "one_step"} <= set(model.measured["models"])
    again = TrainedModel.load(model.folder)
    assert again.fingerprint == model.fingerprint
    assert again.model.count == 2
