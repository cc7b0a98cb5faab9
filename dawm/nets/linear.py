"""The linear layer of every network here, whose weight is stored as it is multiplied."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class Linear(eqx.Module):
    """x W + b for one row x; rows are mapped over.

    The weight is (in, out), where `eqx.nn.Linear` and PyTorch have (out, in): products of many rows are then plain
    ones, forwards and for the gradient of the weight, and XLA's CPU code copies nothing into another order of axes.
    """

    weight: Float[Array, "in out"]
    bias: Float[Array, " out"] | None

    def __init__(self, in_dim: int, out_dim: int, *, bias: bool = True, zero: bool = False, key: PRNGKeyArray):
        """Weights and biases start uniform in ±1/sqrt(in_dim), as in Equinox and PyTorch, or at zero."""
        layer = eqx.nn.Linear(in_dim, out_dim, use_bias=bias, key=key)
        layer = jax.tree.map(jnp.zeros_like, layer) if zero else layer
        self.weight, self.bias = layer.weight.T, layer.bias

    def __call__(self, x: Float[Array, " in"]) -> Float[Array, " out"]:
        x = x @ self.weight
        return x if self.bias is None else x + self.bias
