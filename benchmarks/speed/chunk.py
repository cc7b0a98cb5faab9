"""Updates as training does them: the compiled chunk of `dawm.run.loop`, and its metrics on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def chunk_of(update: Callable, state: Any, data: Any, count: int, members: Any = None) -> Callable[[], None]:
    """A call that goes on by `count` updates of `update(state, data, key) -> (state, metrics)`, of all `members`."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from dawm.run.loop import compile_updates

    run = compile_updates(update, count, members=members)
    key = jax.random.key(0) if members is None else members.keys(0)
    held = [jax.tree.map(lambda x: jnp.array(x) if eqx.is_array(x) else x, state)]  # a chunk takes over its arrays

    def call() -> None:
        held[0], metrics = run(held[0], data, key, 0)
        jax.device_get(metrics)

    return call
