"""Sampler steps against closed forms: order of convergence, moments, the DDPM posterior, Algorithm 2 of EDM."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gaussian_data import MEAN, STD, denoise, exact_flow, perfect_body
from hypothesis import given, settings
from hypothesis import strategies as st

from dawm.diffusion.levels import cosine_training_levels
from dawm.diffusion.parameterisation import PARAMETERISATIONS
from dawm.diffusion.process import ProcessConfig, make_process
from dawm.diffusion.sampler import integrate
from dawm.diffusion.steps import STEPS, Past, ancestral_step, churned_heun_step, euler_step, heun_step

SETTINGS = {"churned_heun": {"churn": 0.1}}
GRID = {"edm": "karras", "epsilon": "vp", "x0": "cosine", "v": "vp", "flow": "flow"}


def step_of(kind, **changes):
    return make_process(ProcessConfig(step=kind, **{**SETTINGS.get(kind, {}), **changes})).step


def walk(kind, denoise, x, sigmas, key, **changes):
    return integrate(step_of(kind, **changes), denoise, x, sigmas, key, remembers=STEPS[kind].remembers)


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("kind", [kind for kind, row in STEPS.items() if not row.stochastic])
def test_step_converges_at_its_stated_order(kind, double):
    x, counts = MEAN + 80.0 * jr.normal(jr.key(0), (64,)), np.array([32, 64, 256])
    grids = [jnp.geomspace(80.0, 0.01, n) for n in counts]
    errors = [jnp.abs(walk(kind, denoise, x, g, jr.key(1)) - exact_flow(x, g[0], g[-1])).max() for g in grids]
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert abs(order - STEPS[kind].order) < 0.3


@pytest.mark.parametrize("kind", [kind for kind, row in STEPS.items() if row.stochastic])
def test_spread_of_samples_converges_at_the_stated_order(kind, double):
    """For Gaussian data one stochastic step maps the variance of x linearly; follow it exactly, without sampling.

    The step is affine in (x, noise), so its slope and noise gain are read off at two points.
    """
    counts = np.array([64, 256])

    def final_variance(n):
        grid = np.geomspace(80.0, 0.01, n)
        gamma = 3.0 / n  # churn falls with the step: the total churn of EDM is fixed
        step = step_of(kind, **({"churn": gamma} if kind == "churned_heun" else {}))
        variance = STD**2 + grid[0] ** 2
        base, raised, noise = jnp.zeros(()), jnp.ones(()), jr.normal(jr.key(0), ())
        centred = lambda x, sigma: denoise(x + MEAN, sigma) - MEAN
        moves = jax.jit(jax.vmap(lambda x, s, t: step(centred, x, s, t, jr.key(0)), (None, 0, 0)))
        at_zero, at_one = moves(base, grid[:-1], grid[1:]), moves(raised, grid[:-1], grid[1:])
        for offset, slope in zip(at_zero / noise, at_one - at_zero, strict=True):
            variance = slope**2 * variance + offset**2
        return variance

    errors = [abs(final_variance(n) - (STD**2 + 0.01**2)) for n in counts]
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert abs(order - STEPS[kind].order) < 0.3


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
def test_samples_have_the_moments_of_the_data(parameterisation, kind):
    n, steps = 8_000, 300  # ancestral sampling is the coarsest: its spread is 2 % short with 300 steps
    config = ProcessConfig(
        parameterisation=parameterisation, levels=GRID[parameterisation], train_levels=steps, steps=steps, step=kind,
        sigma_max=80.0, sigma_min=0.002, **SETTINGS.get(kind, {}),
    )  # fmt: skip
    process = make_process(config)
    model = process.wrap(perfect_body(parameterisation))
    top = float(process.sigmas[0])
    start = MEAN + np.hypot(top, STD) * jr.normal(jr.key(0), (n,))
    end = integrate(process.step, model, start, process.sigmas, jr.key(1), remembers=STEPS[kind].remembers)
    assert abs(end.mean() - MEAN) < 5 * STD / np.sqrt(n)  # five standard errors
    assert abs(end.std() / STD - 1) < 0.05


@pytest.mark.parametrize("kind", STEPS)
def test_the_last_step_returns_the_last_estimate(kind):
    x, key = jr.normal(jr.key(0), (5,)), jr.key(1)
    seen = []

    def spy(x, sigma):
        seen.append(jnp.tanh(x) * sigma)
        return seen[-1]

    past = Past(jnp.ones_like(x), jnp.asarray(1.2))
    with jax.disable_jit():
        end = step_of(kind)(spy, x, jnp.asarray(0.7), jnp.asarray(0.0), key, *[past] * STEPS[kind].remembers)
    end = end[0] if STEPS[kind].remembers else end
    assert len(seen) == 1
    np.testing.assert_allclose(end, seen[0], atol=1e-6)


@given(train=st.integers(2, 60), data=st.data())
@settings(max_examples=25, deadline=None)
def test_ancestral_is_the_ddpm_posterior_of_any_strided_subsequence(train, data):
    """Textbook q(x_t | x_s, x0) in variance-preserving coordinates, alpha and beta re-derived from alpha_bar ratios."""
    late = data.draw(st.integers(1, train - 1))
    early = data.draw(st.integers(0, late - 1))
    temperature = data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    with jax.enable_x64(True):
        s, t = cosine_training_levels(train).astype(float)[[late, early]]
        bar_s, bar_t = 1 / (1 + s**2), 1 / (1 + t**2)
        alpha, beta = bar_s / bar_t, 1 - bar_s / bar_t
        x, clean, key = *jr.normal(jr.key(0), (2, 7)), jr.key(3)
        mean = np.sqrt(bar_t) * beta / (1 - bar_s) * clean + np.sqrt(alpha) * (1 - bar_t) / (1 - bar_s) * x
        variance = (1 - bar_t) / (1 - bar_s) * beta
        textbook = mean + temperature * np.sqrt(variance) * jr.normal(key, (7,))
        levels = jnp.asarray(s), jnp.asarray(t)
        ours = ancestral_step(lambda *_: clean, x / np.sqrt(bar_s), *levels, key, temperature=temperature)
        np.testing.assert_allclose(ours * np.sqrt(bar_t), textbook, atol=1e-9)


def test_euler_is_ddim_and_the_euler_step_of_flow_matching(double):
    x0, n = jr.normal(jr.key(0), (2, 6))
    s, t = jnp.asarray(3.0), jnp.asarray(0.8)
    end = euler_step(lambda *_: x0, x0 + s * n, s, t)
    bar = 1 / (1 + t**2)
    np.testing.assert_allclose(end * jnp.sqrt(bar), jnp.sqrt(bar) * x0 + jnp.sqrt(1 - bar) * n, atol=1e-12)
    late, early = s / (1 + s), t / (1 + t)
    moved = ((1 - late) * x0 + late * n) + (early - late) * (n - x0)  # x_t + dt * velocity
    np.testing.assert_allclose(end / (1 + t), moved, atol=1e-12)


def test_churned_heun_is_algorithm_2(double):
    """Line by line, with x_hat and t_hat in both slopes; a strongly non-linear denoiser shows any other choice."""
    nonlinear = lambda x, sigma: jnp.sin(3 * x) / (1 + sigma)
    x, key, t_i, t_next, gamma = jr.normal(jr.key(0), (6,)), jr.key(1), 2.0, 0.9, 0.3
    t_hat = t_i + gamma * t_i
    x_hat = x + jnp.sqrt(t_hat**2 - t_i**2) * jr.normal(key, (6,))
    d_i = (x_hat - nonlinear(x_hat, t_hat)) / t_hat
    x_next = x_hat + (t_next - t_hat) * d_i
    d_prime = (x_next - nonlinear(x_next, t_next)) / t_next
    expected = x_hat + (t_next - t_hat) * (0.5 * d_i + 0.5 * d_prime)
    ours = churned_heun_step(nonlinear, x, jnp.asarray(t_i), jnp.asarray(t_next), key, churn=gamma)
    np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_adams_follows_a_slope_that_is_straight_in_the_angle(double):
    """With D chosen so that dy/dtheta = a + b theta, two levels lose nothing but the first step's b h^2 / 2."""
    a, b = 0.7, -1.3
    grid = jnp.tan(jnp.asarray([1.4, 1.1, 0.65, 0.3]))

    def straight(x, sigma):
        angle = jnp.arctan(sigma)  # cos(theta) (x - D) / sigma - sin(theta) D = a + b theta, solved for D
        return (jnp.cos(angle) * x / sigma - (a + b * angle)) / (jnp.cos(angle) / sigma + jnp.sin(angle))

    y = walk("angular_adams", straight, 0.4 / jnp.cos(1.4) * jnp.ones(1), grid, jr.key(0)) * jnp.cos(0.3)
    exact = 0.4 + a * (0.3 - 1.4) + b * (0.3**2 - 1.4**2) / 2
    np.testing.assert_allclose(y, exact - b * (1.1 - 1.4) ** 2 / 2, atol=1e-9)


