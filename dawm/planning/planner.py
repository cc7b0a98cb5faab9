"""A receding-horizon planner over a world model, seen as a policy: plan H steps, act the first, plan again.

Plans are in [-1, 1]: actions, or where there is a policy deviations from what it does (`objective.py`). Among the
candidates of every refinement are the plan before, shifted by a step, and nothing but the policy, where there is one;
the search starts from the latter. From what it finds the gradient may go on (`ascent.py`). Where the slope of the worth
is one over the spread of the candidates, a short step along it from the policy may take its place (`nudge.py`). With
`seek`, plans are searched for only where the policy alone would come to lie that far beyond the log: what a search
finds is partly chance, and a policy that keeps to the log can be left alone.

With `caution` a plan is followed only where its promise is large beside the spread of the candidates' worth, and the
policy elsewhere: where small deviations change much, so do the model's errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.agents.targets import RiskConfig, risk
from dawm.planning.ascent import AscentConfig, climb
from dawm.planning.nudge import NudgeConfig, nudged
from dawm.planning.objective import particle_returns
from dawm.planning.search import SEARCHES, MPPIConfig, SearchConfig
from dawm.types import Dynamics, Spec


@dataclass(frozen=True)
class PlannerConfig:
    """How far, how wide and how carefully to plan."""

    search: SearchConfig = field(default_factory=MPPIConfig)
    ascent: AscentConfig = field(default_factory=AscentConfig)
    nudge: NudgeConfig = field(default_factory=NudgeConfig)  # where its samples agree, in place of the search
    horizon: int = 8
    tail: int = 0  # further steps, in which the policy goes on alone
    candidates: int = 64  # plans per refinement
    refinements: int = 3
    particles: int = 1  # futures of a plan, for each member of the model
    spread: float = 0.5  # deviation of the first candidates, and of a nudge's samples, in halves of the action range
    correlation: float = 0.0  # of a candidate's deviations from one step to the next
    discount: float = 0.99
    risk: RiskConfig = field(default_factory=RiskConfig)  # over the futures of a plan
    seek: float = 0.0  # search only where the policy alone leaves the log by so many deviations; 0: everywhere
    caution: float = 0.0  # least gain over the policy, in deviations of the first candidates or samples; 0: none
    seed: int = 0

    def __post_init__(self):
        for name in ("horizon", "candidates", "refinements", "particles"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.correlation < 1:
            raise ValueError(f"correlation must be in [0, 1), got {self.correlation}")
        if self.caution < 0:
            raise ValueError(f"caution is a number of standard deviations, at least 0; got {self.caution}")
        if self.seek < 0:
            raise ValueError(f"seek is a number of standard deviations, at least 0; got {self.seek}")
        if self.spread <= 0 or not 0 < self.discount <= 1:
            raise ValueError(f"spread must be positive and discount in (0, 1], got {self.spread}, {self.discount}")


class Planner:
    """What `evaluate.rollouts.rollout` plays. `begin` forgets the plans of earlier episodes."""

    def __init__(
        self,
        model: Dynamics,
        spec: Spec,
        config: PlannerConfig | None = None,
        *,
        policy: Callable[[Array], Array] | None = None,
        value: Callable[[Array], Array] | None = None,
        leaving: Dynamics | None = None,
    ):
        """`policy` maps raw observations (..., obs) to raw actions and `value` to values; both are traced by JAX.
        The rewards of `leaving` are how far a step leads beyond the log, in standard deviations and at most 0; raises
        ValueError where `config.seek` needs it, for a policy, and it is not given.
        """
        self.model, self.spec, self.config = model, spec, config or PlannerConfig()
        self.policy, self.value, self.leaving = policy, value, leaving
        if policy is not None and self.config.seek > 0 and leaving is None:
            raise ValueError("seek asks how far the policy leaves the log: give `leaving`, or set seek to 0")
        self.begin()

    def begin(self) -> None:
        """Forget: the next call starts from nothing."""
        self.plan: Any = None
        self.calls = 0

    def __call__(self, obs: Float[np.ndarray, "m n obs"]) -> Float[np.ndarray, "m n act"]:
        """First actions of the plans at each observation, raw units."""
        rows = jnp.asarray(obs.reshape(-1, obs.shape[-1]), jnp.float32)
        if self.plan is None or len(self.plan) != len(rows):
            self.plan = jnp.zeros((len(rows), self.config.horizon, self.spec.act_dim))
        key = jr.fold_in(jr.key(self.config.seed), self.calls)
        config = replace(self.config, seed=0)  # planners that differ in their seeds are one program
        given = self.policy, self.value, self.leaving
        first, self.plan = _plan(self.model, rows, self.plan, key, self.spec, config, *given)
        self.calls += 1
        return np.asarray(first).reshape(*obs.shape[:-1], -1)


@eqx.filter_jit
def _plan(model, obs, plan, key, spec: Spec, config: PlannerConfig, policy, value, leaving) -> tuple[Array, Array]:
    """(first raw action, the plan shifted by a step) for n states."""
    centre, scale = jnp.asarray(spec.act_centre), jnp.asarray(spec.act_scale)
    fixed, tail, most = plan[:, None], 0, 1.0

    def act(obs, plan):
        usual = 0.0 if policy is None else (policy(obs) - centre) / scale
        return centre + scale * jnp.clip(usual + plan, -1.0, 1.0)

    if policy is not None:
        fixed, tail, most = jnp.concatenate([fixed, jnp.zeros_like(fixed)], 1), config.tail, 2.0

    def scored(plans, key):
        returns = particle_returns(model, obs, plans, config.particles, config.discount, value, key, act, tail)
        return risk(returns, config.risk, model.count)

    search = lambda: _search(scored, fixed, most, key, config)
    step, agreed, spread = fixed[:, -1], jnp.zeros(len(obs), bool), jnp.ones(len(obs))
    if config.nudge.radius:
        key_draw, key_score = jr.split(jr.fold_in(key, config.refinements + 2))
        worth = lambda plans: scored(plans, key_score)
        step, agreement, scores = nudged(worth, fixed[:, -1], config.spread, config.nudge, key_draw)
        agreed, spread = agreement >= config.nudge.agreement, scores.std(1)
    if policy is None or config.seek == 0:
        mean, doubt = search()
    else:
        alone = jnp.zeros_like(fixed[:, :1])
        beyond = -particle_returns(leaving, obs, alone, config.particles, 1.0, None, key, act, tail).min((1, 2))
        sought = ~agreed & (beyond >= config.seek)
        mean, doubt = jax.lax.cond(sought.any(), search, lambda: (alone[:, 0], spread))
        mean = jnp.where(sought[:, None, None], mean, 0.0)
    mean, doubt = jnp.where(agreed[:, None, None], step, mean), jnp.where(agreed, spread, doubt)
    final = jnp.clip(mean, -most, most)
    if config.ascent.steps:
        key_climb = jr.fold_in(key, config.refinements)  # the same futures all the way, or chance would be climbed
        starts = jnp.concatenate([fixed, final[:, None]], 1)
        best = scored(starts, key_climb).argmax(1)[:, None, None, None]
        start = jnp.take_along_axis(starts, best, 1)
        final = climb(lambda plans: scored(plans, key_climb), start, config.ascent, most)[0][:, 0]
    if policy is not None and config.caution > 0:
        key_gate = jr.fold_in(key, config.refinements + 1)
        gain = jnp.diff(scored(jnp.stack([jnp.zeros_like(final), final], 1), key_gate), axis=1)[:, 0]
        final = jnp.where((gain > config.caution * doubt)[:, None, None], final, 0.0)
    after = final[:, -1:] if policy is None else jnp.zeros_like(final[:, -1:])
    return act(obs, final[:, 0]), jnp.concatenate([final[:, 1:], after], 1)


def _search(
    scored: Callable[[Array, PRNGKeyArray], Array],
    fixed: Float[Array, "n f h a"],
    most: float,
    key: PRNGKeyArray,
    config: PlannerConfig,
) -> tuple[Float[Array, "n h a"], Float[Array, " n"]]:
    """What the refinements come to, from the last of the plans that are always among the candidates; and the spread of
    the worth of the first candidates.
    """
    refine = SEARCHES[config.search.kind][1]
    mean = fixed[:, -1]
    spread = jnp.full(mean.shape, config.spread)
    for i in range(config.refinements):
        key_draw, key_score = jr.split(jr.fold_in(key, i))
        count = max(config.candidates - fixed.shape[1] - 1, 1)
        noise = _correlated(jr.normal(key_draw, (len(mean), count, *mean.shape[1:])), config.correlation)
        drawn = mean[:, None] + spread[:, None] * noise
        plans = jnp.clip(jnp.concatenate([fixed, mean[:, None], drawn], 1), -most, most)
        scores = scored(plans, key_score)
        if i == 0:
            doubt = scores[:, -count:].std(1)
        mean, spread = refine(scores, plans, mean, spread, config.search)
    return mean, doubt


def _correlated(noise: Float[Array, "n c h a"], correlation: float) -> Float[Array, "n c h a"]:
    """Standard normal noise, its steps independent, as a stationary autoregression of that correlation."""
    if correlation == 0:
        return noise

    def step(before, now):
        now = correlation * before + jnp.sqrt(1 - correlation**2) * now
        return now, now

    steps = jnp.moveaxis(noise, 2, 0)
    _, rest = jax.lax.scan(step, steps[0], steps[1:])
    return jnp.moveaxis(jnp.concatenate([steps[:1], rest]), 0, 2)
