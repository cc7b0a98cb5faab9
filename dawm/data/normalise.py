"""Per-dimension transforms to the units in which networks work: fitted on training episodes, saved inside the model.

`Standard` (zero mean, unit variance) and `Limits` (data range to [-1, 1]) are affine. `EmpiricalCDF` is the marginal
transform of Decision Diffuser, used by DWM (section 6.9.4): each value goes to its empirical CDF, stretched to [-1, 1];
values outside the data are clipped, so a decoded value never leaves the data range. Zero variance keeps its scale at 1.
`NormalScores` goes on from there to the quantile of a standard normal, so that every marginal is Gaussian.
"""

from __future__ import annotations

import abc
from statistics import NormalDist

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float


class AbstractNormaliser(eqx.Module):
    """An invertible transform of the last axis, whose length is fixed."""

    @abc.abstractmethod
    def apply(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        """From raw units to normalised ones."""

    @abc.abstractmethod
    def invert(self, z: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        """Back to raw units."""


class Standard(AbstractNormaliser):
    """z = (x - mean) / scale."""

    mean: Float[Array, " d"]
    scale: Float[Array, " d"]

    @staticmethod
    def fit(x: Float[np.ndarray, "n d"]) -> Standard:
        scale = x.std(0, dtype=np.float64)
        floor = 1e-6 * np.maximum(1.0, np.abs(x).max(0))  # below this a spread is rounding, not signal
        scale = np.where(scale > floor, scale, 1.0)
        return Standard(jnp.asarray(x.mean(0, dtype=np.float64), jnp.float32), jnp.asarray(scale, jnp.float32))

    def apply(self, x):
        return (x - self.mean) / self.scale

    def invert(self, z):
        return z * self.scale + self.mean


class Limits(AbstractNormaliser):
    """z in [-1, 1] over the range of the data."""

    low: Float[Array, " d"]
    high: Float[Array, " d"]

    @staticmethod
    def fit(x: Float[np.ndarray, "n d"]) -> Limits:
        low, high = x.min(0), x.max(0)
        high = np.where(high > low, high, low + 1.0)
        return Limits(jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32))

    def apply(self, x):
        return 2 * (x - self.low) / (self.high - self.low) - 1

    def invert(self, z):
        return (z + 1) / 2 * (self.high - self.low) + self.low


class EmpiricalCDF(AbstractNormaliser):
    """z = 2 F(x) - 1 with F the piecewise linear empirical CDF through `knots` quantiles of the data.

    Departure from Decision Diffuser's code: 1,024 knots instead of every value, which bounds its size.
    """

    quantiles: Float[Array, "k d"]  # strictly increasing in k
    levels: Float[Array, " k"]

    @staticmethod
    def fit(x: Float[np.ndarray, "n d"], knots: int = 1024) -> EmpiricalCDF:
        levels = np.linspace(0, 1, knots)
        quantiles = np.quantile(x.astype(np.float64), levels, axis=0)
        # ties (a clipped or constant dimension) are spread by a hair so that the map stays invertible
        width = np.maximum(quantiles[-1] - quantiles[0], 1.0)
        step = 1e-6 * width * np.arange(len(levels))[:, None] / len(levels)
        quantiles = np.maximum.accumulate(quantiles, 0) + step
        return EmpiricalCDF(jnp.asarray(quantiles, jnp.float32), jnp.asarray(2 * levels - 1, jnp.float32))

    def apply(self, x):
        return self._along_dimensions(lambda v, q: jnp.interp(v, q, self.levels), x)

    def invert(self, z):
        return self._along_dimensions(lambda v, q: jnp.interp(v, self.levels, q), z)

    def _along_dimensions(self, f, x):
        return jax.vmap(f, in_axes=(-1, 1), out_axes=-1)(x, self.quantiles)


class NormalScores(AbstractNormaliser):
    """z = Phi^-1(F(x)) with F the empirical CDF: van der Waerden's scores, the marginals of a Gaussian copula.

    Piecewise linear through quantiles at evenly spaced z in [-REACH, REACH]. Equal values of the data (a bound, a
    constant) share the score of their middle rank, and all scores of their ranks are decoded to that value.
    """

    quantiles: Float[Array, "k d"]  # not decreasing in k

    REACH = 4.0  # 3 of 100,000 values lie beyond, on either side
    KNOTS = 513

    @staticmethod
    def fit(x: Float[np.ndarray, "n d"]) -> NormalScores:
        levels = np.array([NormalDist().cdf(z) for z in NormalScores._scores()])
        levels[[0, -1]] = 0.0, 1.0
        return NormalScores(jnp.asarray(np.quantile(x.astype(np.float64), levels, axis=0), jnp.float32))

    @staticmethod
    def _scores() -> Float[np.ndarray, " k"]:
        return np.linspace(-NormalScores.REACH, NormalScores.REACH, NormalScores.KNOTS, dtype=np.float32)

    def apply(self, x):
        scores = jnp.asarray(self._scores())

        def score(v, q):
            # the first and the last of equal quantiles, by moving them apart by more than the rounding of a float
            step = 2e-7 * jnp.maximum(jnp.abs(q[0]), jnp.abs(q[-1])) * jnp.arange(len(q))
            first, last = jnp.interp(v, q + step, scores), jnp.interp(v, q + step - step[-1], scores)
            return ndtri((ndtr(first) + ndtr(last)) / 2)

        return jax.vmap(score, in_axes=(-1, 1), out_axes=-1)(x, self.quantiles)

    def invert(self, z):
        at = (jnp.clip(z, -self.REACH, self.REACH) + self.REACH) * ((self.KNOTS - 1) / (2 * self.REACH))
        below = jnp.minimum(at.astype(jnp.int32), self.KNOTS - 2)
        dimension = jnp.arange(self.quantiles.shape[1])
        low, high = self.quantiles[below, dimension], self.quantiles[below + 1, dimension]
        return low + (at - below) * (high - low)


NORMALISERS = {"standard": Standard, "limits": Limits, "cdf": EmpiricalCDF, "normal": NormalScores}
