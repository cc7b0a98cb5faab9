"""Wrappers around `denoise` that steer or bound it. Each takes and returns a denoise(x, sigma), so they compose."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from dawm.diffusion.denoiser import Denoise


def classifier_free(conditional: Denoise, unconditional: Denoise, weight: float) -> Denoise:
    """weight * conditional + (1 - weight) * unconditional (Ho & Salimans 2022, eq. 6 with weight = 1 + w).

    The papers mix predictions of n. Every parameterisation is affine in what its network predicts, with the same
    coefficients for both terms, and the weights sum to 1: mixing D is mixing n, v or velocities.
    At weight 1 the unconditional network is not evaluated.
    """
    if weight == 1:
        return conditional

    def denoise(x, sigma):
        return weight * conditional(x, sigma) + (1 - weight) * unconditional(x, sigma)

    return denoise


def clipped(denoise: Denoise, low: float, high: float) -> Denoise:
    """The estimate of x0 kept within known bounds (`clip_denoised` of DDPM)."""
    return lambda x, sigma: jnp.clip(denoise(x, sigma), low, high)


def fixed(
    denoise: Denoise,
    mask: Array,
    value: Float[Array, "..."],
    scale_in: Callable[[Float[Array, ""]], Float[Array, ""]] | None = None,
) -> Denoise:
    """Inpainting: coordinates where `mask` is true are known to be `value`, before and after every evaluation.

    With `scale_in` of the parameterisation the network itself sees exactly `value` at every level, however noisy: this
    is the replacement in Diffuser, Decision Diffuser and Diffusion World Model (x_vp is overwritten before the loop and
    after each step, in training and in sampling). Without it, `value` is put into x and the network sees it scaled
    down with the rest. A sampler that ends at level 0 returns exactly `value` there. `value` is never read elsewhere.
    """

    def inpainted(x, sigma):
        known = value if scale_in is None else value / scale_in(sigma)
        return jnp.where(mask, value, denoise(jnp.where(mask, known, x), sigma))

    return inpainted
