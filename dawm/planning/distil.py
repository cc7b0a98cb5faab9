"""A policy that does at once what a planner around it finds by looking ahead.

A planner labels the states that it leads to in the world model (`planning/labels.py`), and the policy goes on, from the
weights that it has, by imitating the labels (`agents/student.py`). Asking it costs no more than before, it keeps its
critic, and it can be planned around in turn. Chance in what a search finds is averaged over states that are alike.

Every seed has a planner around it and labels of its own, so that seeds stay independent of each other. With
`PlayConfig.member = "mean"` one planner around the mean of all labels for all, for the cost of one: scores of the seeds
are then no independent samples.

With several `rounds` the policy that imitated is planned around in turn and imitates that, which is policy iteration
in the model.

Run folder (kind `policy`, with `distil` among its settings): labels/00000.npz ..., metrics.jsonl, checkpoints,
distil.json, all of the last round; `before/` is such a folder with one round fewer. A run that was killed goes on with
the next shard, or the last checkpoint, and gives the same numbers.

Source: Wang & Ba 2020 (POPLIN, arXiv 1906.08649, section 4.3: behaviour cloning of planned actions); the labels of an
expert are those of Ross et al. 2011 (DAgger). Departures: the planner never meets the environment; the policy begins
with the weights that it has; states are those to which the planner leads, and none to which the student does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from dawm.agents.policy import TrainedPolicy, load_policy, student_policy
from dawm.agents.student import Labels, begun, student_optimiser, student_update, students
from dawm.data.dataset import Dataset
from dawm.planning.labels import LabelConfig, label_shard
from dawm.planning.play import PlayConfig, make_planner, say_how, why_spared
from dawm.run.config import to_dict
from dawm.run.folder import RunFolder
from dawm.run.loop import LoopConfig, fit
from dawm.run.mesh import split_seeds
from dawm.run.progress import progress_bar, say
from dawm.worldmodel.split import split_log
from dawm.worldmodel.trained import TrainedModel

HELD = 10  # one future of so many is not imitated but measured


def _loop() -> LoopConfig:
    return LoopConfig(steps=5_000, chunk=500, monitor_every=5_000, save_every=5_000)


@dataclass(frozen=True)
class DistilConfig:
    """The states that a planner labels, and how they are imitated."""

    labels: LabelConfig = field(default_factory=LabelConfig)
    rounds: int = 1  # each around what came of the one before, at the full price of one
    learning_rate: float = 3e-4  # falls to 0 along a cosine
    batch_size: int = 256
    loop: LoopConfig = field(default_factory=_loop)
    seed: int = 0

    def __post_init__(self):
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {self.rounds}")
        if self.batch_size < 1 or self.learning_rate <= 0:
            raise ValueError(
                f"batch_size must be at least 1 and learning_rate positive, got {self.batch_size}, {self.learning_rate}"
            )


def distil_planner(
    model: TrainedModel,
    data: Dataset,
    policy: TrainedPolicy,
    config: DistilConfig | None = None,
    play: PlayConfig | None = None,
    *,
    folder: str | Path | None = None,
    policy_path: str | None = None,
) -> TrainedPolicy:
    """The policies of all seeds after they imitated planners around them, in futures from the training episodes of
    `data`, which must be those of the model. `play` is the planner; its `member` counts only where it is "mean".

    With a folder the run is recorded there, with `policy_path`, the path from there to the policy; and taken up again.

    A policy that the planner would leave alone is left as it is, for there is nothing to imitate. Raises ConfigError
    where `make_planner` does and where the data are not the model's, NumericalError where futures leave the finite
    numbers.
    """
    config, play = config or DistilConfig(), play or PlayConfig()
    model.require(data)
    run = None if folder is None else _start(folder, model, policy, config, play, policy_path)
    if run is not None and run.finished:
        return load_policy(run.path)
    if why := why_spared(model, play):
        say(f"the policy is left as it is: {why}")
        return _left(policy, run, why)
    if config.rounds > 1:
        fewer, inside = replace(config, rounds=config.rounds - 1), None if run is None else run.path / "before"
        known = replace(model, known_as=_deeper(model.known_as))
        policy = distil_planner(known, data, policy, fewer, play, folder=inside, policy_path=_deeper(policy_path))
        say(f"imitating the planner around what imitated one: round {config.rounds}")
    else:
        say_how(model, play, policy)
    tables = _labelled(model, data, policy, config, play, run)
    labels, rows, held = _in_units(tables, policy)
    optimiser = student_optimiser(config.learning_rate, config.loop.steps)
    state = fit(
        student_update(config.batch_size, optimiser),
        begun(policy.actor, policy.value, policy.standardise, jnp.asarray(rows), optimiser),
        labels,
        config.loop,
        seed=config.seed,
        folder=run,
        label="imitating the planner",
        layout=split_seeds(policy.members),
        members=students(policy.members),
    )
    after = student_policy(state, policy.spec, policy.config, config.loop.steps, policy.dataset)
    if run is not None:
        found = {"spared_because": None, "labels": [len(table["obs"]) for table in tables]}
        found |= {"distance": {"before": _distance(policy, held), "after": _distance(after, held)}}
        run.write_json("distil.json", found)
        run.finish()
    return after


def _deeper(path: str | None) -> str | None:
    """A recorded path as it is from a folder further inside."""
    return path and (path if os.path.isabs(path) else os.path.join("..", path))


def _left(policy: TrainedPolicy, run: RunFolder | None, why: str) -> TrainedPolicy:
    """The policy as it is, recorded as one that imitated nothing."""
    if run is not None:
        rows, unused = jnp.zeros((policy.members, 2), jnp.int32), student_optimiser(1.0, 1)
        run.save_state(0, begun(policy.actor, policy.value, policy.standardise, rows, unused))
        run.write_json("distil.json", {"spared_because": why, "labels": [], "distance": None})
        run.finish()
    return policy


def _start(
    folder: str | Path,
    model: TrainedModel,
    policy: TrainedPolicy,
    config: DistilConfig,
    play: PlayConfig,
    policy_path: str | None,
) -> RunFolder:
    """What `agents.fit` records of a policy, and what it was distilled from."""
    settings = {
        "distil": to_dict(config),
        "play": to_dict(play),
        "policy": to_dict(policy.config),
        "data": {key: model.data[key] for key in ("origin", "name", "fingerprint")},
        "spec": policy.spec._asdict(),
        "model": model.record,
        "before": {"path": policy_path, "step": policy.step, "fingerprint": policy.fingerprint},
    }
    provenance = {"seed": config.seed, "seeds": policy.members, "fingerprint": model.data["fingerprint"]}
    return RunFolder.start(folder, "policy", settings, provenance)


def _labelled(
    model: TrainedModel,
    data: Dataset,
    policy: TrainedPolicy,
    config: DistilConfig,
    play: PlayConfig,
    run: RunFolder | None,
) -> list[dict[str, np.ndarray]]:
    """The labels of each planner: one for each seed, or one for all."""
    asked = config.labels
    around = [play] if play.member == "mean" else [replace(play, member=i) for i in range(policy.members)]
    train, dynamics = split_log(data, model.config).train, model.dynamics(play.dynamics)
    made = asked.futures * asked.length
    with progress_bar("labelling", len(around) * asked.shards * made, "states") as advance:
        tables = []
        for i, settings in enumerate(around):
            planner, shards = make_planner(model, settings, policy), []
            for shard in range(asked.shards):
                path = None if run is None else run.path / "labels" / f"{i * asked.shards + shard:05d}.npz"
                shards.append(label_shard(planner, dynamics, train, asked, (config.seed, i, shard), path))
                advance((i * asked.shards + shard + 1) * made, "")
            tables.append({name: np.concatenate([part[name] for part in shards]) for name in shards[0]})
    return tables


def _in_units(
    tables: list[dict[str, np.ndarray]], policy: TrainedPolicy
) -> tuple[Labels, Int[np.ndarray, "m 2"], list[dict[str, np.ndarray]]]:
    """(what is imitated, in the units of the learner, and the rows of it that are each seed's; what is held out)."""
    held = [{k: v[table["future"] % HELD == 0] for k, v in table.items()} for table in tables]
    kept = [{k: v[table["future"] % HELD != 0] for k, v in table.items()} for table in tables]
    obs, action = (np.concatenate([table[name] for table in kept]) for name in ("obs", "action"))
    spec = policy.spec
    labels = Labels(
        jnp.asarray(policy.standardise(obs)), jnp.asarray((action - spec.act_centre) / spec.act_scale, jnp.float32)
    )
    counts = np.asarray([len(table["obs"]) for table in kept])
    rows = np.stack([np.cumsum(counts) - counts, counts], 1).astype(np.int32)
    shared = len(tables) == 1  # by all seeds
    return labels, np.repeat(rows, policy.members, 0) if shared else rows, held * policy.members if shared else held


def _distance(policy: TrainedPolicy, held: list[dict[str, np.ndarray]]) -> list[float]:
    """Root mean square distance of each seed from the planner's actions in held-out futures, in halves of the action
    range.
    """
    gaps = [(policy[i](table["obs"]) - table["action"]) / policy.spec.act_scale for i, table in enumerate(held)]
    return [float(np.sqrt(np.square(gap).mean())) for gap in gaps]
