"""Search for a sequence of actions: one refinement of a distribution over plans from the scores of its samples.

    mppi   weights proportional to exp((score − best) / temperature), in standard deviations of the scores; the new mean
           is the weighted mean (Williams et al. 2017)
    cem    the new mean and spread are those of the best plans (Rubinstein 1999; PETS, Chua et al. 2018)

Plans are in [-1, 1]. To add a search: a configuration, a function `(scores, plans, mean, spread, config) -> (mean,
spread)`, and a row in SEARCHES.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SMALLEST_SPREAD = 0.05  # so that a search never stops looking


@dataclass(frozen=True)
class MPPIConfig:
    """Path integral control."""

    kind: Literal["mppi"] = "mppi"
    temperature: float = 0.1  # of the weights, in standard deviations of the scores

    def __post_init__(self):
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")


@dataclass(frozen=True)
class CEMConfig:
    """Cross-entropy method."""

    kind: Literal["cem"] = "cem"
    elites: float = 0.1  # share of the plans that the next distribution is fitted to

    def __post_init__(self):
        if not 0 < self.elites <= 1:
            raise ValueError(f"elites is a share in (0, 1], got {self.elites}")


SearchConfig = MPPIConfig | CEMConfig


def mppi(
    scores: Float[Array, "n c"], plans: Float[Array, "n c h a"], mean: Array, spread: Array, config: MPPIConfig
) -> tuple[Float[Array, "n h a"], Float[Array, "n h a"]]:
    """The weighted mean of the plans; the spread stays."""
    del mean
    scale = config.temperature * scores.std(1, keepdims=True) + 1e-8
    weight = jax.nn.softmax((scores - scores.max(1, keepdims=True)) / scale, axis=1)
    return jnp.einsum("nc,ncha->nha", weight, plans), spread


def cem(
    scores: Float[Array, "n c"], plans: Float[Array, "n c h a"], mean: Array, spread: Array, config: CEMConfig
) -> tuple[Float[Array, "n h a"], Float[Array, "n h a"]]:
    """Mean and standard deviation of the best plans."""
    del mean, spread
    best = jax.lax.top_k(scores, max(1, round(config.elites * scores.shape[1])))[1]
    chosen = jnp.take_along_axis(plans, best[:, :, None, None], 1)
    return chosen.mean(1), jnp.maximum(chosen.std(1), SMALLEST_SPREAD)


SEARCHES = {"mppi": (MPPIConfig, mppi), "cem": (CEMConfig, cem)}
