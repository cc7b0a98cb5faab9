"""Fidelity: the measures give what is known for equal, disjoint and copied laws; the words follow the numbers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from dawm.synth import fidelity
from dawm.synth.fidelity import measure_fidelity, two_sample_auc, verdict
from dawm.synth.generator import GenerateConfig, generate


def test_two_samples_of_one_law_cannot_be_told_apart(rng):
    a, b = rng.normal(size=(2, 1_500, 3))
    standard_error = np.sqrt((750 + 750 + 1) / (12 * 750 * 750))  # of the AUC under equal laws (Mann and Whitney)
    assert abs(two_sample_auc(a, b, seed=0, steps=100) - 0.5) < 4 * standard_error


def test_disjoint_samples_are_told_apart(rng):
    a, b = rng.normal(size=(2, 300, 3))
    assert two_sample_auc(a + 6.0, b, seed=0, steps=100) > 0.999


def test_laws_with_the_same_marginals_are_told_apart_by_their_correlation(rng):
    x = rng.normal(size=1_000)
    a, b = np.stack([x, x], 1), rng.normal(size=(1_000, 2))
    assert two_sample_auc(a, b, seed=0, steps=200) > 0.9


def test_sides_of_different_size_count_alike(rng):
    assert abs(two_sample_auc(rng.normal(size=(2_000, 2)), rng.normal(size=(200, 2)), 0, steps=100) - 0.5) < 0.13


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.9, 0.4, 0.5, 0.1], 3 / 4),  # pairs won: .9>.5, .9>.1, .4>.1; lost: .4<.5
        ([0.1, 0.2, 0.8, 0.9], 0.0),
        ([0.5, 0.5, 0.5, 0.5], 0.5),  # ties count half
        ([0.7, 0.5, 0.5, 0.1], 7 / 8),
    ],
)
def test_area_under_the_curve_worked_by_hand(monkeypatch, scores, expected):
    """The classifier's answer is given: two positives, then two negatives."""
    monkeypatch.setattr(fidelity, "_fit_classifier", lambda *args: jnp.array(scores))
    assert two_sample_auc(np.zeros((4, 1)), np.zeros((4, 1)), seed=0) == pytest.approx(expected)


@pytest.mark.parametrize("offset", [0.0, 1_000.0])  # positions on a track are far from the origin
def test_nearest_distance_equals_brute_force(rng, offset):
    x, reference = rng.normal(size=(70, 3)) + offset, rng.normal(size=(200, 3)) + offset
    x[0] = reference[17]
    brute = np.sqrt(np.square(x[:, None] - reference).mean(-1)).min(1)
    np.testing.assert_allclose(fidelity._nearest_distance(x, reference), brute, atol=5e-3)


def test_copies_are_nearer_than_held_out_states(rng):
    train, held = rng.normal(size=(500, 3)), rng.normal(size=(400, 3))
    near = lambda made: fidelity._nearest(made, held, train, np.ones(3), rng)["ratio"]
    assert near(train[:100]) < 0.05
    assert near(rng.normal(size=(400, 3))) == pytest.approx(1.0, abs=0.15)
    assert near(rng.normal(size=(400, 3)) + 20.0) > 10


def test_marginals_are_kolmogorov_smirnov_distances():
    made = {"reward": np.array([0.0, 1.0]), "action": np.array([[0.0], [1.0]]), "next_obs": np.zeros((2, 2))}
    real = {"reward": np.array([0.5, 2.0]), "action": np.array([[0.0], [1.0]]), "next_obs": np.ones((2, 2))}
    rows = {row["name"]: row for row in fidelity._marginals(made, real)}
    assert {name: row["ks"] for name, row in rows.items()} == {
        "reward": 0.5,
        "action 0": 0.0,
        "state 0": 1.0,
        "state 1": 1.0,
    }
    edges, density = rows["reward"]["real"]["edges"], rows["reward"]["real"]["density"]
    assert np.sum(density) * (edges[1] - edges[0]) == pytest.approx(0.5, abs=0.02)  # the largest value lies outside


def words(auc=0.5, floor=0.5, ratio=1.0, real=0.1, synthetic=0.1):
    return verdict(
        {
            "two_sample_auc": auc,
            "two_sample_floor": floor,
            "nearest_neighbour": {"ratio": ratio},
            "terminal_rate": {"real": real, "synthetic": synthetic},
        }
    )


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ({"auc": 0.54}, "cannot be told from"),
        ({"auc": 0.62, "floor": 0.6}, "cannot be told from"),  # no worse than training episodes do
        ({"auc": 0.6}, "with effort"),
        ({"auc": 0.8}, "transitions can be told from"),
        ({"ratio": 0.29}, "copies of the training states"),
        ({"ratio": 0.3}, "states closer to the training data"),
        ({"ratio": 0.7}, "new states, as far"),
        ({"ratio": 1.49}, "new states, as far"),
        ({"ratio": 1.5}, "states further from"),
        ({"real": 0.1, "synthetic": 0.15}, "Ends come 1.50 times as often"),
        ({"real": 0.0, "synthetic": 0.0}, "No recorded step ends, and no synthetic one"),
        ({"real": 0.0, "synthetic": 0.1}, "end where none should"),
    ],
)
def test_verdict_follows_the_numbers(numbers, text):
    assert text in words(**numbers)


@pytest.fixture(scope="module")
def measured(data, trained):
    train, held = data.split(0.1, 0)
    synthetic = generate(trained, data, GenerateConfig(transitions=1_500, shard=400))
    return synthetic, train, held, measure_fidelity(synthetic, train, held, trained)


def test_the_measurement_of_a_model_that_fits_reads_as_such(measured):
    synthetic, _, held, result = measured
    columns = lambda d: np.concatenate([d.obs[:, :2], d.action, d.reward[:, None], (d.next_obs - d.obs)[:, :2]], 1)
    assert two_sample_auc(columns(synthetic), columns(held), 0, steps=100) < 0.75  # all but the clock
    assert result["two_sample_auc"] < 0.6  # with the clock, whose change is constant in the data and in the model
    assert 0.5 < result["nearest_neighbour"]["ratio"] < 2.0
    assert all(row["ks"] < 0.2 for row in result["marginals"])
    assert result["terminal_rate"]["real"] == held.terminal.mean()
    assert result["terminal_rate"]["synthetic"] == pytest.approx(held.terminal.mean(), rel=0.6)
    assert result["reward"]["synthetic_mean"] == pytest.approx(synthetic.reward.mean())


def test_recorded_data_pass_and_copies_are_called_copies(measured, trained):
    _, train, held, _ = measured
    result = measure_fidelity(train, train, held, trained)
    assert result["nearest_neighbour"]["synthetic_to_train"] < 5e-3
    assert "copies of the training states" in result["verdict"]
    assert result["two_sample_auc"] == pytest.approx(result["two_sample_floor"], abs=0.1)


def test_inverse_consistency_is_the_error_after_the_first_step(measured, trained):
    synthetic, _, _, result = measured
    scales, inverse = trained.model.scales, trained.model.coordinates.inverse
    later = np.setdiff1d(np.arange(len(synthetic)), synthetic.episode_starts)[:200]
    errors = []
    for row in later:
        obs, following = jnp.asarray(synthetic.obs[row]), jnp.asarray(synthetic.next_obs[row])
        inferred = inverse.infer(scales.obs.apply(obs), scales.change.apply(following - obs))
        errors.append(np.square(np.asarray(inferred) - (synthetic.action[row] - 1) / 2).mean())
    assert result["inverse_consistency"] == pytest.approx(np.sqrt(np.mean(errors)), rel=0.25)  # 200 of the rows
