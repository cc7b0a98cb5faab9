"""Minari datasets (Farama), both ways. Reading needs h5py only; writing uses Minari's own API (extra `minari`).

A Minari episode holds T + 1 observations and T actions: step t goes from observation t to observation t + 1, always inside
its own episode. Pairing the concatenated observations of all episodes with the actions, as one well-known reader does, shifts episode
k by k steps; here each episode is paired on its own. Dict observations are flattened in sorted key order, and a note says so.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dawm.data import references
from dawm.data.arrays import from_arrays, matrix
from dawm.data.dataset import Dataset, DatasetInfo, References
from dawm.errors import DatasetError, FileError

ID = re.compile(r"(?:[-\w][-\w/]*[-\w]+/)?[-\w]+?(?:-v\d+)")


def is_id(name: str) -> bool:
    """Whether `name` is a Minari dataset id with a version, such as `D4RL/door/human-v2`."""
    return ID.fullmatch(name) is not None


def root_folder(root: str | Path | None = None) -> Path:
    """The local Minari root: the one given, or MINARI_DATASETS_PATH, or ~/.minari/datasets."""
    return Path(root or os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets").expanduser()


def folders(dataset_id: str) -> list[Path]:
    """Where the dataset of this id may lie."""
    if not is_id(dataset_id):
        return []
    roots = [p for p in os.environ.get("DAWM_DATA", "").split(os.pathsep) if p]
    return [root_folder() / dataset_id] + [Path(p).expanduser() / dataset_id for p in roots]


def load(path: Path) -> Dataset:
    """The dataset in a folder `<root>/<id>`, its `data` folder, or its `main_data.hdf5`.

    Raises FileError if it is damaged, DatasetError on discrete actions, images, or episodes without T + 1 observations.
    """
    folder = next((f for f in (path / "data", path, path.parent) if (f / "main_data.hdf5").is_file()), None)
    if folder is None:
        raise FileError(
            f"`{path}` holds no `data/main_data.hdf5`: only Minari's HDF5 storage is read. Convert it with Minari first."
        )
    metadata = read_metadata(folder)
    info = describe(folder, metadata)
    parts, notes = read_episodes(folder / "main_data.hdf5")
    if not parts:
        raise DatasetError(f"`{folder}` holds no episode.")
    lengths = [len(part["rewards"]) for part in parts]
    columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    columns["episode_ends"] = np.cumsum(lengths)
    space = metadata.get("action_space") or {}
    if space.get("type") not in (None, "Box"):
        raise DatasetError(f"the action space is {space['type']}: only continuous (Box) actions are supported.")
    bounds = (space.get("low"), space.get("high"))
    return from_arrays(columns, replace(info, notes=tuple(notes)), bounds=bounds)


def read_metadata(folder: Path) -> dict[str, Any]:
    """metadata.json with its nested JSON texts opened; empty if there is none. Raises FileError if it is no JSON."""
    file = folder / "metadata.json"
    if not file.is_file():
        return {}
    try:
        metadata = json.loads(file.read_text(encoding="utf-8"))
        for key in ("env_spec", "eval_env_spec", "action_space", "observation_space"):
            if isinstance(metadata.get(key), str):
                metadata[key] = json.loads(metadata[key])
    except (OSError, ValueError) as error:
        raise FileError(f"`{file}` cannot be read ({error}): damaged. Download the dataset again.") from error
    return metadata


def describe(folder: Path, metadata: dict[str, Any]) -> DatasetInfo:
    """Name, environment, time limit and reference returns from the metadata."""
    home = folder.parent if folder.name == "data" else folder
    name = str(metadata.get("dataset_id") or home.name)
    spec = metadata.get("env_spec") or {}
    env = spec.get("id")
    known = references.find(name, env)
    if metadata.get("ref_min_score") is not None and metadata.get("ref_max_score") is not None:
        known = References(
            float(metadata["ref_min_score"]), float(metadata["ref_max_score"]), f"metadata of the Minari dataset {name}"
        )
    details = {
        k: v for k, v in metadata.items() if k in ("author", "algorithm_name", "description", "minari_version", "dawm")
    }
    return DatasetInfo(name, f"minari:{home}", "minari", env, spec.get("max_episode_steps"), known, details=details)


def read_episodes(file: Path) -> tuple[list[dict[str, np.ndarray]], list[str]]:
    """The steps of each episode in the order of their numbers, and what was decided on the way."""
    notes: dict[str, None] = {}
    try:
        with h5py.File(file) as h5:
            keys = sorted((key for key in h5 if re.fullmatch(r"episode_\d+", key)), key=lambda key: int(key[8:]))
            return [read_episode(key, h5[key], notes) for key in keys], list(notes)
    except (OSError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        raise FileError(
            f"`{file}` cannot be read ({error}): damaged or cut short. Download the dataset again."
        ) from error


def read_episode(key: str, group: h5py.Group, notes: dict[str, None]) -> dict[str, np.ndarray]:
    """(s, a, r, s') of one episode: T + 1 observations give T steps."""
    obs = vectors(group["observations"], notes)
    actions, rewards = group["actions"], np.asarray(group["rewards"][()])
    if isinstance(actions, h5py.Group):
        raise DatasetError(
            f"`{key}` has structured actions ({', '.join(actions)}): only one action vector per step is supported."
        )
    steps = len(rewards)
    if len(obs) != steps + 1 or len(actions) != steps:
        raise DatasetError(
            f"`{key}` has {len(obs)} observations, {len(actions)} actions and {steps} rewards; Minari episodes hold one observation more than "
            "actions. Without it the last next observation is unknown: record the dataset again."
        )
    terminal, cut = (np.asarray(group[name][()]).astype(bool) for name in ("terminations", "truncations"))
    return {
        "observations": obs[:-1],
        "actions": actions[()],
        "rewards": rewards,
        "next_observations": obs[1:],
        "terminations": terminal,
        "truncations": cut,
    } | ({"source": group["infos/source"][()][1:]} if "infos/source" in group else {})


def vectors(item: h5py.Dataset | h5py.Group, notes: dict[str, None]) -> np.ndarray:
    """Observations as vectors; the parts of a dict observation are joined in sorted key order."""
    if isinstance(item, h5py.Dataset):
        return matrix("obs", item[()])
    keys = sorted(item.keys())
    notes[f"dict observations were flattened in the order {', '.join(keys)}."] = None
    return np.concatenate([vectors(item[key], notes) for key in keys], axis=1)
