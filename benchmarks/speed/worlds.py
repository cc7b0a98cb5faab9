"""World models with the default settings, trained just so far that all their parts can be run.

Speed does not depend on what weights hold, with one exception: ends cut futures, so the classifier of ends is trained
for a while before transitions are counted.
"""

from __future__ import annotations

import functools
from dataclasses import replace

from benchmarks.speed.comparison import Settings
from dawm.data.dataset import Dataset
from dawm.data.registry import load
from dawm.run.loop import LoopConfig
from dawm.worldmodel.fit import WorldModelConfig, train_world_model
from dawm.worldmodel.registry import WORLD_MODELS, ModelConfig
from dawm.worldmodel.trained import TrainedModel

KINDS = ("trajectory", "latent")


@functools.cache
def log() -> Dataset:
    """The log inside the package."""
    return load("demo")


@functools.cache
def hardly_trained(kind: str, settings: Settings, model: ModelConfig | None = None) -> TrainedModel:
    """A world model of this kind on the log after a few hundred updates of the one-step networks and two of the
    diffusion; trained once in a process.
    """
    config = WorldModelConfig(model=model or WORLD_MODELS[kind][0]())
    steps = settings.either(300, 10)
    networks = LoopConfig(steps=steps, chunk=min(50, steps), monitor_every=steps, save_every=steps)
    few = replace(networks, steps=2, chunk=1, monitor_every=10)
    small = replace(config, networks=replace(config.networks, loop=networks), loop=few)
    return train_world_model(log(), replace(small, measure_windows=8, measure_samples=2))
