"""What a trained model gives to those who ask for single steps."""

from __future__ import annotations

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import linear_world
import numpy as np
import pytest

from dawm.agents.config import PolicyConfig
from dawm.agents.iql import IQLConfig
from dawm.agents.policy import initial_state, policy_of
from dawm.planning.ascent import AscentConfig
from dawm.planning.planner import PlannerConfig
from dawm.planning.play import PlayConfig, make_planner, roams, spares, why_spared
from dawm.worldmodel.dynamics import within
from dawm.worldmodel.holdout import unknown_share


@pytest.mark.parametrize("name", ["model", "ensemble", "anchor"])
def test_every_choice_follows_the_linear_world(trained, data, name):
    dynamics = trained.dynamics(name)
    rows, count = slice(0, 200), (dynamics.count, 200)
    wide = lambda leaf: jnp.broadcast_to(jnp.asarray(leaf[rows], jnp.float32), (dynamics.count, *leaf[rows].shape))
    ask = jax.jit(lambda key: dynamics.advance(wide(data.obs), wide(data.action), jnp.full(count, -1), key))
    out = jax.vmap(ask)(jr.split(jr.key(0), 32))
    law = jnp.asarray(linear_world.mean_step(data.obs[rows], data.action[rows]))
    error = np.sqrt(np.square(out.next_obs.mean((0, 1)) - law).mean())  # of one row it hangs on the processor
    assert error < 0.07  # of no change at all 0.19
    assert ((out.terminal_prob >= 0) & (out.terminal_prob <= 1)).all()


def test_the_anchor_knows_no_chance(trained, data):
    dynamics = trained.dynamics("anchor")
    ask = lambda key: dynamics.advance(
        jnp.asarray(data.obs[None, :50], jnp.float32),
        jnp.asarray(data.action[None, :50], jnp.float32),
        jnp.full((1, 50), -1),
        key,
    )
    one, other = ask(jr.key(0)), ask(jr.key(1))
    assert dynamics.count == 1
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), one, other)))


@pytest.fixture(scope="module")
def straight(trained):
    """The model with an anchor whose states are linear; what `readout` decides of these few rows is up to chance."""
    last = lambda networks: networks.anchor.body.layers[-1].weight
    return replace(trained, fresh=eqx.tree_at(last, trained.networks, last(trained.networks).at[:, :-1].set(0.0)))


@pytest.fixture(scope="module")
def curved(straight):
    """The same, but one state is not linear."""
    last = lambda networks: networks.anchor.body.layers[-1].weight
    return replace(straight, fresh=eqx.tree_at(last, straight.networks, last(straight.networks).at[0, 0].set(0.1)))


def test_a_plan_is_climbed_where_the_log_said_that_the_dynamics_are_linear(straight, curved):
    trained, config = straight, PlayConfig(PlannerConfig(ascent=AscentConfig(steps=3)), dynamics="anchor")
    steps = lambda config, model=trained: make_planner(model, config).config.ascent.steps
    assert trained.networks.anchor.extrapolates
    assert steps(config) == 3
    assert steps(replace(config, dynamics="model")) == 0
    assert steps(replace(config, dynamics="model", climb="always")) == 3
    last = lambda networks: networks.anchor.body.layers[-1].weight
    assert not curved.networks.anchor.extrapolates
    assert steps(config, curved) == 0
    reward_only = eqx.tree_at(last, trained.networks, last(trained.networks).at[0, -1].set(0.1))
    assert steps(config, replace(trained, fresh=reward_only)) == 3


def test_how_far_the_log_is_left_is_told_without_its_price(straight):
    for price in (100.0, 0.0):
        planner = make_planner(straight, PlayConfig(PlannerConfig(seek=0.1), dynamics="anchor", beyond=price))
        assert planner.leaving.alone
        assert planner.config.seek == 0  # there is no policy that could be left alone


