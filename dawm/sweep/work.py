"""Doing one piece of a sweep: every piece is a run folder that dawm's public functions write and take up again.

    OUT/<dataset>/              kind "run": data.json
    OUT/<dataset>/model/        kind "world_model"
    OUT/<dataset>/synthetic/    kind "synthetic"
    OUT/<dataset>/futures-<name>/   kind "futures"
    OUT/<dataset>/policies/<method>/    kind "policy" or "planner"; scores.json, scores-<env>.json

This is the layout of `dawm run`, so `dawm report OUT/<dataset>` works.
"""

from __future__ import annotations

from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from dawm.agents.fit import train_policy
from dawm.agents.policy import load_policy
from dawm.data.dataset import Dataset
from dawm.data.doctor import describe
from dawm.data.registry import load
from dawm.errors import ConfigError
from dawm.evaluate.calibrate import calibrate_model
from dawm.evaluate.score import score_policy
from dawm.planning.distil import distil_planner
from dawm.planning.play import score_planner
from dawm.recorded import identity, stored_futures, stored_model, stored_synthetic
from dawm.run.config import differences, from_dict, to_dict, without_none
from dawm.run.folder import RunFolder
from dawm.run.metrics import plain
from dawm.run.progress import say
from dawm.sweep.piece import Piece, called
from dawm.sweep.plan import Sweep
from dawm.sweep.suite import Task
from dawm.synth.futures import build_library
from dawm.synth.generator import generate
from dawm.worldmodel.fit import train_world_model
from dawm.worldmodel.trained import TrainedModel


def do(sweep: Sweep, piece: Piece) -> None:
    """Do a piece from where it was left. Raises the errors of dawm's own functions."""
    suite, task, folder = sweep.suite, sweep.suite.task(piece.dataset), sweep.folder_of(piece)
    data = load(sweep.locate(task), env=task.env or None)
    stage, name = piece.stage or ("method", piece.what)
    if stage == "data":
        _record_data(data, sweep, folder)
    elif stage == "model":
        train_world_model(data, suite.world_model_config(name), folder=folder)
    elif stage == "calibration":
        calibrate_model(TrainedModel.load(folder), data, suite.calibrate_config(), folder=folder)
    elif stage == "synthetic":
        settings, acting = suite.generate_config(name), _acting(suite.actor_of(name), folder)
        generate(_model(sweep, stage, name, folder), data, settings, folder=folder, **acting)
    elif stage == "futures":
        build_library(_model(sweep, stage, name, folder), data, suite.futures_config(name), folder=folder)
    else:
        _score(sweep, piece, task, data, folder)
    sweep.hooks.after(suite, piece, task, data, folder)


def _model(sweep: Sweep, stage: str, name: str, folder: Path) -> TrainedModel:
    return stored_model(folder.parent / called("model", sweep.suite.model_of(stage, name)), used_in=folder)


def _acting(method: str, folder: Path) -> dict[str, Any]:
    """The policy that acts in synthetic data, and its path from there; nothing where none does."""
    if not method:
        return {}
    return {"policy": load_policy(folder.parent / "policies" / method), "policy_path": f"../policies/{method}"}


def is_done(sweep: Sweep, piece: Piece) -> bool:
    """Whether nothing is left to do. Raises ConfigError where the folder holds a run with other settings."""
    folder = sweep.folder_of(piece)
    if not (folder / "run.toml").exists():
        return False
    run = RunFolder.open(folder)
    asked, stored = _settings(sweep, piece), run.read_config()["config"]
    there = {key: _read_as(settings, stored.get(key, {})) for key, settings in asked.items()}
    changed = differences(_plain(there), _plain(asked))
    if changed:
        raise ConfigError(
            f"`{folder}` holds a run with other settings than the suite. Choose another --out, or delete it:\n  "
            + "\n  ".join(changed[:12])
        )
    return run.finished and all((folder / name).exists() for name in _results(sweep, piece))


def _read_as(settings: Any, stored: Any) -> Any:
    """Stored settings as those of today: a run from before a setting existed ran with what is now its default."""
    return from_dict(type(settings), stored) if is_dataclass(settings) else stored


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return plain(without_none(to_dict(settings)))


def _settings(sweep: Sweep, piece: Piece) -> dict[str, Any]:
    """What run.toml must hold of the settings of a piece; nothing where a piece has none."""
    suite, stage, name = sweep.suite, *(piece.stage or ("method", piece.what))
    if stage == "model":
        return {"world_model": suite.world_model_config(name)}
    if stage == "synthetic":
        return {"generate": suite.generate_config(name)}
    if stage == "futures":
        return {"futures": suite.futures_config(name)}
    if stage != "method":
        return {}
    if suite.method(name).planner is None:
        return {"policy": suite.policy_config(name)}
    play = suite.play_config(name)
    if (asked := suite.distil_config(name)) is not None:
        return {"play": play, "distil": asked}
    return {"play": play, "members": play.planners(suite.seeds_of(name))}


