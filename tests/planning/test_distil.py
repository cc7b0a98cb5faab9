"""What a planner does as labels, and policies that imitate them, where both are known."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from dawm.agents.actors import DeterministicActor
from dawm.agents.policy import Standardise
from dawm.agents.student import Labels, begun, student_optimiser, student_update, students
from dawm.data.dataset import Dataset
from dawm.errors import FileError, NumericalError
from dawm.nets.ensemble import built
from dawm.planning.ascent import AscentConfig
from dawm.planning.distil import DistilConfig
from dawm.planning.labels import LabelConfig, label_shard
from dawm.planning.planner import Planner, PlannerConfig
from dawm.run.loop import LoopConfig, fit
from dawm.types import Prediction
from tests.planning.test_planner import COST, SPEC, A, B, riccati

FEW = LabelConfig(count=60, length=5, futures=6, begin=0.5)


class Linear:
    """s' = A s + B a, r = -s² - COST a²; it ends with probability `ends`, and `growth` replaces A."""

    count = 2

    def __init__(self, ends: float = 0.0, growth: float = A):
        self.ends, self.growth = ends, growth

    def advance(self, obs, action, source, key):
        reward = -jnp.square(obs[..., 0]) - COST * jnp.square(action[..., 0])
        return Prediction(self.growth * obs + B * action, reward, jnp.full(reward.shape, self.ends))


def log() -> Dataset:
    """Three episodes of four steps; those that begin one have a state above 1, all others below -1."""
    obs = -1 - np.arange(12, dtype=np.float32)[:, None] / 12
    obs[::4] = 1 + np.arange(3, dtype=np.float32)[:, None] / 3
    flag, bounds = np.zeros(12, np.float32), (np.asarray([-2.0]), np.asarray([2.0]))
    return Dataset(obs, 0 * obs, flag, obs, flag > 0, np.asarray([4, 8, 12]), flag.astype(int), *bounds)


@pytest.fixture
def planner() -> Planner:
    config = PlannerConfig(horizon=6, candidates=8, refinements=1, discount=1.0, ascent=AscentConfig(steps=60))
    return Planner(Linear(), SPEC, config)


def test_labels_are_what_the_planner_does_in_the_states_that_it_leads_to(planner):
    made = label_shard(planner, Linear(), log(), FEW, (0, 0, 1))
    np.testing.assert_allclose(made["action"], -riccati(6) * made["obs"], atol=0.03)
    assert len(made["obs"]) == 30  # six futures of five steps
    assert sorted(set(made["future"])) == [6, 7, 8, 9, 10, 11]  # the second shard goes on counting
    for future in range(6, 12):
        obs, action = (made[name][made["future"] == future][:, 0] for name in ("obs", "action"))
        np.testing.assert_allclose(obs[1:], A * obs[:-1] + B * action[:-1], atol=1e-5)


def test_half_of_the_futures_begin_where_an_episode_did(planner):
    many = replace(FEW, futures=400, length=1)
    first = label_shard(planner, Linear(), log(), many, (0, 0, 0))["obs"][:, 0]
    begun = np.concatenate([[True] * 200, first[200:] > 0])
    assert (first[begun] >= 1).all()
    assert 20 < begun[200:].sum() < 90  # a quarter of what is drawn anywhere
    assert set(np.round(3 * (first[:200] - 1)).astype(int)) == {0, 1, 2}


def test_what_ended_is_not_labelled(planner):
    assert len(label_shard(planner, Linear(ends=1.0), log(), FEW, (0, 0, 0))["obs"]) == 6
    some = label_shard(planner, Linear(ends=0.5), log(), replace(FEW, futures=300, length=2), (0, 0, 0))
    assert 400 < len(some["obs"]) < 500


def test_futures_that_leave_the_finite_numbers_stop_it(planner):
    with pytest.raises(NumericalError, match=r"leave the finite numbers at step \d+ of 5. Lower the length"):
        label_shard(planner, Linear(growth=1e15), log(), FEW, (0, 0, 0))


def test_a_shard_is_kept_and_a_damaged_one_is_named(planner, tmp_path):
    path = tmp_path / "labels" / "00000.npz"
    made = label_shard(planner, Linear(), log(), FEW, (3, 0, 0), path)
    kept = label_shard(planner, Linear(), log(), FEW, (3, 0, 0), path)
    again = label_shard(planner, Linear(), log(), FEW, (3, 0, 0))
    for name, column in made.items():
        np.testing.assert_array_equal(column, kept[name])
        np.testing.assert_array_equal(column, again[name])
    for other in ((4, 0, 0), (3, 1, 0), (3, 0, 1)):
        assert not np.array_equal(label_shard(planner, Linear(), log(), FEW, other)["obs"], made["obs"])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FileError, match=r"are damaged .* Delete the file and resume"):
        label_shard(planner, Linear(), log(), FEW, (3, 0, 0), path)


def test_every_seed_learns_its_own_labels():
    obs = np.linspace(-1, 1, 100, dtype=np.float32)[:, None]
    labels = Labels(jnp.asarray(np.concatenate([obs, obs])), jnp.asarray(np.concatenate([0.5 * obs, -0.5 * obs])))
    rows = jnp.asarray([[0, 100], [100, 100]], jnp.int32)
    actor = built(lambda key: DeterministicActor(1, 1, width=16, depth=1, key=key), jr.split(jr.key(0), 2))
    optimiser = student_optimiser(3e-3, 600)
    state = begun(actor, None, Standardise(jnp.zeros(1), jnp.ones(1)), rows, optimiser)
    loop = LoopConfig(steps=600, chunk=200)
    after = fit(student_update(64, optimiser), state, labels, loop, seed=0, members=students(2))
    for i, slope in enumerate((0.5, -0.5)):
        own = jax.tree.map(lambda leaf, i=i: leaf[i] if hasattr(leaf, "ndim") else leaf, after.actor)
        np.testing.assert_allclose(jax.vmap(own)(obs), slope * obs, atol=0.05)


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (LabelConfig(), "count", 0),
        (LabelConfig(), "length", 0),
        (LabelConfig(), "futures", 1),
        (LabelConfig(), "begin", 1.5),
        (DistilConfig(), "learning_rate", 0.0),
        (DistilConfig(), "batch_size", 0),
    ],
)
def test_impossible_settings_of_labels_are_refused(config, field, value):
    with pytest.raises(ValueError, match=field):
        replace(config, **{field: value})