def test_policies_of_good_logs_are_left_alone_unless_the_dynamics_are_linear(straight, curved):
    config, of = PlayConfig(unknown=2.0), lambda model, **facts: replace(model, data=facts)
    assert [spares(of(curved, share=share), config) for share in (0.1, 0.25, 0.5, 1.0)] == [False, False, True, True]
    assert not spares(of(straight, share=1.0), config)
    assert not spares(of(curved), config)  # a model that does not know
    assert not spares(of(curved, share=1.0), replace(config, spare=2.0))
    with pytest.raises(ValueError, match="spare is a share of the log"):
        PlayConfig(spare=0.0)


def test_policies_are_left_alone_where_the_dynamics_are_hardly_known(straight, curved):
    """The error of the one-step network on held-out episodes over that of a forecast that nothing changes."""
    config = PlayConfig()

    def of(model, error, still=0.4):
        models = {"one_step": {"mean_rmse": [error, 9.0]}, "persistence": {"mean_rmse": [still, 9.0]}}
        return replace(model, data={"share": 0.1}, measured={"models": models})

    assert unknown_share(of(curved, 0.3).measured) == pytest.approx(0.75)
    assert [spares(of(curved, error), config) for error in (0.04, 0.08, 0.11, 0.4)] == [False, False, True, True]
    assert "78% of the error of no change" in why_spared(of(curved, 0.312), config)
    assert not spares(of(straight, 0.4), config)  # linear: the log itself says that they are known
    assert not spares(of(curved, 0.4), replace(config, unknown=2.0))
    assert unknown_share(of(curved, 0.4, still=0.0).measured) == unknown_share({}) == 0  # not measured
    with pytest.raises(ValueError, match="unknown is a share of what changes"):
        PlayConfig(unknown=0.0)


def test_where_few_episodes_stand_out_plans_are_searched_for_everywhere(straight, curved):
    config, settings, spec = PlayConfig(unknown=2.0), PolicyConfig(algo=IQLConfig(width=8), seeds=1), straight.spec
    nothing = np.zeros(spec.obs_dim, np.float32)
    policy = policy_of(initial_state(settings, spec, nothing, nothing + 1), spec, settings, 0, "")

    def sought(config=config, **facts):
        return make_planner(replace(curved, data=facts), config, policy).config.seek

    assert [sought(share=share) for share in (0.1, 0.25)] == [0.0, 0.1]
    assert sought() == 0.1  # a model that does not know
    assert not roams(replace(straight, data={"share": 0.1}), config)  # linear: searched everywhere as it is
    assert sought(replace(config, roam=0.0), share=0.1) == 0.1
    with pytest.raises(ValueError, match="roam is a share of the log"):
        PlayConfig(roam=-0.1)


def test_the_edge_of_the_log_begins_where_the_errors_of_the_anchor_reach_it(trained, data):
    """Within units of its own: the error of a change, and the same error of the state that it leads to."""
    scales, network = trained.model.scales, trained.networks.anchor
    train, _ = data.split(trained.config.holdout, trained.config.seed)
    x = jax.vmap(scales.inputs)(jnp.asarray(train.obs, jnp.float32), jnp.asarray(train.action, jnp.float32))
    change = scales.change.apply(jnp.asarray(train.next_obs - train.obs, jnp.float32))
    error = np.sqrt(np.square(np.asarray(jax.vmap(network)(x)[:, :-1] - change)).mean(0))
    np.testing.assert_allclose(trained.networks.error[:-1], error, rtol=1e-3)
    room = np.asarray(within(trained, trained.dynamics("anchor"), 1.0, margin=2.0).room)
    raw = error * np.asarray(scales.change.scale)
    np.testing.assert_allclose(room, 2 * np.concatenate([raw / np.asarray(scales.obs.scale), error]), rtol=1e-3)


def test_a_linear_anchor_is_asked_without_its_hidden_layers(straight, data):
    trained, network = straight, straight.networks.anchor
    x = jax.vmap(trained.model.scales.inputs)(
        jnp.asarray(data.obs[:50], jnp.float32), jnp.asarray(data.action[:50], jnp.float32)
    )
    assert network.extrapolates
    np.testing.assert_allclose(
        jax.vmap(network.linear())(x)[:, :-1], jax.vmap(network)(x)[:, :-1], rtol=1e-5, atol=1e-6
    )
