"""Scores of samples against what happened (Gneiting and Raftery 2007). Arrays only: they know no model.

The sample axis is the first one.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def fair_crps(samples: Float[Array, "m *b"], observed: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Continuous ranked probability score, unbiased in the number of samples m:

    mean_i |x_i - y| - 1 / (2 m (m - 1)) sum_ij |x_i - x_j|  (Ferro 2014). With one sample it is the absolute error.
    """
    m = samples.shape[0]
    error = jnp.abs(samples - observed).mean(0)
    if m == 1:
        return error
    ordered = jnp.sort(samples, 0)
    weight = (2 * jnp.arange(m) - m + 1).reshape((m,) + (1,) * observed.ndim)  # sum over pairs from order statistics
    return error - (weight * ordered).sum(0) / (m * (m - 1))


def spread(samples: Float[Array, "m *b"]) -> Float[Array, "*b"]:
    """Standard deviation over the samples (n - 1)."""
    return samples.std(0, ddof=1) if samples.shape[0] > 1 else jnp.zeros_like(samples[0])


def split_spread(samples: Float[Array, "members k *b"]) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """(aleatoric, epistemic) standard deviations of k samples of each member.

    By the law of total variance: the mean over members of each one's variance, and the variance over members of their
    means, less what the finite number of samples puts there. The second is 0 for a single member.
    """
    m, k = samples.shape[:2]
    within = samples.var(1, ddof=1).mean(0) if k > 1 else jnp.zeros(samples.shape[2:])
    between = samples.mean(1).var(0, ddof=1) - within / k if m > 1 else jnp.zeros(samples.shape[2:])
    return jnp.sqrt(within), jnp.sqrt(jnp.maximum(between, 0.0))
