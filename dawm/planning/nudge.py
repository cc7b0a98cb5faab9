"""One short step of a plan along the slope of its worth, where dynamics are known near the policy and no further.

    plan  =  ρ d / |d|,      d  =  mean over k of g_k / |g_k|,      g_k the gradient of the worth at σ e_k,

with e_k standard normal, half of them mirror images of the others: the slope of the worth smoothed by a Gaussian
(Duchi, Bartlett and Wainwright 2012, SIAM J. Optim. 22(2), section 2), every sample with one vote. A network's slope at
one point is an accident of its kinks; at a cliff, such as the price of leaving the log, a single sample would otherwise
outvote all others. ρ is the length of the whole plan, all steps and dimensions together, so that the policy is nudged
and never left. |d| says how far the samples agree: four that know nothing of each other come to 1/2.

Departures: their step is along the mean gradient itself, and repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray


@dataclass(frozen=True)
class NudgeConfig:
    """How far, and over how many samples the slope is smoothed."""

    radius: float = 0.0  # length of the step, in units of half the action range; 0: none
    samples: int = 4  # plans at which the slope is taken, an even number
    agreement: float = 0.0  # least length of d: where the samples agree less, plans are searched for; 0: never

    def __post_init__(self):
        if self.radius < 0:
            raise ValueError(f"radius is a length, at least 0; got {self.radius}")
        if not 0 <= self.agreement <= 1:
            raise ValueError(f"agreement is a length in [0, 1], got {self.agreement}")
        if self.samples < 2 or self.samples % 2:
            raise ValueError(f"samples come in pairs, so an even number from 2; got {self.samples}")


def nudged(
    worth: Callable[[Float[Array, "n c h a"]], Float[Array, "n c"]],
    plan: Float[Array, "n h a"],
    spread: float,
    config: NudgeConfig,
    key: PRNGKeyArray,
) -> tuple[Float[Array, "n h a"], Float[Array, " n"], Float[Array, "n k"]]:
    """The plan moved by `config.radius` along the slope smoothed over `spread`, the agreement |d| of the samples (1
    where all are of one mind), and their worth; `worth` of one plan depends on that one alone. Where the slope is 0 the
    plan stays.
    """
    n, horizon, act_dim = plan.shape
    half = spread * jr.normal(key, (n, config.samples // 2, horizon, act_dim))
    around = plan[:, None] + jnp.concatenate([half, -half], 1)

    def total(plans):
        each = worth(plans)
        return each.sum(), each

    slopes, each = jax.grad(total, has_aux=True)(around)
    mean = _unit(slopes).mean(1)
    return plan + config.radius * _unit(mean), jnp.sqrt(jnp.square(mean).sum((1, 2))), each


def _unit(vector: Float[Array, "*n h a"]) -> Float[Array, "*n h a"]:
    """Of length 1 over the last two axes; 0 stays 0."""
    size = jnp.sqrt(jnp.square(vector).sum((-2, -1), keepdims=True))
    return vector / jnp.where(size > 0, size, 1.0)
