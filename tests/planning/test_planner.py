"""Planning in systems whose best action is known: linear-quadratic control, and a gamble."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from dawm.agents.targets import RiskConfig
from dawm.data.normalise import Standard
from dawm.evaluate.rollouts import rollout
from dawm.planning.ascent import AscentConfig, climb
from dawm.planning.nudge import NudgeConfig
from dawm.planning.objective import particle_returns
from dawm.planning.planner import Planner, PlannerConfig
from dawm.planning.play import PlayConfig
from dawm.planning.search import SEARCHES, CEMConfig, MPPIConfig
from dawm.types import Prediction, Spec
from dawm.worldmodel.dynamics import Within
from dawm.worldmodel.onestep import Scales

A, B, COST = 0.9, 0.5, 0.3
SPEC = Spec(1, 1, (-2.0,), (2.0,))


class Linear:
    """s' = A s + B a, r = -s² - COST a², for ever."""

    count = 2

    def advance(self, obs, action, source, key):
        reward = -jnp.square(obs[..., 0]) - COST * jnp.square(action[..., 0])
        return Prediction(A * obs + B * action, reward, jnp.zeros(reward.shape))


class Gamble:
    """r = a plus noise of 3 max(a, 0); it ends at once."""

    count = 1

    def advance(self, obs, action, source, key):
        a = action[..., 0]
        noise = jr.normal(key, a.shape)
        return Prediction(obs, a + 3 * jnp.maximum(a, 0) * noise, jnp.ones(a.shape))


def riccati(horizon: int) -> float:
    """The gain of the first action of the optimal plan of this length: a = -gain s."""
    p = 0.0
    for _ in range(horizon):
        gain = B * p * A / (COST + B * B * p)
        p = 1 + COST * gain**2 + p * (A - B * gain) ** 2
    return gain


@pytest.mark.parametrize("search", [MPPIConfig(temperature=0.03), CEMConfig(elites=0.05)], ids=lambda c: c.kind)
def test_the_first_action_of_a_plan_is_that_of_the_riccati_equation(search):
    config = PlannerConfig(search=search, horizon=5, candidates=512, refinements=8, discount=1.0, spread=0.4)
    state = np.array([1.2, -0.7, 0.2])
    planner = Planner(Linear(), SPEC, config)
    for _ in range(3):  # at the same place, so that the plans before help
        action = planner(state[None, :, None])[0, :, 0]
    np.testing.assert_allclose(action, -riccati(5) * state, atol=0.12)
    assert set(SEARCHES) == {"mppi", "cem"}


def test_the_gradient_finds_what_few_samples_do_not():
    """One refinement of eight candidates is far from the optimum, and sixty steps up from there are at it."""
    few = PlannerConfig(horizon=6, candidates=8, refinements=1, discount=1.0)
    state = np.array([1.2, -0.7, 0.2])
    miss, found = (
        np.abs(Planner(Linear(), SPEC, config)(state[None, :, None])[0, :, 0] + riccati(6) * state).max()
        for config in (few, replace(few, ascent=AscentConfig(steps=60)))
    )
    assert miss > 0.1
    assert found < 0.02


def test_a_climb_never_loses_and_stays_within_reach():
    worth = lambda plans: -jnp.square(plans - jnp.array([0.9, -2.0])).sum((-2, -1))
    start = jnp.array([[[[0.0, 0.0]], [[0.9, -1.0]]]])  # one state, two plans, one step, two actions
    near, most = climb(worth, start, AscentConfig(steps=40, reach=0.3))
    np.testing.assert_allclose(near, [[[[0.3, -0.3]], [[0.9, -1.0]]]], atol=1e-3)
    np.testing.assert_array_equal(most, worth(near))
    wild, most = climb(worth, start, AscentConfig(steps=3, rate=1.9))
    assert (most >= worth(start)).all()
    np.testing.assert_array_equal(most, worth(wild))
    np.testing.assert_array_equal(wild[0, 1], start[0, 1])  # already at the best that is allowed


def test_a_climb_of_the_first_steps_leaves_the_others_as_they_were():
    """Also where the worth of a step depends on the others."""
    worth = lambda plans: -jnp.square(plans.sum(-2) - 2.0).sum(-1) - 0.1 * jnp.square(plans).sum((-2, -1))
    start = jnp.array([[[[0.1], [0.2], [0.3], [-0.4]]]])
    free, most = climb(worth, start, AscentConfig(steps=400, rate=0.03, horizon=2))
    np.testing.assert_array_equal(free[..., 2:, :], start[..., 2:, :])
    np.testing.assert_allclose(free[..., :2, :], 1.0, atol=2e-3)  # 4 (2.1 - 2 x) = 0.4 x, at the bound itself
    whole, better = climb(worth, start, AscentConfig(steps=400, rate=0.03))
    assert better > most
    np.testing.assert_allclose(whole, 2.0 / 4.1, atol=2e-3)


