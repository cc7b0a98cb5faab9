"""Value expansion against a linear system whose targets of every horizon have a closed form."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from toys import dataset, rows

from dawm.agents.config import PolicyConfig
from dawm.agents.expansion import LEAST, ExpansionConfig, Scaled, expanded, inverse_variance, scaled_world
from dawm.agents.fit import train_policy
from dawm.agents.policy import load_policy
from dawm.agents.registry import AGENTS
from dawm.agents.targets import Ahead, RiskConfig
from dawm.agents.td3bc import TD3BCConfig
from dawm.errors import ConfigError
from dawm.run.config import from_dict
from dawm.run.folder import RunFolder
from dawm.run.loop import LoopConfig
from dawm.types import Prediction

GAMMA, END = 0.9, 0.1
MEAN, SCALE, CENTRE, HALF, GAIN = 3.0, 2.0, 0.5, 1.5, 10.0
GAIN_OF_POLICY = -0.3  # raw action = GAIN_OF_POLICY * raw state


class Linear(eqx.Module):
    """s' = 0.9 s + 0.5 a + offset of the member, r = 2 s + a, the end with one probability; raw units."""

    offset: jax.Array  # (members,)
    end: float = END

    @property
    def count(self):
        return len(self.offset)

    def advance(self, obs, action, source, key):
        assert obs.shape[:2] == action.shape[:2] == source.shape == (self.count, source.shape[1])
        return Prediction(
            0.9 * obs + 0.5 * action + self.offset[:, None, None],
            2 * obs[..., 0] + action[..., 0],
            jnp.full(source.shape, self.end),
        )


def scaled(offset, end=END, far=1e3):
    box = jnp.array([[-far], [far]])
    one = lambda x: jnp.array([x], jnp.float32)
    return Scaled(Linear(jnp.asarray(offset, jnp.float32), end), one(MEAN), one(SCALE), one(CENTRE), one(HALF),
                  jnp.asarray(GAIN), box)  # fmt: skip


def act(obs, key):
    return (GAIN_OF_POLICY * (MEAN + SCALE * obs) - CENTRE) / HALF


def value(obs):  # of a standardised state, in scaled rewards
    return 1.7 * obs[..., 0] + 0.4


def each(obs):  # what two critics say
    return value(obs)[..., None] + np.array([-1.0, 1.0], np.float32) * (0.5 + 0.1 * abs(obs))


AHEAD = Ahead(act, each, jr.key(0))
RAW = np.array([[1.0], [-2.0], [4.0]]), np.array([0.5, -1.0, 2.0]), np.array([[0.7], [3.0], [-1.0]])
ENDED = np.array([False, False, True])


def batch(futures=None):
    obs, reward, following = RAW
    unit = lambda x: ((x - MEAN) / SCALE).astype(np.float32)
    made = rows(unit(obs), np.zeros(3), GAIN * reward, unit(following), ENDED)
    return jax.tree.map(jnp.asarray, made._replace(futures=futures))


def by_hand(reward, state, goes_on, offset, horizon, v=value):
    """y_1 ... y_H of one particle, from its first step (raw units) on, in plain Python."""
    found, total, factor = [], GAIN * reward, GAMMA * goes_on
    for _ in range(horizon):
        found.append(total + factor * np.asarray(v(np.array([(state - MEAN) / SCALE]))))
        action = GAIN_OF_POLICY * state
        total, factor = total + factor * GAIN * (2 * state + action), factor * GAMMA * (1 - END)
        state = 0.9 * state + 0.5 * action + offset
    return np.array(found)


def particles(offsets, horizon, v=value):
    """(rows, members, horizons, ...) by hand, of the recorded first steps."""
    _, reward, following = RAW
    first = zip(reward, following[:, 0], 1.0 - ENDED, strict=True)
    return np.array([[by_hand(r, s, g, o, horizon, v) for o in offsets] for r, s, g in first])


