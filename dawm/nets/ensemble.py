"""Several modules of one architecture as one module whose arrays have a leading member axis."""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.random as jr
from jaxtyping import PRNGKeyArray

M = TypeVar("M")


def stack(build: Callable[[PRNGKeyArray], M], n: int, key: PRNGKeyArray) -> M:
    """`n` members build(key_i) with independent keys, stacked along axis 0 of every array."""
    return eqx.filter_vmap(build)(jr.split(key, n))


def apply(members: Callable, *args: Any) -> Any:
    """Every member on the same arguments; outputs have a leading member axis."""
    return eqx.filter_vmap(lambda member: member(*args))(members)


def apply_each(members: Callable, *args: Any) -> Any:
    """Member i on element i of every array among the arguments; outputs have a leading member axis."""
    return eqx.filter_vmap(lambda member, *own: member(*own))(members, *args)


def size(members: Any) -> int:
    """The number of members."""
    return jax.tree.leaves(eqx.filter(members, eqx.is_array))[0].shape[0]


def member(members: M, index: int) -> M:
    """One member as an ordinary module."""
    return jax.tree.map(lambda leaf: leaf[index] if eqx.is_array(leaf) else leaf, members)


def unstack(members: M) -> list[M]:
    """All members as ordinary modules."""
    return [member(members, i) for i in range(size(members))]
