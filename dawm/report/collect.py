"""The only reader of run folders: files in, one `RunRecord` out.

What is missing is normal (an unfinished run, no environment, no synthetic data) and reads as None or an empty mapping.
What is damaged is an error that names the file: text that is no JSON or TOML, or a known field of another type than
the one in `SHAPES`. A number may be null or NaN: it was measured and came to nothing.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dawm.errors import FileError

STAGE_RESULTS = {
    "world_model": ("holdout", "calibration"),
    "synthetic": ("generation", "fidelity"),
    "policy": ("scores", "distil", "estimates"),
}

PLAYED = {"planner": ("scores", "mean")}  # beside the policies of a run: something that acts and learnt nothing

# Where a field has one of these types the report relies on it; `*` is any key. Other fields are shown as they are.
SHAPES = {
    "data.json": {
        "object": ("lengths", "returns", "returns.percentiles", "references", "doctor", "split"),
        "number": (
            *("steps", "episodes", "obs_dim", "act_dim", "terminal_steps", "cut_episodes", "score_mean"),
            *("returns.mean", "returns.std", "returns.min", "returns.max", "returns.percentiles.*"),
            *("lengths.min", "lengths.mean", "lengths.max", "references.low", "references.high"),
        ),
        "numbers": ("lengths.edges", "lengths.counts", "returns.edges", "returns.counts"),
        "objects": ("doctor.problems",),
        "list": ("notes",),
    },
    "holdout.json": {
        "object": ("models", "models.*", "inverse", "ends", "parameters"),
        "number": (
            *("horizon", "windows", "first_step_ratio", "first_step_mean_ratio", "samples_per_start"),
            *("inverse.rmse", "inverse.r2", "inverse.nll", "inverse.cycle_rmse", "ends.*", "consistency.recorded"),
        ),
        "numbers": (
            *(f"models.*.{key}" for key in ("rmse", "mean_rmse", "crps", "reward_rmse", "spread")),
            "consistency.generated",
        ),
    },
    "calibration.json": {
        "object": ("coverage", "recalibrated", "recalibrated.coverage", "recalibrated.groups", "baselines", "data"),
        "numbers": ("ece", "crps", "spread_skill", "coverage.*", "recalibrated.ece", "baselines.*.ece"),
    },
    "generation.json": {
        "object": ("source", "settings"),
        "number": ("transitions", "futures", "terminal_rate", "seconds", "transitions_per_second"),
    },
    "fidelity.json": {
        "object": ("nearest_neighbour", "terminal_rate"),
        "objects": ("marginals",),
        "number": ("two_sample_auc", "nearest_neighbour.*", "terminal_rate.*"),
    },
    "scores.json": {
        "object": ("references", "versions"),
        "table": ("returns", "lengths", "terminated"),
        "number": (
            *("episodes", "return_mean", "return_std", "return_iqm", "normalized_score", "score_std", "score_iqm"),
            *("references.low", "references.high"),
        ),
        "numbers": ("score_interval", "return_interval"),
    },
}
SHAPES["estimates.json"] = {
    "object": ("model", "fqe"),
    "number": ("discount", "log", "model.log"),
    "numbers": ("model.left", *(f"{by}.{key}" for by in ("model", "fqe") for key in ("value", "low", "high"))),
}
SHAPES["distil.json"] = {"numbers": ("labels", "distance.before", "distance.after")}
SHAPES["mean.json"] = SHAPES["scores.json"]  # of one planner around the mean of the seeds


@dataclass(frozen=True)
class Stage:
    """One run folder of kind "world_model", "synthetic" or "policy"."""

    name: str  # of the folder
    path: Path
    kind: str
    config: dict[str, Any]
    provenance: dict[str, Any]
    metrics: list[dict[str, Any]]
    results: dict[str, dict[str, Any]]  # "holdout", "generation", "fidelity", "scores": only those that were written
    finished: bool
    around: Stage | None = None  # the policy that a planner deviates from, where it is one of the same run

    def get(self, result: str, *keys: str) -> Any:
        """The value at `keys` of a result file, or None where the file or a key is missing."""
        return dig(self.results.get(result), *keys)

    @property
    def steps_done(self) -> int | None:
        """The last recorded step of training."""
        return self.metrics[-1].get("step") if self.metrics else None

    @property
    def steps_planned(self) -> int | None:
        """`loop.steps` of the configuration, wherever it stands."""
        return next((v for k, v in leaves(self.config) if k == "loop.steps" or k.endswith(".loop.steps")), None)

    @property
    def algorithm(self) -> str:
        """The kind of learner: its `kind` in the configuration, or else what the folder is called; of a planner around
        a policy, that policy's.
        """
        if self.plans_around:
            return self.around.algorithm if self.around else self.plans_around
        policy = self.config.get("policy")
        kinds = [v["kind"] for v in policy.values() if isinstance(v, Mapping) and "kind" in v] if policy else []
        return str(kinds[0]) if kinds else self.name.removesuffix("-dawm")

    @property
    def uses_synthetic(self) -> bool:
        """Whether a policy was trained on synthetic transitions."""
        return bool(self.config.get("synthetic")) or self.name.endswith("-dawm")

    @property
    def plans_around(self) -> str:
        """The name of the policy that a planner deviates from; empty for one without, and for what is no planner."""
        path = dig(self.config, "policy", "path") if self.kind == "planner" else None
        return Path(str(path)).name if path else ""

    @property
    def additions(self) -> tuple[str, ...]:
        """What a policy was given beside the recorded transitions; nothing for the plain learner."""
        if self.plans_around:
            return (*(self.around.additions if self.around else ()), "planning")
        if self.config.get("distil"):
            return ("imitating its planner",)
        policy, found = self.config.get("policy") or {}, ["synthetic"] if self.uses_synthetic else []
        if self.config.get("futures"):
            risk = policy.get("risk") or {}
            level = "" if risk.get("measure", "mean") == "mean" else f" {risk['level']:g}"
            found.append(f"{risk.get('measure', 'mean')}{level} over futures")
        if horizon := (policy.get("expansion") or {}).get("horizon"):
            found.append(f"targets of {horizon} steps in the model")
        if (kind := (policy.get("priority") or {}).get("kind", "none")) != "none":
            found.append(f"rows drawn by {kind.replace('_', ' ')}")
        if policy.get("thin"):
            found.append("imitation by support")
        return tuple(found)


@dataclass(frozen=True)
class RunRecord:
    """Everything that a run folder says, of whatever kind it is."""

    path: Path
    kind: str
    config: dict[str, Any]
    provenance: dict[str, Any]
    data: dict[str, Any] | None
    model: Stage | None = None
    synthetic: Stage | None = None
    policies: tuple[Stage, ...] = field(default=())

    @property
    def name(self) -> str:
        """The dataset's name, or else the folder's."""
        named = [self.data, self.config.get("data"), *(s.config.get("data") for s in self.stages)]
        return next((str(d["name"]) for d in named if isinstance(d, Mapping) and d.get("name")), self.path.name)

    @property
    def origin(self) -> str | None:
        """What the dataset was resolved to: format and place."""
        named = [self.data, self.config.get("data"), *(s.config.get("data") for s in self.stages)]
        return next((str(d["origin"]) for d in named if isinstance(d, Mapping) and d.get("origin")), None)

    @property
    def stages(self) -> list[Stage]:
        """The stages that exist, in the order of the flow."""
        return [s for s in (self.model, self.synthetic, *self.policies) if s is not None]

    @property
    def references(self) -> dict[str, Any] | None:
        """Returns that count as 0 and 100: those of the scores, or else those of the data."""
        found = [s.get("scores", "references") for s in self.policies] + [dig(self.data, "references")]
        return next(
            (r for r in found if r and None not in (r.get("low"), r.get("high")) and r["low"] != r["high"]), None
        )


def read_run(run_dir: str | Path) -> RunRecord:
    """Read a run folder of any kind.

    Raises FileError where it is no run folder, or where a file in it is damaged (naming the file and the field).
    """
    path = Path(run_dir)
    if not (path / "run.toml").is_file():
        found = "has no run.toml" if path.exists() else "does not exist"
        raise FileError(f"`{path}` {found}: it is no run folder of dawm.")
    head = _read_toml(path / "run.toml")
    kind, config = str(head.get("kind", "?")), head.get("config") or {}
    common = {
        "path": path,
        "kind": kind,
        "config": config,
        "provenance": _read_json(path / "provenance.json") or {},
        "data": _read_json(path / "data.json"),
    }
    if kind == "run":
        found = [_stage(p) for p in sorted((path / "policies").glob("*")) if p.is_dir()]
        named = {stage.name: stage for stage in found if stage}
        policies = [replace(stage, around=named.get(stage.plans_around)) for stage in named.values()]
        ordered = sorted(policies, key=lambda s: (s.algorithm != "bc", s.algorithm, s.uses_synthetic))
        return RunRecord(
            **common, model=_stage(path / "model"), synthetic=_stage(path / "synthetic"), policies=tuple(ordered)
        )
    if kind not in STAGE_RESULTS:
        raise FileError(f"`{path / 'run.toml'}` is of kind `{kind}`, which the report does not know.")
    stage = _stage(path)
    assert stage is not None
    return RunRecord(
        **common,
        model=stage if kind == "world_model" else None,
        synthetic=stage if kind == "synthetic" else None,
        policies=(stage,) if kind == "policy" else (),
    )


def dig(value: Any, *keys: str) -> Any:
    """`value[k1][k2]...`, or None where a key is missing on the way."""
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """("dotted.key", value) for everything in a nested mapping that is no mapping itself."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, f"{where}.{key}" if where else str(key))
    else:
        yield where, value