def targets(settings, world, measure=None, v=value, futures=None):
    """(outcomes, y) of each of some settings, in one program."""

    def both(rows, settings):
        target = expanded(settings, measure or RiskConfig(), world).under(AHEAD)
        outcomes = target.outcomes(v, rows, GAMMA)
        return outcomes, target.measure(outcomes)

    return jax.device_get(jax.jit(lambda rows: [both(rows, one) for one in settings])(batch(futures)))


def test_targets_of_every_horizon_by_hand():
    offsets, horizons = [0.0, 0.3, -0.6], (1, 2, 5)
    for weighting, over in (("last", lambda y: y[..., -1]), ("mean", lambda y: y.mean(-1))):
        asked = [(h, bound) for h in horizons for bound in ("mean", "lower")]
        found = targets([ExpansionConfig(h, weighting, b, 2.0, particles=2) for h, b in asked], scaled(offsets))
        for i, horizon in enumerate(horizons):
            expected = over(particles(offsets, horizon))
            (outcomes, y), (_, lower) = found[2 * i : 2 * i + 2]
            np.testing.assert_allclose(outcomes, np.tile(expected, (1, 2)), rtol=2e-5)  # particle i: member i mod 3
            np.testing.assert_allclose(y, expected.mean(1), rtol=2e-5)
            np.testing.assert_allclose(lower, expected.mean(1) - 2 * expected.std(1), rtol=1e-3)


def test_the_fixed_point_is_the_same_for_every_horizon_and_errors_shrink_by_the_discount_of_all_steps():
    """V(s) = c s in raw units, c = 2 + k + γ (1 − p) (0.9 + 0.5 k) c for a = k s: then y is Q(s, a), whatever H."""
    k = GAIN_OF_POLICY
    c = GAIN * (2 + k) / (1 - GAMMA * (1 - END) * (0.9 + 0.5 * k))
    true = lambda obs: c * (MEAN + SCALE * obs[..., 0])
    q = GAIN * RAW[1] + GAMMA * (1 - ENDED) * c * RAW[2][:, 0]
    settings = [ExpansionConfig(h, w) for h in (1, 2, 7) for w in ("last", "mean", "calibrated")]
    for _, y in targets(settings, scaled([0.0]), v=true):
        np.testing.assert_allclose(y, q, rtol=1e-4)
    wrong = targets(settings, scaled([0.0]), v=lambda obs: true(obs) + 100.0)
    for one, (_, y) in zip(settings, wrong, strict=True):
        if one.weighting == "last":
            left = 100 * GAMMA**one.horizon * (1 - END) ** (one.horizon - 1) * (1 - ENDED)
            np.testing.assert_allclose(y - q, left, atol=2e-2)


def test_calibrated_weights_are_inverse_variances_over_members_and_critics():
    offsets, horizon = [0.4, -0.2], 4
    spread = particles(offsets, horizon, each).reshape(3, 2, horizon, 2).transpose(0, 2, 1, 3).reshape(3, horizon, 4)
    variance = spread[:2].var(-1)
    weight = 1 / (variance / variance.mean(1, keepdims=True) + LEAST)
    weight /= weight.sum(1, keepdims=True)
    expected = (particles(offsets, horizon)[:2].mean(1) * weight).sum(1)
    [(_, found)] = targets([ExpansionConfig(horizon, "calibrated")], scaled(offsets))
    np.testing.assert_allclose(found[:2], expected, rtol=1e-4)
    np.testing.assert_allclose(found[2], GAIN * RAW[1][2], rtol=1e-5)  # ended: every horizon is the reward


def test_the_horizon_is_short_where_members_disagree_and_long_where_critics_do():
    settings = [ExpansionConfig(5, "calibrated"), *(ExpansionConfig(h) for h in range(1, 6))]
    y, *of = (y[0] for _, y in targets(settings, scaled([51.0, -50.0], end=0.0)))
    assert abs(y - of[0]) < 0.01 * abs(of[-1] - of[0])
    y, *of = (y[0] for _, y in targets(settings, scaled([0.0, 0.0], end=0.0)))
    assert abs(y - of[-1]) < abs(y - of[0])  # only the critics disagree, and less so the later they are asked


