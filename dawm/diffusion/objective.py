"""Training: at which noise levels, and the weighted denoising loss.

    loss = E_{x0, n, sigma}  weight(sigma) * |D(x0 + sigma n, sigma) - x0|^2        (Karras et al. 2022, eq. 2)

With weight = 1 / out^2 this is, for every parameterisation, the plain squared error of what the network predicts: the
DDPM loss on n, the flow-matching loss on the velocity, the unit-variance loss of EDM.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.diffusion.denoiser import Denoise


def lognormal(key: PRNGKeyArray, *, noise_mean: float, noise_std: float) -> Float[Array, ""]:
    """log(sigma) ~ N(noise_mean, noise_std^2) (Karras et al. 2022, table 1)."""
    return jnp.exp(noise_mean + noise_std * jr.normal(key))


def grid(key: PRNGKeyArray, *, grid: tuple[float, ...]) -> Float[Array, ""]:
    """One of the given levels, each equally likely: `k ~ Uniform(1..K)` of DDPM (Ho et al. 2020, Alg. 1)."""
    return jr.choice(key, jnp.asarray(grid, jnp.float32))


def uniform_time(key: PRNGKeyArray, *, sigma_min: float, sigma_max: float) -> Float[Array, ""]:
    """Flow-matching time t = sigma / (1 + sigma), uniform between those of sigma_min and sigma_max."""
    t = jr.uniform(key, minval=sigma_min / (1 + sigma_min), maxval=sigma_max / (1 + sigma_max))
    return t / (1 - t)


def logit_normal(key: PRNGKeyArray, *, noise_mean: float, noise_std: float) -> Float[Array, ""]:
    """logit(t) ~ N(noise_mean, noise_std^2) in flow-matching time (Esser et al. 2024, eq. 19).

    Since sigma = t / (1 - t) = exp(logit t), this is the very same law as `lognormal`.
    """
    return lognormal(key, noise_mean=noise_mean, noise_std=noise_std)


class Row(NamedTuple):
    draw: Callable[..., Float[Array, ""]]  # (key, **settings) -> sigma
    settings: tuple[str, ...]


NOISE_LAWS = {
    "lognormal": Row(lognormal, ("noise_mean", "noise_std")),
    "grid": Row(grid, ("grid",)),
    "uniform_time": Row(uniform_time, ("sigma_min", "sigma_max")),
    "logit_normal": Row(logit_normal, ("noise_mean", "noise_std")),
}


def denoising_error(
    denoise: Denoise,
    x0: Float[Array, "*shape"],
    sigma: Float[Array, ""],
    noise: Float[Array, "*shape"],
    weight: Float[Array, ""],
) -> Float[Array, "*shape"]:
    """The weighted squared error of every entry of one example."""
    return weight * (denoise(x0 + sigma * noise, sigma) - x0) ** 2


def masked_mean(error: Float[Array, "*shape"], mask: Array | None = None) -> Float[Array, ""]:
    """Mean over the entries that count: `mask` (0 or 1, or any weights >= 0) broadcasts to `error`; 0 if none does."""
    if mask is None:
        return error.mean()
    weights = jnp.broadcast_to(mask, error.shape).astype(error.dtype)
    total = weights.sum()
    return (weights * error).sum() / jnp.where(total > 0, total, 1.0)


def denoising_loss(
    denoise: Denoise,
    x0: Float[Array, "*shape"],
    sigma: Float[Array, ""],
    noise: Float[Array, "*shape"],
    weight: Float[Array, ""],
    mask: Array | None = None,
) -> Float[Array, ""]:
    """The loss of one example: the mean of `denoising_error` over the entries that count."""
    return masked_mean(denoising_error(denoise, x0, sigma, noise, weight), mask)
