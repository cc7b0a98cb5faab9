"""What a network predicts, as four numbers per noise level.

With x = x0 + sigma * n, every usual choice of target is an affine view of one network F (Karras et al. 2022, eq. 7):

    D(x, sigma) = skip * x + out * F(scale_in * x, noise),        D estimates E[x0 | x, sigma].

`scale_in * x` is what the network sees: the variance-preserving x_vp, or x_t of flow matching. All rows are written
for data of standard deviation d = sigma_data as D(x, sigma) = d * D_1(x / d, sigma / d), so that at d = 1 they are the
forms of the papers. In units of d, what F should predict:

    edm      the mixture of x0 and n for which skip and out give F a target of unit variance (Karras et al. 2022)
    epsilon  n                                       (Ho et al. 2020)
    x0       x0
    v        (n - sigma * x0) / sqrt(1 + sigma^2)    (Salimans & Ho 2022, eq. 8 onwards)
    flow     n - x0, the velocity                    (Lipman et al. 2023; Liu et al. 2023)

The level reaches the network as log(sigma) / 4, but for flow matching as its time t = sigma / (1 + sigma).

Departure: DDPM gives the network the index of the level. log(sigma) / 4 carries the same information, and is defined
between levels.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Coefficients(NamedTuple):
    """D(x, sigma) = skip * x + out * F(scale_in * x, noise)."""

    skip: Float[Array, ""]
    out: Float[Array, ""]
    scale_in: Float[Array, ""]
    noise: Float[Array, ""]


Parameterisation = Callable[[Float[Array, ""], float], Coefficients]


def edm(sigma: Float[Array, ""], sigma_data: float) -> Coefficients:
    """Table 1 of Karras et al. 2022, last column."""
    total = jnp.sqrt(sigma**2 + sigma_data**2)
    return Coefficients((sigma_data / total) ** 2, sigma * sigma_data / total, 1 / total, jnp.log(sigma) / 4)


def epsilon(sigma: Float[Array, ""], sigma_data: float) -> Coefficients:
    """x0 = x - sigma * n. At high noise an error of F is multiplied by sigma: bound D by clipping, as DDPM does."""
    return Coefficients(jnp.ones_like(sigma), -sigma, 1 / jnp.sqrt(sigma**2 + sigma_data**2), jnp.log(sigma) / 4)


def x0(sigma: Float[Array, ""], sigma_data: float) -> Coefficients:
    """The clean data itself, in units of sigma_data."""
    zero = jnp.zeros_like(sigma)
    return Coefficients(zero, zero + sigma_data, 1 / jnp.sqrt(sigma**2 + sigma_data**2), jnp.log(sigma) / 4)


def v(sigma: Float[Array, ""], sigma_data: float) -> Coefficients:
    """x0 = (x_vp - sigma * v) / sqrt(1 + sigma^2) at sigma_data = 1; the same as `edm` but for the sign of F."""
    skip, out, scale_in, noise = edm(sigma, sigma_data)
    return Coefficients(skip, -out, scale_in, noise)


def flow(sigma: Float[Array, ""], sigma_data: float) -> Coefficients:
    """x0 = x_t - t * velocity at sigma_data = 1, where x_t = x / (1 + sigma)."""
    total = sigma + sigma_data
    return Coefficients(sigma_data / total, -sigma * sigma_data / total, 1 / total, sigma / total)


PARAMETERISATIONS: dict[str, Parameterisation] = {"edm": edm, "epsilon": epsilon, "x0": x0, "v": v, "flow": flow}
