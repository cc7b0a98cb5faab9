"""What is done to generated transitions where the model is unsure or the log has nothing: penalties, stops, filters.

Each is a transform of transitions, made before they are stored; a learner sees ordinary rows.

`penalty`     r - penalty * (standard deviation of rewards) * u: MOPO (Yu et al. 2020), with u the model's spread
`stop`        a future ends, with the lowest reward of the log, where u is above a quantile of its values on the log:
              MOReL (Kidambi et al. 2020)
`constraint`  r - cost * (standard deviation of rewards) * P where the model's probability P that a step breaks a limit
              of the user's (`synth/constraints.py`) is above `limit`
`support`     rows whose (s, a) lies farther out than all but this share of the log's own held-out steps are dropped,
              and with them the rest of their future

u is the root mean square over outcomes (change of state, reward) of their spread, in standard deviations; of all
futures ("total"), within members ("aleatoric") or between them ("epistemic").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dawm.data.dataset import Dataset
from dawm.errors import ConfigError
from dawm.synth.constraints import Violation, probability, violation
from dawm.uncertainty.scores import split_spread
from dawm.uncertainty.support import Support, fit_support
from dawm.worldmodel.base import AbstractWorldModel
from dawm.worldmodel.rollout import by_blocks, outcomes

Columns = dict[str, np.ndarray]  # rows of futures one after the other, and their `lengths`
ACCOUNT = ("rows", "dropped", "stopped", "penalty", "spread", "unsafe")  # counts and sums that a shard keeps
REFERENCE = 4_000  # recorded steps that thresholds are read from


@dataclass(frozen=True)
class SafeguardConfig:
    """All off by default."""

    penalty: float = 0.0  # weight of the spread in the reward
    stop: float | None = None  # quantile of the spread on recorded steps beyond which a future ends
    support: float = 0.0  # smallest share of recorded steps that lie as far out
    constraint: str | None = None  # what must not happen, for example "next_obs[0] > 3"
    limit: float = 0.05  # on its probability
    cost: float = 20.0  # of breaking it for certain, in standard deviations of the reward
    spread: Literal["total", "aleatoric", "epistemic"] = "total"
    samples: int = 8  # futures per step and member from which the spread is computed

    def __post_init__(self):
        if self.penalty < 0 or not 0 <= self.support < 1 or self.samples < 2:
            raise ValueError(f"penalty must be at least 0, support in [0, 1) and samples at least 2, got {self}")
        if self.stop is not None and not 0 < self.stop <= 1:
            raise ValueError(f"stop is a quantile in (0, 1], got {self.stop}")
        if self.constraint is not None and not isinstance(self.constraint, str):
            raise ValueError("constraint is an expression; a Python function goes to dawm.generate(constraint=...)")
        if not 0 <= self.limit < 1 or self.cost < 0:
            raise ValueError(f"limit must be in [0, 1) and cost at least 0, got {self.limit} and {self.cost}")

    @property
    def active(self) -> bool:
        """Whether anything is done at all."""
        return self.penalty > 0 or self.stop is not None or self.support > 0 or self.constraint is not None


@dataclass(frozen=True, eq=False)
class Safeguards:
    """The transforms with their thresholds."""

    config: SafeguardConfig
    model: AbstractWorldModel
    reward_scale: float
    lowest_reward: float
    threshold: float | None
    support: Support | None
    broken: Violation | None

    def apply(self, columns: Columns, key: jax.Array) -> Columns:
        """Futures after all transforms, with an `account` of what was done (`ACCOUNT`)."""
        rows, dropped, stopped, spread, weight = len(columns["reward"]), 0, 0, np.zeros(0), 0.0
        unsafe = np.zeros(0)
        if self.support is not None:
            inside = self.support.score(np.concatenate([columns["obs"], columns["action"]], 1)) > self.config.support
            outside = from_first(~inside, columns["lengths"])
            columns, dropped = without(columns, outside), int(outside.sum())
        if (self.config.penalty > 0 or self.threshold is not None) and len(columns["reward"]):
            weight = self.config.penalty * self.reward_scale
            spread = spread_of(self.model, columns, self.config, key)
            columns = penalised(columns, weight * spread)
        if self.broken is not None and len(columns["reward"]):
            key = jr.fold_in(key, 1)
            unsafe = probability(self.model, self.broken, columns, self.config.samples, key)
            unsafe = np.where(unsafe > self.config.limit, unsafe, 0.0)
            columns = penalised(columns, self.config.cost * self.reward_scale * unsafe)
        if self.threshold is not None:
            columns, stopped = stopped_at(columns, spread > self.threshold, self.lowest_reward)
        done = (rows, dropped, stopped, weight * spread.sum(), spread.sum(), (unsafe > 0).sum())
        return columns | {"account": np.array(done, np.float64)}


def make_safeguards(
    model: AbstractWorldModel,
    train: Dataset,
    held: Dataset,
    config: SafeguardConfig,
    seed: int,
    constraint: Violation | None = None,
) -> Safeguards:
    """Transforms whose thresholds are read from the log; a function as `constraint` takes the place of the text.

    Raises ConfigError where both are given, or where the text is not understood.
    """
    if constraint is not None and config.constraint is not None:
        raise ConfigError("safeguards.constraint and a function as `constraint` are both given: choose one.")
    threshold = support = None
    if config.stop is not None:
        rows = np.random.default_rng(seed).permutation(len(train))[:REFERENCE]
        recorded = {name: getattr(train, name)[rows] for name in ("obs", "action", "source")}
        threshold = float(np.quantile(spread_of(model, recorded, config, jr.key(seed)), config.stop))
    if config.support > 0:
        pairs = [np.concatenate([part.obs, part.action], 1) for part in (train, held)]
        support = fit_support(pairs[0], pairs[1], seed)
    limit = constraint or config.constraint
    broken = None if limit is None else violation(limit)
    return Safeguards(config, model, float(train.reward.std()), float(train.reward.min()), threshold, support, broken)


def summary(accounts: Float[np.ndarray, "shards 6"], guards: Safeguards) -> dict[str, Any]:
    """Rates for the record of a generation."""
    total = dict(zip(ACCOUNT, accounts.sum(0).tolist(), strict=True))
    kept = max(total["rows"] - total["dropped"], 1)
    return {
        "accept_rate": kept / max(total["rows"], 1),
        "stopped_rate": total["stopped"] / kept,
        "mean_penalty": total["penalty"] / kept,
        "mean_spread": total["spread"] / kept,
        "unsafe_rate": total["unsafe"] / kept,
        "spread_threshold": guards.threshold,
    }


# -- spread -----------------------------------------------------------------------------------------------------------


def spread_of(
    model: AbstractWorldModel, columns: Columns, config: SafeguardConfig, key: jax.Array
) -> Float[np.ndarray, " n"]:
    """u of each row; see the module docstring."""
    spread = lambda obs, action, source, key: _spread(model, obs, action, source, key, config.samples, config.spread)
    return by_blocks(spread, columns, key)


@eqx.filter_jit
def _spread(model, obs, action, source, key, samples: int, kind: str) -> Float[Array, " n"]:
    out = outcomes(model, obs, action, source, samples, key)
    change = (out.next_obs - obs) / model.scales.change.scale
    outcome = jnp.concatenate([change, out.reward[..., None] / model.scales.reward.scale], -1)
    aleatoric, epistemic = split_spread(outcome)
    parts = {"aleatoric": aleatoric, "epistemic": epistemic, "total": jnp.hypot(aleatoric, epistemic)}
    return jnp.sqrt(jnp.square(parts[kind]).mean(-1))


# -- transforms of rows -----------------------------------------------------------------------------------------------


def penalised(columns: Columns, penalty: Float[np.ndarray, " n"]) -> Columns:
    """Rewards less a penalty for each row."""
    return columns | {"reward": (columns["reward"] - penalty).astype(columns["reward"].dtype)}


def stopped_at(columns: Columns, where: Bool[np.ndarray, " n"], reward: float) -> tuple[Columns, int]:
    """Every future ends at its first row of `where`, which becomes terminal with this reward; and how many did."""
    first = first_of_each(where, columns["lengths"])
    changed = columns | {
        "terminal": columns["terminal"] | first,
        "reward": np.where(first, reward, columns["reward"]).astype(columns["reward"].dtype),
    }
    return without(changed, after_first(where, columns["lengths"])), int(first.sum())


def without(columns: Columns, dropped: Bool[np.ndarray, " n"]) -> Columns:
    """The rows that are not dropped; futures of which nothing is left are gone."""
    lengths = np.add.reduceat(~dropped, starts_of(columns["lengths"]), dtype=int) if len(dropped) else np.zeros(0, int)
    rows = {name: column[~dropped] for name, column in columns.items() if name != "lengths"}
    return rows | {"lengths": lengths[lengths > 0]}


def from_first(where: Bool[np.ndarray, " n"], lengths: Int[np.ndarray, " e"]) -> Bool[np.ndarray, " n"]:
    """Rows from the first of `where` in their future on."""
    return _seen(where, lengths) > 0


def after_first(where: Bool[np.ndarray, " n"], lengths: Int[np.ndarray, " e"]) -> Bool[np.ndarray, " n"]:
    """Rows that come after the first of `where` in their future."""
    return _seen(where, lengths) - where > 0


def first_of_each(where: Bool[np.ndarray, " n"], lengths: Int[np.ndarray, " e"]) -> Bool[np.ndarray, " n"]:
    """The first row of `where` in every future."""
    return from_first(where, lengths) & ~after_first(where, lengths)


def starts_of(lengths: Int[np.ndarray, " e"]) -> Int[np.ndarray, " e"]:
    """The first row of every future."""
    return np.cumsum(lengths) - lengths


def _seen(where: Bool[np.ndarray, " n"], lengths: Int[np.ndarray, " e"]) -> Int[np.ndarray, " n"]:
    """How many rows of `where` a future has had, this one included."""
    total = np.cumsum(where)
    starts = starts_of(lengths)
    return total - np.repeat((total - where)[starts] if len(starts) else total[:0], lengths)
