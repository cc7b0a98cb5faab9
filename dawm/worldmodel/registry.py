"""The world models. To add one: a file with its configuration and its `make_*`, and a row here.

A configuration has `horizon`, the number of steps at which the model is measured, and `window`, the transitions of a
training window, with `returns` and `discount` of its return-to-go; `members`, the folds of its anchors, and `dynamics`,
whether it says what a given action leads to.
"""

from __future__ import annotations

from jaxtyping import PRNGKeyArray

from dawm.worldmodel.base import AbstractWorldModel, Parts
from dawm.worldmodel.gaussian import EnsembleModelConfig, make_ensemble
from dawm.worldmodel.latent import LatentConfig, make_latent
from dawm.worldmodel.trajectory import TrajectoryConfig, make_trajectory
from dawm.worldmodel.transition import TransitionConfig, make_transition

ModelConfig = TrajectoryConfig | LatentConfig | TransitionConfig | EnsembleModelConfig

WORLD_MODELS = {
    "trajectory": (TrajectoryConfig, make_trajectory),
    "latent": (LatentConfig, make_latent),
    "transition": (TransitionConfig, make_transition),
    "ensemble": (EnsembleModelConfig, make_ensemble),
}


def make_world_model(config: ModelConfig, parts: Parts, *, key: PRNGKeyArray) -> AbstractWorldModel:
    """The untrained model that a configuration describes, around trained one-step networks."""
    return WORLD_MODELS[config.kind][1](config, parts, key=key)