def test_weights_do_not_depend_on_units_and_are_even_where_nothing_is_in_doubt():
    y = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 6)))
    np.testing.assert_allclose(inverse_variance(1e-3 * y + 5.0), inverse_variance(y), rtol=2e-2)
    np.testing.assert_allclose(inverse_variance(jnp.ones((4, 3, 6))), 0.25)
    np.testing.assert_allclose(inverse_variance(y).sum(0), 1.0, rtol=1e-6)


def test_a_future_that_leaves_the_log_stops_there():
    """The box ends at 5 standard deviations; member 1 is out of it after its first step in the model."""
    [(found, _)] = targets([ExpansionConfig(4)], scaled([0.0, 1e4], far=5.0))
    expected = particles([0.0, 0.0], 4)
    np.testing.assert_allclose(found[:, 0], expected[:, 0, -1], rtol=2e-5)
    np.testing.assert_allclose(found[:, 1], expected[:, 1, 0], rtol=2e-5)


def test_futures_of_a_library_go_on_with_the_member_that_made_them():
    rng, offsets, count = np.random.default_rng(1), [0.2, -0.5], 4
    state, reward, end = rng.normal(size=(3, count)), rng.normal(size=(3, count)), rng.uniform(size=(3, count))
    futures = Prediction(jnp.asarray((state[..., None] - MEAN) / SCALE), jnp.asarray(GAIN * reward), jnp.asarray(end))
    [(found, y)] = targets([ExpansionConfig(3)], scaled(offsets), RiskConfig("worst", 1), futures=futures)
    one = lambda i, j: by_hand(reward[i, j], state[i, j], 1 - end[i, j], offsets[j % 2], 3)[-1]
    expected = np.array([[one(i, j) for j in range(count)] for i in range(3)])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(y, expected.min(1), rtol=1e-4)


def test_quantiles_are_carried_one_by_one():
    shift = np.array([0.0, 1.0, 5.0], np.float32)
    over = lambda obs: value(obs)[:, None] + shift
    target = expanded(ExpansionConfig(3), RiskConfig(), scaled([0.1, 0.0])).under(AHEAD)
    found = jax.jit(lambda rows: target.outcomes(over, rows, GAMMA))(batch())
    expected = particles([0.1, 0.0], 3)[..., -1]
    factor = GAMMA**3 * (1 - END) ** 2 * (1 - ENDED)
    np.testing.assert_allclose(found, expected[..., None] + factor[:, None, None] * shift, rtol=1e-4)


# -- in training ------------------------------------------------------------------------------------------------------


class Known:
    """The system as a trained world model."""

    def __init__(self, spec, offsets=(0.0, 0.0)):
        self.spec, self.record, self.offsets = spec, {"path": "../model", "fingerprint": "f" * 8}, offsets

    def dynamics(self, name="model", members=None):
        return Linear(jnp.asarray(self.offsets[:members], jnp.float32), 0.0)


def log(n=400, seed=0):
    """Steps of the system under a = -0.3 s and noise; no ends."""
    rng = np.random.default_rng(seed)
    state = rng.uniform(-2, 2, (n, 1))
    action = np.clip(GAIN_OF_POLICY * state + 0.05 * rng.normal(size=(n, 1)), -2, 2)
    return dataset(rows(state, action, 2 * state[:, 0] + action[:, 0], 0.9 * state + 0.5 * action, False), 2.0, 20)


