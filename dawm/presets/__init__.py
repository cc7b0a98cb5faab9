"""Settings of a whole run, and the published sets of them: one TOML file each beside this module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from dawm.agents.bc import BCConfig
from dawm.agents.config import PolicyConfig
from dawm.agents.expansion import ExpansionConfig
from dawm.agents.iql import IQLConfig
from dawm.agents.priority import PriorityConfig
from dawm.agents.targets import RiskConfig
from dawm.errors import ConfigError, suggest
from dawm.evaluate.calibrate import CalibrateConfig
from dawm.evaluate.imagined import ImagineConfig
from dawm.planning.distil import DistilConfig
from dawm.planning.play import PlayConfig
from dawm.run.config import override, read_config_file
from dawm.synth.generator import GenerateConfig
from dawm.worldmodel.base import require_dynamics
from dawm.worldmodel.fit import WorldModelConfig

C = TypeVar("C")

PRESETS = ("fast", "default", "paper")
NO_ENVIRONMENT = "none"  # RunConfig.env: do not evaluate, although the data name an environment


@dataclass(frozen=True)
class AloneConfig:
    """What is different in the training of policies that a planner would leave alone (`planner.spare`): nothing plans
    around them, so that they need not be smooth. What `policy` sets itself stays, and the defaults change nothing.
    """

    average: float = 0.0  # `policy.average` of them
    actor_learning_rate: float | None = None  # of `iql`, which then stays as it is over the run

    def __post_init__(self):
        if not 0 <= self.average < 1:
            raise ValueError(f"average is the memory of averaged weights, at least 0 and below 1; got {self.average}")
        if self.actor_learning_rate is not None and self.actor_learning_rate <= 0:
            raise ValueError(f"actor_learning_rate must be positive, got {self.actor_learning_rate}")


@dataclass(frozen=True)
class RunConfig:
    """Settings of a whole run; the values of the presets are in dawm/presets."""

    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)
    generate: GenerateConfig = field(default_factory=GenerateConfig)
    calibrate: CalibrateConfig = field(default_factory=CalibrateConfig)
    # of the policy with synthetic data; IQL keeps to the log's actions, where TD3+BC left it on two logs of three
    policy: PolicyConfig = field(default_factory=lambda: PolicyConfig(algo=IQLConfig(), ratio=0.5))
    alone: AloneConfig = field(default_factory=AloneConfig)
    futures: int = 0  # of each recorded step; above 0 also a policy whose targets are policy.risk over them
    real_only: bool = True  # also the same learner without synthetic data
    bc: bool = True  # also behaviour cloning
    plan: bool = True  # also a planner around the learner on real data, where there is an environment to score it in
    planner: PlayConfig = field(default_factory=PlayConfig)
    distilled: bool = True  # also the learner after it imitated that planner and, with `plan`, a planner around that
    distil: DistilConfig = field(default_factory=DistilConfig)
    estimated: bool = True  # also what every policy is worth in the world model, for whoever has no environment
    estimate: ImagineConfig = field(default_factory=ImagineConfig)
    env: str | None = None  # Gymnasium id; None takes the one that the data name, "none" does not evaluate
    episodes: int = 10  # per seed
    eval_every: int = 0  # policy updates between evaluations for the record; 0 evaluates the last checkpoint only

    def __post_init__(self):
        if self.policy.ratio <= 0:
            raise ValueError(
                "policy.ratio is the synthetic share of each batch and must be above 0 in a run, which compares with"
                " and without synthetic data; `dawm policy` trains on real data alone"
            )
        if self.futures > 0:
            require_dynamics(self.world_model.model, "a library of futures")
        if self.futures == 1 or self.futures < 0:
            raise ValueError(f"futures must be 0 (none) or at least 2, got {self.futures}")
        if self.episodes < 1 or self.eval_every < 0:
            raise ValueError(
                f"episodes must be at least 1 and eval_every at least 0, got {self.episodes}, {self.eval_every}"
            )


def load_preset(name: str) -> RunConfig:
    """The settings of dawm/presets/NAME.toml over the defaults. Raises ConfigError if there is no such preset."""
    if name not in PRESETS:
        raise ConfigError(f"there is no preset `{name}`{suggest(name, PRESETS)}")
    return merge(RunConfig(), read_config_file(Path(__file__).parent / f"{name}.toml"))


def merge(config: C, values: Mapping[str, Any]) -> C:
    """The configuration with nested values in place of its own; everything that they do not name stays."""
    flat = dict(_flatten(values))
    kinds_first = sorted(
        flat, key=lambda dotted: not dotted.endswith("kind")
    )  # a new kind resets what stands beside it
    return override(config, {dotted: flat[dotted] for dotted in kinds_first})


class Planned(NamedTuple):
    """One policy of a run."""

    name: str  # its folder
    config: PolicyConfig
    synthetic: bool  # whether synthetic data are mixed in
    futures: bool = False  # whether targets range over plausible futures
    model: bool = False  # whether targets look ahead in the world model


def policies_of(config: RunConfig) -> list[Planned]:
    """Every policy of a run: behaviour cloning, the plain learner, and the learner with what the run adds to it.

    Raises ConfigError where an addition needs futures and the run makes none.
    """
    kind, real = config.policy.algo.kind, replace(config.policy, ratio=0.0)
    off: dict[str, Any] = {
        "risk": RiskConfig(),
        "thin": 0.0,
        "expansion": ExpansionConfig(),
        "priority": PriorityConfig(),
    }
    plain = replace(real, **off)
    rows = [Planned("bc", replace(plain, algo=BCConfig()), False)] if config.bc and kind != "bc" else []
    rows += [Planned(kind, plain, False)] if config.real_only else []
    rows += [Planned(f"{kind}-thin", replace(plain, thin=real.thin), False)] if real.thin > 0 else []
    rows += [Planned(f"{kind}-futures", replace(plain, risk=real.risk), False, futures=True)] if config.futures else []
    if real.expansion.horizon > 0:
        rows.append(Planned(f"{kind}-expansion", replace(plain, expansion=real.expansion), False, model=True))
    if real.priority.kind != "none":
        needs = real.priority.kind == "uncertainty"
        if needs and not config.futures:
            raise ConfigError(
                "`policy.priority.kind` uncertainty is the spread of futures: set `futures`, for example 16"
            )
        rows.append(Planned(f"{kind}-priority", replace(plain, priority=real.priority), False, futures=needs))
    return [*rows, Planned(f"{kind}-dawm", replace(config.policy, **off), True)]


def acting_alone(config: RunConfig) -> RunConfig:
    """The same run with policies that will act alone: `config.alone`, where `config.policy` says nothing itself."""
    alone, policy, algo = config.alone, config.policy, config.policy.algo
    if policy.average == 0:
        policy = replace(policy, average=alone.average)
    rate = alone.actor_learning_rate
    if rate is not None and isinstance(algo, IQLConfig) and algo.actor_learning_rate is None:
        policy = replace(policy, algo=replace(algo, actor_learning_rate=rate, actor_schedule="constant"))
    return replace(config, policy=policy)


def planner_of(config: RunConfig) -> PlayConfig:
    """The planner of a run; without the policy's values where these are of normalised rewards, unlike the model's."""
    return replace(config.planner, terminal_value=config.planner.terminal_value and not config.policy.normalise_reward)


def _flatten(values: Mapping[str, Any], where: str = "") -> list[tuple[str, Any]]:
    """("dotted.key", value) for every leaf of a nested mapping."""
    pairs = []
    for key, value in values.items():
        pairs += _flatten(value, f"{where}{key}.") if isinstance(value, Mapping) else [(f"{where}{key}", value)]
    return pairs
