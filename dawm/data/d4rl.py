"""D4RL HDF5 files (Fu et al. 2020): flat columns; newer files also hold `timeouts` and `next_observations`.

Stored next observations are kept as they are, on every row, also at terminals and time-outs: shifting, as D4RL's own
`qlearning_dataset` once did, puts the first state of the next episode there. Files without them are treated as
`data/arrays.py` says. The oldest files have no `timeouts`: a cut episode then cannot be told from the next one by a
flag, so the steps are also cut where stored next observations do not go on in the next row or, without those, at the
time limit of the benchmark that the file is named after; the notes say so. `infos/*` is ignored.

A group `metadata` (ours, not D4RL's) may name the environment, reference returns and each episode's behaviour policy.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dawm.data import references
from dawm.data.arrays import canonical, flag, from_arrays, named, read_columns
from dawm.data.dataset import Dataset, DatasetInfo, References
from dawm.errors import FileError


def load(path: Path) -> Dataset:
    """Raises FileError if the file is damaged, DatasetError if a column is missing or has the wrong shape."""
    columns, metadata = read_columns(path), read_metadata(path)
    info, source = describe(path, metadata)
    if source is not None:
        columns["source"] = source
    notes: tuple[str, ...] = ()
    if not {"timeouts", "next_observations"} & columns.keys() and (limit := info.horizon):
        columns["timeouts"], notes = cut_at(limit, columns)
    return from_arrays(columns, replace(info, notes=notes))


def cut_at(limit: int, columns: dict[str, np.ndarray]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Time-outs that the oldest files do not store: every `limit` steps without a terminal one."""
    ours = canonical(columns)
    terminal = (
        flag("terminals", ours["terminal"], len(ours["terminal"]))
        if "terminal" in ours
        else np.zeros(len(ours["obs"]), bool)
    )
    starts = np.concatenate([[0], np.flatnonzero(terminal) + 1, [len(terminal)]])
    timeouts = np.zeros(len(terminal), bool)
    for start, end in itertools.pairwise(starts):
        timeouts[start + limit - 1 : end : limit] = True
    timeouts &= ~terminal
    return timeouts, (
        f"this old file stores no time-outs: {int(timeouts.sum()):,} were placed after every {limit:,} steps without "
        "an end, the "
        "benchmark's time limit. Episodes that the recorder cut earlier stay joined; look at the doctor's check of "
        "continuity.",
    )


def read_metadata(path: Path) -> dict[str, Any]:
    """Scalars and small arrays of the group `metadata` and the attributes of the file; empty where there are none."""
    try:
        with h5py.File(path) as file:
            entries = {key: file.attrs[key] for key in file.attrs}
            group = file.get("metadata")
            if isinstance(group, h5py.Group):
                entries |= {key: item[()] for key, item in group.items() if isinstance(item, h5py.Dataset)}
    except (OSError, RuntimeError, KeyError) as error:
        raise FileError(
            f"`{path}` cannot be read ({error}): damaged or cut short. Copy or download it again."
        ) from error
    return {key: value.decode() if isinstance(value, bytes) else value for key, value in entries.items()}


def describe(path: Path, metadata: dict[str, Any]) -> tuple[DatasetInfo, np.ndarray | None]:
    """Information from the name of the file and its metadata, and the provenance label of each episode if stored."""
    name = str(metadata.get("name", path.stem.replace("_", "-")))
    info = named(name, path, "d4rl")
    env = str(metadata["env"]) if "env" in metadata else info.env
    known = references.find(name, env)
    if known and "d4rl_ref_min" in metadata and "d4rl_ref_max" in metadata:
        known = References(float(metadata["d4rl_ref_min"]), float(metadata["d4rl_ref_max"]), known.source)
    limit = int(metadata["max_episode_steps"]) if "max_episode_steps" in metadata else info.horizon
    texts = {k: v for k, v in metadata.items() if isinstance(v, str) and k not in ("name", "env", "behaviour")}
    return (
        replace(info, env=env, horizon=limit, references=known, sources=behaviours(metadata), details=texts),
        metadata.get("episode_source"),
    )


def behaviours(metadata: dict[str, Any]) -> tuple[str, ...]:
    """Names of the behaviour policies: the agent, and the noise that it acted with where there was any."""
    try:
        rows = json.loads(metadata.get("behaviour", "[]"))
    except ValueError:
        return ()
    names = []
    for row in rows:
        noise = float(row.get("action_noise_std", 0.0)), float(row.get("uniform_action_probability", 0.0))
        extra = [f"noise {noise[0]:g}"] * (noise[0] > 0) + [f"{100 * noise[1]:g} % random"] * (0 < noise[1] < 1)
        names.append(", ".join([str(row.get("agent", "?")), *extra]))
    return tuple(names)
