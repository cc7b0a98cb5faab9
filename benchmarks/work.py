"""Doing one piece of a suite: every piece is a run folder that dawm's public functions write and take up again.

    OUT/<dataset>/              kind "run": data.json
    OUT/<dataset>/model/        kind "world_model"
    OUT/<dataset>/synthetic/    kind "synthetic"; consistency.json (the simulator check)
    OUT/<dataset>/futures-<name>/   kind "futures"
    OUT/<dataset>/policies/<method>/    kind "policy"; scores.json, scores-<env>.json, unsafe.json

This is the layout of `dawm run`, so `dawm report OUT/<dataset>` works.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.consistency import check
from benchmarks.safety import unsafe_steps
from benchmarks.simulators import SIMULATORS
from benchmarks.suite import Piece, Suite, Task, called, locate
from dawm.agents.fit import train_policy
from dawm.agents.policy import load_policy
from dawm.data.dataset import Dataset
from dawm.data.doctor import describe
from dawm.data.registry import load
from dawm.errors import ConfigError
from dawm.evaluate.calibrate import calibrate_model
from dawm.evaluate.score import score_policy
from dawm.pipeline import identity, stored_futures, stored_model, stored_synthetic
from dawm.run.config import differences, from_dict, to_dict, without_none
from dawm.run.folder import RunFolder
from dawm.run.metrics import plain
from dawm.run.progress import say
from dawm.synth.futures import build_library
from dawm.synth.generator import generate
from dawm.worldmodel.fit import train_world_model
from dawm.worldmodel.trained import TrainedModel


def folder_of(out: Path, piece: Piece) -> Path:
    """Where the results of a piece are."""
    if piece.stage is None:
        return out / piece.dataset / "policies" / piece.what
    stage, name = piece.stage
    return out / piece.dataset / {"data": ".", "calibration": called("model", name)}.get(stage, piece.what)


def do(suite: Suite, piece: Piece, out: Path) -> None:
    """Do a piece from where it was left. Raises the errors of dawm's own functions."""
    task, folder = suite.task(piece.dataset), folder_of(out, piece)
    data = load(locate(task), env=task.env)
    stage, name = piece.stage or ("method", piece.what)
    if stage == "data":
        _record_data(data, task, suite, folder)
    elif stage == "model":
        train_world_model(data, suite.world_model_config(name), folder=folder)
    elif stage == "calibration":
        calibrate_model(TrainedModel.load(folder), data, suite.calibrate_config(), folder=folder)
    elif stage == "synthetic":
        synthetic = generate(_model(suite, stage, name, folder), data, suite.generate_config(name), folder=folder)
        _check_simulator(synthetic, data, task, suite, folder)
    elif stage == "futures":
        build_library(_model(suite, stage, name, folder), data, suite.futures_config(name), folder=folder)
    else:
        _train_and_score(suite, piece, task, data, folder)


def _model(suite: Suite, stage: str, name: str, folder: Path) -> TrainedModel:
    return stored_model(folder.parent / called("model", suite.model_of(stage, name)), used_in=folder)


def is_done(suite: Suite, piece: Piece, out: Path) -> bool:
    """Whether nothing is left to do. Raises ConfigError where the folder holds a run with other settings."""
    folder, task = folder_of(out, piece), suite.task(piece.dataset)
    if not (folder / "run.toml").exists():
        return False
    run = RunFolder.open(folder)
    if (name := SETTINGS.get(piece.stage[0] if piece.stage else "method")) is not None:
        settings = _settings(suite, piece)
        # read as settings of today, since a run from before a setting existed ran with what is now its default
        stored = from_dict(type(settings), run.read_config()["config"].get(name, {}))
        changed = differences(_plain(stored), _plain(settings))
        if changed:
            raise ConfigError(
                f"`{folder}` holds a run with other settings than the suite. Choose another --out, or delete it:\n  "
                + "\n  ".join(changed[:12])
            )
    return run.finished and all((folder / name).exists() for name in _results(piece, task, suite))


def _plain(settings: Any) -> dict[str, Any]:
    return plain(without_none(to_dict(settings)))


# where run.toml keeps the settings of a piece
SETTINGS = {"model": "world_model", "synthetic": "generate", "futures": "futures", "method": "policy"}


def _settings(suite: Suite, piece: Piece) -> Any:
    if piece.stage is None:
        return suite.policy_config(piece.what)
    stage, name = piece.stage
    configs = {"model": suite.world_model_config, "synthetic": suite.generate_config, "futures": suite.futures_config}
    return configs[stage](name)


def _results(piece: Piece, task: Task, suite: Suite) -> list[str]:
    """Names of the result files of a piece."""
    if piece.stage is not None:
        simulated = ["consistency.json"] if _has_simulator(task) and suite.consistency_rows else []
        return {
            "data": ["data.json"],
            "model": ["model.ckpt", "holdout.json"],
            "calibration": ["calibration.json"],
            "synthetic": ["fidelity.json", *simulated],
            "futures": ["library.json"],
        }[piece.stage[0]]
    return ["scores.json"] + [_scores_name(env) for env in task.also] + (["unsafe.json"] if task.unsafe else [])


def _scores_name(env: str) -> str:
    return f"scores-{env.rpartition(':')[2]}.json"


def _has_simulator(task: Task) -> bool:
    return task.env.rpartition(":")[2] in SIMULATORS


def _record_data(data: Dataset, task: Task, suite: Suite, folder: Path) -> None:
    run = RunFolder.start(folder, "run", {"data": identity(data), "env": task.env}, {})
    settings = suite.world_model_config()
    run.write_json("data.json", describe(data, split_seed=settings.seed, holdout=settings.holdout))
    run.finish()


def _check_simulator(synthetic: Dataset, data: Dataset, task: Task, suite: Suite, folder: Path) -> None:
    """The synthetic rows against the simulator, and as a floor the recorded ones."""
    if not _has_simulator(task) or not suite.consistency_rows:
        return
    checked = {
        name: check(rows, task.env, suite.consistency_rows, suite.seed, reference=data)
        for name, rows in (("synthetic", synthetic), ("recorded", data))
    }
    RunFolder.open(folder).write_json("consistency.json", checked)


def _train_and_score(suite: Suite, piece: Piece, task: Task, data: Dataset, folder: Path) -> None:
    config, method, above = suite.policy_config(piece.what), suite.method(piece.what), folder.parents[1]
    synthetic = futures = None
    if config.ratio > 0:
        synthetic = stored_synthetic(above / called("synthetic", method.synthetic), used_in=folder)
    if method.futures:
        futures = stored_futures(above / called("futures", method.futures), used_in=folder)
    run = RunFolder(folder)
    if not run.finished:
        train_policy(data, config, synthetic=synthetic, futures=futures, folder=folder)
    playing: dict[str, Any] = {"episodes": task.episodes, "seed": suite.evaluation_seed}
    if data.info.references is not None:
        playing["references"] = data.info.references
    if not (folder / "scores.json").exists():
        score_policy(folder, task.env, **playing)
    policy = load_policy(folder)
    for env in task.also:
        if not (folder / _scores_name(env)).exists():
            run.write_json(_scores_name(env), score_policy(policy, env, **playing))
    if task.unsafe and not (folder / "unsafe.json").exists():
        counted = unsafe_steps(policy, task.env, episodes=task.episodes, seed=suite.evaluation_seed)
        run.write_json("unsafe.json", counted | {"checkpoint": policy.step})
    scores = run.read_json("scores.json")
    say(f"{piece.name}: return {scores['return_mean']:.1f}, score {scores['normalized_score']}")
