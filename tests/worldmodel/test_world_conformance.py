"""Every world model with every kind of coordinates, latent and body: finite, trainable in all parts, generating."""

from __future__ import annotations

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from linear_world import HORIZON, make_data, tiny_config

from dawm.errors import ConfigError
from dawm.nets.mlp import MLPBodyConfig
from dawm.nets.registry import BODIES
from dawm.nets.transformer import TransformerConfig
from dawm.nets.unet import UNetConfig
from dawm.worldmodel.base import AbstractDiffusionModel
from dawm.worldmodel.coordinates import COORDINATES
from dawm.worldmodel.fit import annotated, assemble, training_rows
from dawm.worldmodel.gaussian import EnsembleModelConfig
from dawm.worldmodel.latent import LatentConfig
from dawm.worldmodel.networks import Networks, fit_scales
from dawm.worldmodel.registry import WORLD_MODELS
from dawm.worldmodel.trajectory import TrajectoryConfig
from dawm.worldmodel.transition import TransitionConfig

BODY = {
    "mlp": MLPBodyConfig(width=16, depth=1, embed=8),
    "unet": UNetConfig(dim=8, dim_mults=(1, 2)),
    "transformer": TransformerConfig(width=16, depth=1, heads=2, embed=8),
}
MODELS = {
    f"{kind} {body}": TrajectoryConfig(horizon=HORIZON, coordinates=kind, body=BODY[body])
    for kind, body in (
        ("states", "unet"), ("states", "mlp"), ("differences", "mlp"), ("residual", "mlp"), ("residual", "transformer")
    )
} | {
    f"latent {kind}": LatentConfig(latent=kind, members=3, context=8, provenance=4, body=BODY["mlp"])
    for kind in ("residual", "autoencoder")
} | {
    "latent cross_attention": LatentConfig(
        members=2, context=8, provenance=4, body=replace(BODY["transformer"], conditioning="cross_attention")
    ),
    "transition": TransitionConfig(body=BODY["mlp"]),
    "ensemble": EnsembleModelConfig(),
}  # fmt: skip
SLOW = {"unet", "transformer", "autoencoder", "cross_attention"}  # to compile
LABELS = 4


def test_every_row_is_tried():
    assert {c.coordinates for c in MODELS.values() if c.kind == "trajectory"} == set(COORDINATES)
    assert {c.body.kind for c in MODELS.values() if c.kind != "ensemble"} == set(BODIES)
    assert {c.kind for c in MODELS.values()} == set(WORLD_MODELS)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * bool(SLOW & set(name.split()))) for name in MODELS]
)
def test_row_trains_and_generates(name):
    data = make_data(12)
    data.source[:] = data.source % LABELS
    config = tiny_config(model=MODELS[name])
    members, dynamics = config.model.members, config.model.dynamics
    scales = fit_scales(data, data.spec)
    networks = eqx.filter_jit(lambda key: Networks(config.networks, 3, 1, True, members, key=key))(jr.key(0))
    model = assemble(config, data.spec, scales, networks, data, key=jr.key(1))
    diffusion = model if isinstance(model, AbstractDiffusionModel) else None
    noise = lambda leaf: leaf + 0.05 * jr.normal(jr.key(leaf.size), leaf.shape) if eqx.is_inexact_array(leaf) else leaf
    windows, fold = training_rows(data, config)
    rows, notes = jnp.arange(0, len(data), 4), None
    if diffusion is not None:
        part = eqx.filter_jit(lambda part: jax.tree.map(noise, part))(diffusion.trained)
        model = diffusion = diffusion.with_trained(part)  # last layers may start at zero
        notes = annotated(diffusion, windows, fold)

    @eqx.filter_jit
    def run(model, diffusion):
        starts, keys = jax.vmap(windows.start)(rows), jr.split(jr.key(3), len(rows))
        futures, step, learnt = model.generate_many(starts, keys), None, None
        if dynamics:
            many = lambda leaf: jnp.broadcast_to(leaf, (model.count, *leaf.shape))
            step = model.advance(many(starts.obs), many(starts.action), many(starts.source), jr.key(4))
        if diffusion is not None:
            loss = lambda part: diffusion.with_trained(part).batch_loss(windows, notes, jr.key(2), 256)
            learnt = eqx.filter_value_and_grad(loss, has_aux=True)(diffusion.trained)
        return futures, step, learnt

    futures, step, learnt = run(model, diffusion)
    if learnt is not None:
        (loss, _), grads = learnt
        assert jnp.isfinite(loss)
        for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
            assert jnp.isfinite(leaf).all(), jax.tree_util.keystr(path)
            assert jnp.abs(leaf).max() > 0, f"{jax.tree_util.keystr(path)} does not take part"
    assert model.first(1).count == 1
    assert futures.action.shape == (len(rows), model.steps, 1)
    assert futures.obs.shape == (len(rows), model.steps + 1, 3)
    assert all(np.isfinite(np.asarray(leaf, float)).all() for leaf in futures)
    np.testing.assert_array_equal(futures.source, windows.source[rows])
    if not dynamics:
        with pytest.raises(ConfigError, match="does not say what a given action leads to"):
            model.advance(*(windows.obs[rows][None],) * 3, jr.key(4))
        return
    np.testing.assert_array_equal(futures.obs[:, 0], windows.obs[rows])
    np.testing.assert_array_equal(futures.action[:, 0], windows.action[rows])
    assert step.next_obs.shape == (model.count, len(rows), 3)
    assert all(jnp.isfinite(leaf).all() for leaf in step)
    assert model.count == (config.networks.ensemble.members if diffusion is None else max(1, members))
    if model.count > 1:  # the members are different models
        assert jnp.abs(step.next_obs[0] - step.next_obs[1]).max() > 1e-3
