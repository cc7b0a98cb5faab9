"""A dict of arrays, or an npz or HDF5 file of such, in any common spelling, as a Dataset. Every flat reader ends here.

What is decided here, and always said in `info.notes`:

- `terminal` means that the MDP ended, `cut` that the recording did. Rows where either is true end an episode, as do
  `episode_ends` and changes of `episode_ids`; the last row of the file ends the last episode.
- A lone `done` column cannot tell the two apart. It is read as terminal. Where a truncation column stands beside it
  and every truncated row is also done, `done` means "terminal or truncated", and only rows that are not truncated are
  terminal.
- Without next observations they are built by shifting inside an episode, never across its end. The true next
  observation of its last row was not recorded. Where the episode was cut, that row is dropped: nothing true can be
  said of it. Where it is terminal, it is kept, because its reward and its end are what value learning needs and no
  learner bootstraps through it; `next_obs` repeats the observation there, and `next_obs_unknown` finds such rows, so
  that a model need not learn from them.
- With next observations but without a column of cuts, a row whose next observation is not the following row's
  observation ends an episode too, provided that nine rows in ten do go on. This is what `d4rl.qlearning_dataset`
  leaves behind.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, Float, Int

from dawm.data import references
from dawm.data.dataset import Dataset, DatasetInfo
from dawm.errors import DatasetError, FileError

# our name: the spellings that are read, the first found counts
SPELLINGS = {
    "obs": ("observations", "obs", "observation", "states", "state"),
    "action": ("actions", "action", "acts"),
    "reward": ("rewards", "reward"),
    "next_obs": ("next_observations", "next_obs", "next_observation", "next_states", "next_state"),
    "terminal": ("terminals", "terminations", "terminated", "terminal", "done", "dones"),
    "cut": ("timeouts", "truncations", "truncated", "timeout", "truncation"),
    "episode_ends": ("episode_ends",),
    "episode_ids": ("episode_ids", "episode_id", "episodes"),
    "source": ("source", "sources", "provenance"),
    "act_low": ("act_low", "action_low"),
    "act_high": ("act_high", "action_high"),
}


def load(path: Path) -> Dataset:
    """An npz file or a flat HDF5 file; its name gives references and time limit where a benchmark is recognised."""
    return from_arrays(read_columns(path), named(path.stem, path, "arrays"))


def named(name: str, path: Path, format: str) -> DatasetInfo:
    """What the name of a file says about it: environment, time limit and references of the benchmark it belongs to."""
    env = references.environment(name)
    return DatasetInfo(name, f"{format}:{path}", format, env, references.time_limit(name), references.find(name, env))


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """The top-level arrays of an npz or HDF5 file. Raises FileError if it is neither, damaged, or needs unpickling."""
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                return {key: item[()] for key, item in file.items() if isinstance(item, h5py.Dataset)}
        if not zipfile.is_zipfile(path):
            raise FileError(
                f"`{path}` is neither an npz nor an HDF5 file, or it is damaged. Copy or download it again."
            )
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            raise FileError(
                f"`{path}` holds Python objects, which dawm never unpickles. Save plain number arrays."
            ) from error
        raise FileError(
            f"`{path}` cannot be read ({error}): damaged or cut short. Copy or download it again."
        ) from error


def from_arrays(arrays: Mapping[str, Any], info: DatasetInfo | None = None, bounds: Any = None) -> Dataset:
    """Dataset of flat columns; `bounds` is (low, high) of the actions where known. Raises DatasetError."""
    info, notes = info or DatasetInfo(), []
    columns = canonical(arrays)
    obs, action = matrix("obs", columns["obs"]), matrix("action", columns["action"])
    n = len(obs)
    reward = vector("reward", columns["reward"], n, np.float32)
    if len(action) != n:
        raise DatasetError(
            f"`actions` has {len(action):,} rows where `observations` has {n:,}: one row per step is needed."
        )
    terminal, cut = endings(columns, n, notes)
    details = dict(info.details)
    if "cut" not in columns and "next_obs" in columns and not {"episode_ends", "episode_ids"} & columns.keys():
        cut = breaks(obs, matrix("next_obs", columns["next_obs"]), terminal, notes)
        details |= {"ends_inferred": int(cut.sum())} if cut.any() else {}
    ends = episode_ends(columns, terminal, cut, notes)
    source, names = provenance(columns.get("source"), n, ends)
    bounds = bounds if bounds is not None else (columns.get("act_low"), columns.get("act_high"))
    low, high = action_bounds(action, *bounds, notes=notes)
    if "next_obs" in columns:
        next_obs, kept = matrix("next_obs", columns["next_obs"]), np.ones(n, bool)
    else:
        next_obs, kept = shifted(obs, terminal, ends, notes)
    if next_obs.shape != obs.shape:
        raise DatasetError(f"`next_observations` has shape {next_obs.shape} where `observations` has {obs.shape}.")
    before_end = np.cumsum(kept)[ends - 1]
    if not kept.any():
        raise DatasetError(
            "no complete step is left: without `next_observations` the last step of each cut episode is dropped, and "
            "no "
            "episode has another. Mark where episodes end, or store next observations."
        )
    return Dataset(
        obs[kept], action[kept], reward[kept], next_obs[kept], terminal[kept],
        np.unique(before_end[before_end > 0]).astype(np.int64), source[kept], low, high,
        replace(info, sources=names or info.sources, notes=info.notes + tuple(notes), details=details),
    )  # fmt: skip


def canonical(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The columns under our names; the one called `done` is marked by a further key, since its meaning is open."""
    columns = {}
    for ours, spellings in SPELLINGS.items():
        found = next((name for name in spellings if name in arrays), None)
        if found is None:
            continue
        if isinstance(arrays[found], Mapping):
            raise DatasetError(
                f"`{found}` is a dict of arrays; dawm reads flat vectors. Concatenate its parts on the last axis."
            )
        columns[ours] = np.asarray(arrays[found])
        if ours == "terminal" and found in ("done", "dones"):
            columns["is_done"] = np.asarray(True)
    for ours in ("obs", "action", "reward"):
        if ours not in columns:
            raise DatasetError(
                f"there is no {ours} column: one of {', '.join(f'`{s}`' for s in SPELLINGS[ours])} is needed and the "
                "data "
                f"hold {', '.join(f'`{k}`' for k in sorted(arrays)) or 'nothing'}."
            )
    return columns


