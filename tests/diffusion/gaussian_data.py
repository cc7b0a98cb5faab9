"""Data for which everything is known: x0 ~ N(MEAN, STD^2), each coordinate alone."""

import jax.numpy as jnp

from dawm.diffusion.parameterisation import PARAMETERISATIONS

MEAN, STD = 1.0, 0.5


def denoise(x, sigma):
    """The exact posterior mean E[x0 | x, sigma]."""
    return MEAN + STD**2 / (STD**2 + sigma**2) * (x - MEAN)


def exact_flow(x, s, t):
    """The exact solution of the probability-flow equation from level s to level t."""
    return MEAN + jnp.sqrt((STD**2 + t**2) / (STD**2 + s**2)) * (x - MEAN)


def level_of(parameterisation, noise):
    """sigma from the number that a network is told (sigma_data = 1)."""
    return noise / (1 - noise) if parameterisation == "flow" else jnp.exp(4 * noise)


def perfect_body(parameterisation):
    """The network whose every prediction is the conditional mean of its target, at sigma_data = 1.

    Written from what each target means, not from the coefficients.
    """

    def body(seen, noise, conditions):
        del conditions
        sigma = level_of(parameterisation, noise)
        x = seen * ((1 + sigma) if parameterisation == "flow" else jnp.sqrt(1 + sigma**2))
        return target(parameterisation, denoise(x, sigma), (x - denoise(x, sigma)) / sigma, sigma)

    return body


def target(parameterisation, x0, n, sigma):
    """What a network is asked to predict for clean data x0 and noise n (sigma_data = 1), as the papers define it."""
    alpha, beta = 1 / jnp.sqrt(1 + sigma**2), sigma / jnp.sqrt(1 + sigma**2)  # x_vp = alpha x0 + beta n
    return {
        "epsilon": n,
        "x0": x0,
        "v": alpha * n - beta * x0,
        "flow": n - x0,
        "edm": beta * x0 - alpha * n,
    }[parameterisation]


assert set(PARAMETERISATIONS) == {"epsilon", "x0", "v", "flow", "edm"}
