"""Interrupting a run anywhere and taking it up again gives the bits of a run that never stopped."""

from __future__ import annotations

import functools
import os
import signal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from dawm.errors import CheckpointError, ConfigError, NumericalError
from dawm.run import loop
from dawm.run.folder import RunFolder
from dawm.run.loop import LoopConfig, fit
from dawm.run.metrics import MetricsFile

CONFIG = LoopConfig(steps=23, chunk=4, monitor_every=8, save_every=8)  # ends inside a chunk
DATA = jr.normal(jr.key(1), (64, 3))


def update(state, data, key):
    """Noisy descent whose result depends on every key, every row drawn, and the order of both."""
    w, count = state
    rows = data[jr.randint(key, (8,), 0, len(data))]
    loss = jnp.square(rows @ w - 1.0).mean()
    w = w - 0.05 * jax.grad(lambda w: jnp.square(rows @ w - 1.0).mean())(w) + 1e-3 * jr.normal(key, w.shape)
    return (w, count + 1), {"loss": loss, "per_row": jnp.square(rows @ w)}


@pytest.fixture(scope="module", autouse=True)
def compiled_once():
    """The same update is compiled once for all tests here: compiling is nearly all of their time."""
    original = loop.compile_updates
    loop.compile_updates = functools.cache(original)
    yield
    loop.compile_updates = original


def initial():
    return jnp.ones(3), jnp.asarray(0)


def start(path):
    return RunFolder.start(path, "policy", {"a": 1}, {})


def records(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in folder.metrics.rows()]


def same(a, b):
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = start(tmp_path_factory.mktemp("whole") / "r")
    return fit(update, initial(), DATA, CONFIG, seed=5, folder=folder), records(folder)


class Killed(BaseException):
    """What a SIGKILL would do, at a place of our choosing."""


def kill_at(monkeypatch, target, name, count):
    """The `count`-th call of `target.name` never returns."""
    original, calls = getattr(target, name), [0]

    def deadly(*args, **kwargs):
        calls[0] += 1
        if calls[0] == count:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(target, name, deadly)


PLACES = [(MetricsFile, "append", n) for n in range(1, 7)] + [(RunFolder, "save_state", n) for n in range(1, 4)]


@pytest.mark.parametrize(("target", "name", "count"), PLACES, ids=lambda x: getattr(x, "__name__", str(x)))
def test_a_run_killed_anywhere_goes_on_to_the_same_bits(tmp_path, monkeypatch, uninterrupted, target, name, count):
    folder = start(tmp_path / "r")
    with monkeypatch.context() as patch:
        kill_at(patch, target, name, count)
        with pytest.raises(Killed):
            fit(update, initial(), DATA, CONFIG, seed=5, folder=folder)
    with folder.metrics.path.open("a") as file:
        file.write('{"step": 99, "lo')  # and a line was being written
    state = fit(update, initial(), DATA, CONFIG, seed=5, folder=folder)
    assert same(state, uninterrupted[0])
    assert records(folder) == uninterrupted[1]


def test_a_folder_changes_nothing_and_chunks_change_nothing(uninterrupted):
    assert same(fit(update, initial(), DATA, CONFIG, seed=5), uninterrupted[0])
    other = LoopConfig(steps=23, chunk=23, monitor_every=8, save_every=8)  # other programs: equal but for rounding
    np.testing.assert_allclose(fit(update, initial(), DATA, other, seed=5)[0], uninterrupted[0][0], rtol=1e-6)
    assert not same(fit(update, initial(), DATA, CONFIG, seed=6), uninterrupted[0])


def test_records_fall_on_chunks_and_average_over_them(uninterrupted):
    rows = uninterrupted[1]
    assert [row["step"] for row in rows] == [4, 8, 12, 16, 20, 23]
    state, losses = initial(), []
    for k in range(4):
        state, metrics = update(state, DATA, jr.fold_in(jr.key(5), k))
        losses.append(metrics["loss"])
    np.testing.assert_allclose(rows[0]["loss"], np.mean(losses), rtol=1e-6)
    assert len(rows[0]["per_row"]) == 8


def test_the_monitor_looks_on_time_and_at_the_end():
    seen = []
    fit(update, initial(), DATA, CONFIG, seed=5, monitor=lambda step, state: seen.append((step, int(state[1]))) or {})
    assert seen == [(8, 8), (16, 16), (23, 23)]


