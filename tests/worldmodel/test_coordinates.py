"""Every row of COORDINATES writes a window down and reads it back; what is unknown never counts."""

from __future__ import annotations

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from linear_world import HORIZON, make_data, rows_of, tiny_config
from scipy.stats import kstest

from dawm.data.windows import make_windows
from dawm.types import Start
from dawm.worldmodel.coordinates import COORDINATES, infer_action
from dawm.worldmodel.fit import assemble
from dawm.worldmodel.networks import Networks, fit_scales
from dawm.worldmodel.trajectory import TrajectoryConfig

KINDS, OBS, ACT = tuple(COORDINATES), 3, 1


@functools.cache
def data():
    return make_data(20)


@functools.cache
def windows():
    return make_windows(data(), HORIZON, discount=0.9)


@functools.cache
def networks():
    """Untrained: errors are large, none may cancel."""
    return eqx.filter_jit(lambda key: Networks(tiny_config().networks, OBS, ACT, True, key=key))(jr.key(4))


@functools.cache
def coordinates(kind, normaliser="standard", marginals="plain"):
    model = TrajectoryConfig(horizon=HORIZON, coordinates=kind, normaliser=normaliser, marginals=marginals)
    config = tiny_config(model=model)
    scales = fit_scales(data(), data().spec)
    return assemble(config, data().spec, scales, networks(), data(), key=jr.key(1)).coordinates


@functools.cache
def notes(kind):
    return eqx.filter_jit(lambda frame, windows: frame.annotate(windows))(coordinates(kind), windows())


def encode(kind, row, normaliser="standard"):
    """(window, x, counted) of the window that starts at `row`."""
    segment = windows().segment(row)
    return segment, *coordinates(kind, normaliser).encode(segment, notes(kind)[windows().rows(row)])


def start_of(segment):
    return Start(segment.obs[0], segment.action[0], segment.return_to_go, segment.source)


def left(steps, dies):
    """A row with so many steps left, itself included, in an episode that ends (or was cut)."""
    ends = data().episode_ends[data().cut != dies]
    return int(ends[0] - steps)


FULL = left(HORIZON, False)  # a window of recorded steps only


@pytest.mark.parametrize("normaliser", ["standard", "limits", "cdf"])
def test_states_read_back_up_to_the_normaliser(normaliser):
    segment, x, _ = encode("states", FULL, normaliser)
    obs, _, reward = coordinates("states", normaliser).decode(x, start_of(segment))
    np.testing.assert_allclose(obs, segment.obs[:HORIZON], atol=2e-3 if normaliser == "cdf" else 1e-5)
    np.testing.assert_allclose(reward, segment.reward[: HORIZON - 1], atol=1e-5)


@pytest.mark.parametrize("row", [FULL, left(2, True)])
def test_differences_read_back_also_past_the_end(row):
    segment, x, _ = encode("differences", row)
    obs, _, reward = coordinates("differences").decode(x, start_of(segment))
    np.testing.assert_allclose(obs, segment.obs, atol=1e-5)
    np.testing.assert_allclose(reward, segment.reward, atol=1e-5)


@pytest.mark.parametrize("kind", ["states", "differences"])
def test_actions_are_inferred_from_the_pairs_but_for_the_recorded_first(kind):
    segment, x, _ = encode(kind, FULL)
    frame = coordinates(kind)
    obs, action, _ = frame.decode(x, start_of(segment))
    np.testing.assert_array_equal(action[0], segment.action[0])
    for h in range(1, len(action)):
        expected = infer_action(frame.inverse, frame.scales, segment.obs[h], segment.obs[h + 1])
        np.testing.assert_allclose(action[h], expected, atol=1e-4)
        change = (obs[h + 1] - obs[h] - frame.scales.change.mean) / frame.scales.change.scale
        z = frame.inverse.infer((obs[h] - frame.scales.obs.mean) / frame.scales.obs.scale, change)
        np.testing.assert_allclose(action[h], 1.0 + 2.0 * z, atol=1e-4)  # actions live in [-1, 3]


