"""OGBench npz files (Park et al. 2025). There `terminals` ends a *trajectory* and never the MDP; `masks` is the Bellman
mask.

- As published: `observations, actions, terminals`. The row with `terminals` = 1 holds the final state of a
  trajectory; its action leads nowhere. Next observations are the following rows, and the final rows are dropped.
- Regular: `next_observations` are stored, `terminals` marks the last transition of a trajectory.
- Compact: `valids` is 0 on the final-state row, and `terminals` marks both that row and the one before it.

A step is terminal here where `masks` is 0 (the task was completed); without `masks` nothing is terminal. The
published files are for goal-conditioned learning and hold no rewards: rewards become zero, and a note says that they
must be relabelled for one task before a policy is trained on them (world models and behaviour cloning do not need
them).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from dawm.data.arrays import flag, from_arrays, matrix, named, read_columns
from dawm.data.dataset import Dataset
from dawm.errors import DatasetError

NAME = re.compile(
    r"(?:pointmaze|antmaze|humanoidmaze|antsoccer|cube|scene|puzzle|visual|powderworld)-[a-z0-9x-]*"
    r"(?:navigate|stitch|explore|play|noisy|easy|medium|hard)(?:-singletask(?:-task[1-5])?)?-v0(?:-val)?"
)


def is_name(name: str) -> bool:
    """Whether `name` is the name of an OGBench dataset."""
    return NAME.fullmatch(name) is not None


def recognise(name: str, keys: Collection[str]) -> bool:
    """Whether an npz file is OGBench's: by columns that only it has, or by its name where the columns allow it."""
    shape = {"observations", "actions", "terminals"} <= set(keys)
    return shape and ("masks" in keys or "valids" in keys or "rewards" not in keys or is_name(name))


def load(path: Path) -> Dataset:
    """Raises FileError if the file is damaged, DatasetError if a column is missing or has the wrong shape."""
    columns = read_columns(path)
    missing = [key for key in ("observations", "actions", "terminals") if key not in columns]
    if missing:
        raise DatasetError(
            f"`{path}` has no `{missing[0]}`: not an OGBench file. Its columns: {', '.join(sorted(columns))}."
        )
    flat, notes = transitions(columns)
    info = named(path.stem, path, "ogbench")
    return from_arrays(flat, replace(info, notes=tuple(notes)))


def transitions(columns: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Flat columns of whole transitions, from any of the three layouts, and what was decided."""
    obs = matrix("obs", columns["observations"])
    n, notes = len(obs), []
    terminals = flag("terminals", columns["terminals"], n)
    if "next_observations" in columns:
        kept, last, next_obs = np.ones(n, bool), terminals, matrix("next_obs", columns["next_observations"])
    else:
        kept = flag("valids", columns["valids"], n) if "valids" in columns else ~terminals
        last = np.append(~kept[1:], True)
        if kept[-1]:
            kept = kept.copy()
            kept[-1] = False
        next_obs = np.concatenate([obs[1:], obs[-1:]])
        notes.append(
            f"{int((~kept).sum()):,} rows that hold only the final state of a trajectory became its last next "
            "observation."
        )
    ends = np.cumsum(kept)[last & kept]
    if kept.any() and (len(ends) == 0 or ends[-1] != kept.sum()):
        ends = np.append(ends, kept.sum())
    if "masks" in columns:
        terminal = ~flag("masks", columns["masks"], n)
    else:
        terminal = np.zeros(n, bool)
        notes.append("there are no `masks`: no step is taken to end the MDP (`terminals` only ends trajectories here).")
    rewards = columns.get("rewards")
    if rewards is None:
        rewards = np.zeros(n, np.float32)
        notes.append(
            "there are no rewards (goal-conditioned file): they are zero. Relabel them for one task before training "
            "a policy."
        )
    flat = {
        "observations": obs,
        "actions": columns["actions"],
        "next_observations": next_obs,
        "terminals": terminal,
        "rewards": rewards,
    }
    bad = next((key for key, array in flat.items() if len(array) != n), None)
    if bad:
        raise DatasetError(f"`{bad}` has {len(flat[bad]):,} rows where `observations` has {n:,}.")
    return {key: np.asarray(array)[kept] for key, array in flat.items()} | {"episode_ends": ends}, notes
