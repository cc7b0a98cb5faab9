"""Noise grids: monotone with the right end points, and equal to their published closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawm.diffusion.levels import LEVELS, cosine, cosine_training_levels, flow, karras, vp
from dawm.diffusion.process import ProcessConfig, make_process


@pytest.mark.parametrize("kind", LEVELS)
@settings(deadline=None, max_examples=30)
@given(steps=st.integers(1, 40), sigma_max=st.floats(5, 100))
def test_levels_fall_from_the_top_to_zero(kind, steps, sigma_max):
    process = make_process(ProcessConfig(levels=kind, steps=steps, sigma_max=sigma_max, train_levels=40))
    sigmas = process.sigmas
    assert len(sigmas) == steps + 1
    assert sigmas[-1] == 0
    assert (np.diff(sigmas) < 0).all()
    top = cosine_training_levels(40)[-1] if kind == "cosine" else sigma_max
    assert sigmas[0] == pytest.approx(top, rel=1e-5)


def test_karras_is_equation_5():
    sigmas = karras(18, sigma_min=0.002, sigma_max=80.0, rho=7.0)
    i = np.arange(18)
    expected = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(sigmas[:-1], expected, rtol=1e-5)
    assert sigmas[1] == pytest.approx(57.586, rel=1e-4)  # as in the released code of EDM


def test_cosine_has_the_alpha_bar_of_diffusion_world_model():
    """Hand-worked for K = 5 and K = 10: s = 0.008, each beta at most 0.999."""
    alpha_bar = 1 / (1 + cosine_training_levels(5).astype(float) ** 2)
    np.testing.assert_allclose(alpha_bar, [0.8987, 0.6475, 0.3408, 0.0940, 9.4e-5], rtol=2e-3)
    beta = 1 - alpha_bar / np.append(1, alpha_bar[:-1])
    np.testing.assert_allclose(beta, [0.1013, 0.2795, 0.4736, 0.7241, 0.999], rtol=1e-3)
    ten = 1 / (1 + cosine_training_levels(10).astype(float) ** 2)
    np.testing.assert_allclose(ten[:9], [0.972, 0.899, 0.787, 0.647, 0.494, 0.341, 0.203, 0.094, 0.024], atol=6e-4)


@pytest.mark.parametrize(("n", "k"), [(1, [5]), (2, [5, 1]), (3, [5, 3, 1]), (5, [5, 4, 3, 2, 1])])
def test_cosine_strides_evenly_and_starts_at_k(n, k):
    np.testing.assert_array_equal(cosine(n, train_levels=5)[:-1], cosine_training_levels(5)[np.array(k) - 1])


def test_cosine_refuses_more_steps_than_levels():
    with pytest.raises(ValueError, match=r"steps \(6\) cannot exceed train_levels \(5\)"):
        cosine(6, train_levels=5)


def test_vp_is_even_in_the_time_of_the_linear_beta_process():
    sigmas = vp(10, sigma_min=0.01, sigma_max=152.0).astype(float)[:-1]
    t = (np.sqrt(0.01 + 4 * 9.95 * np.log1p(sigmas**2)) - 0.1) / 19.9  # quadratic formula, by hand
    np.testing.assert_allclose(np.diff(t), np.diff(t)[0], rtol=1e-3)
    assert t[0] == pytest.approx(1.0, abs=1e-3)  # sqrt(exp(0.1 + 19.9 / 2) - 1) = 152.2


def test_flow_is_even_in_time():
    sigmas = flow(8, sigma_max=20.0).astype(float)
    np.testing.assert_allclose(sigmas / (1 + sigmas), 20 / 21 * np.arange(8, -1, -1) / 8, atol=1e-6)
