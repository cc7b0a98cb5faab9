"""A short step along a smoothed slope, where the slope is known."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawm.planning.nudge import NudgeConfig, nudged
from dawm.planning.planner import Planner, PlannerConfig
from dawm.types import Prediction, Spec

SPEC = Spec(1, 1, (-2.0,), (2.0,))
SLOPE = jr.normal(jr.key(1), (5, 3, 2))  # of five plans of three steps and two actions


def linear(plans):
    return jnp.einsum("ncha,nha->nc", plans, SLOPE)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 3.0), st.sampled_from([2, 4, 8]), st.integers(0, 99))
def test_of_a_linear_worth_the_step_is_along_its_slope(radius, samples, seed):
    start = jr.normal(jr.key(seed), SLOPE.shape)
    plan, agreement, worths = nudged(linear, start, 0.3, NudgeConfig(radius, samples), jr.key(seed))
    size = jnp.sqrt(jnp.square(SLOPE).sum((1, 2), keepdims=True))
    np.testing.assert_allclose(plan - start, radius * SLOPE / size, atol=1e-5)
    np.testing.assert_allclose(agreement, 1.0, atol=1e-5)
    assert worths.shape == (5, samples)
    np.testing.assert_allclose(worths.mean(1), linear(start[:, None])[:, 0], atol=1e-4)  # mirror images


def test_every_sample_has_one_vote():
    """A cliff that few samples stand at does not outvote the others, however deep."""

    def worth(plans):
        return linear(plans) - 1e6 * jnp.maximum(plans[..., 0, 0] - 0.3, 0.0)

    config = NudgeConfig(0.3, 64)
    plan, agreement, _ = nudged(worth, jnp.zeros_like(SLOPE), 0.3, config, jr.key(0))
    step = plan / 0.3
    size = jnp.sqrt(jnp.square(SLOPE).sum((1, 2), keepdims=True))
    assert (agreement < 0.98).all()
    np.testing.assert_allclose(jnp.square(step).sum((1, 2)), 1.0, rtol=1e-5)
    away = (step * SLOPE / size).sum((1, 2))
    assert (away > 0.8).all()  # 16 % of the samples stand at it, and it alone would say: back along the first action


def test_no_slope_is_no_step():
    start = jr.normal(jr.key(0), SLOPE.shape)
    plan, agreement, _ = nudged(lambda plans: jnp.zeros(plans.shape[:2]), start, 0.3, NudgeConfig(0.3), jr.key(0))
    np.testing.assert_array_equal(plan, start)
    np.testing.assert_array_equal(agreement, 0.0)


class Integrator:
    """s' = s + a / 2, r = -s², for ever."""

    count = 1

    def advance(self, obs, action, source, key):
        return Prediction(obs + action / 2, -jnp.square(obs[..., 0]), jnp.zeros(obs.shape[:-1]))


def test_a_planner_nudges_its_policy_and_no_further():
    config = PlannerConfig(horizon=4, tail=2, spread=0.1, nudge=NudgeConfig(0.3))
    planner = Planner(Integrator(), SPEC, config, policy=lambda obs: -0.2 * obs)
    obs = np.array([[[1.5], [-1.0], [0.4]]], np.float32)
    away = planner(obs) + 0.2 * obs
    assert (np.sign(away) == -np.sign(obs)).all()  # the policy is too slow
    assert (np.abs(away) <= 0.3 * 2.0 + 1e-6).all()  # half the action range is 2
    assert (np.abs(away) > 0.1).all()
    still = Planner(Integrator(), SPEC, replace(config, caution=1e6), policy=lambda obs: -0.2 * obs)
    np.testing.assert_allclose(still(obs), -0.2 * obs, atol=1e-6)


def test_nudging_a_policy_raises_its_return():
    config = PlannerConfig(horizon=4, tail=2, spread=0.1, nudge=NudgeConfig(0.3))
    planner = Planner(Integrator(), SPEC, config, policy=lambda obs: -0.2 * obs)

    def played(act):
        obs, total = np.array([[[1.5], [-1.0], [0.4]]], np.float32), 0.0
        for _ in range(12):
            total -= np.square(obs).sum()
            obs = obs + np.asarray(act(obs)) / 2
        return total

    assert played(planner) > 0.8 * played(lambda obs: -0.2 * obs)  # returns are negative: a fifth is saved


@pytest.mark.parametrize("wrong", [{"radius": -1.0}, {"samples": 3}, {"samples": 0}, {"agreement": 1.5}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NudgeConfig(**wrong)


class Cliffs:
    """s' = s, r = a + 5 sin 60 a: the slope at one point says nothing of the next."""

    count = 1

    def advance(self, obs, action, source, key):
        a = action[..., 0]
        return Prediction(obs, a + 5 * jnp.sin(60 * a), jnp.zeros(a.shape))


def test_where_the_samples_disagree_plans_are_searched_for():
    policy, obs = lambda obs: jnp.zeros_like(obs), np.ones((1, 4, 1), np.float32)
    config = PlannerConfig(horizon=4, candidates=16, refinements=1)
    searched = Planner(Cliffs(), SPEC, config, policy=policy)(obs)
    both = replace(config, nudge=NudgeConfig(0.3, 4, agreement=0.95))
    np.testing.assert_array_equal(Planner(Cliffs(), SPEC, both, policy=policy)(obs), searched)
    narrow = replace(both, spread=0.01)
    pushed = Planner(Integrator(), SPEC, narrow, policy=policy)(obs)
    assert (pushed < -0.1).all()  # nudged: the search is 0.01 wide