def _results(sweep: Sweep, piece: Piece) -> list[str]:
    """Names of the result files of a piece."""
    suite, task = sweep.suite, sweep.suite.task(piece.dataset)
    own = {
        "data": ["data.json"],
        "model": ["model.ckpt", "holdout.json"],
        "calibration": ["calibration.json"],
        "synthetic": ["fidelity.json"],
        "futures": ["library.json"],
        "method": ["scores.json", *(_scores_name(env) for env in task.also)],
    }
    return own[piece.stage[0] if piece.stage else "method"] + sweep.hooks.results(suite, piece, task)


def _scores_name(env: str) -> str:
    return f"scores-{env.rpartition(':')[2]}.json"


def _record_data(data: Dataset, sweep: Sweep, folder: Path) -> None:
    run = RunFolder.start(folder, "run", {"data": identity(data), "env": data.info.env}, {})
    settings = sweep.suite.world_model_config()
    run.write_json("data.json", describe(data, split_seed=settings.seed, holdout=settings.holdout))
    run.finish()


def _score(sweep: Sweep, piece: Piece, task: Task, data: Dataset, folder: Path) -> None:
    """Train what learns, and play: the scores of a method, in the task's environment and in the further ones."""
    if data.info.env is None:
        raise ConfigError(f"the data of `{piece.dataset}` name no environment: set `datasets.{piece.dataset}.env`.")
    playing: dict[str, Any] = {"episodes": task.episodes, "seed": sweep.suite.evaluation_seed}
    if data.info.references is not None:
        playing["references"] = data.info.references
    if sweep.suite.method(piece.what).planner is None:
        _train_and_score(sweep, piece, task, data, folder, playing)
    else:
        _plan_and_score(sweep, piece, task, data, folder, playing)
    scores = RunFolder(folder).read_json("scores.json")
    say(f"{piece.name}: return {scores['return_mean']:.1f}, score {scores['normalized_score']}")


def _train_and_score(
    sweep: Sweep, piece: Piece, task: Task, data: Dataset, folder: Path, playing: dict[str, Any]
) -> None:
    suite, above = sweep.suite, folder.parents[1]
    config, method = suite.policy_config(piece.what), suite.method(piece.what)
    synthetic = futures = None
    if config.ratio > 0:
        synthetic = stored_synthetic(above / called("synthetic", method.synthetic), used_in=folder)
    if method.futures:
        futures = stored_futures(above / called("futures", method.futures), used_in=folder)
    model = stored_model(above / called("model", method.model), used_in=folder) if method.looks_ahead else None
    if not RunFolder(folder).finished:
        train_policy(data, config, synthetic=synthetic, futures=futures, model=model, folder=folder)
    _play(task, str(data.info.env), folder, playing)


def _play(task: Task, env: str, folder: Path, playing: dict[str, Any]) -> None:
    """The scores of the policy in a folder, those that are not there yet."""
    if not (folder / "scores.json").exists():
        score_policy(folder, env, **playing)
    for other in _missing(task, folder):
        RunFolder(folder).write_json(_scores_name(other), score_policy(load_policy(folder), other, **playing))


def _plan_and_score(
    sweep: Sweep, piece: Piece, task: Task, data: Dataset, folder: Path, playing: dict[str, Any]
) -> None:
    """One planner for each seed of the policy that warms it up, or for each seed of the suite; or that policy after it
    imitated them.
    """
    suite, method, above, env = sweep.suite, sweep.suite.method(piece.what), folder.parents[1], str(data.info.env)
    model = stored_model(above / called("model", method.model), used_in=folder)
    policy = load_policy(folder.parent / method.warmed_by) if method.warmed_by else None
    config = suite.play_config(piece.what)
    if policy is not None and (asked := suite.distil_config(piece.what)) is not None:
        path = f"../{method.warmed_by}"
        distil_planner(model, data, policy, asked, config, folder=folder, policy_path=path)
        _play(task, env, folder, playing)
        return
    playing = playing | {
        "policy": policy,
        "policy_path": f"../{method.warmed_by}" if policy else None,
        "members": config.planners(policy.members if policy else suite.seeds),
    }
    score_planner(model, env, config, folder=folder, **playing)
    for other in _missing(task, folder):
        scores = score_planner(model, other, config, **playing)
        RunFolder(folder).write_json(_scores_name(other), scores)


def _missing(task: Task, folder: Path) -> list[str]:
    """Those of the further environments in which a method has no scores."""
    return [env for env in task.also if not (folder / _scores_name(env)).exists()]
