"""A suite file: which datasets, which methods, how many updates and seeds.

    name = "first"
    updates = 50000                # of every policy; the last checkpoint is what counts
    seeds = 2                      # policies of a method, trained in one program

    [datasets.hopper]              # the folder of its results
    path = "log.h5"                # beside the suite file, or any name that `dawm.load` knows
    env = "Hopper-v5"              # where policies are scored; by default what the data name
    episodes = 20                  # of each seed

    [methods.td3bc-dawm]           # a policy folder; with ratio > 0 it uses the synthetic data of its dataset
    algo = "td3bc"
    ratio = 0.5

One setting serves all datasets: `[world_model]`, `[generate]`, `[calibrate]`, `[policy]` hold what differs from the
preset, and no dataset can override them. Each dataset has the model "dawm" and its data where a method asks for them;
further ones, in folders such as model-latent and synthetic-careful, say what differs from those tables:

    [models.latent]                # may also name another `preset`
    model.kind = "latent"

    [synthetic.careful]            # asks for `model` (or "dawm")
    model = "latent"
    safeguards.penalty = 1.0
    policy = "bc"                  # optional: futures under this method's policy, a learner on real data alone

    [futures.latent]               # outcomes for TD targets
    model = "latent"
    futures = 16

    [methods.td3bc-careful]
    algo = "td3bc"
    ratio = 0.5
    synthetic = "careful"
    futures = "latent"
    policy.risk.measure = "cvar"   # over [policy]
    # policy.expansion.horizon = 3 # TD targets of three steps in `model` (or "dawm")

    [methods.plan]                 # a planner is no learner: it acts by searching in a world model
    planner.planner.horizon = 5    # the settings of `dawm plan --set`
    model = "latent"
    policy = "td3bc-careful"       # a method that warms it up, every seed by itself; without one, `seeds` planners
    # distil.labels.count = 5000   # not the planner plays, but that policy after it imitated it (`dawm distil`)

A suite may begin with another, `extends = "core.toml"` (beside it): its own settings count over those, table by table.

With `[calibrate]` every model that a method needs, and every one in `[models]`, is calibrated. What comes of all this
is in `dawm/sweep/piece.py`.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dawm.agents.config import PolicyConfig
from dawm.errors import ConfigError, FileError
from dawm.evaluate.calibrate import CalibrateConfig
from dawm.planning.distil import DistilConfig
from dawm.planning.play import PlayConfig
from dawm.presets import RunConfig, load_preset, merge
from dawm.run.config import from_dict
from dawm.sweep.hooks import NO_HOOKS, Hooks
from dawm.synth.futures import FuturesConfig
from dawm.synth.generator import GenerateConfig
from dawm.worldmodel.fit import WorldModelConfig

STAGES = ("data", "model", "calibration", "synthetic", "futures")  # names of pieces, so no method may have them
PLAIN = "dawm"  # the model and the synthetic data whose folders are called by their stage alone
FOLDER_NAME = re.compile(r"[A-Za-z0-9_][\w.+-]*")


@dataclass(frozen=True)
class Task:
    """A dataset, and the environment in which its policies are scored."""

    path: str  # relative to the suite file, or any name that `dawm.load` knows; several joined by +
    env: str = ""  # "" for the one that the data name
    episodes: int = 20  # of each seed
    also: tuple[str, ...] = ()  # further environments, for the record: another start, shifted dynamics
    extra: dict[str, Any] = field(default_factory=dict)  # settings that the hooks know

    def __post_init__(self):
        if self.episodes < 1:
            raise ValueError(f"episodes must be at least 1, got {self.episodes}")


@dataclass(frozen=True)
class Method:
    """A learner on real data (`ratio` 0), or with that share of synthetic rows in every batch; or a planner."""

    algo: Any = None  # the kind of a learner, or its settings with a `kind`
    ratio: float = 0.0
    synthetic: str = PLAIN  # which of the synthetic data, where the ratio is above 0
    futures: str = ""  # which of the libraries its TD targets range over; "" for the recorded outcomes
    policy: Any = field(default_factory=dict)  # over the suite's; of a planner: the method that warms it up
    planner: dict[str, Any] | None = None  # settings of `dawm.planning.play.PlayConfig`
    model: str = PLAIN  # that a planner plans in, or that the targets of a learner look ahead in
    distil: dict[str, Any] | None = None  # of a planner: its policy imitates it (`dawm.planning.distil.DistilConfig`)

    def __post_init__(self):
        if (self.algo is None) == (self.planner is None):
            raise ValueError("a method has either an `algo`, which learns, or a `planner`")
        if self.planner is None and not (isinstance(self.algo, (str, dict)) and isinstance(self.policy, dict)):
            raise ValueError("`algo` is a name or a table with a `kind`, and `policy` a table of settings")
        if self.planner is None and self.model != PLAIN and not self.looks_ahead:
            raise ValueError(
                "`model` is what a planner plans in, or targets look ahead in (policy.expansion); a learner names"
                " `synthetic` data or `futures`"
            )
        if self.planner is not None and (self.ratio or self.synthetic != PLAIN or self.futures):
            raise ValueError("a planner learns nothing, so it has no `ratio`, `synthetic` or `futures`")
        if self.planner is not None and not (isinstance(self.policy, str) or self.policy == {}):
            raise ValueError("`policy` of a planner is the name of a method")
        if self.distil is not None and not self.warmed_by:
            raise ValueError(
                "`distil` is of a planner and the policy that imitates it: name both (`planner`, `policy`)"
            )

    @property
    def looks_ahead(self) -> bool:
        """Whether the targets of a learner look several steps ahead in a world model."""
        expansion = self.policy.get("expansion", {}) if isinstance(self.policy, Mapping) else {}
        return self.planner is None and isinstance(expansion, Mapping) and expansion.get("horizon", 0) > 0

    @property
    def learns(self) -> bool:
        """Whether it comes to a policy: a learner does, and what imitates a planner."""
        return self.planner is None or self.distil is not None

    @property
    def warmed_by(self) -> str:
        """The method whose policies warm a planner up; "" for none, and for a learner."""
        return self.policy if self.planner is not None and self.policy else ""


@dataclass(frozen=True)
class Suite:
    """What a suite file says."""

    name: str
    datasets: dict[str, Any]
    updates: int = 50_000
    seeds: int = 2
    methods: dict[str, Any] = field(default_factory=dict)
    models: dict[str, Any] = field(default_factory=dict)
    synthetic: dict[str, Any] = field(default_factory=dict)
    futures: dict[str, Any] = field(default_factory=dict)
    calibrate: dict[str, Any] | None = None
    preset: str = "default"  # of dawm, for everything that the suite does not set; "" for the bare defaults
    seed: int = 0
    evaluation_seed: int = 10_000
    world_model: dict[str, Any] = field(default_factory=dict)
    generate: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)  # settings that the hooks know

    def task(self, name: str) -> Task:
        return from_dict(Task, self.datasets[name], f"datasets.{name}.")

    def method(self, name: str) -> Method:
        return from_dict(Method, self.methods[name], f"methods.{name}.")

    def policy_config(self, name: str) -> PolicyConfig:
        method = self.method(name)
        algo = {"kind": method.algo} if isinstance(method.algo, str) else method.algo
        config = merge(merge(self.run_config(), {"policy": {"algo": algo}}), {"policy": method.policy}).policy
        return dataclasses.replace(config, ratio=method.ratio)

    def play_config(self, name: str) -> PlayConfig:
        """The settings of a planner; its seed is the suite's where it names none."""
        given = self.method(name).planner or {}
        inner = given.get("planner", {})
        seeded = {"planner": {"seed": self.seed, **inner}} if isinstance(inner, Mapping) else {}
        from_dict(PlayConfig, given | seeded, f"methods.{name}.planner.")  # names what is wrong by its place
        config = merge(PlayConfig(), given | seeded)
        if config.member:
            raise ConfigError(f"`methods.{name}.planner.member` cannot be set: every seed of the policy is scored.")
        return config

    def seeds_of(self, name: str, above: tuple[str, ...] = ()) -> int:
        """How many policies a method has, or how many play around one. Raises ConfigError where planners and what
        imitates them go round in a circle.
        """
        if name in above:
            raise ConfigError(f"`methods.{name}` plans around itself, by way of {', '.join(above)}.")
        method = self.method(name)
        if method.planner is None:
            return self.policy_config(name).seeds
        return self.seeds_of(method.warmed_by, (*above, name)) if method.warmed_by else self.seeds

    def distil_config(self, name: str) -> DistilConfig | None:
        """How a planner is imitated; None where it plays itself. The seed is the suite's where none is named."""
        given = self.method(name).distil
        if given is None:
            return None
        from_dict(DistilConfig, given, f"methods.{name}.distil.")  # names what is wrong by its place
        return merge(self.run_config(), {"distil": {"seed": self.seed} | given}).distil

    def world_model_config(self, name: str = PLAIN) -> WorldModelConfig:
        table = self.models.get(name, {})
        base = self.run_config(table.get("preset"))
        return merge(base, {"world_model": without(table, "preset")}).world_model

    def generate_config(self, name: str = PLAIN) -> GenerateConfig:
        table = without(without(self.synthetic.get(name, {}), "model"), "policy")
        acted = {"actions": "policy"} if self.actor_of(name) else {}
        return merge(self.run_config(), {"generate": table | acted}).generate

    def actor_of(self, name: str) -> str:
        """The method whose policy acts in synthetic data; "" where the model itself fills in the actions."""
        return self.synthetic.get(name, {}).get("policy", "")

    def futures_config(self, name: str) -> FuturesConfig:
        return from_dict(FuturesConfig, {"seed": self.seed} | without(self.futures[name], "model"), f"futures.{name}.")

    def calibrate_config(self) -> CalibrateConfig:
        return from_dict(CalibrateConfig, {"seed": self.seed} | (self.calibrate or {}), "calibrate.")

    def model_of(self, stage: str, name: str) -> str:
        """The model that synthetic data or futures are made with."""
        table: dict[str, Any] = getattr(self, stage)
        return table.get(name, {}).get("model", PLAIN)

    def run_config(self, preset: str | None = None) -> RunConfig:
        """The settings of all stages: the preset, then the suite's tables, then its updates and seeds.

        Another preset takes the place of the suite's and of its `[world_model]`.
        """
        base = load_preset(preset or self.preset) if preset or self.preset else RunConfig()
        world_model = {} if preset else self.world_model
        tables = {"world_model": world_model, "generate": self.generate, "policy": self.policy}
        own = {"policy": {"seeds": self.seeds, "seed": self.seed, "loop": {"steps": self.updates}}}
        seeds = {"world_model": {"seed": self.seed}, "generate": {"seed": self.seed}}
        return merge(merge(merge(base, seeds), tables), own)


