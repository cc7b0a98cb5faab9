"""Synthetic data: transitions and futures a second of both default models, beside a sampler as SynthER has it.

Ours are `TrainedModel.generate` on recorded starts, counting the steps that are valid (a future stops at its end), and
`make_block`, which fills a library of 16 futures of each recorded step as it is stored. Operations are those of the
diffusion's network alone. Fidelity is no part of this: a sampler that is faster is a gain only where its data are as
good (see the results of the suites).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.speed.comparison import OURS, Comparison, Program, Settings, Work, compare

FUTURES = 16
TRANSITION = 11 + 3 + 1 + 11 + 1  # Hopper's s, a, r, s' and the end


def comparisons(settings: Settings) -> list[Comparison]:
    """Transitions against SynthER's sampler, and futures, for each model."""
    found = []
    for kind in ("trajectory", "latent"):
        peer = Program("SynthER-like, 255 evaluations", lambda: in_synther(settings))
        ours = Program(OURS, lambda kind=kind: transitions(kind, settings))
        found.append(Comparison(f"transitions-{kind}", f"{kind} model", "transitions/s", (ours, peer)))
        ours = Program(OURS, lambda kind=kind: futures(kind, settings))
        found.append(Comparison(f"futures-{kind}", f"library of futures, {kind} model", "futures/s", (ours,)))
    return found


def measure(settings: Settings) -> dict[str, Any]:
    """A row for each comparison."""
    return {"rows": [compare(comparison, settings) for comparison in comparisons(settings)]}


def _per_sample(model: Any) -> float:
    """Operations of the network for one future; what it does with a level alone is done once for all."""
    from benchmarks.speed.flops import forward, model_layers

    return model.process.evaluations * forward(1, model_layers(model))


def transitions(kind: str, settings: Settings) -> Work:
    import jax

    from benchmarks.speed.worlds import hardly_trained, log
    from dawm.synth.generator import GenerateConfig
    from dawm.synth.starts import Starts

    data = log()
    model = hardly_trained(kind, settings)
    count = settings.either(4_096, 1_024)
    starts = Starts(data, model, GenerateConfig()).draw(count, np.random.default_rng(0))
    call = lambda: model.generate(starts, jax.random.key(0))
    valid = int(np.asarray(call().valid).sum())
    return Work(call, valid, count * _per_sample(model.model) / valid)


def futures(kind: str, settings: Settings) -> Work:
    import jax

    from benchmarks.speed.worlds import hardly_trained, log
    from dawm.synth.futures import FuturesConfig, make_block, typical_deviation

    data = log()
    model = hardly_trained(kind, settings).model
    config = FuturesConfig(futures=FUTURES, block=settings.either(1_024, 64))
    unit, rows = typical_deviation(model, data, config), np.arange(config.block)
    call = lambda: make_block(model, data, rows, unit, config, jax.random.key(0))
    return Work(call, config.block * FUTURES, _per_sample(model))


def in_synther(settings: Settings) -> Work:
    import jax

    from benchmarks.peers.synther import make_sampler
    from benchmarks.speed.flops import Layer, forward, linear_layer

    count = settings.either(256, 4)
    sampler = make_sampler(TRANSITION, count)
    network = sampler.network
    layers: list[Layer] = [linear_layer(layer) for layer in (network.entry, *network.blocks, network.exit)]
    call = lambda: sampler.draw(jax.random.key(0)).block_until_ready()
    return Work(call, count, sampler.evaluations * forward(1, layers))
