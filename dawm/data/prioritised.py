"""Batches in which some rows of the log are drawn more often than others, and the weights that make up for it.

    P(i) = mass_i / Σ_j mass_j,     w_i = (N P(i))^−β

With β = 1 the mean of w_i l_i over a batch is an unbiased estimate of the mean of l over the log, with β = 0 rows count
as they come (Schaul et al. 2016, arXiv 1511.05952, eq. 1 and section 3.4). A row is drawn in two steps: a block of
`BLOCK` rows by the cumulative sum of the blocks, then a row of that block by its own. An update so reads N masses once,
and sums up N / BLOCK and batch · BLOCK of them.

Departures: weights are not divided by the largest of the batch, which would bias the estimate at β = 1 too.
Their mean is 1 at β = 0 and β = 1 and a little less between.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dawm.data.sampling import Pool, synthetic_rows
from dawm.types import Transition, tree_rows

BLOCK = 128


def draw_prioritised(
    pool: Pool, mass: Float[Array, " n"], key: PRNGKeyArray, batch_size: int, correction: float
) -> tuple[Int[Array, " b"], Transition]:
    """(rows of the pool, the batch with its weights): rows of the log by their `mass` (n of them), then exactly
    `synthetic_rows(ratio, batch_size)` synthetic ones, uniformly and with weight 1.
    """
    made = synthetic_rows(pool.ratio, batch_size)
    key_real, key_made = jr.split(key)
    index = choose(mass, key_real, batch_size - made)
    weight = (len(mass) * mass[index] / mass.sum()) ** -correction
    if made:
        others = jr.randint(key_made, (made,), pool.real, pool.real + pool.synthetic)
        index, weight = jnp.concatenate([index, others]), jnp.concatenate([weight, jnp.ones(made)])
    return index, tree_rows(pool.data, index)._replace(weight=weight)


def choose(mass: Float[Array, " n"], key: PRNGKeyArray, count: int) -> Int[Array, " k"]:
    """`count` indices, with replacement, each with a probability in proportion to its mass (at least 0, not all 0)."""
    key_block, key_row = jr.split(key)
    blocks = jnp.pad(mass, (0, -len(mass) % BLOCK)).reshape(-1, BLOCK)
    block = _inverse(jnp.cumsum(blocks.sum(1)), jr.uniform(key_block, (count,)))
    row = jax.vmap(_inverse)(jnp.cumsum(blocks[block], 1), jr.uniform(key_row, (count,)))
    return jnp.minimum(block * BLOCK + row, len(mass) - 1)  # padding has no mass: only rounding could end up there


def _inverse(cumulative: Float[Array, " n"], uniform: Float[Array, "*k"]) -> Int[Array, "*k"]:
    """Where a cumulative sum passes the given share of its total; never beyond its last increase."""
    total = cumulative[-1]
    passed = jnp.searchsorted(cumulative, uniform * total, side="right")
    return jnp.minimum(passed, jnp.searchsorted(cumulative, total, side="left"))