@pytest.mark.parametrize("kind", STEPS)
def test_a_process_knows_how_often_the_network_is_evaluated(kind):
    process, calls = make_process(ProcessConfig(step=kind, steps=3, **SETTINGS.get(kind, {}))), []

    def counted(x, sigma):
        jax.debug.callback(lambda: calls.append(1))
        return denoise(x, sigma)

    jax.jit(lambda key: process.sample(counted, (2,), key))(jr.key(0))
    jax.effects_barrier()
    assert len(calls) == process.evaluations == (5 if STEPS[kind].evaluations == 2 else 3)


@pytest.mark.parametrize(("std", "tolerance"), [(0.1, 0.3), (0.3, 0.08), (0.6, 0.03), (1.0, 0.01)])
def test_five_evaluations_keep_the_spread_of_gaussian_data(std, tolerance):
    process = make_process(ProcessConfig())
    assert process.evaluations == 5
    shrunk = lambda x, sigma: x * std**2 / (std**2 + sigma**2)
    samples = jax.vmap(lambda key: process.sample(shrunk, (), key))(jr.split(jr.key(0), 100_000))
    assert abs(samples.std() / std - 1) < tolerance


def test_a_batch_keeps_the_branch_that_saves_the_last_evaluation():
    run = jax.vmap(lambda x: integrate(heun_step, denoise, x, jnp.asarray([3.0, 1.0, 0.0]), jr.key(0)))
    assert "cond[" in str(jax.make_jaxpr(run)(jnp.ones((4, 2))))


def test_gradients_pass_through_the_last_step():
    loss = lambda x: integrate(heun_step, denoise, x, jnp.asarray([3.0, 1.0, 0.0]), jr.key(0)).sum()
    assert jnp.isfinite(jax.grad(loss)(jnp.ones(3))).all()
    per_example = jax.vmap(jax.grad(lambda x, t: heun_step(denoise, x, jnp.asarray(2.0), t).sum()), (0, 0))
    assert jnp.isfinite(per_example(jnp.ones((2, 3)), jnp.asarray([1.0, 0.0]))).all()