def read_suite(path: str | Path, hooks: Hooks = NO_HOOKS) -> Suite:
    """The suite in a TOML file, every setting checked. Raises FileError or ConfigError naming the setting."""
    values = _read_values(Path(path))
    _require_keys(values, path)
    for name in ("datasets", "methods", "models", "synthetic", "futures"):
        _require_tables(values.get(name, {}), name)
    tasks = {name: _with_extra(v, hooks.task_settings, f"datasets.{name}.") for name, v in values["datasets"].items()}
    suite = from_dict(Suite, _with_extra(values, hooks.suite_settings, "") | {"datasets": tasks})
    for name in suite.datasets:
        suite.task(name)
    if taken := [name for name in suite.methods if name.partition("-")[0] in STAGES]:
        raise ConfigError(f"no method can be called {', '.join(sorted(taken))}: these are stages of every suite.")
    for name in suite.methods:
        _check_method(suite, name)
    for name in suite.methods:
        suite.seeds_of(name)
    for name in suite.models:
        suite.world_model_config(name)
    for stage, check in (("synthetic", suite.generate_config), ("futures", suite.futures_config)):
        for name in getattr(suite, stage):
            check(name)
            _require(suite.model_of(stage, name) in (PLAIN, *suite.models), name, "model")
    for name in suite.synthetic:
        if actor := suite.actor_of(name):
            real = [m for m in suite.methods if suite.method(m).planner is None and not suite.method(m).ratio]
            _require(actor in real, name, "policy", "as a learner on real data alone")
    suite.calibrate_config()
    return suite


