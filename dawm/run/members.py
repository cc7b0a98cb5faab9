"""Members of one training, which differ by their keys alone: the seeds of a policy.

    at once    one update of all of them is one batched program: a GPU does it in the time of one, and several devices
               share them
    in turn    a whole chunk of updates of one member, then of the next: on a CPU, where a batched product is no faster
               than its parts, and what surrounds it is slower (measured in docs/design.md)

An update is written for one member. Member i at update k gets the key folded from `seed + i` and k, as a training of
one member with that seed does; in turn it also gets its bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Key, PRNGKeyArray


@dataclass(frozen=True)
class Members:
    """`count` members. The arrays of their state have a leading axis for them, but for those that `shared` names."""

    count: int
    shared: Callable[[Any], list[Array]]  # state -> arrays that are the same for all members, before and after

    def keys(self, seed: int) -> Key[Array, " m"]:
        """The key of each, (m,)."""
        return jax.vmap(jr.key)(seed + jnp.arange(self.count))

    def at_once(self, update: Callable) -> Callable:
        """`update(state, data, key)` of one as an update of all, on keys (m,); metrics gain a leading axis."""

        def of_all(state: Any, data: Any, keys: Key[Array, " m"]) -> tuple[Any, dict[str, Array]]:
            own, common = self._parted(state)
            one = self._one(lambda state, key: update(state, data, key), common)
            own, shared, metrics = jax.vmap(one, out_axes=(0, None, 0))(own, keys)
            return eqx.combine(own, shared, common), metrics

        return of_all

    def in_turn(self, chunk: Callable, state: Any, keys: Key[Array, " m"]) -> tuple[Any, dict[str, Array]]:
        """`chunk(state, key) -> (state, metrics)`, many updates of one member, for each of them; metrics, which it
        gives for every update, gain a second axis.
        """
        own, common = self._parted(state)
        one = self._one(chunk, common)
        own, shared, metrics = jax.lax.map(lambda member: one(*member), (own, keys))
        shared = jax.tree.map(lambda leaf: leaf[0], shared)
        return eqx.combine(own, shared, common), jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), metrics)

    def _one(self, step: Callable, common: Any) -> Callable:
        """`step` of one member as a function of arrays to arrays: (own, key) to (own, shared, metrics)."""

        def one(own: Any, key: PRNGKeyArray) -> tuple[Any, Any, dict[str, Array]]:
            state, metrics = step(eqx.combine(own, common), key)
            own, common_after = self._parted(state)
            return own, eqx.filter(common_after, eqx.is_array), metrics

        return one

    def _parted(self, state: Any) -> tuple[Any, Any]:
        """(the arrays that each member has for itself, what all have in common)."""
        own = jax.tree.map(eqx.is_array, state)
        return eqx.partition(state, eqx.tree_at(self.shared, own, replace_fn=lambda _: False))
