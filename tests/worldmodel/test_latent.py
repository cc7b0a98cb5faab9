"""The latent transition model against a world whose law is known: modes, scales, provenance, ends, calibration."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import known_systems as world
import numpy as np
import pytest

from benchmarks.provenance import ask
from dawm.types import Start
from dawm.uncertainty.calibration import calibration_error, coverage
from dawm.uncertainty.quantiles import level_of
from dawm.uncertainty.scores import fair_crps, split_spread
from dawm.worldmodel.autoencoder import active_dimensions
from dawm.worldmodel.latent import codec_context
from dawm.worldmodel.networks import fold_of
from dawm.worldmodel.trained import TrainedModel
from dawm.worldmodel.yardsticks import gaussian_members

N = 4000


@pytest.fixture(scope="module", params=["residual", pytest.param("autoencoder", marks=pytest.mark.slow)])
def trained(request):
    return world.trained(request.param)


def futures(trained, state, action, source, n=N, seed=0):
    """n futures of one (s, a), spread over the members: (n, 3), rewards and end probabilities."""
    m = trained.model.count
    each = -(-n // m)
    many = lambda leaf: jnp.broadcast_to(jnp.asarray(leaf, jnp.float32), (m, each, len(leaf)))
    run = eqx.filter_jit(lambda model, *args: model.advance(*args))
    out = run(trained.model, many(state), many([action]), jnp.full((m, each), source), jr.key(seed))
    return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(m * each, *leaf.shape[2:])[:n], out)


@pytest.mark.parametrize("action", [-0.5, 0.0, 0.7])
def test_both_modes_with_their_weights(trained, action):
    out = futures(trained, [0.1, 0.2, -0.3], action, 0).next_obs[:, 2] + 0.15
    assert (out > 0).mean() == pytest.approx(world.upper(action), abs=0.03)
    for sign in (1, -1):
        mode = out[out * sign > 0]
        assert mode.mean() == pytest.approx(0.8 * sign, abs=0.07)
        assert mode.std() < 0.2  # 0.1 exactly: the modes are apart


def test_scale_follows_the_state(trained):
    for x0 in (-0.8, 0.8):
        spread = futures(trained, [x0, 0.0, 0.0], 0.0, 0).next_obs[:, 1].std()
        assert spread == pytest.approx(world.scale(x0), rel=0.2, abs=0.03)


def test_asked_with_each_provenance_and_with_none(trained):
    mean = 0.8 * 0.2 + 0.5 * 0.3
    one, other, unknown = (futures(trained, [0.2, 0.0, 0.0], 0.3, s).next_obs[:, 0] - mean for s in (0, 1, -1))
    assert one.mean() == pytest.approx(world.SHIFT, abs=0.08)
    assert other.mean() == pytest.approx(-world.SHIFT, abs=0.08)
    assert one.std() == pytest.approx(0.2, abs=0.06)
    assert (unknown > 0).mean() == pytest.approx(0.59, abs=0.08)  # holds both, the first log more often at this state
    assert unknown.std() == pytest.approx(np.hypot(0.2, world.SHIFT), abs=0.08)
    strange = futures(trained, [0.2, 0.0, 0.0], 0.3, 17).next_obs[:, 0] - mean  # a label that the data do not have
    np.testing.assert_allclose(strange, unknown, atol=1e-5)


def test_the_table_of_provenances_says_so(trained):
    found = {(r["provenance"], r["asked"]): r for r in ask(trained, world.data(), rows=200, samples=40)}
    assert set(found) == {(a, b) for a, o in (("first", "second"), ("second", "first")) for b in ("own", o, "none")}
    for name, other in (("first", "second"), ("second", "first")):
        own, none, wrong = (found[name, asked] for asked in ("own", "none", other))
        assert own["crps"] < 0.95 * none["crps"] < 0.95 * wrong["crps"]
        assert own["spread"] < none["spread"]  # which holds both
        assert own["reward"] == pytest.approx(own["recorded_reward"], abs=0.1)


def test_the_end_is_as_likely_as_it_is(trained):
    for x0 in (-0.8, 0.8):
        rng = np.random.default_rng(0)
        exact = world.step(rng, np.tile([x0, 0.0, 0.0], (N, 1)), np.zeros(N), np.zeros(N))[2].mean()
        assert futures(trained, [x0, 0.0, 0.0], 0.0, 0).terminal_prob.mean() == pytest.approx(exact, abs=0.06)


def test_calibrated_where_a_gaussian_ensemble_must_fail(trained):
    fresh = world.make_data(150, seed=9)
    m, samples = trained.model.count, 40
    ensemble = gaussian_members(trained.networks.ensemble, trained.model.scales, 0.0)

    @eqx.filter_jit
    def forecast(model, key):
        each = samples // model.count
        rows = lambda leaf: jnp.broadcast_to(
            jnp.repeat(jnp.asarray(leaf), each, 0)[None], (model.count, each * len(leaf), *leaf.shape[1:])
        )
        out = model.advance(rows(fresh.obs), rows(fresh.action), rows(fresh.source), key)
        x = out.next_obs.reshape(model.count, len(fresh), each, 3)
        return jnp.moveaxis(x, 2, 1).reshape(-1, len(fresh), 3)

    assert samples % m == 0
    ours, theirs = np.asarray(forecast(trained.model, jr.key(0))), np.asarray(forecast(ensemble, jr.key(0)))
    crps = [np.asarray(fair_crps(jnp.asarray(x), jnp.asarray(fresh.next_obs))).mean(0) for x in (ours, theirs)]
    rng = np.random.default_rng(1)
    exact = np.stack([world.step(rng, fresh.obs, fresh.action[:, 0], fresh.source)[0] for _ in range(samples)])
    best = np.asarray(fair_crps(jnp.asarray(exact), jnp.asarray(fresh.next_obs))).mean(0)
    assert (crps[0] < 1.15 * best).all()
    assert crps[1][2] > 1.15 * crps[0][2]  # two modes
    levels = level_of(ours, fresh.next_obs)
    for level in (0.5, 0.8, 0.9):
        assert coverage(levels, level) == pytest.approx(level, abs=0.035)
    assert calibration_error(levels) < 0.025


def test_spread_splits_into_chance_and_what_the_data_left_undecided(trained):
    m, k, n = trained.model.count, 200, 30
    rng = np.random.default_rng(0)
    inside = rng.uniform(-1, 1, (n, 3)), rng.uniform(-1, 1, (n, 1))
    outside = inside[0] + 6.0, inside[1]
    run = eqx.filter_jit(lambda model, *args: model.advance(*args))

    def split(obs, action):
        many = lambda leaf: jnp.broadcast_to(jnp.asarray(leaf, jnp.float32)[None, None], (m, k, *leaf.shape))
        flat = lambda leaf: many(leaf).reshape(m, k * n, -1)
        out = run(trained.model, flat(obs), flat(action), jnp.zeros((m, k * n), int), jr.key(0)).next_obs
        return split_spread(out.reshape(m, k, n, 3))

    chance, undecided = (np.asarray(part) for part in split(*inside))
    np.testing.assert_allclose(chance[:, 0].mean(), 0.2, atol=0.05)
    np.testing.assert_allclose(chance[:, 1], world.scale(inside[0][:, 0]), atol=0.15)
    assert undecided[:, :2].mean() < 0.5 * chance[:, :2].mean()
    assert np.asarray(split(*outside)[1]).mean() > 2 * undecided.mean()  # nothing there was ever seen


def test_members_share_their_random_numbers():
    model, n = world.trained("residual").model, 50
    rng = np.random.default_rng(0)
    many = lambda leaf: jnp.broadcast_to(jnp.asarray(leaf, jnp.float32), (model.count, *leaf.shape))
    start = many(rng.uniform(-1, 1, (n, 3))), many(rng.uniform(-1, 1, (n, 1))), jnp.zeros((model.count, n), int)
    run = eqx.filter_jit(lambda key: model.advance(*start, key).next_obs[:, :, :2])
    first, second = run(jr.key(0)), run(jr.key(1))
    assert 1e-4 < jnp.abs(first[0] - first[1]).mean() < 0.5 * jnp.abs(first[0] - second[0]).mean()


def test_futures_depend_on_key_and_place_alone(trained):
    rows = world.data().select(np.arange(8))
    starts = Start(rows.obs, rows.action, np.zeros(len(rows), np.float32), rows.source)
    few = jax.tree.map(lambda leaf: leaf[:5], starts)
    whole, part = trained.generate(starts, jr.key(3)), trained.generate(few, jr.key(3))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[:5], b, atol=1e-6), whole, part)
    assert whole.action.shape == (len(rows), 1, 1)
    assert not np.array_equal(whole.reward, trained.generate(starts, jr.key(4)).reward)


@pytest.mark.slow
def test_latent_does_not_collapse():
    model, data = world.trained("autoencoder").model, world.data()
    rows = np.arange(0, len(data), 7)
    one = jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, (model.members, model.anchors))

    def mean(obs, action, reward, next_obs, source):
        member, anchor = one
        predicted = anchor(model.scales.inputs(obs, action))
        start = Start(obs, action, jnp.zeros(()), source)
        conditions = member.encode(model.scales, start, model._shown(predicted))
        y = model.scales.targets(obs, reward, next_obs) - predicted
        return member.codec.encode(y / model.spread, codec_context(conditions))[0]

    columns = (data.obs, data.action, data.reward, data.next_obs, data.source)
    assert active_dimensions(jax.vmap(mean)(*(jnp.asarray(c[rows]) for c in columns))) >= 3


def test_a_stored_model_is_the_same_model(trained):
    again = TrainedModel.load(trained.folder)
    assert again.fingerprint == trained.fingerprint
    assert again.spec.sources == 2
    same = jax.tree.map(np.array_equal, *(eqx.filter(t.networks, eqx.is_array) for t in (again, trained)))
    assert all(jax.tree.leaves(same))


def test_folds_are_whole_episodes_and_all_of_them():
    data = world.data()
    fold = fold_of(data, 5, 0)
    per_episode = [set(fold[a:b]) for a, b in zip(data.episode_starts, data.episode_ends, strict=True)]
    assert all(len(s) == 1 for s in per_episode)
    counts = np.bincount([s.pop() for s in per_episode], minlength=5)
    assert counts.min() >= data.episodes // 5
    assert set(fold_of(data.select([0, 1]), 4, 0)) == {0, 1, 2, 3}  # fewer episodes than folds: blocks of rows
