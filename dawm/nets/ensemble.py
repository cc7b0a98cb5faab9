"""Several modules of one architecture as one module whose arrays have a leading member axis."""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int, Key, PRNGKeyArray

M = TypeVar("M")


def stack(build: Callable[[PRNGKeyArray], M], n: int, key: PRNGKeyArray) -> M:
    """`n` members build(key_i) with independent keys, stacked along axis 0 of every array."""
    return built(build, jr.split(key, n))


def built(build: Callable[[PRNGKeyArray], M], keys: Key[Array, " n"]) -> M:
    """build(key) for each of `keys`, stacked along axis 0 of every array.

    In a loop: a random draw that is mapped over takes twice as long to compile.
    """
    static = eqx.filter(eqx.filter_eval_shape(build, keys[0]), lambda leaf: not isinstance(leaf, jax.ShapeDtypeStruct))
    return eqx.combine(jax.lax.map(lambda key: eqx.filter(build(key), eqx.is_array), keys), static)


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


def restack(members: list[M]) -> M:
    """What `unstack` took apart."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves) if eqx.is_array(leaves[0]) else leaves[0], *members)


def kept(members: M, rows: Any) -> M:
    """Only the given members."""
    return jax.tree.map(lambda leaf: leaf[rows] if eqx.is_array(leaf) else leaf, members)


def shares(n: int, m: int, multiple: int = 1) -> Int[Array, "m each"]:
    """The rows of each of m members where row i of n is for member i modulo m, a multiple of `multiple` each; the last
    row fills up.
    """
    each = -(-n // (m * multiple)) * multiple
    return jnp.minimum(jnp.arange(each * m), n - 1).reshape(-1, m).T


def joined(tree: Any, n: int) -> Any:
    """n rows in their order again, from leaves (m, each, ...) that were made by `shares`."""
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1).reshape(-1, *leaf.shape[2:])[:n], tree)
