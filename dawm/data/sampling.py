"""Batches of transitions from one or two sources, drawn on the device.

A `Pool` holds the real rows, then the synthetic ones. A batch of B rows has exactly round(ratio · B) synthetic rows
(the share is a fact of every batch and no coin toss), each source drawn uniformly and with replacement.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from dawm.errors import ConfigError, DatasetError
from dawm.types import Transition, tree_rows


class Pool(eqx.Module):
    """Transitions on the device, real rows first; in whatever units `make_pool` was told to prepare."""

    data: Transition  # leaves (real + synthetic, ...)
    real: int = eqx.field(static=True)  # rows that come from the log
    ratio: float = eqx.field(static=True)  # synthetic share of each batch

    @property
    def synthetic(self) -> int:
        """Rows that a model made."""
        return self.data.reward.shape[0] - self.real


def make_pool(
    real: Transition,
    synthetic: Transition | None = None,
    ratio: float = 0.0,
    *,
    prepare: Callable[[Transition], Transition] = lambda rows: rows,
) -> Pool:
    """Put one or two sources on the device; `prepare` (normalisation, say) is applied to each of them on the host.

    Raises ConfigError where `ratio` and the presence of synthetic rows disagree, DatasetError where the shapes of the
    two sources do.
    """
    if not 0.0 <= ratio <= 1.0:
        raise ConfigError(f"`ratio` is the synthetic share of a batch and must be between 0 and 1, got {ratio}.")
    if synthetic is None and ratio > 0:
        raise ConfigError(f"`ratio` is {ratio} and there is no synthetic data: give `synthetic`, or set `ratio` to 0.")
    if synthetic is not None and ratio == 0:
        raise ConfigError(
            "synthetic data were given and `ratio` is 0, so none would be used: set `ratio`, for example 0.5."
        )
    parts = [prepare(real)]
    if synthetic is not None:
        _check_alike(real, synthetic)
        parts.append(prepare(synthetic))
    data = jax.tree.map(lambda *leaves: jnp.asarray(np.concatenate(leaves)), *parts)
    return Pool(data, len(real.reward), float(ratio))


def synthetic_rows(ratio: float, batch_size: int) -> int:
    """How many of the rows of a batch are synthetic: round(ratio · batch_size), halves to even."""
    return round(ratio * batch_size)


def draw(pool: Pool, key: PRNGKeyArray, batch_size: int) -> Transition:
    """A batch, leaves (batch_size, ...): real rows, then exactly `synthetic_rows(ratio, batch_size)` synthetic ones.

    All indices come from one call; nothing happens on the host, so it can be traced and mapped over keys.
    """
    made = synthetic_rows(pool.ratio, batch_size)
    is_made = np.arange(batch_size) >= batch_size - made
    low = np.where(is_made, pool.real, 0)
    high = np.where(is_made, pool.real + pool.synthetic, pool.real)
    return tree_rows(pool.data, jr.randint(key, (batch_size,), low, high))


def _check_alike(real: Transition, synthetic: Transition) -> None:
    for name in ("obs", "action"):
        ours, theirs = getattr(real, name).shape[-1], getattr(synthetic, name).shape[-1]
        if ours != theirs:
            raise DatasetError(
                f"`{name}` has {theirs} dimensions in the synthetic data and {ours} in the real data: they belong to "
                "different tasks."
            )
