"""A suite file: which datasets, which methods, how many updates and seeds. And the pieces of work that it comes to.

    name = "first"
    updates = 50000                # of every policy; the last checkpoint is what counts
    seeds = 2                      # policies of a method, trained in one program

    [datasets.pipeline]            # the folder of its results
    path = "neorl2/Pipeline-train.npz"
    env = "benchmarks.neorl2:Pipeline-v0"
    episodes = 200                 # of each seed

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

    [futures.latent]               # outcomes for TD targets
    model = "latent"
    futures = 16

    [methods.td3bc-careful]
    algo = "td3bc"
    ratio = 0.5
    synthetic = "careful"
    futures = "latent"
    policy.risk.measure = "cvar"   # over [policy]

With `[calibrate]` every model that a method needs, and every one in `[models]`, is calibrated. A piece is the smallest
thing that is done, recorded and skipped by itself.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dawm.agents.config import PolicyConfig
from dawm.errors import ConfigError, FileError
from dawm.evaluate.calibrate import CalibrateConfig
from dawm.presets import RunConfig, load_preset, merge
from dawm.run.config import from_dict
from dawm.synth.futures import FuturesConfig
from dawm.synth.generator import GenerateConfig
from dawm.worldmodel.fit import WorldModelConfig

STAGES = ("data", "model", "calibration", "synthetic", "futures")  # names of pieces, so no method may have them
PLAIN = "dawm"  # the model and the synthetic data whose folders are called by their stage alone


@dataclass(frozen=True)
class Task:
    """A dataset, and the environment in which its policies are scored."""

    path: str  # a path below the data folder, or any name that `dawm.load` knows
    env: str
    episodes: int = 20  # of each seed
    also: tuple[str, ...] = ()  # further environments, for the record: another start, shifted dynamics
    unsafe: bool = False  # whether the environment says `info["unsafe"]`, whose rate is then measured

    def __post_init__(self):
        if self.episodes < 1:
            raise ValueError(f"episodes must be at least 1, got {self.episodes}")


@dataclass(frozen=True)
class Method:
    """A learner on real data (`ratio` 0), or with that share of synthetic rows in every batch."""

    algo: Any  # the kind of a learner, or its settings with a `kind`
    ratio: float = 0.0
    synthetic: str = PLAIN  # which of the synthetic data, where the ratio is above 0
    futures: str = ""  # which of the libraries its TD targets range over; "" for the recorded outcomes
    policy: dict[str, Any] = field(default_factory=dict)  # over the suite's


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
    consistency_rows: int = 2_000
    world_model: dict[str, Any] = field(default_factory=dict)
    generate: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)

    def task(self, name: str) -> Task:
        return from_dict(Task, self.datasets[name], f"datasets.{name}.")

    def method(self, name: str) -> Method:
        return from_dict(Method, self.methods[name], f"methods.{name}.")

    def policy_config(self, name: str) -> PolicyConfig:
        method = self.method(name)
        algo = {"kind": method.algo} if isinstance(method.algo, str) else method.algo
        config = merge(merge(self.run_config(), {"policy": {"algo": algo}}), {"policy": method.policy}).policy
        return dataclasses.replace(config, ratio=method.ratio)

    def world_model_config(self, name: str = PLAIN) -> WorldModelConfig:
        table = self.models.get(name, {})
        base = self.run_config(table.get("preset"))
        return merge(base, {"world_model": without(table, "preset")}).world_model

    def generate_config(self, name: str = PLAIN) -> GenerateConfig:
        return merge(self.run_config(), {"generate": without(self.synthetic.get(name, {}), "model")}).generate

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


class Piece(NamedTuple):
    """One thing to do: a stage ("data", "model", "synthetic") or a method, for one dataset."""

    dataset: str
    what: str
    needs: tuple[str, ...]  # names of the pieces before it

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.what}"

    @property
    def stage(self) -> tuple[str, str] | None:
        """(stage, name of the model or data), None for a method."""
        stage, _, name = self.what.partition("-")
        return (stage, name or PLAIN) if stage in STAGES else None


def read_suite(path: str | Path) -> Suite:
    """The suite in a TOML file, every setting checked. Raises FileError or ConfigError naming the setting."""
    try:
        values = tomllib.loads(Path(path).read_text())
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in (Path(__file__).parent / "suites").glob("*.toml")))
        raise FileError(f"there is no suite file `{path}`; those in benchmarks/suites: {known}.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FileError(f"the suite file `{path}` cannot be read: {error}.") from None
    _require_tables(values, path)
    suite = from_dict(Suite, values)
    for name in suite.datasets:
        suite.task(name)
    if taken := [name for name in suite.methods if name.partition("-")[0] in STAGES]:
        raise ConfigError(f"no method can be called {', '.join(sorted(taken))}: these are stages of every suite.")
    for name in suite.methods:
        suite.policy_config(name)
        method = suite.method(name)
        _require(method.ratio == 0 or method.synthetic in (PLAIN, *suite.synthetic), name, "synthetic")
        _require(not method.futures or method.futures in suite.futures, name, "futures")
    for name in suite.models:
        suite.world_model_config(name)
    for stage, check in (("synthetic", suite.generate_config), ("futures", suite.futures_config)):
        for name in getattr(suite, stage):
            check(name)
            _require(suite.model_of(stage, name) in (PLAIN, *suite.models), name, "model")
    suite.calibrate_config()
    return suite


def _require(known: bool, name: str, key: str) -> None:
    if not known:
        raise ConfigError(f"`{name}` names a `{key}` that the suite does not describe.")


def _require_tables(values: Mapping[str, Any], path: str | Path) -> None:
    needed = ("name", "datasets", *(("updates", "seeds") if "methods" in values else ()))
    missing = [k for k in needed if k not in values]
    if missing:
        raise ConfigError(f"the suite file `{path}` has no {' and no '.join(f'`{k}`' for k in missing)}.")


def without(table: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The table less one key."""
    return {k: v for k, v in table.items() if k != key}


