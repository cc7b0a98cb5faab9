"""Training of the diffusion: rows a second for the default body of each world model, and for SynthER's network.

A row is what the loss is taken on: a window of 8 steps in the trajectory model, one step of one member in the latent
model (which draws 256 for each of its 5 members), one transition for SynthER. Networks and problems differ, so no
program is the peer of another: the figure to read is the share of the peak.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks.speed.comparison import OURS, Comparison, Program, Settings, Work, compare

if TYPE_CHECKING:
    from dawm.worldmodel.trained import TrainedModel

BATCH = 256
HOPPER_TRANSITION = 11 + 3 + 1 + 11 + 1
WORDS = {"trajectory": "windows, trajectory model", "latent": "rows, latent model"}


def comparisons(settings: Settings) -> list[Comparison]:
    """One for each network."""
    found = []
    for kind, what in WORDS.items():
        ours = Program(OURS, lambda kind=kind: in_dawm(kind, settings))
        found.append(Comparison(kind, f"denoiser training in {what}", "rows/s", (ours,)))
    network = Program("SynthER's network in JAX", lambda: in_synther(settings))
    return [*found, Comparison("synther", "denoiser training in transitions, residual 1024 x 6", "rows/s", (network,))]


def measure(settings: Settings) -> dict[str, Any]:
    """A row for each network."""
    return {"rows": [compare(comparison, settings) for comparison in comparisons(settings)]}


def in_dawm(kind: str, settings: Settings) -> Work:
    from benchmarks.speed.flops import level_layers, model_layers, training
    from benchmarks.speed.worlds import hardly_trained

    trained, count = hardly_trained(kind, settings), settings.either(50, 2)
    config, model = trained.config, trained.model
    flops = training(1, model_layers(model)) + training(1, level_layers(model)) / model.config.process.shared
    return Work(update_of(trained, count), count * config.batch_size * model.count, flops)


def update_of(trained: TrainedModel, count: int) -> Callable[[], None]:
    """A call that trains the diffusion of a model on its log by `count` updates."""
    from benchmarks.speed.chunk import chunk_of
    from benchmarks.speed.worlds import log
    from dawm.run.optim import make_optimiser
    from dawm.worldmodel.base import AbstractDiffusionModel
    from dawm.worldmodel.fit import annotated, diffusion_update, initial_state, training_rows

    config, model = trained.config, trained.model
    assert isinstance(model, AbstractDiffusionModel)
    windows, fold = training_rows(log(), config)
    inputs = model, windows, annotated(model, windows, fold)
    optimiser = make_optimiser(config.optim, 10_000)
    return chunk_of(diffusion_update(config, optimiser), initial_state(model, optimiser), inputs, count)


def in_synther(settings: Settings) -> Work:
    import equinox as eqx
    import jax
    import optax

    from benchmarks.peers.synther import ResidualMLP
    from benchmarks.speed.chunk import chunk_of
    from benchmarks.speed.flops import linear_layer, training
    from dawm.diffusion.process import ProcessConfig, make_process

    network, process = ResidualMLP(HOPPER_TRANSITION, key=jax.random.key(0)), make_process(ProcessConfig())
    optimiser, count = optax.adam(3e-4), settings.either(10, 1)

    def loss(network, rows, keys):
        denoise = process.wrap(lambda x, noise, _: network(x, noise))
        return jax.vmap(lambda x, key: process.loss(denoise, x, key))(rows, keys).mean()

    def update(state, data, key):
        key_rows, key_loss = jax.random.split(key)
        rows = data[jax.random.randint(key_rows, (BATCH,), 0, len(data))]
        value, grads = eqx.filter_value_and_grad(loss)(state[0], rows, jax.random.split(key_loss, BATCH))
        change, opt = optimiser.update(grads, state[1])
        return (eqx.apply_updates(state[0], change), opt), {"loss": value}

    state = network, optimiser.init(eqx.filter(network, eqx.is_inexact_array))
    data = jax.random.normal(jax.random.key(1), (100_000, HOPPER_TRANSITION))
    layers = [linear_layer(network.entry, 0), linear_layer(network.times[0], 0), linear_layer(network.times[1])]
    layers += [linear_layer(layer) for layer in (*network.blocks, network.exit)]
    return Work(chunk_of(update, state, data, count), count * BATCH, training(1, layers))
