"""Numbers as vectors that a network can resolve: Fourier features, as in NeRF and in EDM's noise embedding.

No parameters are learnt here and none is random, so the features need no key and no place in a checkpoint.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def fourier(value: Float[Array, ""], size: int, *, low: float = 0.25, high: float = 8.0) -> Float[Array, " size"]:
    """cos and sin of 2 pi f value for size/2 frequencies f between `low` and `high`, evenly spaced in log f.

    The defaults resolve noise levels given as log(sigma) / 4 or as a time in [0, 1]: the slowest wave is longer than
    that range, and the fastest turns once as sigma grows by a factor of 1.6. `size` is even.
    """
    angles = 2 * jnp.pi * jnp.geomspace(low, high, size // 2) * value
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)])


def sinusoidal(value: Float[Array, "*b"], size: int, *, longest: float = 10_000.0) -> Float[Array, "*b size"]:
    """sin and cos of value * longest^(-i / (size/2 - 1)), i = 0 .. size/2 - 1 (Vaswani et al. 2017)."""
    rates = longest ** -jnp.linspace(0.0, 1.0, size // 2)
    angles = value[..., None] * rates
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def scalar_condition(
    value: Float[Array, ""], size: int = 16, *, present: Float[Array, ""] | None = None
) -> Float[Array, " features"]:
    """A scalar such as a return-to-go as size + 2 numbers: itself, low Fourier features, and whether it is there.

    `value` should be of order one. Where `present` is 0 everything is 0: the null condition of classifier-free
    guidance, which no real value shares. Frequencies stop at one turn per unit, so that values somewhat beyond the
    data still mean something.
    """
    flag = jnp.ones(()) if present is None else present
    features = jnp.concatenate([value[None], fourier(value, size, low=0.125, high=1.0), jnp.ones(1)])
    return flag * features
