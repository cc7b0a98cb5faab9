"""Minari datasets (Farama), both ways. Reading needs h5py only; writing uses Minari's own API (extra `minari`).

A Minari episode holds T + 1 observations and T actions: step t goes from observation t to observation t + 1, always
inside its own episode. Pairing the concatenated observations of all episodes with the actions, as one well-known
reader does, shifts episode k by k steps; here each episode is paired on its own. Dict observations are flattened in
sorted key order, and a note says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dawm.data import references
from dawm.data.arrays import from_arrays, matrix
from dawm.data.dataset import Dataset, DatasetInfo, References
from dawm.data.native import follows
from dawm.errors import ConfigError, DatasetError, FileError, MissingExtraError

ID = re.compile(r"(?:[-\w][-\w/]*[-\w]+/)?[-\w]+?(?:-v\d+)")


def is_id(name: str) -> bool:
    """Whether `name` is a Minari dataset id with a version, such as `D4RL/door/human-v2`."""
    return ID.fullmatch(name) is not None


def recognise(kind: str, path: Path, keys: Collection[str]) -> bool:
    """Whether a file holds Minari's episodes, or a folder a dataset (`<id>` or `<id>/data`)."""
    if kind == "folder":
        return "main_data.hdf5" in keys or (path / "data" / "metadata.json").is_file()
    return kind == "hdf5" and "episode_0" in keys


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
    if path.is_file():
        folder, file = path.parent, path
    else:
        folder = path / "data" if (path / "data").is_dir() else path
        file = folder / "main_data.hdf5"
    if file.is_file():
        parts, notes = read_episodes(file)
    elif (folder / "metadata.json").is_file():
        parts, notes = read_with_minari(folder)
    else:
        raise FileError(
            f"`{path}` holds no `data/main_data.hdf5` and no `data/metadata.json`: it is no Minari dataset."
        )
    metadata = read_metadata(folder)
    info = describe(folder, metadata)
    if not parts:
        raise DatasetError(f"`{folder}` holds no episode.")
    lengths = [len(part["rewards"]) for part in parts]
    columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    columns["episode_ends"] = np.cumsum(lengths)
    space = metadata.get("action_space") or {}
    if space.get("type") not in (None, "Box"):
        raise DatasetError(f"the action space is {space['type']}: only continuous (Box) actions are supported.")
    bounds = (space.get("low"), space.get("high"))
    data = from_arrays(columns, replace(info, notes=tuple(notes)), bounds=bounds)
    names = (metadata.get("dawm") or {}).get("sources")
    return replace(data, info=replace(data.info, sources=tuple(names))) if names else data


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
        text = (metadata.get("dawm") or {}).get("references") or f"metadata of the Minari dataset {name}"
        known = References(float(metadata["ref_min_score"]), float(metadata["ref_max_score"]), text)
    details = {
        k: v for k, v in metadata.items() if k in ("author", "algorithm_name", "description", "minari_version", "dawm")
    }
    return DatasetInfo(name, f"minari:{home}", "minari", env, spec.get("max_episode_steps"), known, details=details)