def _stage(path: Path) -> Stage | None:
    """The stage in a folder; None where it was not begun."""
    if not (path / "run.toml").is_file():
        return None
    head = _read_toml(path / "run.toml")
    kind = str(head.get("kind", "?"))
    found = {name: _read_json(path / f"{name}.json") for name in (STAGE_RESULTS | PLAYED).get(kind, ())}
    return Stage(
        name=path.name,
        path=path,
        kind=kind,
        config=head.get("config") or {},
        provenance=_read_json(path / "provenance.json") or {},
        metrics=_read_metrics(path / "metrics.jsonl"),
        results={name: value for name, value in found.items() if value is not None},
        finished=(path / "finished").exists(),
    )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        head = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"`{path}` cannot be read: {error}.") from None
    if not isinstance(head.get("config", {}), dict):
        raise FileError(f"`{path}` is damaged: `config` is no table.")
    return head


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    remedy = "Delete it and redo the command that wrote it"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"cannot read `{path}`: {error.strerror}.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileError(f"`{path}` is damaged: {error}. {remedy}.") from None
    if not isinstance(value, dict):
        raise FileError(f"`{path}` is damaged: it holds no JSON object. {remedy}.")
    for shape, fields in SHAPES.get(path.name, {}).items():
        for dotted in fields:
            for where, found in _at(value, dotted.split(".")):
                if found is not None and not _FITS[shape](found):
                    raise FileError(
                        f"`{path}` is damaged: `{where}` must be {_NAMES[shape]}, got {_short(found)}. {remedy}."
                    )
    return value