SLOW = ("rebrac", "quantile")  # the others cover both kinds of learner


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind in SLOW)) for kind in AGENTS if kind != "bc"]
)
def test_every_learner_trains_resumes_to_the_same_bits_and_records_the_model(kind, tmp_path):
    data = log(100)
    loop = LoopConfig(steps=20, chunk=10, monitor_every=10, save_every=10)
    algo = AGENTS[kind][0](width=8)
    config = PolicyConfig(algo, 16, expansion=ExpansionConfig(3, "calibrated"), seeds=2, loop=loop)
    world = Known(data.spec, (0.0, 0.2))

    def stop(step, policy):
        if step == 20:
            raise KeyboardInterrupt
        return {}

    train_policy(data, config, model=world, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_policy(data, config, model=world, folder=tmp_path / "cut", monitor=stop)
    train_policy(data, config, model=world, folder=tmp_path / "cut")
    last = "checkpoints/00000020.ckpt"
    assert (tmp_path / "cut" / last).read_bytes() == (tmp_path / "whole" / last).read_bytes()
    assert RunFolder(tmp_path / "cut").read_config()["config"]["model"] == world.record
    plain = train_policy(data, PolicyConfig(algo, 16, seeds=2, loop=loop))
    obs = np.stack([data.obs[:5]] * 2)
    assert not np.array_equal(plain.act(obs), load_policy(tmp_path / "cut").act(obs))


@pytest.mark.slow
def test_values_are_learnt_in_fewer_updates():
    """With alpha 0 the policy clones a = -0.3 s, whose value is 1.7 s / (1 - 0.75 γ); the start value is 0."""
    data = log()
    algo = TD3BCConfig(width=32, alpha=0.0, learning_rate=3e-3, discount=0.95, policy_noise=0.0)
    error = {}
    for horizon in (0, 6):
        config = PolicyConfig(algo, 64, expansion=ExpansionConfig(horizon), loop=LoopConfig(150, 150, 150, 150))
        policy = train_policy(data, config, model=Known(data.spec) if horizon else None)[0]
        state = jnp.linspace(-2, 2, 21)[:, None]
        error[horizon] = float(jnp.abs(policy.worth(state) - 1.7 * state[:, 0] / (1 - 0.95 * 0.75)).mean())
    assert error[6] < 0.6 * error[0]


def test_contradictions_are_named():
    data = log(40)
    world, one = Known(data.spec), Known(data.spec, (0.0,))
    on = PolicyConfig(expansion=ExpansionConfig(2), loop=LoopConfig(steps=1, chunk=1))
    with pytest.raises(ConfigError, match="there is no world model: give one"):
        train_policy(data, on)
    with pytest.raises(ConfigError, match=r"`expansion.horizon` is 0, so it would not be asked"):
        train_policy(data, PolicyConfig(), model=world)
    with pytest.raises(ConfigError, match="belong to different tasks"):
        train_policy(data, on, model=Known(data.spec._replace(obs_dim=7)))
    zero, unit = np.zeros(1), np.ones(1)
    for settings in (ExpansionConfig(2, "calibrated"), ExpansionConfig(2, bound="lower")):
        with pytest.raises(ConfigError, match="has a single member"):
            scaled_world(one, settings, data, zero, unit, 1.0)
        assert scaled_world(one, settings, data, zero, unit, 1.0, futures=4) is not None
    assert scaled_world(world, ExpansionConfig(2, members=1), data, zero, unit, 1.0).count == 1
    for settings, words in (
        ({"algo": {"kind": "bc"}, "expansion": {"horizon": 2}}, "bc, which has no values"),
        ({"algo": {"kind": "quantile"}, "expansion": {"horizon": 2, "bound": "lower"}}, "quantile learns from all"),
        ({"risk": {"measure": "cvar"}, "expansion": {"horizon": 2, "bound": "lower"}}, "set one of them"),
        ({"expansion": {"horizon": -1}}, "horizon is a number of steps"),
        ({"expansion": {"members": 0}}, "members and particles must be at least 1"),
    ):
        with pytest.raises(ConfigError, match=words):
            from_dict(PolicyConfig, settings)
