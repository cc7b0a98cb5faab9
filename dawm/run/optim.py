"""Optimisers and parameter averages from a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with warm-up, cosine decay and clipping; the defaults are those of EDM-style training on vectors."""

    learning_rate: float = 1e-3
    final_fraction: float = 0.01  # of the learning rate, reached by the cosine at the last step; 1.0 keeps it constant
    warmup: int = 500  # steps of linear warm-up
    weight_decay: float = 0.0
    clip: float = 1.0  # largest global norm of a gradient; 0 does not clip

    def __post_init__(self):
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")


def learning_rate(config: OptimConfig, steps: int) -> optax.Schedule:
    """The learning rate after so many of `steps` updates."""
    warmup = min(config.warmup, max(steps // 10, 1))
    return optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, warmup, max(steps, warmup + 1), config.learning_rate * config.final_fraction
    )


def updates_done(state: optax.OptState) -> Array:
    """How many updates the state of an optimiser has seen."""
    return optax.tree_utils.tree_get_all_with_path(state, "count")[0][1]


def make_optimiser(config: OptimConfig, steps: int, *, apart: bool = False) -> optax.GradientTransformation:
    """The optimiser of a run of `steps` updates; with `apart` each part of the parameters is clipped by itself."""
    schedule = learning_rate(config, steps)
    by_norm = clip_apart if apart else optax.clip_by_global_norm
    clip = [by_norm(config.clip)] if config.clip else []
    return optax.chain(*clip, optax.adamw(schedule, b1=0.9, b2=0.99, weight_decay=config.weight_decay))


def clip_apart(limit: float) -> optax.GradientTransformation:
    """Clips the gradient of each direct part of the parameters to the global norm `limit`.

    For networks whose losses are added up and share nothing: a large gradient of one does not slow the others down.
    """
    whole = optax.clip_by_global_norm(limit)

    def update(updates, state, params=None):
        del params
        parts, tree = jax.tree.flatten(updates, is_leaf=lambda part: part is not updates)
        return jax.tree.unflatten(tree, [whole.update(part, whole.init(part))[0] for part in parts]), state

    return optax.GradientTransformation(whole.init, update)


def ema(average: Any, new: Any, decay: float, step: Array) -> Any:
    """Exponential moving average of parameters; early steps use a shorter memory, (1 + step) / (10 + step)."""
    rate = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    mix = lambda a, b: a + (1.0 - rate) * (b - a) if eqx.is_inexact_array(a) else b
    return jax.tree.map(mix, average, new)
