"""Synthetic transitions: starts from the data -> futures from the model -> a Dataset with provenance, in shards that
resume.

Every generated future is an episode of the result: its first action is the recorded one, the others are inferred, and
it stops at its first end; where it does not end it was cut. With `actions = "policy"` every action is a policy's
(`synth/rollouts.py`). Shard i is made from the key folded with i, so a run that was killed goes on with the next shard
and gives the same bytes.

Run folder (kind `synthetic`): shards/00000.npz ..., generation.json, fidelity.json.
"""

from __future__ import annotations

import dataclasses
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax.random as jr
import numpy as np

from dawm.agents.policy import TrainedPolicy
from dawm.data.dataset import COLUMNS, Dataset, DatasetInfo
from dawm.errors import ConfigError, FileError
from dawm.run.checkpoint import write_whole
from dawm.run.config import to_dict
from dawm.run.folder import RunFolder
from dawm.run.progress import progress_bar
from dawm.synth.constraints import Violation
from dawm.synth.fidelity import measure_fidelity
from dawm.synth.rollouts import check_policy, roll
from dawm.synth.safeguards import SafeguardConfig, Safeguards, make_safeguards, summary
from dawm.synth.starts import Starts
from dawm.types import Segment
from dawm.worldmodel.base import require_dynamics
from dawm.worldmodel.split import split_log
from dawm.worldmodel.trained import TrainedModel

HOPELESS = 20  # shards after which a generation that keeps next to nothing gives up


@dataclass(frozen=True)
class GenerateConfig:
    """How many transitions, from where, and which return is asked for."""

    transitions: int = 100_000
    starts: Literal["uniform", "high_return", "novel"] = "uniform"
    high_return: float = 0.5  # high_return: share of the best episodes (by return) that starts come from
    return_quantile: float | None = (
        None  # ask for this quantile of the data's return-to-go; None asks for the recorded one
    )
    actions: Literal["model", "policy"] = "model"  # "model": the recorded first action, then what the model infers
    length: int = 5  # policy: steps of a future (MOPO takes 1 or 5)
    action_noise: float = 0.0  # on the first action, or on all of a policy's; in units of half the action range
    return_factor: float = 1.0  # times the return that is asked for
    noising: float = 1.0  # below 1: share of the sampler's steps, begun from a recorded future and not from noise
    shard: int = 2_048  # futures per shard
    safeguards: SafeguardConfig = field(default_factory=SafeguardConfig)
    seed: int = 0

    def __post_init__(self):
        for name in ("transitions", "shard", "length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.actions == "policy" and (
            self.noising < 1 or self.return_quantile is not None or self.return_factor != 1
        ):
            raise ValueError("with actions = policy no return is asked for and no recorded future is kept near")
        if self.action_noise < 0:
            raise ValueError(f"action_noise must be at least 0, got {self.action_noise}")
        if not 0 < self.noising <= 1:
            raise ValueError(f"noising is a share of the sampler's steps in (0, 1], got {self.noising}")
        if self.noising < 1 and self.action_noise > 0:
            raise ValueError(
                "noising below 1 stays near what followed the recorded action, and action_noise starts from another"
            )
        if not 0 < self.high_return <= 1:
            raise ValueError(f"high_return must be in (0, 1], got {self.high_return}")
        if self.return_quantile is not None and not 0 <= self.return_quantile <= 1:
            raise ValueError(f"return_quantile must be in [0, 1], got {self.return_quantile}")


