"""Every body keeps the promises of a body."""

import functools
import typing

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from dawm.nets.mlp import MLPBodyConfig
from dawm.nets.registry import BODIES, BodyConfig, make_body
from dawm.nets.transformer import TransformerConfig
from dawm.nets.unet import UNetConfig
from dawm.run.config import from_dict, to_dict

TIME, CHANNELS, CONDS = 4, 5, (3, 1)
SMALL = {
    "mlp": MLPBodyConfig(width=32, depth=2, embed=16),
    "mlp noise": MLPBodyConfig(width=32, depth=2, embed=16, conditioning="noise"),
    "mlp concatenation": MLPBodyConfig(width=32, depth=2, embed=16, conditioning="concatenation"),
    "unet": UNetConfig(dim=8, dim_mults=(1, 2)),
    "transformer": TransformerConfig(width=16, depth=2, heads=2, embed=16),
    "transformer cross_attention": TransformerConfig(
        width=16, depth=1, heads=2, embed=16, conditioning="cross_attention"
    ),
}
rows = pytest.mark.parametrize("kind", SMALL)


def test_every_row_is_tried():
    assert {config.kind for config in SMALL.values()} == set(BODIES)


X = jr.normal(jr.key(1), (TIME, CHANNELS))
CONDITIONS = (jnp.asarray([0.3, -1.0, 0.5]), jnp.asarray([0.8]))


@functools.cache
def build(kind, conds=CONDS, key=0):
    make = lambda key: make_body(SMALL[kind], TIME, CHANNELS, conds, key=key)
    return eqx.filter_jit(make)(jr.key(key))  # one program, not one for every layer


@eqx.filter_jit
def three_steps(body):
    """Three gradient steps towards a target that depends on the input: enough to wake what starts at zero."""
    arrays, static = eqx.partition(body, eqx.is_inexact_array)

    def loss(arrays, key):
        x, conds, noise = jr.normal(key, (TIME, CHANNELS)), CONDITIONS, jr.uniform(key)
        return jnp.mean((eqx.combine(arrays, static)(x, noise, conds) - jnp.roll(x, 1) - noise - conds[1]) ** 2)

    def update(arrays, key):
        gradient = jax.grad(loss)(arrays, key)
        return jax.tree.map(lambda a, g: a - 0.05 * g, arrays, gradient), gradient

    arrays, gradients = jax.lax.scan(update, arrays, jr.split(jr.key(0), 3))
    return eqx.combine(arrays, static), jax.tree.map(lambda leaf: leaf[-1], gradients)


@rows
def test_every_parameter_learns_and_everything_given_matters(kind):
    body, gradient = three_steps(build(kind))
    dead = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient)
        if not (jnp.abs(leaf) > 0).any()
    ]
    assert dead == []
    call = eqx.filter_jit(lambda *arguments: body(*arguments))
    base = call(X, jnp.asarray(0.2), CONDITIONS)
    assert base.shape == X.shape
    assert base.dtype == jnp.float32
    assert jnp.abs(call(X, jnp.asarray(-0.4), CONDITIONS) - base).max() > 1e-5
    for i, condition in enumerate(CONDITIONS):
        changed = tuple(condition + 1 if i == j else c for j, c in enumerate(CONDITIONS))
        assert jnp.abs(call(X, jnp.asarray(0.2), changed) - base).max() > 1e-5
    first_to_last = call(X.at[0].add(1.0), jnp.asarray(0.2), CONDITIONS)
    assert jnp.abs(first_to_last - base)[-1].max() > 1e-7, "the last step must be able to see the first"
    assert jnp.abs(call(X[::-1], jnp.asarray(0.2), CONDITIONS)[::-1] - base).max() > 1e-5, "order must matter"


@rows
def test_a_body_works_without_conditions_and_in_a_batch(kind):
    body = build(kind, ())
    outputs = jax.vmap(lambda x, noise: body(x, noise, ()))(jnp.stack([X, 2 * X]), jnp.asarray([0.1, 0.5]))
    np.testing.assert_allclose(outputs[1], body(2 * X, jnp.asarray(0.5), ()), atol=2e-4)


@rows
def test_a_body_compiles_once(kind):
    body, traces = build(kind), []

    @eqx.filter_jit
    def call(body, x, noise, conditions):
        traces.append(kind)
        return body(x, noise, conditions)

    for seed in range(3):
        call(build(kind, key=seed), X + seed, jnp.asarray(0.1 * seed), CONDITIONS)
    assert len(traces) == 1
    assert jax.tree.structure(body) == jax.tree.structure(build(kind, key=5))


@rows
def test_a_body_restores_to_equality(kind, tmp_path):
    eqx.tree_serialise_leaves(tmp_path / "body.eqx", build(kind))
    restored = eqx.tree_deserialise_leaves(tmp_path / "body.eqx", build(kind, key=1))
    assert eqx.tree_equal(restored, build(kind))


@rows
def test_configurations_go_through_plain_values(kind):
    config, _ = BODIES[SMALL[kind].kind]
    assert config in typing.get_args(BodyConfig)
    assert config().kind == SMALL[kind].kind
    assert from_dict(config, to_dict(SMALL[kind])) == SMALL[kind]


@pytest.mark.parametrize("kind", ["mlp", "mlp concatenation", "transformer", "transformer cross_attention"])
def test_predictions_start_at_zero(kind):
    assert (build(kind)(X, jnp.asarray(0.2), CONDITIONS) == 0).all()


def test_a_transformer_serves_any_length():
    body = build("transformer")
    assert body(jnp.ones((9, CHANNELS)), jnp.asarray(0.1), CONDITIONS).shape == (9, CHANNELS)


@pytest.mark.parametrize("settings", [{"width": 30, "heads": 4}, {"embed": 7}, {"depth": 0}])
def test_impossible_transformers_are_refused(settings):
    with pytest.raises(ValueError):
        TransformerConfig(**settings)
