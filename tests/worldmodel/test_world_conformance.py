"""Every kind of coordinates with every kind of body: finite, trainable in all its parts, generating."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from linear_world import HORIZON, make_data, tiny_config

from dawm.data.windows import make_windows
from dawm.nets.mlp import MLPBodyConfig
from dawm.nets.registry import BODIES
from dawm.nets.transformer import TransformerConfig
from dawm.nets.unet import UNetConfig
from dawm.worldmodel.coordinates import COORDINATES
from dawm.worldmodel.fit import assemble
from dawm.worldmodel.networks import Networks, fit_scales
from dawm.worldmodel.trajectory import TrajectoryConfig

TINY = {
    "mlp": MLPBodyConfig(width=16, depth=1, embed=8),
    "unet": UNetConfig(dim=8, dim_mults=(1, 2)),
    "transformer": TransformerConfig(width=16, depth=1, heads=2, embed=8),
}
PAIRS = [
    ("states", "unet"),
    ("states", "mlp"),
    ("differences", "mlp"),
    ("residual", "mlp"),
    ("residual", "transformer"),
]


def test_every_row_is_tried():
    assert {kind for kind, _ in PAIRS} == set(COORDINATES)
    assert {body for _, body in PAIRS} == set(BODIES)


SLOW = {"unet", "transformer"}  # to compile


@pytest.mark.parametrize(
    ("kind", "body"), [pytest.param(*pair, marks=[pytest.mark.slow] * (pair[1] in SLOW)) for pair in PAIRS]
)
def test_row_trains_and_generates(kind, body):
    data = make_data(6)
    config = tiny_config(model=TrajectoryConfig(horizon=HORIZON, coordinates=kind, body=TINY[body]))
    scales, networks = fit_scales(data, data.spec), Networks(config.networks, 3, 1, True, key=jr.key(0))
    model = assemble(config, data.spec, scales, networks, data, key=jr.key(1))
    noise = lambda leaf: leaf + 0.05 * jr.normal(jr.key(leaf.size), leaf.shape) if eqx.is_inexact_array(leaf) else leaf
    model = eqx.tree_at(lambda m: m.body, model, jax.tree.map(noise, model.body))  # last layers may start at zero
    windows = make_windows(data, HORIZON, discount=0.99)
    notes, rows = model.coordinates.annotate(windows), jnp.arange(0, len(data), 4)

    @eqx.filter_jit
    def run(body, model):
        def loss(body):
            full = eqx.tree_at(lambda m: m.body, model, body)
            one = lambda row, key: full.loss(windows.segment(row), notes[windows.rows(row)], key)
            total, counted = jax.vmap(one)(rows, jr.split(jr.key(2), len(rows)))
            return total.sum() / counted.sum()

        starts = jax.vmap(windows.start)(rows)
        return eqx.filter_value_and_grad(loss)(body), jax.vmap(model.generate)(starts, jr.split(jr.key(3), len(rows)))

    (loss, grads), futures = run(model.body, model)
    assert jnp.isfinite(loss)
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert jnp.isfinite(leaf).all(), jax.tree_util.keystr(path)
        assert jnp.abs(leaf).max() > 0, f"{jax.tree_util.keystr(path)} does not take part"
    steps = HORIZON - 1 if kind == "states" else HORIZON
    assert futures.action.shape == (len(rows), steps, 1)
    assert all(np.isfinite(np.asarray(leaf, float)).all() for leaf in futures)
    np.testing.assert_array_equal(futures.obs[:, 0], windows.obs[rows])
    np.testing.assert_array_equal(futures.action[:, 0], windows.action[rows])
