"""`--dry-run`: sizes, parameters, memory and time before anything is begun.

Times are measured, not guessed: a few updates of each stage and a few futures are compiled and run here on the real
data, then multiplied. What is not counted: how the machine's load changes, evaluations during training, and the
seconds that estimates of the policies take.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from dawm.agents.fit import train_policy
from dawm.agents.policy import initial_state as initial_policy
from dawm.agents.policy import policy_of
from dawm.agents.priority import PriorityConfig
from dawm.cli.parser import Outcome
from dawm.data.dataset import Dataset
from dawm.data.focus import share_of
from dawm.pipeline import environment_of, examined
from dawm.planning.play import make_planner
from dawm.presets import Planned, RunConfig, planner_of, policies_of
from dawm.run.loop import LoopConfig, compile_updates
from dawm.run.mesh import split_rows
from dawm.run.optim import make_optimiser
from dawm.run.progress import duration, say
from dawm.synth.generator import GenerateConfig
from dawm.types import Start
from dawm.worldmodel.base import AbstractDiffusionModel, AbstractWorldModel
from dawm.worldmodel.fit import (
    WorldModelConfig,
    annotated,
    assemble,
    diffusion_update,
    initial_state,
    parameter_counts,
    training_rows,
)
from dawm.worldmodel.networks import Networks, fit_scales, train_networks
from dawm.worldmodel.trained import TrainedModel

MEASURE_SECONDS = 1.5  # for each quantity, after compiling
FUTURES = 32  # generated at once while measuring
MIB = 2**20


def forecast_stages(
    source: str, config: RunConfig, stages: tuple[str, ...], given: TrainedModel | None = None
) -> Outcome:
    """What the given stages ("world_model", "generate", "policy") of a run would take.

    `given` is the world model that the targets of a policy look ahead in, where none is trained.
    """
    data, _ = examined(source, config.env)
    say(f"measuring on {jax.devices()[0]} (a few updates of each stage; nothing is written)")
    seconds: dict[str, float] = {}
    sizes: dict[str, Any] = {
        "steps": len(data),
        "episodes": data.episodes,
        "obs_dim": data.spec.obs_dim,
        "act_dim": data.spec.act_dim,
    }
    memory = {"dataset on the device": 2.0 * _bytes(data.transitions())}
    share = share_of(data.returns, data.lengths, least=1)  # of which follows what a planner does
    spared = ", if dynamics are linear" if share >= config.planner.spare else ""
    if "world_model" in stages or "generate" in stages:
        settings = config.world_model
        networks, model, train = untrained(data, settings)
        given = TrainedModel(model, settings, data.spec, {"share": share}, {}, fresh=networks)
        if isinstance(model, AbstractDiffusionModel):
            sizes |= {"window": list(model.shape), "batch": settings.batch_size}
        sizes["parameters"] = parameter_counts(model, networks)
        per_future = future_seconds(model, train)
        futures = 0
        if "world_model" in stages:
            seconds["one-step networks"] = networks_seconds(train, settings) * settings.networks.loop.steps
            looks = 1
            if isinstance(model, AbstractDiffusionModel):
                per_update, memory["world model training"] = update_seconds(model, train, settings)
                seconds["diffusion world model"] = per_update * settings.loop.steps
                looks += settings.loop.steps // settings.loop.monitor_every
            seconds["held-out measurements"] = per_future * (
                settings.measure_windows * settings.measure_samples * (1 + looks)
            )
        if "world_model" in stages and "generate" in stages:
            judged = config.calibrate  # a step of every future of both halves is one call of the model
            seconds["calibration"] = per_future * 2 * judged.windows * judged.samples * judged.horizon
        if "generate" in stages:
            futures = config.generate.transitions / model.steps
            seconds["generation"] = per_future * futures
            sizes["futures"] = round(futures)
    if "policy" in stages:
        alone = Planned(config.policy.algo.kind, config.policy, False)
        plan = policies_of(config) if "generate" in stages else [alone]
        shape = lambda p: (p.config.algo, p.config.expansion)  # what synthetic rows cost is the same
        kinds = {shape(p): p.config for p in plan}
        measured = {}
        for kind, policy in kinds.items():
            ahead = given if policy.expansion.horizon else None
            measured[kind] = policy_seconds(data, replace(policy, ratio=0.0), ahead)
        seconds |= {f"policy {p.name}": measured[shape(p)] * p.config.loop.steps for p in plan}
        sizes["policies"] = {p.name: p.config.seeds for p in plan}
        env = environment_of(data, config) if "generate" in stages else None
        if env is not None:
            length = data.info.horizon or int(data.lengths.max())
            steps = len(plan) * config.policy.seeds * config.episodes * length
            seconds["evaluation"] = environment_seconds(data, env) * steps
        played, asked = config.plan and env is not None, config.distilled and "generate" in stages
        if (played or asked) and config.real_only and given is not None:
            thinking = planner_seconds(given, data, config) * config.policy.seeds  # about a step of all episodes
            seconds |= {f"planner{spared}": thinking * length} if played else {}
            states = config.distil.rounds * config.distil.labels.count / config.episodes
            seconds |= {f"labels of the planner{spared}": thinking * states} if asked else {}
            seconds |= {f"planner around what imitated it{spared}": thinking * length} if played and asked else {}
    return _outcome(data, sizes, memory, seconds)


def forecast_generation(model: TrainedModel, data: Dataset, config: GenerateConfig) -> Outcome:
    """What a generation would take."""
    acting = config.actions == "policy"
    futures = config.transitions / (config.length if acting else model.model.steps)
    calls = config.transitions if acting else futures  # under a policy every step is a call of the model
    sizes = {"transitions": config.transitions, "futures": round(futures), "obs_dim": data.spec.obs_dim}
    memory = {"transitions": 4.0 * config.transitions * (2 * data.spec.obs_dim + data.spec.act_dim + 3)}
    return _outcome(data, sizes, memory, {"generation": future_seconds(model.model, data) * calls})


# -- measuring --------------------------------------------------------------------------------------------------------


def untrained(data: Dataset, config: WorldModelConfig) -> tuple[Networks, AbstractWorldModel, Dataset]:
    """The networks and the model as they are before training, and the training episodes."""
    train, _ = data.split(config.holdout, config.seed)
    scales = fit_scales(train, data.spec)
    sizes = data.spec.obs_dim, data.spec.act_dim, True, config.model.members
    networks = eqx.filter_jit(lambda key: Networks(config.networks, *sizes, key=key))(jr.key(0))
    return networks, assemble(config, data.spec, scales, networks, train, key=jr.key(1)), train


def repeated(call: Callable[[], Any], units: int = 1) -> float:
    """Seconds per unit of work of `call`, which has been compiled before."""
    begun, calls = time.monotonic(), 0
    while calls == 0 or time.monotonic() - begun < MEASURE_SECONDS:
        jax.block_until_ready(call())
        calls += 1
    return (time.monotonic() - begun) / calls / units


def chunk_seconds(train: Callable[[LoopConfig, Callable], Any], chunk: int) -> float:
    """Seconds per update of a training that takes a loop and a monitor: from the second chunk to the third."""
    marks: list[float] = []
    loop = LoopConfig(steps=3 * chunk, chunk=chunk, monitor_every=chunk, save_every=3 * chunk)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress is about three chunks only
        train(loop, lambda *_: marks.append(time.monotonic()) or {})
    return (marks[2] - marks[0]) / (2 * chunk)


def networks_seconds(train: Dataset, config: WorldModelConfig) -> float:
    scales = fit_scales(train, train.spec)

    def run(loop, monitor):
        settings = replace(config.networks, loop=loop)
        members = config.model.members
        return train_networks(train, scales, settings, members=members, seed=0, folder=None, monitor=monitor)

    return chunk_seconds(run, 20)


def policy_seconds(data: Dataset, config: Any, model: TrainedModel | None = None) -> float:
    """Seconds per update; what futures cost, and priorities by their spread, is not in it."""
    if config.priority.kind == "uncertainty":
        config = replace(config, priority=PriorityConfig())

    def run(loop, monitor):
        return train_policy(data, replace(config, loop=loop), model=model, monitor=monitor)

    return chunk_seconds(run, 50)


def update_seconds(model: AbstractDiffusionModel, train: Dataset, config: WorldModelConfig) -> tuple[float, float]:
    """(seconds, bytes) of one update of the diffusion."""
    windows, fold = training_rows(train, config)
    notes = annotated(model, windows, fold)
    optimiser, layout = make_optimiser(config.optim, config.loop.steps), split_rows(config.batch_size)
    copied = lambda tree: jax.tree.map(lambda leaf: jnp.array(leaf) if eqx.is_array(leaf) else leaf, tree)
    state = [layout.placed(copied(initial_state(model, optimiser)))]  # donated at every call
    data = layout.copied((model, windows, notes))
    run = compile_updates(diffusion_update(config, optimiser), 1, layout)

    def once():
        state[0], metrics = run(state[0], data, jr.key(0), 0)
        return metrics

    jax.block_until_ready(once())
    return repeated(once), 5.0 * _bytes(model.trained) + _bytes(windows) + _bytes(notes)


def future_seconds(model: AbstractWorldModel, data: Dataset) -> float:
    """Seconds per generated future."""
    rows = np.arange(FUTURES) % len(data)
    starts = Start(data.obs[rows], data.action[rows], np.zeros(FUTURES, np.float32), data.source[rows])
    starts, model = jax.tree.map(jnp.asarray, starts), split_rows(FUTURES).copied(model)
    run = eqx.filter_jit(lambda model, starts, keys: model.generate_many(starts, keys))
    call = lambda: run(model, starts, jr.split(jr.key(0), FUTURES))
    jax.block_until_ready(call())
    return repeated(call, FUTURES)


def planner_seconds(model: TrainedModel, data: Dataset, config: RunConfig) -> float:
    """Seconds that a planner that spares no policy thinks about one step of all episodes of a seed; what it climbs is
    not in it.
    """
    settings, nothing = replace(config.policy, seeds=1), np.zeros(data.spec.obs_dim, np.float32)
    policy = policy_of(initial_policy(settings, data.spec, nothing, nothing + 1), data.spec, settings, 0, "")
    planner = make_planner(model, replace(planner_of(config), spare=2.0), policy)
    rows = data.obs[np.arange(config.episodes) % len(data)][None]
    planner(rows)
    return repeated(lambda: planner(rows))


def environment_seconds(data: Dataset, env_id: str) -> float:
    """Seconds per step of the environment."""
    from dawm.evaluate.rollouts import rollout

    still = np.zeros((1, 1, data.spec.act_dim), np.float32)
    begun = time.monotonic()
    played = rollout(lambda _: still, env_id, episodes=1, seed=0, spec=data.spec, horizon=200)
    return (time.monotonic() - begun) / int(played.lengths.sum())


# -- telling ----------------------------------------------------------------------------------------------------------


def _outcome(data: Dataset, sizes: dict, memory: dict[str, float], seconds: dict[str, float]) -> Outcome:
    total = sum(seconds.values())
    lines = [f"dry run on {data.info.origin}; nothing was written", "  sizes"]
    for name, value in sizes.items():
        text = ", ".join(f"{k} {v:,}" for k, v in value.items()) if isinstance(value, dict) else _number(value)
        lines.append(f"    {name:32} {text}")
    lines.append("  memory (weights, optimiser and data; a batch's activations come on top)")
    lines += [f"    {name:32} {value / MIB:,.0f} MiB" for name, value in memory.items()]
    lines.append(f"  time, as measured now on {jax.devices()[0]}")
    lines += [f"    {name:32} {long_duration(value)}" for name, value in seconds.items()]
    lines.append(f"    {'in all':32} {long_duration(total)}, and about a minute to compile")
    result = {"dry_run": True, "origin": data.info.origin, "sizes": sizes, "memory_bytes": memory}
    result |= {"seconds": seconds, "total_seconds": total, "device": str(jax.devices()[0])}
    return Outcome(result, "\n".join(lines))


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def long_duration(seconds: float) -> str:
    """`duration`, with days where it is long."""
    return duration(seconds) if seconds < 48 * 3600 else f"{seconds / 86400:,.1f} days"


def _bytes(tree: Any) -> float:
    return float(sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if hasattr(leaf, "nbytes")))