def _at(value: Any, keys: list[str], where: str = "") -> Iterator[tuple[str, Any]]:
    """(place, value) of everything that a dotted field with `*` stands for."""
    if not keys:
        yield where.lstrip("."), value
    elif isinstance(value, Mapping):
        for key in value if keys[0] == "*" else [k for k in keys[:1] if k in value]:
            yield from _at(value[key], keys[1:], f"{where}.{key}")


def _number(value: Any) -> bool:
    return value is None or isinstance(value, (int, float))


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


_FITS: dict[str, Callable[[Any], bool]] = {
    "number": _number,
    "numbers": _list_of(_number),
    "table": _list_of(_list_of(_number)),
    "object": lambda value: isinstance(value, dict),
    "objects": _list_of(lambda value: isinstance(value, dict)),
    "list": lambda value: isinstance(value, list),
}
_NAMES = {
    "number": "a number",
    "numbers": "a list of numbers",
    "table": "a list of lists of numbers",
    "object": "an object",
    "objects": "a list of objects",
    "list": "a list",
}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole rows of a metrics file. A last line cut short by a kill is left out; any other damage is an error."""
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"`{path}` cannot be read: {error}.") from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):
                break
            raise FileError(
                f"`{path}` is damaged in line {number} of {len(lines)}. Try: dawm resume {path.parent}"
            ) from None
        if not isinstance(row, dict) or not isinstance(row.get("step"), (int, float)):
            raise FileError(f"`{path}` is damaged: line {number} is no row of metrics with a `step`.")
        rows.append(row)
    return rows
