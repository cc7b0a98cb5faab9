"""Members stacked, applied and taken apart are the members."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from dawm.nets import ensemble
from dawm.nets.mlp import MLP


def build(key):
    return MLP(3, 2, width=8, depth=2, layer_norm=True, key=key)


def test_a_stack_is_its_members():
    members = ensemble.stack(build, 4, jr.key(0))
    x, own = jr.normal(jr.key(1), (3,)), jr.normal(jr.key(2), (4, 3))
    singles = [build(key) for key in jr.split(jr.key(0), 4)]
    assert ensemble.size(members) == 4
    np.testing.assert_allclose(ensemble.apply(members, x), jnp.stack([m(x) for m in singles]), atol=1e-6)
    np.testing.assert_allclose(
        ensemble.apply_each(members, own), jnp.stack([m(row) for m, row in zip(singles, own, strict=True)]), atol=1e-6
    )
    for single, taken in zip(singles, ensemble.unstack(members), strict=True):
        assert eqx.tree_equal(single, taken)


def test_members_start_apart():
    outputs = ensemble.apply(ensemble.stack(build, 3, jr.key(0)), jnp.ones(3))
    assert len(np.unique(np.asarray(outputs[:, 0]).round(6))) == 3