def numbers(name: str, array: Any, dtype: Any) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise DatasetError(f"`{name}` has type {array.dtype}, not numbers: store it as a plain float array.")
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # what becomes infinite is reported by the check of finite values
        return np.ascontiguousarray(array, dtype)


def matrix(name: str, array: Any) -> Float[np.ndarray, "n dims"]:
    """Rows of float32 vectors; a flat column becomes one dimension. Raises DatasetError on images, discrete actions."""
    array = np.asarray(array)
    if name == "action" and array.dtype.kind in "iub" and array.size:
        raise DatasetError(
            f"`action` holds integers ({array.dtype}): discrete actions are not supported, only continuous ones."
        )
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] == 0:
        raise DatasetError(
            f"`{name}` has shape {array.shape}; dawm reads (steps, dimensions). Images and grids must be encoded or "
            "flattened first."
        )
    return numbers(name, array, np.float32)


def vector(name: str, array: Any, n: int, dtype: Any) -> np.ndarray:
    """One number per step; (n, 1) is flattened. Raises DatasetError on any other shape."""
    array = np.asarray(array)
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.shape != (n,):
        raise DatasetError(
            f"`{name}` has shape {array.shape} where `observations` has {n:,} rows: one number per step is needed."
        )
    return numbers(name, flat, dtype)


def flag(name: str, array: Any, n: int) -> Bool[np.ndarray, " n"]:
    values = vector(name, array, n, np.float64)
    if not np.isin(values, (0.0, 1.0)).all():
        row = int(np.argmin(np.isin(values, (0.0, 1.0))))
        raise DatasetError(f"`{name}` must be 0 or 1; row {row:,} holds {values[row]}.")
    return values.astype(bool)


