"""TD targets: from one recorded outcome, or from many plausible ones under a risk measure.

    one step   y = r + γ (1 − terminal) v(s')
    futures    y = ρ over m of [ r_m + γ (1 − p_m) v(s'_m) ],   p_m the probability that future m ends

v is the learner's own value of a next state. Measures ρ of m equally likely outcomes, all of them at most their mean:

    mean       the average
    cvar       the average of the worst share `level` (Rockafellar & Uryasev 2000); a boundary outcome counts in part
    mean_std   the average less `level` standard deviations
    worst      the average of the `level` worst (a count)
    disagree   the average less `level` standard deviations, between the members of the model, of each member's average:
               the inconsistency of MOBILE (Sun et al. 2023, eq. 7), which reads it from one network per member

After 1R2R (Rigter et al. 2023), which keeps the worst of ten successors. A learner gets its target as a function, and
never asks which it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.agents.critics import bellman_target
from dawm.errors import ConfigError
from dawm.types import Transition

Value = Callable[[Array], Array]  # next observations (n, obs) -> values (n,), or (n, q) quantiles of them


class Ahead(NamedTuple):
    """What a learner tells a target that looks further than one step."""

    act: Callable[[Array, PRNGKeyArray], Array]  # observations (n, obs) -> actions (n, act) of the targets' policy
    each: Callable[[Array], Array]  # observations (n, obs) -> (n, critics), what each critic says of that policy
    key: PRNGKeyArray  # of this update


Outcomes = Callable[[Value, Transition, float], Array]  # (value, batch, discount) -> (b, m, ...)


class Target(NamedTuple):
    """y of a batch: a measure over the outcomes of each row."""

    outcomes: Outcomes
    measure: Callable[[Array], Array]  # (b, m) -> (b,)
    look: Callable[[Ahead], Outcomes] | None = None  # the outcomes, where they depend on the policy; then use `under`

    def under(self, ahead: Ahead) -> Target:
        """The same target for a learner in its present state; itself, where it looks no further than one step."""
        return self if self.look is None else Target(self.look(ahead), self.measure)

    def __call__(self, value: Value, batch: Transition, discount: float) -> Float[Array, " b"]:
        return self.measure(self.outcomes(value, batch, discount))


@dataclass(frozen=True)
class RiskConfig:
    """The measure over the futures of a transition."""

    measure: Literal["mean", "cvar", "mean_std", "worst", "disagree"] = "mean"
    level: float = 0.25  # share (cvar), number of standard deviations (mean_std, disagree), or count (worst)

    def __post_init__(self):
        if self.measure == "cvar" and not 0 < self.level <= 1:
            raise ValueError(f"the level of cvar is a share in (0, 1], got {self.level}")
        if self.measure in ("mean_std", "disagree") and self.level < 0:
            raise ValueError(
                f"the level of {self.measure} is a number of standard deviations, at least 0, got {self.level}"
            )
        if self.measure == "worst" and (self.level < 1 or self.level != int(self.level)):
            raise ValueError(f"the level of worst is a count, at least 1, got {self.level}")


def _recorded(value: Value, batch: Transition, discount: float) -> Float[Array, "b 1 *q"]:
    values = value(batch.next_obs)
    per_row = lambda leaf: leaf.reshape(-1, *[1] * (values.ndim - 1))
    return bellman_target(per_row(batch.reward), per_row(batch.terminal), values, discount)[:, None]


one_step = Target(_recorded, lambda outcomes: outcomes[:, 0])  # the target of the recorded outcome


def over_futures(config: RiskConfig, members: int = 1) -> Target:
    """The target over `batch.futures`, of which number i was made by member i modulo `members` of the model.

    Raises ConfigError where a measure of disagreement is asked of one member.
    """
    if config.measure == "disagree" and members < 2:
        raise ConfigError("`risk.measure` disagree compares members of a world model, and these futures are of one.")

    def outcomes(value: Value, batch: Transition, discount: float) -> Float[Array, "b m *q"]:
        futures = batch.futures
        assert futures is not None
        b, m = futures.reward.shape
        values = value(futures.next_obs.reshape(b * m, -1))
        per_row = lambda leaf: leaf.reshape(b, m, *[1] * (values.ndim - 1))
        goes_on = 1 - per_row(futures.terminal_prob)
        return per_row(futures.reward) + discount * goes_on * values.reshape(b, m, *values.shape[1:])

    return Target(outcomes, lambda found: risk(found, config, members))


def risk(outcomes: Float[Array, "*b m"], config: RiskConfig, members: int = 1) -> Float[Array, "*b"]:
    """The measure of m equally likely outcomes, number i of member i modulo `members`."""
    m = outcomes.shape[-1]
    if config.measure == "mean":
        return outcomes.mean(-1)
    if config.measure == "mean_std":
        return outcomes.mean(-1) - config.level * outcomes.std(-1)
    if config.measure == "disagree":
        own = jax.nn.one_hot(jnp.arange(m) % members, members)
        return outcomes.mean(-1) - config.level * (outcomes @ (own / own.sum(0))).std(-1)
    if config.measure == "worst":
        return jax.lax.top_k(-outcomes, min(int(config.level), m))[0].mean(-1) * -1
    share = config.level * m
    weight = jnp.clip(share - jnp.arange(m), 0.0, 1.0) / share  # the outcome on the boundary counts in part
    return jnp.sort(outcomes, -1) @ weight
