"""The settings of a policy's training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dawm.agents.expansion import ExpansionConfig
from dawm.agents.priority import PriorityConfig
from dawm.agents.registry import AgentConfig
from dawm.agents.targets import RiskConfig
from dawm.agents.td3bc import TD3BCConfig
from dawm.data.sampling import synthetic_rows
from dawm.run.loop import LoopConfig


def _loop() -> LoopConfig:
    return LoopConfig(steps=200_000, chunk=1_000, monitor_every=10_000, save_every=20_000)


@dataclass(frozen=True)
class PolicyConfig:
    """Defaults are CORL's, but for the number of updates (there 1,000,000)."""

    algo: AgentConfig = field(default_factory=TD3BCConfig)
    batch_size: int = 256
    ratio: float = 0.0  # synthetic share of each batch, exact; above 0 exactly if synthetic data are given
    risk: RiskConfig = field(default_factory=RiskConfig)  # measure over plausible futures, where these are given
    expansion: ExpansionConfig = field(default_factory=ExpansionConfig)  # TD targets of several steps in a world model
    priority: PriorityConfig = field(default_factory=PriorityConfig)  # rows of the log that are drawn more often
    focus: float | Literal["auto"] = 1.0  # share of the log drawn in effect, better episodes more often (1: uniformly)
    thin: float = 0.0  # imitation weighs 1 where the log supports (s, a) and 1 more times this where it has nothing
    clone: Literal["all", "log"] = "all"  # rows whose actions are imitated: all, or only recorded ones
    average: float = 0.0  # memory of the averaged weights that act, an exponential average's; 0: the last weights act
    seeds: int = 1  # policies trained at once; they use the seeds `seed`, `seed + 1`, ...
    seed: int = 0
    normalise_obs: bool = True  # standardise observations with the statistics of the real log
    normalise_reward: bool = False  # r · 1000 / (best − worst return of the log); CORL uses it for single tasks only
    block: int = 262_144  # rows in memory at a time, of a log that stays on disk
    loop: LoopConfig = field(default_factory=_loop)

    def __post_init__(self):
        if self.batch_size < 1 or self.seeds < 1:
            raise ValueError(f"batch_size and seeds must be at least 1, got {self.batch_size} and {self.seeds}")
        self._check_expansion()
        if self.priority.kind == "td_error" and self.algo.kind == "bc":
            raise ValueError("priority.kind td_error needs a learner with values, and algo is bc")
        if self.focus != "auto" and not 0 < self.focus <= 1:
            raise ValueError(f"focus is a share of the log, above 0 and at most 1 (all rows alike); got {self.focus}")
        if self.focus != 1 and self.priority.kind != "none":
            raise ValueError("focus and priority.kind both say which rows are drawn more often: set one of them")
        if not 0 <= self.average < 1:
            raise ValueError(f"average is the memory of averaged weights, at least 0 and below 1; got {self.average}")
        if self.thin < 0:
            raise ValueError(f"thin is a further weight of imitation, at least 0; got {self.thin}")
        if not 0 <= self.ratio <= 1:
            raise ValueError(f"ratio is the synthetic share of a batch, between 0 and 1; got {self.ratio}")
        if self.clone == "log" and synthetic_rows(self.ratio, self.batch_size) == self.batch_size:
            raise ValueError(
                f"clone log imitates recorded rows, and at ratio {self.ratio} a batch has none: set clone to all"
            )

    def _check_expansion(self) -> None:
        if self.expansion.horizon == 0:
            return
        if self.algo.kind == "bc":
            raise ValueError("expansion.horizon is of TD targets, and algo is bc, which has no values")
        if self.expansion.bound == "lower" and self.algo.kind == "quantile":
            raise ValueError(
                "expansion.bound lower is of one target a row; quantile learns from all (see algo.caution)"
            )
        if self.expansion.bound == "lower" and self.risk != RiskConfig():
            raise ValueError("expansion.bound lower and risk are two measures of the same futures: set one of them")
