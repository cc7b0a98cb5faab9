"""The training loop: compiled chunks of updates inside, plain Python for records and checkpoints outside.

The key of update k is folded from the seed and k, chunks begin at fixed steps, and all state is in one pytree; so a run
that was killed and taken up again gives the same bits as one that never stopped (a test kills it to prove this).
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from dawm.errors import ConfigError, NumericalError
from dawm.run.feed import Feed, fed
from dawm.run.folder import RunFolder
from dawm.run.members import Members
from dawm.run.mesh import Layout
from dawm.run.metrics import plain
from dawm.run.progress import progress_bar

S = TypeVar("S")
Update = Callable[[Any, Any, jax.Array], tuple[Any, dict[str, jax.Array]]]
ALONE = Layout()


@dataclass(frozen=True)
class LoopConfig:
    """How long to train and how often to look up. Records and checkpoints fall on multiples of `chunk`."""

    steps: int = 20_000
    chunk: int = 500  # updates per compiled call, and per row of metrics
    monitor_every: int = 5_000  # updates between looks at held-out data (or at the environment)
    save_every: int = 5_000  # updates between checkpoints

    def __post_init__(self):
        for name in ("steps", "chunk", "monitor_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def compile_updates(
    update: Update, count: int, layout: Layout = ALONE, members: Members | None = None
) -> Callable[..., tuple[Any, dict[str, jax.Array]]]:
    """`run(state, data, key, first)`: `count` updates in one program; metrics gain a leading axis of `count`.

    With `members`, `update` is of one of them, `state` is of all, and `key` is what `members.keys` gives.

    The state is donated: the caller must not use the one it passed in. It keeps its places of `layout` from update to
    update, so that the next call needs no other program and moves nothing.
    """
    in_turn = members is not None and layout.devices == 1 and jax.default_backend() == "cpu"

    @eqx.filter_jit(donate="all-except-first")
    def run(inputs: tuple[Any, jax.Array, jax.Array], state: Any) -> tuple[Any, dict[str, jax.Array]]:
        data, key, first = inputs
        steps = first + jnp.arange(count)
        chunk = lambda update, state, key: _scanned(update, state, data, key, steps, layout)
        if members is None:
            return chunk(update, state, key)
        if in_turn:
            return members.in_turn(lambda state, key: chunk(update, state, key), state, key)
        return chunk(members.at_once(update), state, key)

    return lambda state, data, key, first: run((data, key, jnp.asarray(first)), state)


def _scanned(
    update: Update, state: Any, data: Any, key: jax.Array, steps: jax.Array, layout: Layout
) -> tuple[Any, dict[str, jax.Array]]:
    """One update for each of `steps`, on the key, or keys of all members, folded with it."""
    fold = jr.fold_in if key.ndim == 0 else jax.vmap(jr.fold_in, (0, None))
    dynamic, static = eqx.partition(state, eqx.is_array)

    def step(dynamic, k):
        state, metrics = update(eqx.combine(dynamic, static), data, fold(key, k))
        return layout.kept(eqx.filter(state, eqx.is_array)), metrics

    dynamic, metrics = jax.lax.scan(step, dynamic, steps)
    return eqx.combine(dynamic, static), metrics


def fit(
    update: Update,
    state: S,
    data: Any,
    config: LoopConfig,
    *,
    seed: int,
    folder: RunFolder | None = None,
    monitor: Callable[[int, S], dict[str, Any]] | None = None,
    label: str = "training",
    layout: Layout = ALONE,
    members: Members | None = None,
) -> S:
    """Apply `update(state, data, key) -> (state, metrics)` `config.steps` times; returns the last state. With `members`
    the update is of one of them, and `state` holds them all.

    `data` may be a `Feed`, which gives each chunk data of its own.

    With a folder: metrics go to its metrics.jsonl, checkpoints are written, and training goes on from the last one.
    `monitor(step, state)` adds slow measurements every `monitor_every` steps and at the end. `layout` says on which
    devices state and data live while it runs; they are ordinary arrays before and after. Raises NumericalError at
    the first metric that is not finite, and KeyboardInterrupt after saving if Ctrl-C was pressed.
    """
    start = 0
    if folder is not None and folder.checkpoints():
        start, state = folder.load_state(state)
        folder.metrics.truncate(start)
        if start > config.steps:
            raise ConfigError(
                f"`{folder.path}` has been trained for {start:,} steps already, more than {config.steps:,}."
            )
    else:
        # a copy, for the first chunk donates it; its types are not weak, as an update's are not: one program for all
        state = _copied(state)
        if folder is not None:
            folder.metrics.truncate(-1)
    state = layout.placed(state)
    data = data.then(layout.copied) if isinstance(data, Feed) else layout.copied(data)
    key = jr.key(seed) if members is None else members.keys(seed)
    earlier = folder.metrics.seconds() if folder is not None else None  # what other sittings took
    compiled, begun = {}, time.monotonic() - (earlier or 0.0)

    with (
        progress_bar(label, config.steps, "updates", start) as advance,
        _deferred_interrupt() as interrupted,
        fed(data, -(-config.steps // config.chunk)) as inputs,
    ):
        step = start
        while step < config.steps:
            count = min(config.chunk, config.steps - step)
            if count not in compiled:
                compiled[count] = compile_updates(update, count, layout, members)
            state, metrics = compiled[count](state, inputs(step // config.chunk), key, step)
            metrics = {name: np.asarray(value) for name, value in metrics.items()}
            _check_finite(metrics, step, label)
            step += count
            row = {"step": step} | {name: value.mean(0) for name, value in metrics.items()}
            if monitor is not None and (
                step == config.steps or step // config.monitor_every > (step - count) // config.monitor_every
            ):
                row |= monitor(step, layout.home(state))
            if folder is not None:
                folder.metrics.append(row | {"seconds": round(time.monotonic() - begun, 3)})
                due = step == config.steps or step // config.save_every > (step - count) // config.save_every
                if due or interrupted.is_set():
                    folder.save_state(step, state)
            advance(step, _remark(row))
            if interrupted.is_set():
                raise KeyboardInterrupt
    return layout.home(state)


@eqx.filter_jit
def _copied(state: S) -> S:
    """All leaves in one program: leaf by leaf every shape would be compiled."""
    return jax.tree.map(lambda x: jnp.array(x, x.dtype) if eqx.is_array(x) else x, state)


def _remark(row: dict[str, Any]) -> str:
    losses = [k for k in row if k.endswith("loss")][:2]
    return "  ".join(f"{k} {np.mean(plain(row[k])):.4g}" for k in losses)


def _check_finite(metrics: dict[str, np.ndarray], first: int, label: str) -> None:
    """Raise NumericalError for the earliest update whose metrics are not all finite."""
    worst = None
    for name, value in metrics.items():
        bad = ~np.isfinite(value.reshape(len(value), -1)).all(1)
        if bad.any() and (worst is None or bad.argmax() < worst[0]):
            worst = (int(bad.argmax()), name)
    if worst is not None:
        row, name = worst
        before = metrics[name][row - 1] if row else "unknown (it was the first of its chunk)"
        raise NumericalError(
            f"{label} stopped: `{name}` is not finite at update {first + row + 1:,} (the update before: {before})."
            " Likely causes: a learning rate that is too high, extreme values in the data (see `dawm data doctor`), or"
            " a reward scale in the thousands. The last checkpoint before it is kept."
        )


@contextlib.contextmanager
def _deferred_interrupt() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that a chunk can finish and be saved; a second Ctrl-C stops at once."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return

    def handle(number, frame):
        if pressed.is_set():
            signal.default_int_handler(number, frame)
        pressed.set()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, previous)
