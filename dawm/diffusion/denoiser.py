"""A network seen as `denoise(x, sigma)`, whatever it predicts. Samplers and losses know nothing else."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from dawm.diffusion.parameterisation import PARAMETERISATIONS

Denoise = Callable[[Float[Array, "..."], Float[Array, ""]], Float[Array, "..."]]


class Preconditioned(eqx.Module):
    """Estimate of E[x0 | x, sigma] for one example (Karras et al. 2022, eq. 7, for every row of PARAMETERISATIONS).

    `body(x_in, noise, conditions)` sees the scaled input, the level as one number, and the tuple of conditions.
    """

    body: Callable
    parameterisation: str = eqx.field(static=True)
    sigma_data: float = eqx.field(static=True, default=1.0)

    def __call__(self, x: Float[Array, "..."], sigma: Float[Array, ""], *conditions: Array) -> Float[Array, "..."]:
        coefficients = PARAMETERISATIONS[self.parameterisation](jnp.asarray(sigma), self.sigma_data)
        prediction = self.body(coefficients.scale_in * x, coefficients.noise, conditions)
        return coefficients.skip * x + coefficients.out * prediction
