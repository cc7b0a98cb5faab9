"""What every model of one step can be asked alike: outcomes of a step, and futures under recorded actions.

A future keeps one member from its first step to its last (TS-inf of PETS, Chua et al. 2018), so the spread over futures
holds both what the members disagree on and what each of them calls chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dawm.run.mesh import spread
from dawm.types import Dynamics, Prediction, Segment

BLOCK = 1024  # rows in one compiled call, at most


def outcomes(
    model: Dynamics,
    obs: Float[Array, "n obs"],
    action: Float[Array, "n act"],
    source: Int[Array, " n"],
    samples: int,
    key: PRNGKeyArray,
) -> Prediction:
    """(members, samples, n, ...) outcomes of n steps, as many from each member."""
    m, n = model.count, len(source)

    def many(leaf):
        wide = jnp.broadcast_to(jnp.asarray(leaf), (m, samples, *leaf.shape))
        return spread(wide.reshape(m, samples * n, *leaf.shape[1:]), axis=1)

    out = model.advance(many(obs), many(action), many(source), key)
    return jax.tree.map(lambda leaf: leaf.reshape(m, samples, n, *leaf.shape[2:]), out)


def advance_rows(
    model: Dynamics,
    obs: Float[Array, "n obs"],
    action: Float[Array, "n act"],
    source: Int[Array, " n"],
    key: PRNGKeyArray,
) -> Prediction:
    """(n, ...) outcomes of n steps, n a multiple of the members: row i is of member i modulo their number."""
    by_member = lambda x: jnp.swapaxes(x.reshape(-1, model.count, *x.shape[1:]), 0, 1)
    out = model.advance(by_member(obs), by_member(action), by_member(source), key)
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]), out)


def by_blocks(
    call: Callable[..., Array], columns: Mapping[str, np.ndarray], key: PRNGKeyArray
) -> Float[np.ndarray, " n"]:
    """`call(obs, action, source, key)` on all rows of `columns`: blocks of one size, each with a key of its own."""
    count, parts = len(columns["source"]), []
    size = min(BLOCK, 1 << max(count - 1, 0).bit_length())  # a power of two: few programs, and few rows for nothing
    for first in range(0, count, size):
        rows = np.minimum(np.arange(first, first + size), count - 1)  # the last block repeats its last row
        block = (columns[name][rows] for name in ("obs", "action", "source"))
        parts.append(np.asarray(call(*block, jr.fold_in(key, first)))[: count - first])
    return np.concatenate(parts)


def unroll(model: Dynamics, segments: Segment, samples: int, key: PRNGKeyArray) -> Prediction:
    """(windows, samples, steps, ...) futures of the starts of `segments` under their actions.

    `samples` is rounded up to a multiple of the members. Ends are not acted on: `terminal_prob` of a step is given that
    the episode got there, and states after a recorded end mean nothing.
    """
    m = model.count
    each = -(-samples // m)
    n = len(segments.return_to_go)
    spread = lambda leaf: jnp.broadcast_to(leaf[None, :, None], (m, n, each, *leaf.shape[1:])).reshape(
        m, n * each, *leaf.shape[1:]
    )
    source = spread(segments.source)

    def step(obs, item):
        action, key = item
        out = model.advance(obs, spread(action), source, key)
        return out.next_obs, out

    keys = jr.split(key, segments.action.shape[1])
    _, out = jax.lax.scan(step, spread(segments.obs[:, 0]), (jnp.moveaxis(segments.action, 1, 0), keys))

    def arranged(leaf):  # (steps, members, windows * each, ...) -> (windows, members * each, steps, ...)
        leaf = leaf.reshape(leaf.shape[0], m, n, each, *leaf.shape[3:])
        leaf = jnp.moveaxis(leaf, (2, 1, 3, 0), (0, 1, 2, 3))
        return leaf.reshape(n, m * each, *leaf.shape[3:])

    return jax.tree.map(arranged, out)
