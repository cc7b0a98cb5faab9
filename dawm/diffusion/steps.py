"""One step of a sampler, from level s down to t < s.

Each is `step(denoise, x, s, t, key) -> x at level t` for one example of any shape; one that remembers the step before
is `step(denoise, x, s, t, key, past) -> (x at level t, past of the next)`. At t = 0 every one of them returns the last
estimate denoise(x, s) itself. All integrate, or add noise around, the probability-flow equation

    dx / dsigma = (x - D(x, sigma)) / sigma        (Karras et al. 2022, eq. 1 and 3 with s(t) = 1, sigma(t) = t)

whose Euler step is the same in every scaling of x: it is DDIM in variance-preserving coordinates, and the Euler step
of flow matching in x_t.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

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

    def corrected():
        start = x * jnp.cos(here)
        first = _angular_slope(x, s, clean, here, sigma_data)
        guess = (start + (there - here) * first) / jnp.cos(there)
        safe = jnp.where(t > 0, t, 1.0)  # under vmap over levels both branches run: keep 0/0 out of the gradient
        second = _angular_slope(guess, safe, denoise(guess, safe), there, sigma_data)
        return (start + (there - here) * (first + second) / 2) / jnp.cos(there)

    return jax.lax.cond(t > 0, corrected, lambda: clean)


class Past(NamedTuple):
    """What a step of several levels keeps of the one before it; `nothing` before the first."""

    slope: Float[Array, "*shape"]
    angle: Level  # infinite before the first step, which gives `slope` no weight

    @staticmethod
    def nothing(x: Float[Array, "*shape"]) -> "Past":
        return Past(jnp.zeros_like(x), jnp.full((), jnp.inf, x.dtype))


def angular_adams_step(
    denoise: Denoise,
    x: Float[Array, "*shape"],
    s: Level,
    t: Level,
    key: PRNGKeyArray | None,
    past: Past,
    *,
    sigma_data: float = 1.0,
) -> tuple[Float[Array, "*shape"], Past]:
    """The step of Adams and Bashforth in the angle of `angular_heun_step`: one evaluation, second order.

    The slope runs on in a straight line from the level before; the first step, which has none, is Euler's. Source:
    linear multistep methods as in PNDM (Liu et al. 2022) and tAB-DEIS (Zhang & Chen 2023), with polynomials
    in the angle. Departure: two levels, where they take four and three; a third gained nothing on our models.
    """
    del key
    here, there = jnp.arctan(s / sigma_data), jnp.arctan(t / sigma_data)
    clean = denoise(x, s)
    slope = _angular_slope(x, s, clean, here, sigma_data)
    bend = (here - there) / (past.angle - here) / 2
    moved = (x * jnp.cos(here) + (there - here) * (slope + bend * (slope - past.slope))) / jnp.cos(there)
    return jnp.where(t > 0, moved, clean), Past(slope, here)


def _angular_slope(x: Array, sigma: Level, clean: Array, angle: Level, sigma_data: float) -> Array:
    """dy / dtheta of `angular_heun_step`."""
    return jnp.cos(angle) * sigma_data * (x - clean) / sigma - jnp.sin(angle) * clean


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
    step: Callable[..., Any]  # see the module docstring
    order: int  # of convergence to the probability-flow equation, or in distribution where noise is added
    stochastic: bool
    settings: tuple[str, ...] = ()
    evaluations: int = 1  # of the network in a step, but for the last, which has one
    remembers: bool = False  # takes and returns a `Past`


STEPS = {
    "euler": Row(euler_step, 1, False),
    "ancestral": Row(ancestral_step, 1, True, ("temperature",)),
    "heun": Row(heun_step, 2, False, evaluations=2),
    "angular_heun": Row(angular_heun_step, 2, False, ("sigma_data",), evaluations=2),
    "angular_adams": Row(angular_adams_step, 2, False, ("sigma_data",), remembers=True),
    "churned_heun": Row(churned_heun_step, 2, True, ("churn",), evaluations=2),
}