@pytest.mark.parametrize("step", [0, 3, 9, 22])
def test_a_nan_names_its_update_and_its_metric(tmp_path, step):
    def poisoned(state, data, key):
        state, metrics = update(state, data, key)
        bad = state[1] == step + 1
        rows = metrics["per_row"].at[3].set(jnp.where(bad, jnp.inf, 0.0))
        late = jnp.where(state[1] > step + 1, jnp.nan, 0.0)  # later in the same chunk: not the one to report
        return state, metrics | {"a/late": late, "per_row": rows}

    folder = start(tmp_path / "r")
    with pytest.raises(NumericalError, match=f"`per_row` is not finite at update {step + 1} "):
        fit(poisoned, initial(), DATA, CONFIG, seed=5, folder=folder)
    assert all(row["step"] <= step for row in folder.metrics.rows())
    assert all(saved <= step for saved in folder.checkpoints())


def test_ctrl_c_saves_what_was_done_and_the_run_goes_on_from_there(tmp_path, uninterrupted):
    folder = start(tmp_path / "r")

    def press(step, state):
        if step == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return {}

    config = LoopConfig(steps=23, chunk=4, monitor_every=4, save_every=100)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(update, initial(), DATA, config, seed=5, folder=folder, monitor=press)
    assert signal.getsignal(signal.SIGINT) is before
    assert folder.checkpoints() == [8]
    assert same(fit(update, initial(), DATA, config, seed=5, folder=folder), uninterrupted[0])


def test_seconds_are_those_of_all_sittings(tmp_path, monkeypatch):
    clock = [1000.0]

    class Clock:
        @staticmethod
        def monotonic():
            return clock[0]

    monkeypatch.setattr(loop, "time", Clock)
    folder, last = start(tmp_path / "r"), []

    def tick(step, state):  # a chunk takes two seconds
        clock[0] += 2.0
        last.append(step)
        if last == [4, 8, 12]:
            raise Killed  # after the checkpoint at 8: what came later is lost, and its time with it
        return {}

    config = LoopConfig(steps=23, chunk=4, monitor_every=4, save_every=8)
    with pytest.raises(Killed):
        fit(update, initial(), DATA, config, seed=5, folder=folder, monitor=tick)
    clock[0] += 500.0  # nobody trains
    fit(update, initial(), DATA, config, seed=5, folder=folder, monitor=tick)
    assert [row["seconds"] for row in folder.metrics.rows()] == [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]
    assert folder.metrics.seconds() == 12.0


def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(tmp_path, uninterrupted):
    folder = start(tmp_path / "r")
    fit(update, initial(), DATA, CONFIG, seed=5, folder=folder)
    assert folder.checkpoints() == [16, 23]
    last = folder.checkpoint_path(23)
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="Delete it to go on from the one before"):
        fit(update, initial(), DATA, CONFIG, seed=5, folder=folder)
    last.unlink()
    assert same(fit(update, initial(), DATA, CONFIG, seed=5, folder=folder), uninterrupted[0])


def test_the_state_that_was_passed_in_stays_usable_and_a_longer_past_is_refused(tmp_path):
    state, folder = initial(), start(tmp_path / "r")
    fit(update, state, DATA, CONFIG, seed=5, folder=folder)
    assert float(state[0].sum()) == 3.0
    with pytest.raises(ConfigError, match="has been trained for 23 steps already, more than 8"):
        fit(update, state, DATA, LoopConfig(steps=8, chunk=4), seed=5, folder=folder)


@pytest.mark.parametrize("name", ["steps", "chunk", "monitor_every", "save_every"])
def test_impossible_lengths_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        LoopConfig(**{name: 0})


def test_a_state_of_weak_types_needs_no_second_program():
    """A number of Python leaves its type weak, an update does not: later chunks would be another program."""
    traced = []

    def halved(state, data, key):
        traced.append(state)
        return state * data, {"loss": state}

    weak = jnp.asarray(1.0) * 2.0
    assert weak.weak_type
    assert fit(halved, weak, jnp.full((), 0.5), LoopConfig(steps=4, chunk=1), seed=0) == 0.125
    assert len(traced) == 1
