"""The plain perceptron: its arithmetic by hand, and PyTorch's initial weights."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from dawm.diffusion.process import ProcessConfig, make_process
from dawm.nets.mlp import ACTIVATIONS, MLP, MLPBodyConfig, make_mlp_body


def test_arithmetic_by_hand():
    mlp = MLP(2, 1, width=2, depth=1, final="tanh", key=jr.key(0))
    one, two = mlp.layers
    x = jnp.asarray([0.3, -2.0])
    expected = jnp.tanh(jnp.maximum(x @ one.weight + one.bias, 0) @ two.weight + two.bias)
    np.testing.assert_allclose(mlp(x), expected, rtol=1e-6)


def test_layer_norm_stands_before_the_activation():
    mlp = MLP(3, 2, width=8, depth=1, activation="silu", layer_norm=True, key=jr.key(0))
    one, two = mlp.layers
    h = one(jnp.ones(3))
    h = (h - h.mean()) / jnp.sqrt(h.var() + 1e-5)
    np.testing.assert_allclose(mlp(jnp.ones(3)), two(h * jax.nn.sigmoid(h)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_depth_counts_hidden_layers(depth):
    mlp = MLP(5, 2, width=7, depth=depth, key=jr.key(0))
    sizes = [layer.weight.shape for layer in mlp.layers]
    assert sizes == list(zip([5] + [7] * depth, [7] * depth + [2], strict=True))
    assert mlp(jnp.ones(5)).shape == (2,)


def test_initial_weights_are_those_of_pytorch():
    """Uniform in +-1/sqrt(fan_in), weights and biases: standard deviation bound / sqrt(3), none beyond the bound."""
    for layer in MLP(100, 400, width=400, depth=1, key=jr.key(0)).layers:
        bound = 1 / np.sqrt(len(layer.weight))
        for leaf in (layer.weight, layer.bias):
            assert jnp.abs(leaf).max() <= bound
            assert leaf.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)


def test_mish_is_x_tanh_softplus():
    x = np.linspace(-4, 4, 9)
    np.testing.assert_allclose(ACTIVATIONS["mish"](jnp.asarray(x)), x * np.tanh(np.log1p(np.exp(x))), rtol=1e-4)


@pytest.mark.parametrize(("settings", "message"), [({"depth": 0}, "depth must be at least 1"), ({"embed": 33}, "even")])
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MLPBodyConfig(**settings)


def test_two_modes_are_found_beside_many_conditions():
    """Symmetric modes are a saddle for a body that sees x nearly linearly, as it did with one layer for x and 36
    conditions: the loss stayed at that of a Gaussian (1.0), where the exact denoiser has 0.65.
    """
    process, conditions = make_process(ProcessConfig()), jnp.full(36, 0.7)
    body = make_mlp_body(MLPBodyConfig(width=32, depth=2, embed=16), 1, 1, (36,), key=jr.key(0))
    arrays, static = eqx.partition(body, eqx.is_inexact_array)
    optimiser, steps = optax.adam(optax.cosine_decay_schedule(5e-3, 500), b2=0.99), 500

    def loss(arrays, key):
        keys, body = jr.split(key, 3), eqx.combine(arrays, static)
        x = (0.8 * jr.rademacher(keys[0], (128, 1, 1)) + 0.1 * jr.normal(keys[1], (128, 1, 1))) / 0.806
        denoise = process.wrap(lambda x, noise, _: body(x, noise, (conditions,)))
        return jax.vmap(lambda x, key: process.error(denoise, x, key).mean())(x, jr.split(keys[2], 128)).mean()

    def step(carry, key):
        arrays, state = carry
        value, grads = jax.value_and_grad(loss)(arrays, key)
        change, state = optimiser.update(grads, state)
        return (optax.apply_updates(arrays, change), state), value

    losses = jax.jit(lambda a: jax.lax.scan(step, (a, optimiser.init(a)), jr.split(jr.key(1), steps))[1])(arrays)
    assert losses[-100:].mean() < 0.75
