"""The whole story in one file: load -> examine -> world model -> synthetic data -> policies -> scores -> report.

Every stage has a run folder of its own inside the folder of the run, is skipped where it is finished and taken up again
where it was interrupted. Paths of one stage in the settings of another are relative, so a run folder may be moved.

    OUT/model                 the world model, calibrated     OUT/policies/bc          behaviour cloning
    OUT/synthetic             transitions that it generated   OUT/policies/ALGO        the learner on real data only
    OUT/futures               libraries, if asked for         OUT/policies/ALGO-dawm   the same with synthetic data
    OUT/data.json, report.html                                OUT/policies/ALGO-...    with one addition each
                                                              OUT/policies/ALGO-plan   a planner around the learner,
                                                                                       and around the mean of all
                                                              OUT/policies/ALGO-distil the learner after it imitated
                                                                                       that planner
                                                              OUT/policies/ALGO-distil-plan  a planner around that
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dawm.agents.config import PolicyConfig
from dawm.agents.fit import blocks_of, train_policy
from dawm.agents.policy import TrainedPolicy, load_policy
from dawm.data.dataset import Dataset
from dawm.data.doctor import Diagnosis, describe, examine
from dawm.data.registry import load
from dawm.data.validate import require_usable
from dawm.errors import ConfigError, DatasetError, DawmError
from dawm.evaluate.calibrate import calibrate_model
from dawm.evaluate.estimate import EstimateConfig, estimate_policy
from dawm.evaluate.fqe import FQEConfig
from dawm.evaluate.rollouts import rollout
from dawm.evaluate.score import score_policy
from dawm.planning.distil import DistilConfig, distil_planner
from dawm.planning.play import PlayConfig, score_planner, spares
from dawm.presets import NO_ENVIRONMENT, RunConfig, acting_alone, load_preset, planner_of, policies_of
from dawm.recorded import identity, recorded_data, stored_futures, stored_model, stored_synthetic
from dawm.report.page import write_report
from dawm.run.config import from_dict, to_dict
from dawm.run.folder import RunFolder
from dawm.run.progress import say
from dawm.synth.futures import FuturesConfig, FuturesLibrary, build_library
from dawm.synth.generator import GenerateConfig, generate
from dawm.worldmodel.fit import WorldModelConfig, train_world_model
from dawm.worldmodel.trained import TrainedModel


def run_pipeline(source: Any, config: RunConfig | None = None, *, out: str | Path) -> Path:
    """Run every stage on a dataset (anything that `load` takes) in the folder `out`; returns the path of the report.

    Raises DatasetError where the doctor finds an error, ConfigError where `out` holds another run or the environment
    does not exist, NumericalError where training diverges.
    """
    config, out = config or load_preset("default"), Path(out)
    plans = policies_of(config)  # before any training: settings that contradict each other are refused here
    if config.generate.actions == "policy":
        raise ConfigError(
            "generate.actions = policy needs a policy that was trained before, which a run has not: use"
            " dawm generate MODEL_DIR --policy DIR --out DIR."
        )
    data, diagnosis = examined(source, config.env)
    for plan in plans:
        blocks_of(data, plan.config, futures=plan.futures)
    env = environment_of(data, config)
    run = RunFolder.start(
        out, "run", {"run": to_dict(config), "data": identity(data)}, {"seed": config.world_model.seed}
    )
    split = {"split_seed": config.world_model.seed, "holdout": config.world_model.holdout}
    run.write_json("data.json", describe(data, **split, diagnosis=diagnosis))

    train_world_model(data, config.world_model, folder=out / "model")
    model = stored_model(out / "model", used_in=out / "synthetic")
    calibrate_stage(model, data, config)
    generate(model, data, config.generate, folder=out / "synthetic")
    synthetic = stored_synthetic(out / "synthetic", used_in=out / "policies" / "any")
    if spares(model, planner_of(config)) and acting_alone(config) != config:
        say("      policies will act alone, without a planner: trained as `alone` says")
        config = acting_alone(config)
        plans = policies_of(config)

    futures = None
    if config.futures:
        library = FuturesConfig(futures=config.futures, seed=config.generate.seed)
        build_library(stored_model(out / "model", used_in=out / "futures"), data, library, folder=out / "futures")
        futures = stored_futures(out / "futures", used_in=out / "policies" / "any")

    for plan in plans:
        folder = out / "policies" / plan.name
        given = synthetic if plan.synthetic else None, futures if plan.futures else None
        ahead = stored_model(out / "model", used_in=folder) if plan.model else None
        policy_stage(data, plan.config, folder, *given, ahead, env, config)
        if env is not None:
            score_stage(folder, env, config.episodes, data)
    learner = config.policy.algo.kind
    if config.plan and config.real_only and env is not None:
        plan_stage(out, learner, env, data, config)
    trained = [plan.name for plan in plans]
    if config.distilled and config.real_only:
        student = distil_stage(out, learner, env, data, config)
        if config.plan and student is not None and env is not None:
            plan_stage(out, student, env, data, config)
        trained += [] if student is None else [student]
    if config.estimated:
        estimate_stage(out, trained, data, config)
    report = write_report(out)
    run.finish()
    return report


# -- stages -----------------------------------------------------------------------------------------------------------


def examined(source: Any, env: str | None = None) -> tuple[Dataset, Diagnosis]:
    """A dataset and what the doctor says of it. Raises DatasetError if that is an error."""
    data = load(source, env=None if env == NO_ENVIRONMENT else env, check=False)
    named = f"{source} is " if isinstance(source, (str, Path)) else ""
    say(f"data  {named}{data.info.origin}: {len(data):,} steps in {data.episodes:,} episodes")
    diagnosis = examine(data)
    errors = [finding.message for finding in diagnosis.problems if finding.severity == "error"]
    if errors:
        more = f" ({len(errors) - 1} more: see `dawm data doctor`)" if len(errors) > 1 else ""
        raise DatasetError(f"{data.info.name}: {errors[0]}{more}")
    for finding in diagnosis.problems:
        if finding.severity == "warning":
            say(f"      warning, {finding.check}: {finding.message}")
    require_usable(data)
    return data, diagnosis


def environment_of(data: Dataset, config: RunConfig) -> str | None:
    """The environment to evaluate in, tried before any training; None if there is none.

    One that was asked for and cannot be made is an error; one that only the data name is left out with a remark.
    """
    if config.env == NO_ENVIRONMENT or data.info.env is None:
        say("      no environment to evaluate in: policies are trained and not scored (--env names one)")
        return None
    try:
        still = np.zeros((1, 1, data.spec.act_dim), np.float32)
        rollout(lambda _: still, data.info.env, episodes=1, seed=0, spec=data.spec, horizon=1)
    except DawmError as error:
        if config.env is not None:
            raise
        say(f"      policies are not scored: {error}")
        return None
    return data.info.env


def calibrate_stage(model: TrainedModel, data: Dataset, config: RunConfig) -> None:
    """How honest the model's futures are, and their correction; left out where too few episodes are unseen, or where
    the model forecasts nothing.
    """
    folder, settings = model.folder, config.calibrate
    assert folder is not None
    if not model.config.model.dynamics:
        say(f"      calibration is not measured: a `{model.config.model.kind}` model forecasts nothing")
        return
    stored = RunFolder.open(folder, "world_model").read_json("calibration.json") or {}
    asked = {"settings": to_dict(settings), "fingerprint": model.fingerprint}
    if all(stored.get(key) == value for key, value in asked.items()):
        return
    unseen = len(data.split_episodes(config.world_model.holdout, config.world_model.seed)[1])
    if unseen < 2:
        say("      calibration is not measured: it needs two held-out episodes (world_model.holdout)")
        return
    calibrate_model(model, data, settings, folder=folder)


def policy_stage(
    data: Dataset,
    settings: PolicyConfig,
    folder: Path,
    synthetic: Dataset | None,
    futures: FuturesLibrary | None,
    model: TrainedModel | None,
    env: str | None,
    config: RunConfig,
) -> None:
    """Train one policy; with `eval_every`, its record gets the returns as training goes on."""
    every = config.eval_every if env is not None else 0
    if every:
        settings = replace(settings, loop=replace(settings.loop, monitor_every=every))

    def monitor(step, policy):
        scores = score_policy(policy, str(env), episodes=config.episodes, references=data.info.references)
        return {"eval/return_mean": scores["return_mean"], "eval/return_std": scores["return_std"]}

    look = monitor if every else None
    given: dict[str, Any] = {"synthetic": synthetic, "futures": futures, "model": model}
    train_policy(data, settings, **given, folder=folder, monitor=look)


def score_stage(folder: Path, env: str, episodes: int, data: Dataset) -> dict[str, Any]:
    """The scores of a policy: those that are stored if they answer the same question, else measured."""
    run = RunFolder.open(folder, "policy")
    stored = run.read_json("scores.json") or {}
    if (stored.get("env"), stored.get("episodes"), stored.get("checkpoint")) == (env, episodes, run.checkpoints()[-1]):
        return stored
    say(f"scoring {folder.name}: {episodes} episodes per seed in {env}")
    scores = score_policy(folder, env, episodes=episodes, references=data.info.references)
    say(score_line(folder.name, scores))
    return scores


def plan_stage(out: Path, name: str, env: str, data: Dataset, config: RunConfig) -> dict[str, Any]:
    """The scores of a planner around each seed of a policy of the run, and of one around their mean."""
    folder, policy = out / "policies" / f"{name}-plan", load_policy(out / "policies" / name)
    say(f"scoring {folder.name}: {config.episodes} episodes per seed in {env}")
    planner = planner_of(config)
    scores = score_planner(
        stored_model(out / "model", used_in=folder),
        env,
        planner,
        policy=policy,
        policy_path=f"../{name}",
        members=planner.planners(policy.members),
        episodes=config.episodes,
        references=data.info.references,
        folder=folder,
    )
    say(score_line(folder.name, scores))
    if planner.planners(policy.members) > 1:
        mean_stage(folder, env, data, replace(planner, member="mean"), policy, config.episodes)
    return scores


def mean_stage(
    folder: Path, env: str, data: Dataset, planner: PlayConfig, policy: TrainedPolicy, episodes: int
) -> dict[str, Any]:
    """The scores of the one controller that a run comes to, beside those of its seeds: those that are stored if they
    answer the same question, else measured.
    """
    run = RunFolder.open(folder, "planner")
    stored = run.read_json("mean.json") or {}
    if (stored.get("env"), stored.get("episodes")) == (env, episodes):
        return stored
    model, references = stored_model(folder.parents[1] / "model", used_in=folder), data.info.references
    scores = score_planner(model, env, planner, policy=policy, episodes=episodes, references=references)
    run.write_json("mean.json", scores)
    say(score_line(f"{folder.name}, mean of the seeds", scores))
    return scores


def distil_stage(out: Path, name: str, env: str | None, data: Dataset, config: RunConfig) -> str | None:
    """A policy of the run after it imitated planners around it, and its scores; returns what it is called, or None
    where planners would leave it alone.
    """
    folder = out / "policies" / f"{name}-distil"
    model, play = stored_model(out / "model", used_in=folder), planner_of(config)
    if spares(model, play):
        return None
    policy = load_policy(out / "policies" / name)
    distil_planner(model, data, policy, config.distil, play, folder=folder, policy_path=f"../{name}")
    if env is not None:
        score_stage(folder, env, config.episodes, data)
    return folder.name


def estimate_stage(out: Path, names: list[str], data: Dataset, config: RunConfig) -> None:
    """What policies of the run are worth in the world model, beside their scores or in place of them; nothing where
    that is known already.
    """
    settings = EstimateConfig(FQEConfig(discount=config.estimate.discount), config.estimate)
    model, told = TrainedModel.load(out / "model"), False
    for name in names:
        run = RunFolder.open(out / "policies" / name, "policy")
        stored = run.read_json("estimates.json") or {}
        made = [stored.get("checkpoint"), stored.get("model", {}).get("fingerprint")]
        made.append(stored.get("settings", {}).get("model"))
        if made == [run.checkpoints()[-1], model.fingerprint, to_dict(settings.model)]:
            continue
        if not told:
            say(f"estimating what {len(names)} policies are worth in the world model")
            told = True
        estimate_policy(run.path, data, settings, model=model, fitted=False)


def score_line(name: str, scores: Mapping[str, Any]) -> str:
    """One line for people."""
    line = f"{name}: return {scores['return_mean']:.1f} ± {scores['return_std']:.1f}"
    if scores["normalized_score"] is not None:
        line += f", score {scores['normalized_score']:.1f} ± {scores['score_std']:.1f}"
    if (cost := scores.get("cost_mean")) is not None:
        line += f", cost {cost:.4g} an episode"
    return f"{line} over {scores['seeds']} x {scores['episodes']} episodes in {scores['env']}"


# -- going on ---------------------------------------------------------------------------------------------------------


def resume(folder: str | Path, data: Any = None) -> Path:
    """Go on with whatever is in `folder` from its own record; returns the folder, or the report of a whole run.

    `data` replaces the recorded place of the dataset where it has moved; it must hold the same values.
    """
    folder = Path(folder)
    run = RunFolder.open(folder, ("run", "world_model", "networks", "synthetic", "futures", "policy", "planner"))
    stored = run.read_config()["config"]
    if run.kind == "networks":
        return resume(folder.parent, data)
    dataset = recorded_data(stored["data"], folder, data, (stored.get("run") or {}).get("env"))
    if run.kind == "run":
        return run_pipeline(dataset, from_dict(RunConfig, stored["run"], "run."), out=folder)
    if run.kind == "world_model":
        train_world_model(dataset, from_dict(WorldModelConfig, stored["world_model"], "world_model."), folder=folder)
    elif run.kind == "synthetic":
        if function := stored.get("constraint_function"):
            raise ConfigError(
                f"`{folder}` was begun with the Python function {function['name']} as its constraint, which no file"
                " holds: give it to dawm.generate again, with the same folder."
            )
        model = stored_model(folder / stored["model"]["path"], used_in=folder)
        acting, policy = stored.get("policy"), None
        if acting is not None:
            if "path" not in acting:
                raise ConfigError(
                    f"`{folder}` was begun with a policy that has no folder: give it to dawm.generate again, with the"
                    " same folder."
                )
            policy = load_policy(folder / acting["path"], step=acting["step"])
        settings = from_dict(GenerateConfig, stored["generate"], "generate.")
        generate(model, dataset, settings, folder=folder, policy=policy, policy_path=(acting or {}).get("path"))
    elif run.kind == "futures":
        model = stored_model(folder / stored["model"]["path"], used_in=folder)
        build_library(model, dataset, from_dict(FuturesConfig, stored["futures"], "futures."), folder=folder)
    elif run.kind == "planner":
        acting = stored.get("policy")
        score_planner(
            stored_model(folder / stored["model"]["path"], used_in=folder),
            stored["env"],
            from_dict(PlayConfig, stored["play"], "play."),
            policy=acting and load_policy(folder / acting["path"], step=acting["step"]),
            policy_path=acting and acting["path"],
            members=stored.get("members"),
            episodes=stored["episodes"],
            seed=stored["evaluation_seed"],
            references=dataset.info.references,
            folder=folder,
        )
    elif "distil" in stored:
        before = stored["before"]
        if "path" not in before:
            raise ConfigError(
                f"`{folder}` was begun with a policy that has no folder: give it to dawm.distil_planner again, with the"
                " same folder."
            )
        distil_planner(
            stored_model(folder / stored["model"]["path"], used_in=folder),
            dataset,
            load_policy(folder / before["path"], step=before["step"]),
            from_dict(DistilConfig, stored["distil"], "distil."),
            from_dict(PlayConfig, stored["play"], "play."),
            folder=folder,
            policy_path=before["path"],
        )
    else:
        place = stored.get("synthetic", {}).get("path")
        mixed = stored_synthetic(folder / place.partition(":")[2], used_in=folder) if place else None
        place = stored.get("futures", {}).get("path")
        futures = stored_futures(folder / place.partition(":")[2], used_in=folder) if place else None
        place = stored.get("model", {}).get("path")
        model = stored_model(folder / place, used_in=folder) if place else None
        settings = from_dict(PolicyConfig, stored["policy"], "policy.")
        train_policy(dataset, settings, synthetic=mixed, futures=futures, model=model, folder=folder)
    return folder