def test_residuals_read_back_exactly_when_fed_the_recorded_actions():
    segment, x, _ = encode("residual", FULL)
    frame = coordinates("residual")
    usual = jax.vmap(frame.behaviour)(frame.scales.obs.apply(segment.obs[:-1]))
    deviation = (frame.scales.action(segment.action) - usual) / frame.spread[:ACT]
    obs, action, reward = frame.decode(x.at[:, :ACT].set(deviation), start_of(segment))
    np.testing.assert_allclose(obs, segment.obs, atol=1e-4)
    np.testing.assert_allclose(action, segment.action, atol=1e-5)
    np.testing.assert_allclose(reward, segment.reward, atol=1e-4)
    drifted, _, _ = frame.decode(x, start_of(segment))  # the untrained inverse model's actions lead elsewhere
    np.testing.assert_allclose(drifted[1], segment.obs[1], atol=1e-4)  # but for the first, which is given
    assert not np.allclose(drifted, segment.obs, atol=1e-2)


@pytest.mark.parametrize("marginals", ["plain", "normal"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_rows_of_a_window_give_its_first_step(kind, marginals):
    frame, start = coordinates(kind, marginals=marginals), start_of(windows().segment(FULL))
    x = jr.normal(jr.key(5), (frame.rows, frame.channels))
    obs, action, reward = frame.decode(x, start)
    first_obs, first_action, first_reward = frame.decode(x[:2], start)
    np.testing.assert_allclose(first_obs[:2], obs[:2], rtol=1e-6)
    np.testing.assert_allclose(first_action[0], action[0], rtol=1e-6)
    np.testing.assert_allclose(first_reward[0], reward[0], rtol=1e-6)


def test_generated_actions_never_leave_their_range():
    frame, segment = coordinates("residual"), windows().segment(FULL)
    _, action, _ = frame.decode(jnp.full((HORIZON, frame.channels), 30.0), start_of(segment))
    np.testing.assert_allclose(action[1:], 3.0, rtol=1e-6)
    np.testing.assert_array_equal(action[0], segment.action[0])


def test_annotations_of_the_residual_equal_a_direct_computation():
    frame, d = coordinates("residual"), data()
    for row in (0, 57, len(d) - 1):
        change = (d.next_obs[row] - d.obs[row] - frame.scales.change.mean) / frame.scales.change.scale
        state = jnp.asarray((d.obs[row] - d.obs.mean(0)) / d.obs.std(0))
        predicted = frame.anchor(jnp.concatenate([state, (d.action[row] - 1) / 2]))
        reward = (d.reward[row] - d.reward.mean()) / d.reward.std()
        error = jnp.append(change, reward) - predicted
        deviation = frame.inverse.infer(state, change) - frame.behaviour(state)
        expected = jnp.concatenate([deviation, error]) / frame.spread
        np.testing.assert_allclose(notes("residual")[row], expected, atol=1e-3)


def test_residuals_are_whitened():
    np.testing.assert_allclose(jnp.square(notes("residual")[:, ACT:]).mean(0), 1.0, rtol=1e-3)


def test_normal_scores_of_the_residual_have_normal_marginals_and_are_read_back():
    frame, plain = coordinates("residual", marginals="normal"), np.asarray(notes("residual"))
    scores = np.asarray(eqx.filter_jit(lambda frame, windows: frame.annotate(windows))(frame, windows()))
    for column in scores.T:
        assert kstest(column, "norm").statistic < 0.02  # these are the values that they were fitted on
    back = np.asarray(frame.marginal.invert(scores))
    np.testing.assert_allclose(back, plain, atol=2e-4 * np.abs(plain).max())
    segment = windows().segment(FULL)
    x, counted = frame.encode(segment, jnp.asarray(scores)[windows().rows(FULL)])
    same, known = coordinates("residual").encode(segment, jnp.asarray(back)[windows().rows(FULL)])
    np.testing.assert_array_equal(counted, known)
    for ours, theirs in zip(
        frame.decode(x, start_of(segment)), coordinates("residual").decode(same, start_of(segment)), strict=True
    ):
        np.testing.assert_allclose(ours[:2], theirs[:2], atol=2e-3)  # later states depend on an untrained anchor


def test_an_end_whose_next_state_was_not_recorded_counts_as_a_cut():
    row, last = left(2, True), left(1, True)
    d = dataclasses.replace(data(), next_obs=data().next_obs.copy())
    d.next_obs[last] = d.obs[last]
    unrecorded = make_windows(d, HORIZON, discount=0.9).segment(row)
    for kind in KINDS:
        _, counted = coordinates(kind).encode(unrecorded, notes(kind)[windows().rows(row)])
        assert not counted[2:].any()  # one transition is known, two rows of states at most
        assert counted[0].any()


# Which entries count, by hand, for T = 4. Rows: steps of the window. Columns of `states` and `differences`: three of
# the state, one reward; of `residual`: one action, three of the state, one reward.
S, N = True, False
COUNTED = {
    ("states", "full"): [[N, S], [S, S], [S, S], [S, S]],  # (state, reward); the first state is given
    ("states", "ended"): [[N, S], [S, S], [S, S], [S, S]],  # it stays where it ended
    ("states", "cut"): [[N, S], [S, S], [S, N], [N, N]],  # s_0 .. s_2 and two rewards are known
    ("differences", "full"): [[S, S]] * 4,
    ("differences", "ended"): [[S, S]] * 4,
    ("differences", "cut"): [[S, S], [S, S], [N, N], [N, N]],
    ("residual", "full"): [[N, S], [S, S], [S, S], [S, S]],  # (action, rest); the first action is given
    ("residual", "ended"): [[N, S], [S, S], [S, S], [S, S]],
    ("residual", "cut"): [[N, S], [S, S], [N, N], [N, N]],
}


@pytest.mark.parametrize(("kind", "case"), COUNTED)
def test_entries_that_count(kind, case):
    row = {"full": FULL, "ended": left(2, True), "cut": left(2, False)}[case]
    _, x, counted = encode(kind, row)
    widths = (ACT, OBS + 1) if kind == "residual" else (OBS, 1)
    expected = np.repeat(np.array(COUNTED[kind, case]), widths, axis=1)
    np.testing.assert_array_equal(counted, expected)
    assert jnp.isfinite(x).all()


def test_padding_after_an_end_says_that_nothing_moves():
    segment, x, _ = encode("states", left(2, True))
    frame = coordinates("states")
    np.testing.assert_allclose(frame.obs.invert(x[2:, :-1]), np.tile(segment.obs[2], (2, 1)), atol=1e-5)
    np.testing.assert_allclose(frame.reward.invert(x[2:, -1:]), 0.0, atol=1e-6)
    _, x, _ = encode("residual", left(2, True))
    np.testing.assert_array_equal(x[2:], 0.0)


def test_what_the_start_settles():
    segment = windows().segment(FULL)
    mask, value = coordinates("states").known(start_of(segment))
    assert mask[0, :OBS].all()
    assert mask.sum() == OBS
    np.testing.assert_allclose(value[0, :OBS], (segment.obs[0] - data().obs.mean(0)) / data().obs.std(0), atol=1e-5)
    assert coordinates("differences").known(start_of(segment)) is None
    mask, value = coordinates("residual").known(start_of(segment))
    assert mask[0, :ACT].all()
    assert mask.sum() == ACT
    assert (value == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_known_entries_agree_with_what_training_shows(kind):
    """Training shows x0 under the mask and sampling shows `value`: the two must be the same number."""
    segment, x, counted = encode(kind, FULL)
    known = coordinates(kind).known(start_of(segment))
    if known is not None:
        np.testing.assert_allclose(x[known[0]], known[1][known[0]], atol=1e-6)
        assert not (counted & known[0]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_conditions_are_the_start_in_standard_units(kind):
    segment = windows().segment(FULL)
    conditions = coordinates(kind).conditions(start_of(segment))
    np.testing.assert_allclose(conditions[-1], (segment.action[0] - 1) / 2, atol=1e-6)
    if kind != "states":  # there the state is in the window itself
        np.testing.assert_allclose(conditions[0], (segment.obs[0] - data().obs.mean(0)) / data().obs.std(0), atol=1e-5)


def test_windows_stay_put_and_earn_nothing_after_an_end():
    segments = rows_of(windows(), np.arange(len(data())))
    over = ~segments.valid & segments.terminal.any(1, keepdims=True)
    assert over.any()
    assert (segments.reward[over] == 0).all()
    following, before = segments.obs[:, 1:], segments.obs[:, :-1]
    np.testing.assert_array_equal(following[over], before[over])


def test_every_row_has_its_kind_of_window():
    for kind in KINDS:
        frame = coordinates(kind)
        x = jax.eval_shape(lambda row, kind=kind: encode(kind, row)[1], 0)
        assert x.shape == (frame.rows, frame.channels)
