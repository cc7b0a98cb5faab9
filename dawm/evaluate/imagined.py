"""The value of a policy in a world model: futures that it lives through from the first states of the log.

    V = E[ Σ_t γ^t Π_{u<t} (1 − p_u) r_t ],   (s_{t+1}, r_t, p_t) ~ model(s_t, π(s_t)),   t < steps

Every future keeps one member of the model from its first step to its last. Ends are not acted on but weighted by their
probability. A state that leaves the box of the log, widened by its own width on each side, means nothing: from there
on the future has the lowest reward of the log (as MOReL's halt state, Kidambi et al. 2020), and the share of such
futures is part of the answer. After `steps` nothing is counted; γ^steps says how much that can be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.data.dataset import Dataset
from dawm.types import Dynamics


@dataclass(frozen=True)
class ImagineConfig:
    """How many futures, how long, and in which dynamics of a trained model (`worldmodel/dynamics.py`)."""

    dynamics: Literal["anchor", "ensemble", "model"] = "anchor"
    starts: int = 64  # first states of episodes, drawn with replacement; each is lived through by every member
    steps: int = 300
    discount: float = 0.99
    seed: int = 0

    def __post_init__(self):
        if self.starts < 2 or self.steps < 1:
            raise ValueError(f"starts must be at least 2 and steps at least 1, got {self.starts} and {self.steps}")
        if not 0 <= self.discount <= 1:
            raise ValueError(f"discount must be in [0, 1], got {self.discount}")


def imagined_returns(
    model: Dynamics,
    act: Callable[[Array], Array],
    data: Dataset,
    config: ImagineConfig | None = None,
) -> tuple[Float[np.ndarray, "m n"], Float[np.ndarray, "m n"]]:
    """(discounted returns, whether the future left the log) of n futures in each of the m members.

    `act` maps raw observations (..., obs) to raw actions and can be traced; futures begin in first states of `data`,
    the same ones with the same random numbers for every policy.
    """
    config = config or ImagineConfig()
    chosen = np.random.default_rng([config.seed, 2]).choice(data.episode_starts, config.starts)
    low, high = data.obs.min(0), data.obs.max(0)
    box = jnp.asarray(np.stack([2 * low - high, 2 * high - low]))
    start, source = jnp.asarray(data.obs[chosen]), jnp.asarray(data.source[chosen])
    worst = float(data.reward.min())
    returns, lost = _live(model, act, start, source, box, worst, config, jr.key(config.seed))
    return np.asarray(returns), np.asarray(lost)


@eqx.filter_jit
def _live(
    model: Dynamics, act: Callable, start: Array, source: Array, box: Array, worst: float, config: ImagineConfig,
    key: PRNGKeyArray,
) -> tuple[Array, Array]:  # fmt: skip
    many = lambda leaf: jnp.broadcast_to(leaf, (model.count, *leaf.shape))
    obs, source = many(start), many(source)

    def step(carry, t):
        obs, alive, lost, total = carry
        out = model.advance(obs, act(obs), source, jr.fold_in(key, t))
        inside = (out.next_obs >= box[0]) & (out.next_obs <= box[1])  # not so for what is not finite
        lost = lost | ~inside.all(-1)
        total = total + config.discount**t * alive * jnp.where(lost, worst, out.reward)
        alive = alive * jnp.where(lost, 1.0, 1.0 - out.terminal_prob)
        return (jnp.where(lost[..., None], obs, out.next_obs), alive, lost, total), None

    shape = obs.shape[:2]
    carry = obs, jnp.ones(shape), jnp.zeros(shape, bool), jnp.zeros(shape)
    (_, _, lost, total), _ = jax.lax.scan(step, carry, jnp.arange(config.steps))
    return total, lost * 1.0
