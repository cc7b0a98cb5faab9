"""One step of a sampler, from level s down to t < s.

Each is `step(denoise, x, s, t, key) -> x at level t` for one example of any shape. At t = 0 every one of them returns
the last estimate denoise(x, s) itself. All integrate, or add noise around, the probability-flow equation

    dx / dsigma = (x - D(x, sigma)) / sigma        (Karras et al. 2022, eq. 1 and 3 with s(t) = 1, sigma(t) = t)

whose Euler step is the same in every scaling of x: it is DDIM in variance-preserving coordinates, and the Euler step
of flow matching in x_t.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.diffusion.denoiser import Denoise

Level = Float[Array, ""]


def euler_step(
    denoise: Denoise, x: Float[Array, "*shape"], s: Level, t: Level, key: PRNGKeyArray | None = None
) -> Float[Array, "*shape"]:
    """D + (t / s) (x - D): first order; DDIM (Song et al. 2021, eq. 12 with sigma = 0)."""
    del key  # deterministic; kept so that every step has the same signature
    clean = denoise(x, s)
    return clean + t / s * (x - clean)


def ancestral_step(
    denoise: Denoise, x: Float[Array, "*shape"], s: Level, t: Level, key: PRNGKeyArray, *, temperature: float = 1.0
) -> Float[Array, "*shape"]:
    """Draw from q(x_t | x_s, x0 = D), the DDPM posterior between any two levels (Ho et al. 2020, eq. 6 and 7).

    In sigma it is N(D + (t/s)^2 (x - D), t^2 (1 - (t/s)^2)): the alpha_bar ratios of a strided subsequence are those
    of its sigmas. `temperature` scales the standard deviation: N(mu, temperature^2 Sigma) is the low-temperature
    sampling of Decision Diffuser and Diffusion World Model (0.5 there).
    """
    clean = denoise(x, s)
    keep = (t / s) ** 2
    std = t * jnp.sqrt(1 - keep)
    return clean + keep * (x - clean) + temperature * std * jr.normal(key, x.shape, x.dtype)


def heun_step(
    denoise: Denoise, x: Float[Array, "*shape"], s: Level, t: Level, key: PRNGKeyArray | None = None
) -> Float[Array, "*shape"]:
    """Second order: the mean of the slopes at both ends (Karras et al. 2022, Alg. 1); one evaluation where t = 0."""
    del key
    clean = denoise(x, s)
    slope = (x - clean) / s
    guess = clean + t * slope  # x + (t - s) * slope, without its rounding where t = 0

    def corrected():
        safe = jnp.where(t > 0, t, 1.0)  # under vmap over levels both branches run: keep 0/0 out of the gradient
        return x + (t - s) * (slope + (guess - denoise(guess, safe)) / safe) / 2

    return jax.lax.cond(t > 0, corrected, lambda: guess)


def angular_heun_step(
    denoise: Denoise,
    x: Float[Array, "*shape"],
    s: Level,
    t: Level,
    key: PRNGKeyArray | None = None,
    *,
    sigma_data: float = 1.0,
) -> Float[Array, "*shape"]:
    """Heun's step in the angle theta = arctan(sigma / sigma_data), for y = x cos(theta) (TrigFlow, Lu & Song 2024).

        dy / dtheta = cos(theta) sigma_data eps - sin(theta) D,        eps = (x - D) / sigma

    For data of standard deviation sigma_data, y keeps that spread at every level, so that a few steps keep it too:
    with 5 steps Heun in sigma (levels karras, sigma_max 20) returns 1.5 times the spread of unit Gaussian data.
    One evaluation where t = 0.
    """
    del key
    here, there = jnp.arctan(s / sigma_data), jnp.arctan(t / sigma_data)
    clean = denoise(x, s)

    def slope(x, sigma, clean, angle):
        return jnp.cos(angle) * sigma_data * (x - clean) / sigma - jnp.sin(angle) * clean

    def corrected():
        start = x * jnp.cos(here)
        first = slope(x, s, clean, here)
        guess = (start + (there - here) * first) / jnp.cos(there)
        safe = jnp.where(t > 0, t, 1.0)  # under vmap over levels both branches run: keep 0/0 out of the gradient
        second = slope(guess, safe, denoise(guess, safe), there)
        return (start + (there - here) * (first + second) / 2) / jnp.cos(there)

    return jax.lax.cond(t > 0, corrected, lambda: clean)


def churned_heun_step(
    denoise: Denoise, x: Float[Array, "*shape"], s: Level, t: Level, key: PRNGKeyArray, *, churn: float
) -> Float[Array, "*shape"]:
    """Add noise up to s_hat = (1 + churn) s, then one Heun step from there (Karras et al. 2022, Alg. 2).

    `churn` is their gamma, at most sqrt(2) - 1. Departures: one gamma at every level (S_tmin = 0, S_tmax = infinity),
    and no inflation of the added noise (S_noise = 1).
    """
    s_hat = s * (1 + churn)
    x_hat = x + jnp.sqrt(s_hat**2 - s**2) * jr.normal(key, x.shape, x.dtype)
    return heun_step(denoise, x_hat, s_hat, t)


class Row(NamedTuple):
    step: Callable[..., Array]
    order: int  # of convergence to the probability-flow equation, or in distribution where noise is added
    stochastic: bool
    settings: tuple[str, ...] = ()


STEPS = {
    "euler": Row(euler_step, 1, False),
    "ancestral": Row(ancestral_step, 1, True, ("temperature",)),
    "heun": Row(heun_step, 2, False),
    "angular_heun": Row(angular_heun_step, 2, False, ("sigma_data",)),
    "churned_heun": Row(churned_heun_step, 2, True, ("churn",)),
}