def endings(columns: dict, n: int, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(terminal, cut) of each row; see the module's text for what a `done` column is taken to mean."""
    terminal = flag("terminal", columns["terminal"], n) if "terminal" in columns else np.zeros(n, bool)
    cut = flag("cut", columns["cut"], n) if "cut" in columns else np.zeros(n, bool)
    if "terminal" not in columns:
        notes.append("there is no terminal column: no step is taken to end the MDP.")
    if "is_done" in columns and "cut" not in columns:
        notes.append(
            "`done` stands alone and cannot tell the end of the MDP from a time limit: it was read as terminal. If "
            "it also "
            "marks time limits, add a `truncated` column, or values will be too low there."
        )
    elif "is_done" in columns and cut.any() and terminal[cut].all():
        terminal = terminal & ~cut
        notes.append("every truncated row is also `done`: `done` was read as 'terminal or truncated'.")
    return terminal, cut & ~terminal


def episode_ends(columns: dict, terminal: np.ndarray, cut: np.ndarray, notes: list[str]) -> Int[np.ndarray, " e"]:
    """Exclusive ends: those given, or else changes of `episode_ids`, or else the rows flagged terminal or cut."""
    n = len(terminal)
    if "episode_ends" in columns:
        ends = np.asarray(columns["episode_ends"]).astype(np.int64)
        if ends.ndim != 1 or len(ends) == 0 or ends[-1] != n or ends[0] <= 0 or (np.diff(ends) <= 0).any():
            raise DatasetError(
                f"`episode_ends` must be exclusive ends that increase strictly up to the number of rows, {n:,}."
            )
        return ends
    if "episode_ids" in columns and columns["episode_ids"].shape[:1] == (n,):
        ids = columns["episode_ids"].reshape(-1)
        return np.append(np.flatnonzero(ids[1:] != ids[:-1]) + 1, n).astype(np.int64)
    if "cut" not in columns:
        notes.append("there is no column of time-outs: episodes end at terminal rows and at the end of the data only.")
    ended = terminal | cut
    if n and not ended[-1]:
        notes.append("the last episode ends with the data and is taken as cut there.")
        ended = ended.copy()
        ended[-1] = True
    return (np.flatnonzero(ended) + 1).astype(np.int64)


def breaks(obs: np.ndarray, next_obs: np.ndarray, terminal: np.ndarray, notes: list[str]) -> Bool[np.ndarray, " n"]:
    """Rows, not terminal, whose next observation is not the observation of the row after: unmarked ends, if few."""
    cut = np.zeros(len(obs), bool)
    if len(obs) < 2 or next_obs.shape != obs.shape:
        return cut
    scale = np.where(np.isfinite(obs), obs, 0.0).std(axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        gap = np.abs(next_obs[:-1] - obs[1:]) > 1e-5 * (scale + np.abs(obs[1:]))
    cut[:-1] = gap.any(axis=1) & ~terminal[:-1]
    if cut.sum() > 0.1 * len(obs):
        return np.zeros(len(obs), bool)  # rows are shuffled or the column is wrong: for the doctor to say
    if cut.any():
        notes.append(
            f"{int(cut.sum()):,} ends of episodes are not marked and were found where the next observation of a row "
            "is not the"
            " observation of the row after."
        )
    return cut


def provenance(column: Any, n: int, ends: np.ndarray) -> tuple[Int[np.ndarray, " n"], tuple[str, ...]]:
    """Labels per row and their names, from integers or texts per row or per episode; -1 everywhere without a column."""
    if column is None:
        return np.full(n, -1, np.int32), ()
    labels = np.asarray(column).reshape(-1)
    if len(labels) == len(ends) and len(ends) != n:
        labels = np.repeat(labels, np.diff(ends, prepend=0))
    if len(labels) != n:
        raise DatasetError(
            f"`source` has {len(labels):,} entries where there are {n:,} steps in {len(ends):,} episodes."
        )
    if labels.dtype.kind in "SUO":
        texts = [x.decode() if isinstance(x, bytes) else str(x) for x in labels]
        names, labels = np.unique(texts, return_inverse=True)
        return labels.astype(np.int32), tuple(str(name) for name in names)
    if labels.dtype.kind not in "iu":
        raise DatasetError(f"`source` must hold whole numbers or names, not {labels.dtype}.")
    return labels.astype(np.int32), ()


def shifted(
    obs: np.ndarray, terminal: np.ndarray, ends: np.ndarray, notes: list[str]
) -> tuple[Float[np.ndarray, "n obs"], Bool[np.ndarray, " n"]]:
    """Next observations by shifting inside episodes, and the rows that may stay (see the module's text)."""
    last = ends - 1
    next_obs = np.concatenate([obs[1:], obs[-1:]])
    next_obs[last] = obs[last]
    kept = np.ones(len(obs), bool)
    kept[last] = terminal[last]
    if not kept.all():
        notes.append(
            "no next observations are stored: they were built by shifting inside episodes, and the last step of "
            f"{int((~kept).sum()):,}"
            " cut episodes was dropped because its next observation is not recorded."
        )
    if terminal[last].any():
        notes.append(
            f"the next observation of {int(terminal[last].sum()):,} terminal steps is not recorded; the observation "
            "is repeated there. "
            "Values are not affected, models should leave these steps out."
        )
    return next_obs, kept


def next_obs_unknown(data: Dataset) -> Bool[np.ndarray, " n"]:
    """Terminal rows whose next observation was not recorded: `next_obs` repeats the observation, bit for bit."""
    return data.terminal & (data.next_obs == data.obs).all(axis=1)


def action_bounds(action: np.ndarray, low: Any, high: Any, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The given bounds where both are finite; else [-1, 1] if all actions lie there; else the range of the data."""
    dims = action.shape[1]
    if low is not None and high is not None:
        low, high = (np.broadcast_to(np.asarray(x, np.float32).reshape(-1), (dims,)).copy() for x in (low, high))
        if np.isfinite(low).all() and np.isfinite(high).all() and (high > low).all():
            return low, high
        notes.append("the stored action bounds are not finite or are empty: the range of the data was used.")
    finite = np.where(np.isfinite(action), action, 0.0)
    if len(action) == 0 or np.abs(finite).max() <= 1 + 1e-6:
        return np.full(dims, -1.0, np.float32), np.ones(dims, np.float32)
    low, high = finite.min(axis=0), finite.max(axis=0)
    flat = high <= low
    low, high = np.where(flat, low - 1, low).astype(np.float32), np.where(flat, high + 1, high).astype(np.float32)
    rounded = lambda bound: [round(float(value), 4) for value in bound]
    notes.append(
        "the action range is not stored and actions leave [-1, 1]: the range of the data was taken, "
        f"{rounded(low)} to {rounded(high)}. Policies act in that range."
    )
    return low, high
