"""dawm's own layout: one HDF5 file, compact, read back to the last bit.

`obs, action, reward, terminal, source, episode_ends, act_low, act_high`, gzip with byte shuffle, and the JSON attribute
`info`. Where every next observation inside an episode equals the following observation bit for bit, only those of each
episode's last row are stored (`final_obs`, one row per episode); otherwise all of them (`next_obs`). No pickle.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dawm.data.dataset import Dataset, DatasetInfo, References
from dawm.errors import FileError

FORMAT = "dawm-dataset 1"
COLUMNS = ("obs", "action", "reward", "terminal", "source", "episode_ends", "act_low", "act_high")


def save(data: Dataset, path: str | Path) -> None:
    """Write `data`; after a crash there is the old file or the new one, never a part. Raises FileError if it cannot."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(part, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["fingerprint"] = data.fingerprint
            file.attrs["info"] = json.dumps(info_to_dict(data.info))
            for name in COLUMNS:
                write(file, name, getattr(data, name))
            following = follows(data)
            write(
                file,
                "final_obs" if following else "next_obs",
                data.next_obs[data.episode_ends - 1] if following else data.next_obs,
            )
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise FileError(f"`{path}` cannot be written ({error}).") from error


def write(file: h5py.File, name: str, array: np.ndarray) -> None:
    file.create_dataset(name, data=array, compression="gzip", compression_opts=4, shuffle=True)


def follows(data: Dataset) -> bool:
    """Whether each next observation inside an episode is the following observation, bit for bit (NaN, -0.0 too)."""
    inside = np.ones(len(data), bool)
    inside[data.episode_ends - 1] = False
    rows = np.flatnonzero(inside)
    ahead, behind = (
        np.ascontiguousarray(x, np.float32).view(np.uint32) for x in (data.next_obs[rows], data.obs[rows + 1])
    )
    return bool(np.array_equal(ahead, behind))


def load(path: str | Path) -> Dataset:
    """Read what `save` wrote. Raises FileError if the file is damaged, of another layout, or not what was saved."""
    path = Path(path)
    try:
        with h5py.File(path) as opened:
            file: Any = opened
            if file.attrs.get("format") != FORMAT:
                raise FileError(
                    f"`{path}` is not of the layout `{FORMAT}`: it was not written by this version of dawm."
                )
            columns = {name: file[name][()] for name in COLUMNS}
            if "next_obs" in file:
                next_obs = file["next_obs"][()]
            else:
                next_obs = np.concatenate([columns["obs"][1:], columns["obs"][-1:]])
                next_obs[columns["episode_ends"] - 1] = file["final_obs"][()]
            info = info_from_dict(json.loads(str(file.attrs["info"])))
            fingerprint = file.attrs["fingerprint"]
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, IndexError) as error:
        raise FileError(f"`{path}` cannot be read ({error}): damaged or cut short. Copy or make it again.") from error
    data = Dataset(next_obs=next_obs, info=info, **columns)
    if data.fingerprint != fingerprint:
        raise FileError(
            f"`{path}` is damaged: its values do not have the fingerprint that was saved with them. Make it again."
        )
    return data


def info_to_dict(info: DatasetInfo) -> dict[str, Any]:
    """JSON form of what is known about a dataset."""
    entries = dataclasses.asdict(info)
    entries["references"] = info.references._asdict() if info.references else None
    return entries


def info_from_dict(entries: dict[str, Any]) -> DatasetInfo:
    """The inverse of `info_to_dict`."""
    known = entries.get("references")
    lists = {key: tuple(entries.get(key, ())) for key in ("sources", "notes")}
    rest: dict[str, Any] = {**entries, **lists, "references": References(**known) if known else None}
    return DatasetInfo(**rest)
