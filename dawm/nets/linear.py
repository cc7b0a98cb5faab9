"""The linear layer of every network here, whose weight is stored as it is multiplied.

Layers start from uniform numbers that are drawn in one call, for all layers of a network if it can be: to compile a
draw takes a third of a second, and a network of six parts took longer to begin than to train for a while.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray


class Linear(eqx.Module):
    """x W + b for one row x; rows are mapped over.

    The weight is (in, out), where `eqx.nn.Linear` and PyTorch have (out, in): products of many rows are then plain
    ones, forwards and for the gradient of the weight, and XLA's CPU code copies nothing into another order of axes.
    """

    weight: Float[Array, "in out"]
    bias: Float[Array, " out"] | None

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        bias: bool = True,
        zero: bool = False,
        key: PRNGKeyArray | None = None,
        drawn: Float[Array, " n"] | None = None,
    ):
        """Weights and biases start uniform in ±1/sqrt(in_dim), as in Equinox and PyTorch, or at zero.

        The numbers come from `key`, or are `drawn`, uniform in ±1, one for each weight and bias.
        """
        count = numbers(in_dim, out_dim, bias)
        if zero:
            drawn = jnp.zeros(count)
        elif drawn is None:
            assert key is not None
            drawn = jr.uniform(key, (count,), minval=-1.0, maxval=1.0)
        bound = 1 / max(in_dim, 1) ** 0.5
        weight, rest = jnp.split(bound * drawn, [in_dim * out_dim])
        self.weight, self.bias = weight.reshape(in_dim, out_dim), rest if bias else None

    def __call__(self, x: Float[Array, " in"]) -> Float[Array, " out"]:
        x = x @ self.weight
        return x if self.bias is None else x + self.bias


def numbers(in_dim: int, out_dim: int, bias: bool = True) -> int:
    """Weights and biases of a layer."""
    return in_dim * out_dim + (out_dim if bias else 0)


def linears(sizes: Sequence[tuple[int, int]], *, key: PRNGKeyArray) -> tuple[Linear, ...]:
    """Layers of these (inputs, outputs), from one draw."""
    counts = [numbers(*size) for size in sizes]
    drawn = jr.uniform(key, (sum(counts),), minval=-1.0, maxval=1.0)
    parts = jnp.split(drawn, list(itertools.accumulate(counts))[:-1])
    return tuple(Linear(*size, drawn=part) for size, part in zip(sizes, parts, strict=True))