def called(stage: str, name: str) -> str:
    """What the piece of a stage is called, and its folder."""
    return stage if name == PLAIN else f"{stage}-{name}"


def pieces(suite: Suite) -> list[Piece]:
    """All pieces, each after those it needs; world models first, since most waits for them."""
    methods = {name: suite.method(name) for name in suite.methods}
    made = sorted({m.synthetic for m in methods.values() if m.ratio > 0} | set(suite.synthetic))
    libraries = sorted(suite.futures)
    models = {suite.model_of("synthetic", n) for n in made} | {suite.model_of("futures", n) for n in libraries}
    models = sorted(models | set(suite.models))
    corrected = "model" if suite.calibrate is None else "calibration"  # what comes before futures
    out = [Piece(d, "data", ()) for d in suite.datasets]
    for stage, names, before in (
        ("model", models, lambda name: "data"),
        ("calibration", models if suite.calibrate is not None else [], lambda name: called("model", name)),
        ("synthetic", made, lambda name: called("model", suite.model_of("synthetic", name))),
        ("futures", libraries, lambda name: called(corrected, suite.model_of("futures", name))),
    ):
        out += [Piece(d, called(stage, n), (f"{d}/{before(n)}",)) for n in names for d in suite.datasets]
    for dataset in suite.datasets:
        for name, method in methods.items():
            needs = [called("synthetic", method.synthetic)] if method.ratio > 0 else []
            needs += [called("futures", method.futures)] if method.futures else []
            out.append(Piece(dataset, name, tuple(f"{dataset}/{need}" for need in needs or ["data"])))
    return out


def data_root() -> Path:
    """The folder that the paths of a suite are below: DAWM_SHARED_DATA, or `shared/data` beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("DAWM_SHARED_DATA", beside))


def locate(task: Task) -> str:
    """What to give to `dawm.load`: each part of the path that exists below the data folder, else the name as it is."""
    root = data_root()
    return "+".join(str(root / part) if (root / part).exists() else part for part in task.path.split("+"))
