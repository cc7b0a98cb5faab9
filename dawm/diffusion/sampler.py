"""From noise to a sample: draw the start, then scan one step over a grid of levels."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.diffusion.denoiser import Denoise
from dawm.diffusion.steps import Past


def integrate(
    step: Callable[..., Any],
    denoise: Denoise,
    x: Float[Array, "*shape"],
    sigmas: Array | np.ndarray,
    key: PRNGKeyArray,
    *,
    remembers: bool = False,
) -> Float[Array, "*shape"]:
    """Carry x from level sigmas[0] to sigmas[-1] with one `step` between neighbours; see `steps.Row.remembers`."""
    sigmas = jnp.asarray(sigmas, x.dtype)
    levels = sigmas[:-1], sigmas[1:], jr.split(key, len(sigmas) - 1)
    if remembers:
        walk = lambda carry, level: (step(denoise, carry[0], *level, carry[1]), None)
        return jax.lax.scan(walk, (x, Past.nothing(x)), levels)[0][0]
    return jax.lax.scan(lambda x, level: (step(denoise, x, *level), None), x, levels)[0]


def sample(
    step: Callable[..., Any],
    denoise: Denoise,
    shape: tuple[int, ...],
    sigmas: Array | np.ndarray,
    *,
    key: PRNGKeyArray,
    sigma_data: float = 0.0,
    initial_scale: float = 1.0,
    around: Float[Array, "..."] | None = None,
    remembers: bool = False,
) -> Float[Array, "..."]:
    """One sample of the given shape, started at level sigmas[0] from noise of the standard deviation that x has there.

    That is hypot(sigma, sigma_data) for centred data: N(0, 1) in the coordinates of DDPM. With sigma_data = 0 it is the
    start of EDM, which differs only where sigmas[0] is small. `initial_scale` multiplies it (0.5 in the code of
    Decision Diffuser, 1 in its paper). With `around` the start is that array and noise of level sigmas[0]: what x was
    on its way from data to noise (SDEdit, Meng et al. 2022).
    """
    key_start, key_steps = jr.split(key)
    sigmas = jnp.asarray(sigmas, jnp.float32)
    noise = jr.normal(key_start, shape)
    start = initial_scale * jnp.hypot(sigmas[0], sigma_data) * noise if around is None else around + sigmas[0] * noise
    return integrate(step, denoise, start, sigmas, key_steps, remembers=remembers)