def generate(
    model: TrainedModel,
    data: Dataset,
    config: GenerateConfig | None = None,
    *,
    folder: str | Path | None = None,
    constraint: Violation | None = None,
    policy: TrainedPolicy | None = None,
    policy_path: str | None = None,
) -> Dataset:
    """At least `config.transitions` synthetic transitions that start in the training episodes of `data`.

    `constraint` is what must not happen as a function that JAX can trace, (obs, action, reward, next_obs) of one step
    to whether it does, in place of the text in `config.safeguards`; a folder keeps its name, and resuming needs it
    again. `policy` acts where `config.actions` is "policy"; a folder keeps `policy_path`, its path from there.

    Raises ConfigError if `data` or the policy are not of the model's task, or if the model cannot do what is asked for;
    with a folder it resumes, and writes the fidelity report.
    """
    config = config or GenerateConfig()
    model.require(data)
    _check_model(model, config, constraint)
    check_policy(policy, config.actions, (model.spec.obs_dim, model.spec.act_dim))
    split = split_log(data, model.config)
    train, held = split.train, split.held
    run = None
    if folder is not None:
        settings = {
            "generate": to_dict(config),
            "model": {"path": model.known_as or str(model.folder), "fingerprint": model.fingerprint},
        }
        if constraint is not None:
            settings["constraint_function"] = {"name": f"{constraint.__module__}.{constraint.__qualname__}"}
        if policy is not None:
            settings["policy"] = {"path": policy_path, "step": policy.step, "fingerprint": policy.fingerprint}
        origin = {"name": data.info.name, "origin": data.info.origin, "fingerprint": data.fingerprint}
        run = RunFolder.start(folder, "synthetic", settings | {"data": origin}, {"seed": config.seed})
        if run.finished:
            return load_synthetic(run.path)
    guards = None
    if config.safeguards.active or constraint is not None:
        guards = make_safeguards(model.model, train, held, config.safeguards, config.seed, constraint)
    begun, rows, shards, starts = time.monotonic(), 0, [], Starts(train, model, config)
    with progress_bar("generating", config.transitions, "transitions") as advance:
        while rows < config.transitions:
            shards.append(_shard(model, starts, config, len(shards), run, guards, policy))
            rows += len(shards[-1]["reward"])
            if len(shards) > HOPELESS and rows < len(shards):
                raise ConfigError(
                    f"the safeguards dropped nearly all of {len(shards) * config.shard:,} futures. Lower"
                    " generate.safeguards.support."
                )
            advance(min(rows, config.transitions), "")
    seconds = time.monotonic() - begun
    synthetic = _assemble(shards, model, data, config, policy)
    if run is not None:
        facts = _account(synthetic, model, config, seconds, policy)
        if guards is not None:
            facts["safeguards"] = summary(np.stack([s["account"] for s in shards]), guards)
        run.write_json("generation.json", facts)
        run.write_json("fidelity.json", measure_fidelity(synthetic, train, held, model))
        run.finish()
    return synthetic


def load_synthetic(folder: str | Path) -> Dataset:
    """The dataset of a finished generation. Raises FileError where it is unfinished or a shard is damaged."""
    run = RunFolder.open(folder, "synthetic")
    facts = run.read_json("generation.json")
    if not run.finished or facts is None:
        raise FileError(f"the generation in `{folder}` is not finished. Go on with: dawm resume {folder}")
    paths = sorted((run.path / "shards").glob("*.npz"))
    shards = [_read_shard(p) for p in paths]
    rows = sum(len(s["reward"]) for s in shards)
    if rows != facts["transitions"]:
        raise FileError(
            f"the shards of `{folder}` hold {rows:,} transitions where {facts['transitions']:,} were made: shards are"
            f" missing. Delete `{run.path / 'finished'}` and go on with: dawm resume {folder}"
        )
    return _join(shards, facts["bounds"], _info(facts, str(run.path)))


def _shard(
    model: TrainedModel,
    starts: Starts,
    config: GenerateConfig,
    index: int,
    run: RunFolder | None,
    guards: Safeguards | None = None,
    policy: TrainedPolicy | None = None,
) -> dict[str, Any]:
    """The columns of one shard: read if it was written before, else generated and written."""
    path = None if run is None else run.path / "shards" / f"{index:05d}.npz"
    if path is not None and path.exists():
        return _read_shard(path)
    key = jr.fold_in(jr.key(config.seed), index)
    rng = np.random.default_rng([config.seed, index])
    drawn = starts.draw(config.shard, rng)
    if policy is None:
        columns = flatten(model.generate(drawn, key, starts.skip))
    else:
        columns = flatten(roll(model.model, policy, drawn, config.length, config.action_noise, key))
    if guards is not None:
        columns = guards.apply(columns, jr.fold_in(key, 1))
    if path is not None:
        write_whole(path, lambda file: np.savez(file, **columns))  # type: ignore[arg-type]
    return columns


