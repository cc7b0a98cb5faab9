"""A suite file: which datasets, which methods, how many updates and seeds. And the pieces of work that it comes to.

    name = "first"
    updates = 50000                # of every policy; the last checkpoint is what counts
    seeds = 2                      # policies of a method, trained in one program

    [datasets.pipeline]            # the folder of its results
    path = "neorl2/Pipeline-train.npz"
    env = "benchmarks.neorl2:Pipeline-v0"
    episodes = 200                 # of each seed

    [methods.td3bc-dawm]           # a policy folder; with ratio > 0 it uses the world model of its dataset
    algo = "td3bc"
    ratio = 0.5

One setting serves all datasets: `[world_model]`, `[generate]`, `[policy]` hold what differs from the preset, and no
dataset can override them. A piece is the smallest thing that is done, recorded and skipped by itself.
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
from dawm.presets import RunConfig, load_preset, merge
from dawm.run.config import from_dict
from dawm.synth.generator import GenerateConfig
from dawm.worldmodel.fit import WorldModelConfig

STAGES = ("data", "model", "synthetic")  # names of pieces, so no method may have them


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


@dataclass(frozen=True)
class Suite:
    """What a suite file says."""

    name: str
    updates: int
    seeds: int
    datasets: dict[str, Any]
    methods: dict[str, Any]
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
        config = merge(self.run_config(), {"policy": {"algo": algo}}).policy
        return dataclasses.replace(config, ratio=method.ratio)

    def world_model_config(self) -> WorldModelConfig:
        return self.run_config().world_model

    def generate_config(self) -> GenerateConfig:
        return self.run_config().generate

    def run_config(self) -> RunConfig:
        """The settings of all stages: the preset, then the suite's tables, then its updates and seeds."""
        preset = load_preset(self.preset) if self.preset else RunConfig()
        tables = {"world_model": self.world_model, "generate": self.generate, "policy": self.policy}
        own = {"policy": {"seeds": self.seeds, "seed": self.seed, "loop": {"steps": self.updates}}}
        seeds = {"world_model": {"seed": self.seed}, "generate": {"seed": self.seed}}
        return merge(merge(merge(preset, seeds), tables), own)


class Piece(NamedTuple):
    """One thing to do: a stage ("data", "model", "synthetic") or a method, for one dataset."""

    dataset: str
    what: str
    needs: tuple[str, ...]  # names of the pieces before it

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.what}"


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
    for name in suite.methods:
        suite.policy_config(name)
    if taken := set(STAGES) & set(suite.methods):
        raise ConfigError(f"no method can be called {', '.join(sorted(taken))}: these are stages of every suite.")
    return suite


def _require_tables(values: Mapping[str, Any], path: str | Path) -> None:
    missing = [k for k in ("name", "updates", "seeds", "datasets", "methods") if k not in values]
    if missing:
        raise ConfigError(f"the suite file `{path}` has no {' and no '.join(f'`{k}`' for k in missing)}.")


def pieces(suite: Suite) -> list[Piece]:
    """All pieces, each after those it needs; world models first, since most waits for them."""
    uses_model = {name for name in suite.methods if suite.method(name).ratio > 0}
    out = [Piece(d, "data", ()) for d in suite.datasets]
    if uses_model:
        out += [Piece(d, "model", (f"{d}/data",)) for d in suite.datasets]
        out += [Piece(d, "synthetic", (f"{d}/model",)) for d in suite.datasets]
    for dataset in suite.datasets:
        for method in suite.methods:
            before = "synthetic" if method in uses_model else "data"
            out.append(Piece(dataset, method, (f"{dataset}/{before}",)))
    return out


def data_root() -> Path:
    """The folder that the paths of a suite are below: DAWM_SHARED_DATA, or `shared/data` beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("DAWM_SHARED_DATA", beside))


def locate(task: Task) -> str:
    """What to give to `dawm.load`: each part of the path that exists below the data folder, else the name as it is."""
    root = data_root()
    return "+".join(str(root / part) if (root / part).exists() else part for part in task.path.split("+"))
