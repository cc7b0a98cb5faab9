"""Gradient ascent on a plan, through the world model: what a search leaves, the gradient finds.

    plan  <-  clip(plan + rate_k · Adam(g / rms(g))),   g the gradient of the worth of the plan,

for a number of steps while rate_k falls to 0 along a cosine; the best plan on the way is the result, so that the worth
never falls. It reaches peaks too sharp for a search of a few samples; it starts where a search ends, because from a
start that is wrong everywhere a gradient goes nowhere (Bharadhwaj et al. 2020, arXiv 2004.08763, section 3). With
`horizon` it changes the first steps of a plan only: the others will be climbed when they are the first, and fewer are
found sooner. The model and the value beyond the horizon are climbed with all their errors, which is why it is off by
default: `reach` says how far from the start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


@dataclass(frozen=True)
class AscentConfig:
    """How many steps, how large, how far."""

    steps: int = 0  # 0: no ascent
    rate: float = 0.1  # size of the first step, in units of half the action range
    reach: float = 2.0  # farthest from the plan that it starts from, in the same units; 2 is anywhere
    horizon: int = 0  # first steps of a plan that it changes, the later ones stay as they were found; 0: all

    def __post_init__(self):
        if self.steps < 0:
            raise ValueError(f"steps must be at least 0, got {self.steps}")
        if self.horizon < 0:
            raise ValueError(f"horizon is a number of steps, at least 0 (all of them); got {self.horizon}")
        if min(self.rate, self.reach) <= 0:
            raise ValueError(f"rate and reach must be positive, got {self.rate} and {self.reach}")


def climb(
    worth: Callable[[Float[Array, "n c h a"]], Float[Array, "n c"]],
    plans: Float[Array, "n c h a"],
    config: AscentConfig,
    bound: float = 1.0,
) -> tuple[Float[Array, "n c h a"], Float[Array, "n c"]]:
    """The best plan of an ascent from each of n by c plans in [-bound, bound], and its worth; `worth` of one depends on
    that one alone.
    """
    optimiser = optax.adam(optax.cosine_decay_schedule(config.rate, config.steps))
    free = jnp.arange(plans.shape[2]) < (config.horizon or plans.shape[2])
    low, high = jnp.clip(plans - config.reach, -bound, bound), jnp.clip(plans + config.reach, -bound, bound)

    def total(plans):
        each = worth(plans)
        return each.sum(), each

    def step(carry, _):
        plans, opt, best, most = carry
        (_, each), slope = jax.value_and_grad(total, has_aux=True)(plans)
        better = each > most
        best, most = jnp.where(better[..., None, None], plans, best), jnp.maximum(each, most)
        slope = jnp.where(free[:, None], slope, 0.0)
        slope = slope / (jnp.sqrt(jnp.square(slope).mean((-2, -1), keepdims=True)) + 1e-8)
        change, opt = optimiser.update(-slope, opt)
        return (jnp.clip(plans + change, low, high), opt, best, most), None

    start = plans, optimiser.init(plans), plans, jnp.full(plans.shape[:2], -jnp.inf)
    (plans, _, best, most), _ = jax.lax.scan(step, start, None, config.steps)
    last = worth(plans)
    return jnp.where((last > most)[..., None, None], plans, best), jnp.maximum(last, most)
