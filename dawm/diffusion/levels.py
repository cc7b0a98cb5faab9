"""Noise grids: decreasing standard deviations sigma_0 > ... > sigma_{n-1} > sigma_n = 0 that a sampler walks down.

Everything is said in sigma, the view in which x = x0 + sigma * n with n standard normal ("variance exploding"). A
variance-preserving process x_vp = sqrt(a) x0 + sqrt(1 - a) n is the same thing divided by sqrt(1 + sigma^2), with
sigma^2 = (1 - a) / a; flow matching, x_t = (1 - t) x0 + t n, is the same thing divided by 1 + sigma, with
sigma = t / (1 - t). Grids are constants of a program, so they are computed in NumPy (double) and returned in float32.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Grid = Float[np.ndarray, " levels"]


def karras(n: int, *, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Grid:
    """`n` levels from sigma_max to sigma_min, evenly spaced in sigma^(1/rho), then 0 (Karras et al. 2022, eq. 5)."""
    ramp = np.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), n)
    return _ending_in_zero(ramp**rho)


def cosine_training_levels(train_levels: int) -> Float[np.ndarray, " train_levels"]:
    """The K levels of a cosine DDPM, increasing with the step k = 1..K (Nichol & Dhariwal 2021, eq. 17; s = 0.008).

    Each beta is clipped at 0.999, without which the last level would be infinite; the last one is then about 100.
    """
    time = np.linspace(0, 1, train_levels + 1)
    signal = np.cos((time + 0.008) / 1.008 * np.pi / 2) ** 2
    beta = np.minimum(1 - signal[1:] / signal[:-1], 0.999)
    alpha_bar = np.cumprod(1 - beta)
    return np.sqrt((1 - alpha_bar) / alpha_bar).astype(np.float32)


def cosine(n: int, *, train_levels: int) -> Grid:
    """`n` of the K cosine levels, evenly strided over the steps 1..K and ending at K (5 and 3 give 1, 3, 5), then 0.

    Raises ValueError if n > K. Source: the strided sampling of Diffusion World Model (arXiv 2402.03570, section 6.6).
    """
    if n > train_levels:
        raise ValueError(f"steps ({n}) cannot exceed train_levels ({train_levels}) on the cosine grid")
    chosen = np.round(np.linspace(train_levels, 1, n)).astype(int)
    return _ending_in_zero(cosine_training_levels(train_levels)[chosen - 1])


def vp(n: int, *, sigma_min: float, sigma_max: float, beta_min: float = 0.1, beta_max: float = 20.0) -> Grid:
    """`n` levels evenly spaced in the time of the linear-beta VP diffusion (Song et al. 2021, eq. 32), then 0.

    There 1 + sigma(t)^2 = exp(beta_min t + (beta_max - beta_min) t^2 / 2); the ends are times at which sigma is
    sigma_max and sigma_min, instead of the paper's t = 1 and 0.001 (sigma about 152 and 0.01).
    """
    growth = beta_max - beta_min

    def time(sigma: float) -> float:
        return (np.sqrt(beta_min**2 + 2 * growth * np.log1p(sigma**2)) - beta_min) / growth

    t = np.linspace(time(sigma_max), time(sigma_min), n)
    return _ending_in_zero(np.sqrt(np.expm1(beta_min * t + growth * t**2 / 2)))


def flow(n: int, *, sigma_max: float) -> Grid:
    """`n` steps evenly spaced in flow-matching time t from sigma_max / (1 + sigma_max) to 0 (Lipman et al. 2023).

    Pure noise, t = 1, is sigma = infinity; sigma_max stands for it (20 is t = 0.952, 100 is t = 0.990).
    """
    t = np.linspace(sigma_max / (1 + sigma_max), 0, n + 1)[:-1]
    return _ending_in_zero(t / (1 - t))


def angular(n: int, *, sigma_max: float, sigma_data: float = 1.0) -> Grid:
    """`n` steps in the angle arctan(sigma / sigma_data), falling with the square of what is left: short ones near 0.

    The angle is the time of TrigFlow (Lu & Song 2024); the square is ours.
    """
    angle = np.arctan(sigma_max / sigma_data) * (1 - np.arange(n) / n) ** 2
    return _ending_in_zero(sigma_data * np.tan(angle))


def _ending_in_zero(sigmas: np.ndarray) -> np.ndarray:
    return np.append(sigmas, 0.0).astype(np.float32)


class Row(NamedTuple):
    build: Callable[..., np.ndarray]  # (n, **settings) -> n + 1 levels
    settings: tuple[str, ...]  # names of the settings that it reads


LEVELS = {
    "karras": Row(karras, ("sigma_min", "sigma_max", "rho")),
    "cosine": Row(cosine, ("train_levels",)),
    "vp": Row(vp, ("sigma_min", "sigma_max")),
    "flow": Row(flow, ("sigma_max",)),
    "angular": Row(angular, ("sigma_max", "sigma_data")),
}
