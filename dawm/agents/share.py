"""How much of a log its better episodes are best imitated from: what `policy.focus = "auto"` draws.

    share = argmin_f  Σ m_i |π_f(s_i) − a_i|² / Σ m_i   over held-out rows i,   m_i their mass at the least share

π_f is a clone of rows as the share f draws them (`focus.py`). Where bad episodes do other things than good ones, a
narrow draw shows what the good ones do; where they do the same and differ by luck, as in a log of one agent, all rows
show it, and a narrow draw only has fewer of them. Held-out episodes tell which it is. The larger of two shares that
tie is taken. Ours.

Neither an environment nor a critic is asked, so it is no choice by return: it says what can be imitated, and not what
it is worth.
"""

from __future__ import annotations

from functools import lru_cache

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from dawm.agents.actors import DeterministicActor
from dawm.agents.focus import sharpness, trajectory_mass
from dawm.data.dataset import Dataset

SHARES = (1.0, 0.5, 0.25, 0.1)
UPDATES = 3_000  # of each clone, and no more than a `PART`-th of the policy's own
PART = 4
BATCH, WIDTH, DEPTH, LEARNING_RATE = 256, 256, 2, 1e-3  # the rate falls to 0 along a cosine
HELD = 0.1  # share of the episodes
ROWS = 262_144  # of a larger log some episodes are looked at, these many rows of them
STD_FLOOR = 1e-3


@lru_cache(maxsize=2)  # several learners of one run ask the same
def errors_by_share(data: Dataset, updates: int, seed: int) -> dict[float, float]:
    """Squared error of each share's clone, a mean over action dimensions in units of half the action range; for a
    policy of `updates` updates. Empty where all shares would draw alike: a small log, or one return.
    """
    if data.episodes < 2:
        return {}
    kept, held = (part for part in _some(data, seed).split(HELD, seed))
    slopes = [sharpness(kept.returns, kept.lengths, share) for share in SHARES]
    if not any(slopes):
        return {}
    mean, scale = kept.obs.mean(0, np.float64), kept.obs.std(0, dtype=np.float64) + STD_FLOOR

    def pairs(part: Dataset) -> tuple[Array, Array]:
        action = (part.action - part.spec.act_centre) / part.spec.act_scale
        return jnp.asarray((part.obs - mean) / scale, jnp.float32), jnp.asarray(action, jnp.float32)

    steps = max(1, min(UPDATES, updates // PART))
    uniform = np.random.default_rng(seed).random((steps, BATCH))  # the same chances for all shares
    drawn = np.stack([_rows(_mass(kept, slope), uniform) for slope in slopes], 1)
    each = np.asarray(_clone_errors(*pairs(kept), drawn, *pairs(held), jr.key(seed)), np.float64)
    found = np.average(each, axis=1, weights=_mass(held, slopes[-1]))
    return dict(zip(SHARES, found.tolist(), strict=True))


def best_share(errors: dict[float, float]) -> float:
    """The share with the smallest error, the first of those that tie; 1 where nothing was compared."""
    return min(errors, key=lambda share: errors[share]) if errors else 1.0


def _some(data: Dataset, seed: int) -> Dataset:
    """Whole episodes of a log, `ROWS` rows of them or a few less; at least two."""
    if len(data) <= ROWS:
        return data
    order = np.random.default_rng([seed, 1]).permutation(data.episodes)
    count = int(np.searchsorted(np.cumsum(data.lengths[order]), ROWS, side="right"))
    return data.select(np.sort(order[: max(2, count)]))


def _mass(part: Dataset, slope: float) -> Float[np.ndarray, " n"]:
    return trajectory_mass(part.returns, slope)[part.episode_of].astype(np.float64)


def _rows(mass: Float[np.ndarray, " n"], uniform: Float[np.ndarray, "k b"]) -> Int[np.ndarray, "k b"]:
    """Rows with a probability in proportion to their mass."""
    total = np.cumsum(mass)
    return np.minimum(np.searchsorted(total, uniform * total[-1], side="right"), len(mass) - 1).astype(np.int32)


@eqx.filter_jit
def _clone_errors(obs, action, drawn, held_obs, held_action, key) -> Float[Array, "f m"]:
    """Error on each held-out row of a clone for each of f columns of `drawn` (k, f, b), from the same first weights."""
    optim = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, len(drawn)))
    actor = DeterministicActor(obs.shape[1], action.shape[1], width=WIDTH, depth=DEPTH, key=key)
    start, fixed = eqx.partition(actor, eqx.is_inexact_array)

    def error(params, obs, action):
        return jnp.square(jax.vmap(eqx.combine(params, fixed))(obs) - action).mean(-1)

    def update(carry, rows):
        params, opt = carry
        grad = jax.grad(lambda p: error(p, obs[rows], action[rows]).mean())(params)
        change, opt = optim.update(grad, opt)
        return (optax.apply_updates(params, change), opt), None

    def clone(drawn):
        (params, _), _ = jax.lax.scan(update, (start, optim.init(start)), drawn)
        return error(params, held_obs, held_action)

    return jax.vmap(clone, in_axes=1)(jnp.asarray(drawn))
