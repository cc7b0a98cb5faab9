"""Futures of recorded windows under their recorded actions: what every model of one step can be asked alike.

A future keeps one member from its first step to its last (TS-inf of PETS, Chua et al. 2018), so the spread over futures
holds both what the members disagree on and what each of them calls chance.
"""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dawm.types import Prediction, Segment


class Advance(Protocol):
    """A world model or a yardstick, as far as it is needed here (`AbstractWorldModel.advance`)."""

    @property
    def count(self) -> int: ...

    def advance(
        self,
        obs: Float[Array, "m n obs"],
        action: Float[Array, "m n act"],
        source: Int[Array, "m n"],
        key: PRNGKeyArray,
    ) -> Prediction: ...


def unroll(model: Advance, segments: Segment, samples: int, key: PRNGKeyArray) -> Prediction:
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
