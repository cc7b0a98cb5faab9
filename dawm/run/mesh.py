"""Several devices: where the arrays of a training or a generation live. Every local device is used, without a setting.

    rows    a batch is split over the devices, each of which has a copy of the model; the sum of the gradients over
            devices is put in by XLA, which partitions the compiled program (Xu et al. 2021, GSPMD)
    seeds   what several seeds train is split by seed, and no device needs another's numbers

An array is split evenly or not at all. With one device every function here returns what it is given, so that the
compiled program, its bits and its speed are those of a package that knows of one device only. Arrays are placed on
several devices inside a loop or a call and come back to one, as if they had never left (`Layout.home`), so whatever
else is done with them needs to know nothing of this.

The devices are those that JAX sees in this process: `CUDA_VISIBLE_DEVICES` hides GPUs, and inside
`jax.default_device(...)` there is only that one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "data"  # the one axis of every mesh here
T = TypeVar("T")


def device_count(size: int) -> int:
    """All local devices if they share `size` rows evenly, else 1."""
    count = _available()
    return count if size % count == 0 else 1


def spread(tree: T, axis: int = 0) -> T:
    """The same arrays, split along `axis` over the devices; only inside a compiled function, and of every array that
    has the axis. An array whose axis the devices do not share evenly stays as it is.
    """

    def one(leaf: Any) -> Any:
        count = device_count(leaf.shape[axis])
        if count == 1:
            return leaf
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(_mesh(count), _along(axis)))

    return _arrays(one, tree)


@dataclass(frozen=True)
class Layout:
    """Where the state and the data of a training loop live. The default is one device."""

    devices: int = 1
    seeds: int = 0  # arrays of the state with so many rows are split by them; 0: every device has a copy of them all

    def placed(self, state: T) -> T:
        """What is trained, moved to its place; not inside compiled functions."""
        return state if self.devices == 1 else _arrays(lambda leaf: jax.device_put(leaf, self._place(leaf)), state)

    def kept(self, state: T) -> T:
        """What is trained, in its place; inside compiled functions, where it says that it stays there."""
        if self.devices == 1:
            return state
        return _arrays(lambda leaf: jax.lax.with_sharding_constraint(leaf, self._place(leaf)), state)

    def copied(self, data: T) -> T:
        """What is read: a copy on every device; not inside compiled functions."""
        if self.devices == 1:
            return data
        everywhere = NamedSharding(_mesh(self.devices), PartitionSpec())
        return _arrays(lambda leaf: jax.device_put(leaf, everywhere), data)

    def home(self, tree: T) -> T:
        """The same numbers as ordinary arrays of the first device, by way of the host; not inside compiled functions.

        Not by `device_put`, which would bind them to that device, and a program over several would refuse them.
        """
        return tree if self.devices == 1 else _arrays(lambda leaf: jnp.array(np.asarray(leaf)), tree)

    def _place(self, leaf: Any) -> NamedSharding:
        split = self.seeds > 0 and leaf.ndim > 0 and leaf.shape[0] == self.seeds
        return NamedSharding(_mesh(self.devices), _along(0) if split else PartitionSpec())


def split_rows(rows: int) -> Layout:
    """For an update or a call that calls `spread` on `rows` rows: copies on as many devices as it uses."""
    return Layout(device_count(rows))


def split_seeds(seeds: int) -> Layout:
    """For `seeds` seeds in one program: the most devices, of those that there are, that share them evenly."""
    return Layout(max(n for n in range(1, min(_available(), seeds) + 1) if seeds % n == 0), seeds)


def _available() -> int:
    chosen = getattr(jax.config, "jax_default_device", None)
    return jax.local_device_count() if chosen is None else 1


def _mesh(count: int) -> Mesh:
    return Mesh(np.asarray(jax.local_devices()[:count]), (AXIS,))


def _along(axis: int) -> PartitionSpec:
    return PartitionSpec(*[None] * axis, AXIS)


def _arrays(function: Callable[[Any], Any], tree: T) -> T:
    return jax.tree.map(lambda leaf: function(leaf) if eqx.is_array(leaf) else leaf, tree)
