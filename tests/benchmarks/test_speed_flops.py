"""Operations counted by the formula against counts by hand and against the compiler's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from benchmarks.speed.flops import (
    Layer,
    body_layers,
    climbing,
    forward,
    iql_update,
    learner_update,
    level_layers,
    linear_layer,
    perceptron,
    td3_update,
    training,
)
from dawm.nets.mlp import MLP, MLPBodyConfig, make_mlp_body


def test_a_small_perceptron_by_hand():
    """Three inputs, one hidden layer of 2 units, one output; 10 rows."""
    layers = perceptron(3, 1, 2, 1)
    assert layers == [Layer(3, 2, 0), Layer(2, 1)]
    assert forward(10, layers) == 2 * 10 * (3 * 2 + 2 * 1) == 160
    # forward, the gradients of both matrices, and the gradient of the hidden units alone
    assert training(10, layers) == 160 + 160 + 2 * 10 * 2 * 1 == 360
    # forward, hidden units, and the one input that is an action; no weights
    assert climbing(10, layers, 1) == 160 + 40 + 2 * 10 * 1 * 2 == 240


def test_updates_of_hopper_have_the_counts_of_reference():
    assert td3_update(256, 11, 3, 256, 2, climbed=1) == pytest.approx(404e6, rel=0.003)
    assert iql_update(256, 11, 3, 256, 2) == pytest.approx(524e6, rel=0.003)
    assert learner_update("iql", 256, 11, 3, 256, 2) == iql_update(256, 11, 3, 256, 2)


def test_td3_with_single_layers_by_hand():
    """One row, one observation, one action, one hidden unit: a product is two operations for each of its inputs."""
    actor, critic = 2 * (1 + 1), 2 * (2 + 1)  # forward: matrices of 1 x 1 and 1 x 1; of 2 x 1 and 1 x 1
    critics = actor + 2 * critic + 2 * (2 * critic + 2)  # targets; both critics forward, weights, the hidden unit
    policy = (2 * actor + 2) + (critic + 2 + 2)  # trained; climbed: forward, the hidden unit, the action
    assert td3_update(1, 1, 1, 1, 1, climbed=1, freq=2) == critics + policy / 2
    assert td3_update(1, 1, 1, 1, 1, climbed=2, freq=1) == critics + policy + critic + 4


ROWS = 64


def counted(build, function, *sizes: tuple[int, ...]) -> tuple[float, Any]:
    """(operations of `function(network, *inputs)` by JAX's own count, the network as shapes without values)."""
    network = eqx.filter_eval_shape(build, jax.random.key(0))
    arrays, static = eqx.partition(network, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    inputs = [jax.ShapeDtypeStruct((ROWS, *size), jnp.float32) for size in sizes]
    run = lambda arrays, *inputs: function(eqx.combine(arrays, static), *inputs)
    return jax.jit(run).lower(arrays, *inputs).cost_analysis()["flops"], network


def perceptron_of(key):
    return MLP(11, 3, width=128, depth=2, key=key)


def test_jax_counts_the_same_of_a_perceptron():
    """It counts additions and activations too: never fewer operations than the products, and few more."""
    count, network = counted(perceptron_of, lambda net, x: jax.vmap(net)(x), (11,))
    assert 1.0 <= count / forward(ROWS, [linear_layer(layer) for layer in network.layers]) < 1.05


def test_jax_counts_the_same_of_its_gradient():
    gradient = eqx.filter_grad(lambda net, x: jnp.square(jax.vmap(net)(x)).sum())
    count, network = counted(perceptron_of, lambda net, x: eqx.filter(gradient(net, x), eqx.is_array), (11,))
    first, *others = (linear_layer(layer) for layer in network.layers)
    assert 1.0 <= count / training(ROWS, [first._replace(back=0), *others]) < 1.05


def test_jax_counts_the_same_of_a_world_models_body():
    """The products of the default body's kind; its activations and the noise embedding are counted with them."""
    build = lambda key: make_mlp_body(MLPBodyConfig(width=128, depth=2, embed=64), 1, 12, (64, 14), key=key)
    run = lambda net, x, noise, *given: jax.vmap(net)(x, noise, given)
    count, body = counted(build, run, (1, 12), (), (64,), (14,))
    assert 1.0 <= count / forward(ROWS, body_layers(body)) < 1.1


def test_what_sees_the_level_alone_is_done_once():
    """Rows at one level: the compiler counts the shifts and scales once for all of them."""
    config = MLPBodyConfig(width=128, depth=2, embed=64, conditioning="noise")
    build = lambda key: make_mlp_body(config, 1, 12, (64, 14), key=key)
    run = lambda net, x, *given: jax.vmap(lambda x, *given: net(x, jnp.asarray(0.3), given))(x, *given)
    count, body = counted(build, run, (1, 12), (64,), (14,))
    model = SimpleNamespace(body=body, config=SimpleNamespace(kind="trajectory"))
    assert forward(1, level_layers(model)) == 2 * (64 * 64 * 2 + 64 * 2 * 3 * 128)
    assert 1.0 <= count / (forward(ROWS, body_layers(body)) + forward(1, level_layers(model))) < 1.1