def flatten(futures: Segment) -> dict[str, np.ndarray]:
    """The valid steps of n futures, one after the other, and where each future ends."""
    valid = np.asarray(futures.valid)
    steps = valid.shape[1]
    return {
        "obs": futures.obs[:, :-1][valid],
        "action": futures.action[valid],
        "reward": futures.reward[valid],
        "next_obs": futures.obs[:, 1:][valid],
        "terminal": futures.terminal[valid],
        "source": np.repeat(futures.source[:, None], steps, 1)[valid].astype(np.int32),
        "lengths": valid.sum(1),
    }


def _read_shard(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            kept = [name for name in (*COLUMNS, "lengths", "account") if name != "account" or name in file]
            return {name: file[name] for name in kept}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FileError(
            f"the shard `{path}` is damaged ({error}). Delete it (and `finished` beside its folder, if it is there) and"
            " resume: it will be made again."
        ) from None


def _assemble(
    shards: list[dict], model: TrainedModel, data: Dataset, config: GenerateConfig, policy: TrainedPolicy | None
) -> Dataset:
    bounds = {"act_low": data.act_low.tolist(), "act_high": data.act_high.tolist()}
    facts = _lineage(model, config, policy) | {"env": data.info.env, "name": data.info.name}
    return _join(shards, bounds, _info(facts, "generated"))


def _join(shards: list[dict], bounds: dict[str, list[float]], info: DatasetInfo) -> Dataset:
    columns = {name: np.concatenate([s[name] for s in shards]) for name in COLUMNS}
    ends = np.cumsum(np.concatenate([s["lengths"] for s in shards]))
    limits = {k: np.asarray(v, np.float32) for k, v in bounds.items()}
    return Dataset(**columns, episode_ends=ends, **limits, info=info)


def _info(facts: dict[str, Any], origin: str) -> DatasetInfo:
    name = f"{facts['name']}/dawm-synthetic"
    return DatasetInfo(name=name, origin=f"synthetic:{origin}", format="synthetic", env=facts["env"], details=facts)


def _lineage(model: TrainedModel, config: GenerateConfig, policy: TrainedPolicy | None) -> dict[str, Any]:
    """Where synthetic data come from."""
    lineage = {
        "source": model.data,
        "model": model.fingerprint,
        "seed": config.seed,
        "settings": dataclasses.asdict(config),
    }
    if policy is None:
        return lineage
    algo = policy.config.algo.kind
    return lineage | {"policy": {"algo": algo, "step": policy.step, "fingerprint": policy.fingerprint}}


def _account(
    synthetic: Dataset, model: TrainedModel, config: GenerateConfig, seconds: float, policy: TrainedPolicy | None
) -> dict[str, Any]:
    return _lineage(model, config, policy) | {
        "name": model.data["name"],
        "env": synthetic.info.env,
        "transitions": len(synthetic),
        "futures": synthetic.episodes,
        "terminal_rate": float(synthetic.terminal.mean()),
        "seconds": round(seconds, 3),
        "transitions_per_second": round(len(synthetic) / max(seconds, 1e-9), 1),
        "fingerprint": synthetic.fingerprint,
        "bounds": {"act_low": synthetic.act_low.tolist(), "act_high": synthetic.act_high.tolist()},
    }


def _check_model(model: TrainedModel, config: GenerateConfig, constraint: Violation | None) -> None:
    """Refuse what a model without dynamics cannot do, and what it would silently ignore."""
    kind = model.config.model
    if config.actions == "policy":
        require_dynamics(kind, "a policy that acts in it")
    guards = config.safeguards
    if guards.penalty > 0 or guards.stop is not None or guards.constraint is not None or constraint is not None:
        require_dynamics(kind, "a penalty, a stop or a constraint")
    if not kind.dynamics and (config.starts != "uniform" or config.action_noise > 0):
        raise ConfigError(
            f"a world model of kind `{kind.kind}` draws transitions that start anywhere: leave generate.starts and"
            " generate.action_noise as they are."
        )