def test_a_plan_once_found_is_kept():
    """The search draws anew at every call; the ascent goes on from the plan before, where that is better."""

    class Peak(Linear):
        def advance(self, obs, action, source, key):
            off = jnp.abs(action[..., 0] - 0.6)
            return Prediction(obs, -jnp.log(off + 0.01), jnp.zeros(off.shape))

    ascent = AscentConfig(steps=30)
    planner = Planner(Peak(), SPEC, PlannerConfig(horizon=3, candidates=4, refinements=1, ascent=ascent))
    state = np.zeros((1, 1, 1))
    off = [abs(planner(state).item() - 0.6) for _ in range(12)]
    assert max(off[8:]) < 0.01


def test_a_plan_stays_where_the_log_was_if_leaving_has_a_price():
    unit = Standard(jnp.zeros(1), jnp.ones(1))
    bounds = {"least": jnp.array([-9.0, -0.4]), "most": jnp.array([9.0, 0.4])}  # of the next state, of the change
    scales = Scales(unit, unit, unit, jnp.zeros(1), jnp.ones(1), **bounds)
    config = PlannerConfig(horizon=3, candidates=64, refinements=4, ascent=AscentConfig(steps=60))
    state = np.array([[[1.2]]])
    change = lambda model: (A - 1) * 1.2 + B * Planner(model, SPEC, config)(state).item()
    assert change(Linear()) < -0.6
    assert change(Within(Linear(), scales, 100.0)) == pytest.approx(-0.4, abs=0.03)
    assert change(Within(Linear(), scales, 100.0, jnp.array([0.0, 0.1]))) == pytest.approx(-0.3, abs=0.03)


@pytest.mark.parametrize(("field", "value"), [("beyond", -1.0), ("margin", -1.0), ("member", -1)])
def test_what_makes_no_sense_is_refused(field, value):
    with pytest.raises(ValueError, match=field):
        PlayConfig(**{field: value})


def test_a_terminal_value_stands_for_what_comes_after():
    config = PlannerConfig(horizon=1, candidates=256, refinements=6, discount=1.0)
    state = np.array([[[1.0]]])
    without = Planner(Linear(), SPEC, config)(state)[0, 0, 0]
    beyond = Planner(Linear(), SPEC, config, value=lambda obs: -3.0 * jnp.square(obs[..., 0]))(state)[0, 0, 0]
    assert without == pytest.approx(0.0, abs=0.1)  # one step: moving only costs
    assert beyond == pytest.approx(-B * 3 * A / (COST + B * B * 3), abs=0.15)


@pytest.mark.parametrize(("measure", "wants"), [("mean", 1.0), ("cvar", 0.0)])
def test_a_careful_plan_declines_a_gamble_that_pays_on_average(measure, wants):
    config = PlannerConfig(
        horizon=1, candidates=64, refinements=5, particles=256, risk=RiskConfig(measure, 0.1), spread=0.5
    )
    action = Planner(Gamble(), Spec(1, 1, (-1.0,), (1.0,)), config)(np.zeros((1, 1, 1)))[0, 0, 0]
    assert action == pytest.approx(wants, abs=0.25)


def test_returns_of_plans_by_hand():
    plans = jnp.array([[[[1.0], [0.0]], [[0.0], [0.0]]]])
    found = particle_returns(Linear(), jnp.array([[1.0]]), plans, 3, 0.5, None, jr.key(0))
    assert found.shape == (1, 2, 6)
    np.testing.assert_allclose(found[0, 0], -1 - COST - 0.5 * (A + B) ** 2, rtol=1e-5)
    np.testing.assert_allclose(found[0, 1], -1 - 0.5 * A**2, rtol=1e-5)
    ended = particle_returns(Gamble(), jnp.array([[0.0]]), -plans, 1, 1.0, lambda obs: 100 + 0 * obs[..., 0], jr.key(0))
    np.testing.assert_allclose(ended[0, 0], -1.0, atol=1e-5)  # nothing after the end counts


def test_a_policy_is_where_the_search_starts():
    config = PlannerConfig(horizon=4, candidates=2, refinements=1, spread=1e-3)
    planner = Planner(Linear(), SPEC, config, policy=lambda obs: -0.5 * obs)
    np.testing.assert_allclose(planner(np.array([[[1.0]]]))[0, 0, 0], -0.5, atol=0.05)


def test_a_plan_deviates_from_the_policy_and_the_tail_is_the_policys_alone():
    """By hand: a = -0.5 s + plan for two steps, a = -0.5 s for one more, then the value."""
    policy = lambda obs: -0.5 * obs
    plans = jnp.array([[[[0.2], [-0.1]]]])
    act = lambda obs, plan: policy(obs) + plan
    value = lambda obs: 10.0 * obs[..., 0]
    found = particle_returns(Linear(), jnp.array([[1.0]]), plans, 1, 0.5, value, jr.key(0), act, tail=1)
    state, total = 1.0, 0.0
    for h, deviation in enumerate([0.2, -0.1, 0.0]):
        action = -0.5 * state + deviation
        total += 0.5**h * (-(state**2) - COST * action**2)
        state = A * state + B * action
    np.testing.assert_allclose(found[0, 0], total + 0.5**3 * 10 * state, rtol=1e-5)


