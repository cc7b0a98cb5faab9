"""The process as a whole: the paper's sampler written out by hand, a learnt mixture, and refusals."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from dawm.diffusion.guidance import classifier_free
from dawm.diffusion.levels import LEVELS
from dawm.diffusion.objective import NOISE_LAWS
from dawm.diffusion.process import ProcessConfig, make_process
from dawm.diffusion.steps import STEPS
from dawm.errors import ConfigError
from dawm.nets.mlp import MLPBodyConfig
from dawm.nets.registry import make_body
from dawm.run.config import from_dict

PAPER = ProcessConfig(
    parameterisation="epsilon", levels="cosine", train_levels=5, noise_law="grid", step="ancestral", steps=3,
    temperature=0.5, clip=1.0,
)  # fmt: skip
FLOW = ProcessConfig(parameterisation="flow", levels="flow", noise_law="uniform_time", step="euler", steps=30)


@pytest.mark.parametrize("initial_scale", [1.0, 0.5])
@pytest.mark.parametrize("weight", [1.0, 1.4])
def test_the_papers_sampler_written_out_in_its_own_coordinates(weight, initial_scale):
    """DDPM with K = 5 strided to 1, 3, 5: x_vp, alpha_bar, epsilon guidance, clipping, clamping, low temperature.

    An arbitrary non-linear network; the same random numbers; the known first row overwritten before the loop and after
    each step.
    """

    def network(x_vp, noise, conditions):
        return jnp.tanh(x_vp[::-1] * 1.3 + 0.4 * x_vp + noise + conditions[0])

    shape, key = (4, 3), jr.key(7)
    known, value = jnp.zeros(shape, bool).at[0].set(True), jnp.full(shape, 0.3)
    with jax.enable_x64(True):
        time = np.arange(6) / 5
        signal = np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2
        bar = np.cumprod(1 - np.minimum(1 - signal[1:] / signal[:-1], 0.999))
        bar = 1 / (1 + np.sqrt((1 - bar) / bar).astype(np.float32).astype(float) ** 2)  # our grid is float32
        key_start, key_steps = jr.split(key)
        keys = jr.split(key_steps, 3)
        x = initial_scale * jr.normal(key_start, shape)
        x = jnp.where(known, value, x)
        for i, k in enumerate([5, 3, 1]):
            now, before = bar[k - 1], ([*bar, 1.0][k - 3] if k > 1 else 1.0)
            eps = [network(x, jnp.log((1 - now) / now) / 8, (c,)) for c in (0.5, 0.0)]
            eps = weight * eps[0] + (1 - weight) * eps[1]
            clean = jnp.clip((x - np.sqrt(1 - now) * eps) / np.sqrt(now), -1, 1)
            alpha = now / before
            mean = np.sqrt(before) * (1 - alpha) / (1 - now) * clean
            mean = mean + np.sqrt(alpha) * (1 - before) / (1 - now) * x
            std = np.sqrt((1 - before) / (1 - now) * (1 - alpha))
            x = mean + 0.5 * std * jr.normal(keys[i], shape)
            x = jnp.where(known, value, x)

        process = make_process(ProcessConfig(**{**PAPER.__dict__, "initial_scale": initial_scale}))
        model = process.wrap(network)
        guided = classifier_free(
            lambda x, s: model(x, s, jnp.asarray(0.5)), lambda x, s: model(x, s, jnp.asarray(0.0)), weight
        )
        ours = process.sample(guided, shape, key, known=known, value=value)
    np.testing.assert_allclose(ours, x, atol=1e-5)


def train(process, body, data, steps=400, batch=64):
    """A few hundred Adam updates on fresh data."""
    optimiser = optax.adam(optax.cosine_decay_schedule(3e-3, steps))

    def loss(arrays, key):
        denoise = process.wrap(eqx.combine(arrays, static))
        one = lambda key: process.loss(denoise, data(jr.fold_in(key, 0)), jr.fold_in(key, 1))
        return jax.vmap(one)(jr.split(key, batch)).mean()

    def update(carry, key):
        arrays, state = carry
        value, gradient = jax.value_and_grad(loss)(arrays, key)
        change, state = optimiser.update(gradient, state)
        return (optax.apply_updates(arrays, change), state), value

    arrays, static = eqx.partition(body, eqx.is_array)
    (arrays, _), losses = jax.jit(lambda c, k: jax.lax.scan(update, c, k))(
        (arrays, optimiser.init(arrays)), jr.split(jr.key(1), steps)
    )
    return process.wrap(eqx.combine(arrays, static)), losses


@pytest.mark.parametrize(
    "config", [ProcessConfig(steps=12, sigma_max=10.0), FLOW, ProcessConfig(**{**PAPER.__dict__, "temperature": 1.0})]
)
def test_a_mixture_of_two_modes_is_learnt(config):
    """70 % of the data near (0.8, -0.5), 30 % near (-0.8, 0.5), standard deviation 0.1."""
    mode = jnp.asarray([[0.8, -0.5]])

    def data(key):
        key_mode, key_noise = jr.split(key)
        sign = jnp.where(jr.bernoulli(key_mode, 0.7), 1.0, -1.0)
        return sign * mode + 0.1 * jr.normal(key_noise, (1, 2))

    process = make_process(config)
    body = make_body(MLPBodyConfig(width=64, depth=2, embed=32), 1, 2, (), key=jr.key(0))
    model, losses = train(process, body, data)
    assert losses[-50:].mean() < 0.8 * losses[0]
    samples = jax.jit(jax.vmap(lambda key: process.sample(model, (1, 2), key)))(jr.split(jr.key(2), 1000))
    assert samples.shape == (1000, 1, 2)
    right = samples[:, 0, 0] > 0
    coarse = config.levels == "cosine"  # three steps of five levels blur and shrink
    assert abs(right.mean() - 0.7) < (0.15 if coarse else 0.08)
    for side, sign in ((right, 1.0), (~right, -1.0)):
        mean, std = samples[side].mean(0), samples[side].std(0)
        np.testing.assert_allclose(mean, sign * mode, atol=0.2 if coarse else 0.08)
        assert (std < 0.3).all()
        assert (std > 0.03).all()


def test_rows_of_a_batch_share_levels_as_asked():
    """12 rows: by 4 as asked, by 4 where 8 do not divide them, alone where nothing does; results keep their rows."""
    rows = jnp.arange(12.0)
    own = lambda row: jnp.exp(row)  # a level that a row draws by itself
    for asked, size in ((4, 4), (8, 4), (5, 1), (1, 1)):
        process = make_process(ProcessConfig(shared=asked))
        one = lambda row, sigma: (2 * row, own(row) if sigma is None else sigma)
        doubled, sigmas = process.at_levels(one, jr.key(0), rows)
        np.testing.assert_array_equal(doubled, 2 * rows)
        assert len(set(sigmas.tolist())) == 12 // size
        assert (sigmas.reshape(-1, size) == sigmas.reshape(-1, size)[:, :1]).all()


def test_shared_levels_follow_the_law_of_single_ones():
    drawn = lambda shared: make_process(ProcessConfig(shared=shared)).at_levels(lambda row, s: s, jr.key(1), rows)
    rows = jnp.zeros(40_000)
    for log_sigma in (np.log(np.asarray(drawn(n))) for n in (2, 4)):  # N(-0.5, 1.2^2), of 20,000 and 10,000 levels
        assert log_sigma.mean() == pytest.approx(-0.5, abs=0.05)
        assert log_sigma.std() == pytest.approx(1.2, abs=0.05)


def test_an_error_at_a_level_is_at_that_level():
    process, x0 = make_process(ProcessConfig()), jnp.asarray([[0.5, -1.0]])
    seen = []
    process.error(lambda x, sigma: seen.append(sigma) or x, x0, jr.key(0), sigma=jnp.asarray(0.25))
    assert seen == [0.25]
    loss = process.error(lambda x, sigma: x0 + sigma, x0, jr.key(0), sigma=jnp.asarray(0.25))
    np.testing.assert_allclose(loss, process.weight(jnp.asarray(0.25)) * 0.25**2, rtol=1e-6)


def test_a_process_is_hashable_and_free_of_arrays():
    assert hash(make_process(PAPER)) == hash(make_process(PAPER))
    assert jax.tree.leaves(eqx.filter(make_process(PAPER), eqx.is_array)) == []


def test_every_setting_of_every_row_is_a_setting_of_the_config():
    for table in (LEVELS, NOISE_LAWS, STEPS):
        for row in table.values():
            assert all(hasattr(PAPER, name) for name in row.settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma_max": -1.0}, "sigma_max must be positive, got -1.0"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"shared": 0}, "shared must be at least 1"),
        ({"sigma_min": 3.0, "sigma_max": 2.0}, r"sigma_min \(3.0\) must be below sigma_max \(2.0\)"),
        ({"levels": "cosine", "steps": 9, "train_levels": 5}, r"steps \(9\) cannot exceed train_levels \(5\)"),
        ({"temperature": 0.5}, "temperature 0.5 needs step='ancestral'"),
        ({"churn": 0.1}, "churn must be"),
        ({"step": "churned_heun"}, "churn must be"),
        ({"step": "churned_heun", "churn": 0.5}, r"churn must be in \(0, 0.414\]"),
        ({"clip": 0.0}, "clip must be positive or absent"),
    ],
)
def test_impossible_settings_are_refused_with_their_name(settings, message):
    with pytest.raises(ValueError, match=message):
        ProcessConfig(**settings)


def test_unknown_kinds_are_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match="`step` cannot be 'hen'; did you mean `heun`"):
        from_dict(ProcessConfig, {"step": "hen"})
    with pytest.raises((ValueError, TypeError), match="hen"):  # the type checker of the tests is faster
        ProcessConfig(step="hen")
