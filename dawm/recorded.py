"""What run folders name by its place: the dataset that a run was made from, and what one stage takes from another.

Paths between stages are relative, so a folder of a run may be moved; a dataset is known by its fingerprint too, and one
that has changed is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dawm.data.dataset import Dataset
from dawm.data.registry import load
from dawm.errors import DatasetError, FileError
from dawm.presets import NO_ENVIRONMENT
from dawm.synth.futures import FuturesLibrary, open_library
from dawm.synth.generator import load_synthetic
from dawm.worldmodel.trained import TrainedModel


def identity(data: Dataset) -> dict[str, Any]:
    """What a run folder records of its dataset."""
    return {"name": data.info.name, "origin": data.info.origin, "fingerprint": data.fingerprint}


def recorded_data(stored: Mapping[str, Any], folder: Path, given: Any = None, env: str | None = None) -> Dataset:
    """The dataset that a run folder was made from. Raises FileError if it is gone, DatasetError if it has changed."""
    env = None if env == NO_ENVIRONMENT else env
    try:
        data = load(given, env=env) if given is not None else _load_origin(stored["origin"], env)
    except FileError as error:
        remedy = f"If it has moved, say where it is: dawm resume {folder} --data PATH"
        raise FileError(f"the dataset of `{folder}` cannot be read: {error} {remedy}") from None
    if data.fingerprint != stored["fingerprint"]:
        raise DatasetError(
            f"`{data.info.origin}` does not hold the data that `{folder}` was made from (fingerprint"
            f" {data.fingerprint[:12]}, recorded {stored['fingerprint'][:12]}). Give the right file with --data, or"
            " start anew."
        )
    return replace(data, info=replace(data.info, name=stored["name"], origin=stored["origin"]))


def _load_origin(origin: str, env: str | None) -> Dataset:
    """Read what an origin, "format:path" or several joined by " + ", names."""
    formats, paths = zip(*(part.partition(":")[::2] for part in origin.split(" + ")), strict=True)
    if not all(paths):
        raise FileError(f"its origin `{origin}` is no file.")
    return load("+".join(paths), format=formats[0] if len(paths) == 1 else None, env=env)


def stored_model(folder: str | Path, *, used_in: str | Path) -> TrainedModel:
    """The finished world model in `folder`, known to a run in the folder `used_in` by its relative path."""
    return replace(TrainedModel.load(folder), known_as=os.path.relpath(folder, used_in))


def stored_synthetic(folder: str | Path, *, used_in: str | Path) -> Dataset:
    """The finished synthetic data in `folder`, known to a run in the folder `used_in` by their relative path."""
    data = load_synthetic(folder)
    return replace(data, info=replace(data.info, origin=f"synthetic:{os.path.relpath(folder, used_in)}"))


def stored_futures(folder: str | Path, *, used_in: str | Path) -> FuturesLibrary:
    """The finished library in `folder`, known to a run in the folder `used_in` by their relative path."""
    return replace(open_library(folder), origin=f"futures:{os.path.relpath(folder, used_in)}")