def test_feedback_of_the_policy_holds_what_an_open_plan_loses():
    """In an unstable system small deviations cost little with the policy's feedback and very much without it."""

    class Unstable(Linear):
        def advance(self, obs, action, source, key):
            reward = -jnp.square(obs[..., 0]) - COST * jnp.square(action[..., 0])
            return Prediction(1.6 * obs + action, reward, jnp.zeros(reward.shape))

    policy, start = lambda obs: -1.4 * obs, jnp.array([[1.0]])
    noise = 0.05 * jr.normal(jr.key(1), (1, 16, 20, 1))
    usual = -1.4 * 0.2 ** jnp.arange(20)[:, None]  # what the policy does from the start, without its feedback
    worth = lambda plans, act: particle_returns(Unstable(), start, plans, 1, 1.0, None, jr.key(0), act).mean()
    policys = worth(0.0 * noise, lambda obs, plan: policy(obs) + plan)
    assert policys - worth(noise, lambda obs, plan: policy(obs) + plan) < 0.2
    assert policys - worth(usual + noise, lambda obs, plan: plan) > 1e4


@pytest.mark.parametrize("caution", [0.0, 0.5, 1e6])
def test_a_plan_that_does_not_promise_enough_leaves_the_policy_as_it_is(caution):
    """Around the best policy nothing is gained; around one that does nothing, much, unless no promise is enough."""
    config = PlannerConfig(horizon=6, candidates=64, refinements=4, discount=1.0, spread=0.2, caution=caution)
    state = np.array([[[1.0]]], np.float32)
    best, idle = (lambda obs: -riccati(6) * obs), (lambda obs: 0.0 * obs)
    after = lambda policy: abs(A + B * Planner(Linear(), SPEC, config, policy=policy)(state).item())
    if caution > 0:
        assert Planner(Linear(), SPEC, config, policy=best)(state).item() == pytest.approx(-riccati(6), abs=1e-6)
    assert (after(idle) < 0.9 * A) == (caution < 1)


class Fence:
    """How far beyond the log a step of `Linear` leads: 1 where it is above 1."""

    count = 2

    def advance(self, obs, action, source, key):
        following = A * obs + B * action
        return Prediction(following, -1.0 * (following[..., 0] > 1), jnp.zeros(obs.shape[:-1]))


@pytest.mark.parametrize("nudge", [NudgeConfig(), NudgeConfig(0.3, agreement=1.0)])
def test_plans_are_searched_for_where_the_policy_would_leave_the_log_and_nowhere_else(nudge):
    """It does nothing, so that from 2 it stays beyond 1 for six steps, and from 1 or below never is."""
    config = PlannerConfig(horizon=3, candidates=16, refinements=1, nudge=nudge, seek=2.0)
    policy, states = lambda obs: jnp.zeros_like(obs), np.array([[[2.0], [1.0], [-2.0], [0.3]]], np.float32)
    gated = Planner(Linear(), SPEC, config, policy=policy, leaving=Fence())(states)[0, :, 0]
    searched = Planner(Linear(), SPEC, replace(config, seek=0.0), policy=policy, leaving=Fence())(states)[0, :, 0]
    assert (searched != 0).all()
    np.testing.assert_array_equal(gated, [searched[0], 0.0, 0.0, 0.0])
    spared = Planner(Linear(), SPEC, config, policy=policy, leaving=Fence())(states[:, 1:])
    np.testing.assert_array_equal(spared, 0.0)  # nobody searches at all
    with pytest.raises(ValueError, match="give `leaving`, or set seek to 0"):
        Planner(Linear(), SPEC, config, policy=policy)


def test_a_policy_is_looked_after_as_far_as_the_tail_goes():
    """At 0.5 and growing by a tenth a step it is beyond 1 after eight steps."""
    policy, state = lambda obs: 0.4 * obs, np.array([[[0.5]]], np.float32)
    config = PlannerConfig(horizon=3, candidates=16, seek=0.5)
    act = lambda tail: Planner(Linear(), SPEC, replace(config, tail=tail), policy=policy, leaving=Fence())(state)
    acted = [act(tail) for tail in (3, 6)]
    assert acted[0].item() == pytest.approx(0.2)
    assert acted[1].item() != pytest.approx(0.2, abs=1e-3)


def test_plans_are_forgotten_between_episodes_and_repeat():
    planner = Planner(Linear(), SPEC, PlannerConfig(candidates=16))
    state = np.ones((1, 2, 1), np.float32)
    first, second = planner(state), planner(state)
    planner.begin()
    np.testing.assert_array_equal(planner(state), first)
    assert not np.array_equal(first, second)


def test_a_planner_plays_episodes_like_a_policy():
    spec = Spec(3, 1, (-2.0,), (2.0,))

    class Still:
        count = 1

        def advance(self, obs, action, source, key):
            return Prediction(obs, -jnp.square(action[..., 0]), jnp.zeros(source.shape))

    planner = Planner(Still(), spec, PlannerConfig(candidates=4, refinements=1, horizon=2))
    runs = [rollout(planner, "Pendulum-v1", episodes=2, seed=0, spec=spec, horizon=5) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].returns, runs[1].returns)
    assert jax.tree.leaves(runs[0].lengths.tolist()) == [5, 5]