def _read_values(path: Path, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The settings in a file over those of the file that it extends."""
    if path in extending:
        raise ConfigError(f"the suite file `{path}` extends itself.")
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        by = f", which `{extending[-1]}` extends" if extending else ""
        raise FileError(f"there is no suite file `{path}`{by}.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FileError(f"the suite file `{path}` cannot be read: {error}.") from None
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ConfigError(f"`extends` of the suite file `{path}` is the name of another, got {base!r}.")
    return _over(_read_values(path.parent / base, (*extending, path)), values)


def _over(base: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables, where both have one, and else the value of `values`."""
    merged = dict(base)
    for key, value in values.items():
        both = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        merged[key] = _over(base[key], value) if both else value
    return merged


def _check_method(suite: Suite, name: str) -> None:
    method = suite.method(name)
    if method.planner is not None:
        suite.play_config(name)
        suite.distil_config(name)
        learners = [other for other in suite.methods if suite.method(other).learns]
        _require(method.model in (PLAIN, *suite.models), name, "model")
        _require(not method.warmed_by or method.warmed_by in learners, name, "policy", "as a learner")
        return
    suite.policy_config(name)
    _require(method.ratio == 0 or method.synthetic in (PLAIN, *suite.synthetic), name, "synthetic")
    _require(not method.futures or method.futures in suite.futures, name, "futures")
    _require(not method.looks_ahead or method.model in (PLAIN, *suite.models), name, "model")


def _require(known: bool, name: str, key: str, how: str = "") -> None:
    if not known:
        raise ConfigError(f"`{name}` names a `{key}` that the suite does not describe{how and ' '}{how}.")


def _require_keys(values: Mapping[str, Any], path: str | Path) -> None:
    needed = ("name", "datasets", *(("updates", "seeds") if "methods" in values else ()))
    missing = [k for k in needed if k not in values]
    if missing:
        raise ConfigError(f"the suite file `{path}` has no {' and no '.join(f'`{k}`' for k in missing)}.")


def _require_tables(values: Any, where: str) -> None:
    """Raise ConfigError unless `values` is a table of tables whose names can be those of folders."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"`{where}` must be a table with one table for each name, got {values!r}.")
    for name, inner in values.items():
        if not isinstance(inner, Mapping):
            raise ConfigError(f"`{where}.{name}` must be a table of settings, got {inner!r}.")
        if not FOLDER_NAME.fullmatch(name):
            raise ConfigError(f"`{where}.{name}` names a folder: use letters, digits and any of . _ + -")


def _with_extra(values: Mapping[str, Any], known: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The table with the settings that hooks know in `extra`, their defaults filled in; of the type of the default."""
    if "extra" in values:
        raise ConfigError(f"unknown setting `{where}extra`.")
    extra = {key: values.get(key, default) for key, default in known.items()}
    for key, default in known.items():
        if type(extra[key]) is not type(default):
            raise ConfigError(f"`{where}{key}` must be {type(default).__name__}, got {extra[key]!r}")
    return {k: v for k, v in values.items() if k not in known} | {"extra": extra}


def without(table: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The table less one key."""
    return {k: v for k, v in table.items() if k != key}