def read_episodes(file: Path) -> tuple[list[dict[str, np.ndarray]], list[str]]:
    """The steps of each episode in the order of their numbers, and what was decided on the way."""
    notes: dict[str, None] = {}
    try:
        with h5py.File(file) as h5:
            keys = sorted((str(key) for key in h5 if str(key).startswith("episode_")), key=lambda key: int(key[8:]))
            return [read_episode(key, h5[key], notes) for key in keys], list(notes)
    except (OSError, KeyError, RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise FileError(
            f"`{file}` cannot be read ({error}): damaged or cut short. Download the dataset again."
        ) from error


def read_with_minari(folder: Path) -> tuple[list[dict[str, np.ndarray]], list[str]]:
    """The same through Minari itself, for its other storage formats."""
    try:
        from minari import MinariDataset
    except ImportError as error:
        raise MissingExtraError(
            "minari", "minari", f"Reading `{folder}`, which is not in Minari's HDF5 storage,"
        ) from error
    notes: dict[str, None] = {}
    try:
        episodes = list(MinariDataset(folder).iterate_episodes())
    except (ImportError, OSError, ValueError) as error:
        raise FileError(
            f"`{folder}` cannot be read by Minari ({error}). Convert it to HDF5 with Minari first."
        ) from error
    names = ("observations", "actions", "rewards", "terminations", "truncations")
    return [read_episode(f"episode_{e.id}", {name: getattr(e, name) for name in names}, notes) for e in episodes], list(
        notes
    )


def read_episode(key: str, group: Any, notes: dict[str, None]) -> dict[str, np.ndarray]:
    """(s, a, r, s') of one episode, an HDF5 group or a dict of arrays: T + 1 observations give T steps."""
    obs = vectors(group["observations"], notes)
    if isinstance(group["actions"], Mapping):
        raise DatasetError(f"`{key}` has structured actions: only one action vector per step is supported.")
    actions, rewards = np.asarray(group["actions"]), np.asarray(group["rewards"])
    steps = len(rewards)
    if len(obs) != steps + 1 or len(actions) != steps:
        raise DatasetError(
            f"`{key}` has {len(obs)} observations, {len(actions)} actions and {steps} rewards. Minari episodes hold one"
            " observation more than actions; without it the last next observation is unknown. Record the dataset again."
        )
    columns = {
        "observations": obs[:-1],
        "actions": actions,
        "rewards": rewards,
        "next_observations": obs[1:],
        "terminations": np.asarray(group["terminations"]).astype(bool),
        "truncations": np.asarray(group["truncations"]).astype(bool),
    }
    labels = group["infos"].get("source") if "infos" in group else None
    if labels is not None and len(labels) == steps + 1:  # written by `save`
        columns["source"] = np.asarray(labels)[1:]
    return columns


def vectors(item: Any, notes: dict[str, None]) -> np.ndarray:
    """Observations as vectors; the parts of a dict observation are joined in sorted key order."""
    if not isinstance(item, Mapping):
        return matrix("obs", np.asarray(item))
    keys = sorted(item)
    notes[f"dict observations were flattened in the order {', '.join(keys)}."] = None
    return np.concatenate([vectors(item[key], notes) for key in keys], axis=1)


# -- writing ----------------------------------------------------------------------------------------------------------


def save(data: Dataset, dataset_id: str, root: str | Path | None = None) -> str:
    """Write `data` as the Minari dataset `<root>/<dataset_id>`, complete or not at all; returns its folder.

    Each episode gets T + 1 observations; `terminations` are the terminal steps and `truncations` the last steps of
    cut episodes; provenance labels go to `infos/source`, lineage to the metadata under `dawm`. With
    MINARI_DATASETS_PATH set to `root`, `minari.load_dataset(dataset_id)` opens it. Raises ConfigError on a malformed
    id, FileError if it exists already, DatasetError if next observations are not the following observations.
    """
    if not is_id(dataset_id):
        raise ConfigError(
            f"`{dataset_id}` is no Minari id: write namespace/name-v0, such as `hopper/dawm-synthetic-v0`."
        )
    if not follows(data):
        raise DatasetError(
            "inside some episode `next_obs` is not the following observation, which Minari's layout cannot hold. "
            "Mark an end of episode at each break (`dawm data doctor` names the first), then export again."
        )
    home = root_folder(root)
    target = home / dataset_id
    if target.exists():
        raise FileError(
            f"the Minari dataset `{target}` exists already. Choose another version number, or delete it first."
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=home) as part:
            create(data, dataset_id, Path(part))
            for parent in reversed(Path(dataset_id).parents[:-1]):
                (home / parent).mkdir(exist_ok=True)
                description = home / parent / "namespace_metadata.json"
                if not description.exists():
                    shutil.copyfile(Path(part) / parent / description.name, description)
            os.replace(Path(part) / dataset_id, target)
    except OSError as error:
        raise FileError(f"`{target}` cannot be written ({error}).") from error
    return str(target)


def create(data: Dataset, dataset_id: str, root: Path) -> None:
    """Write the dataset under an empty root with Minari's own API."""
    try:
        from minari import create_dataset_from_buffers
        from minari.data_collector import EpisodeBuffer
    except ImportError as error:
        raise MissingExtraError("minari", "minari", "Writing a Minari dataset") from error
    import gymnasium as gym

    buffers = [EpisodeBuffer(**episode(data, i)) for i in range(data.episodes)]
    unbounded = gym.spaces.Box(-np.inf, np.inf, data.obs.shape[1:], np.float32)
    known = data.info.references
    with minari_root(root), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the author, e-mail and code link that a log does not have
        written = create_dataset_from_buffers(
            dataset_id,
            buffers,
            observation_space=unbounded,
            action_space=gym.spaces.Box(data.act_low, data.act_high, data.action.shape[1:], np.float32),
            description=f"Written by dawm from {data.info.origin}.",
            data_format="hdf5",
        )
        extra: dict[str, Any] = {"dawm": lineage(data)}
        if known:
            extra |= {"ref_min_score": known.low, "ref_max_score": known.high}
        if data.info.env is not None:
            with contextlib.suppress(gym.error.Error, ImportError):  # an environment that is not installed here
                extra["env_spec"] = gym.spec(data.info.env).to_json()
        written.storage.update_metadata(extra)


def episode(data: Dataset, i: int) -> dict[str, Any]:
    """The arrays of episode i in Minari's layout."""
    start, end = data.episode_starts[i], data.episode_ends[i]
    rows = slice(start, end)
    truncated = np.zeros(end - start, bool)
    truncated[-1] = data.cut[i]
    source = data.source[rows]
    return {
        "id": i,
        "observations": np.concatenate([data.obs[rows], data.next_obs[end - 1 : end]]),
        "actions": data.action[rows],
        "rewards": data.reward[rows],
        "terminations": data.terminal[rows],
        "truncations": truncated,
        "infos": {"source": np.concatenate([source[:1], source])} if (data.source >= 0).any() else {},
    }


def lineage(data: Dataset) -> dict[str, Any]:
    """Where the data come from, as JSON."""
    info = data.info
    return {
        "name": info.name,
        "origin": info.origin,
        "env": info.env,
        "fingerprint": data.fingerprint,
        "sources": list(info.sources),
        "notes": list(info.notes),
        "references": info.references.source if info.references else None,
        "details": json.loads(json.dumps(info.details, default=str)),
    }


@contextlib.contextmanager
def minari_root(root: Path) -> Iterator[None]:
    """Minari knows its root by an environment variable only; set for the time of one call."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before
