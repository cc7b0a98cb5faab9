"""d3rlpy's HDF5 files: flat rows (v1), or the arrays of each episode (v2, `ReplayBuffer.dump`).

Neither stores next observations: row t + 1 follows row t inside an episode, and the last row of a cut episode is
dropped (see `data/arrays.py`). `episode_terminals` ends an episode; only `terminals` ends the MDP. Discrete actions
are refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dawm.data.arrays import flag, from_arrays, named, read_columns
from dawm.data.dataset import Dataset
from dawm.errors import DatasetError, FileError


def load(path: Path) -> Dataset:
    """Raises FileError if the file is damaged, DatasetError if a column is missing or actions are discrete."""
    columns = read_columns(path)
    if bool(np.any(columns.pop("discrete_action", False))):
        raise DatasetError(f"`{path}` holds discrete actions: only continuous ones are supported.")
    flat = episodes(columns, path) if "num_episodes" in columns else rows(columns)
    return from_arrays(flat, named(path.stem, path, "d3rlpy"))


def rows(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """v1: flat columns; what ends an episode without being terminal is a cut."""
    n = len(columns.get("observations", ()))
    flat = {key: columns[key] for key in ("observations", "actions", "rewards", "terminals") if key in columns}
    if "episode_terminals" in columns and "terminals" in columns:
        ended = flag("episode_terminals", columns["episode_terminals"], n)
        flat["timeouts"] = ended & ~flag("terminals", columns["terminals"], n)
    return flat


def episodes(columns: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """v2: `observations_i, actions_i, rewards_i, terminated_i` for each episode i, joined into flat columns."""
    count = int(columns["num_episodes"])
    if "observations_0_0" in columns:
        raise DatasetError(
            f"`{path}` holds tuple observations; dawm reads one vector per step. Concatenate them first."
        )
    try:
        parts = {key: [columns[f"{key}_{i}"] for i in range(count)] for key in ("observations", "actions", "rewards")}
        ended = [bool(columns[f"terminated_{i}"]) for i in range(count)]
    except KeyError as error:
        raise FileError(
            f"`{path}` announces {count} episodes and lacks {error}: it is damaged or cut short."
        ) from error
    lengths = np.array([len(rewards) for rewards in parts["rewards"]])
    ends = np.cumsum(lengths)
    terminal = np.zeros(int(lengths.sum()), bool)
    terminal[ends - 1] = ended
    flat = {key: np.concatenate(arrays) for key, arrays in parts.items()}
    return flat | {"terminals": terminal, "episode_ends": ends}
