"""Members of one training: at once and in turn they are what each would be alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from dawm.run.loop import compile_updates
from dawm.run.members import Members
from dawm.run.mesh import Layout

COUNT, STEPS, SEED = 3, 4, 7


class State(eqx.Module):
    """A walk of each member, and a count and a size that all share."""

    at: jax.Array
    step: jax.Array
    size: jax.Array
    name: str = eqx.field(static=True)


def update(state, data, key):
    """One random step, the larger at every second update: a branch on the count."""
    draw = data * state.size * jr.normal(key)
    at = jax.lax.cond(state.step % 2 == 0, lambda: state.at + draw, lambda: state.at + 10 * draw)
    return State(at, state.step + 1, state.size, state.name), {"at": at[0], "draw": draw}


def begun(count=None):
    shape = (2,) if count is None else (count, 2)
    return State(jnp.zeros(shape), jnp.zeros((), jnp.int32), jnp.float32(0.5), "walk")


SEEDS = Members(COUNT, lambda state: [state.step, state.size])


def alone(seed, steps=STEPS):
    state, key, rows = begun(), jr.key(seed), []
    for k in range(steps):
        state, metrics = update(state, 3.0, jr.fold_in(key, k))
        rows.append(metrics)
    return state, rows


def in_turn():
    chunk = lambda state, key: chunked(state, key, STEPS)
    return jax.jit(lambda: eqx.filter(SEEDS.in_turn(chunk, begun(COUNT), SEEDS.keys(SEED)), eqx.is_array))()


def chunked(state, key, steps):
    dynamic, static = eqx.partition(state, eqx.is_array)

    def step(dynamic, k):
        state, metrics = update(eqx.combine(dynamic, static), 3.0, jr.fold_in(key, k))
        return eqx.filter(state, eqx.is_array), metrics

    dynamic, metrics = jax.lax.scan(step, dynamic, jnp.arange(steps))
    return eqx.combine(dynamic, static), metrics


def at_once():
    state, rows = begun(COUNT), []
    for k in range(STEPS):
        keys = jax.vmap(jr.fold_in, (0, None))(SEEDS.keys(SEED), k)
        state, metrics = SEEDS.at_once(update)(state, 3.0, keys)
        rows.append(metrics)
    return state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)


@pytest.mark.parametrize("way", [in_turn, at_once])
def test_each_member_is_what_it_would_be_alone(way):
    state, metrics = way()
    assert state.at.shape == (COUNT, 2)
    assert metrics["at"].shape == metrics["draw"].shape == (STEPS, COUNT)
    for i in range(COUNT):
        wanted, rows = alone(SEED + i)
        np.testing.assert_allclose(state.at[i], wanted.at, rtol=1e-5)
        np.testing.assert_allclose(metrics["draw"][:, i], [row["draw"] for row in rows], rtol=1e-5)
    assert (state.step.shape, int(state.step), float(state.size)) == ((), STEPS, 0.5)
    assert len({float(x) for x in state.at[:, 0]}) == COUNT


def test_a_branch_on_what_is_shared_stays_a_branch():
    """Under a map over the count it would be a select, which computes both sides."""
    program = str(
        jax.make_jaxpr(lambda: eqx.filter(SEEDS.at_once(update)(begun(COUNT), 3.0, SEEDS.keys(0)), eqx.is_array))()
    )
    assert program.count(" cond[") == 1


def test_chunks_go_on_where_the_last_one_ended():
    run = compile_updates(update, STEPS // 2, Layout(), SEEDS)
    state, first = run(begun(COUNT), 3.0, SEEDS.keys(SEED), 0)
    state, second = run(state, 3.0, SEEDS.keys(SEED), STEPS // 2)
    whole, metrics = compile_updates(update, STEPS, Layout(), SEEDS)(begun(COUNT), 3.0, SEEDS.keys(SEED), 0)
    assert eqx.tree_equal(state, whole)
    np.testing.assert_array_equal(np.concatenate([first["at"], second["at"]]), metrics["at"])
