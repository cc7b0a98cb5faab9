"""Logs larger than memory: a folder with one `.npy` file a column, which stays on disk and is read where it is needed.

`obs, action, reward, next_obs, terminal, source, episode_ends, act_low, act_high` and `dataset.json` (format,
fingerprint, what is known about the data). The columns are ordinary NumPy files, opened with `mmap_mode="r"`: a
`Dataset` of them works like any other and has the same fingerprint as the same data in memory. Written part by part, so
that the parts, and of their sum only labels and ends, have to fit into memory.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dawm.data.dataset import Dataset, DatasetInfo, Labels, check_alike
from dawm.data.native import info_from_dict, info_to_dict
from dawm.errors import FileError

FORMAT = "dawm-mapped 1"
ROWS = {"obs": "<f4", "action": "<f4", "reward": "<f4", "next_obs": "<f4", "terminal": "|b1", "source": "<i4"}
SMALL = ("episode_ends", "act_low", "act_high")
HEADER = 192  # bytes before the numbers of a column: room for any shape, known only at the end
SUFFIX = ".dawm"


def save(parts: Iterable[Dataset], path: str | Path) -> None:
    """Write logs one after the other as one, as `Dataset.concatenate` joins them (one alone: as it is).

    The folder appears whole or not at all. Raises DatasetError where parts do not fit each other, FileError where the
    folder exists or cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise FileError(f"`{path}` exists already: name another folder, or remove it.")
    part = path.with_name(path.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        info = _write_columns(parts, part)
        data = _open(part, info)
        facts = {"format": FORMAT, "fingerprint": data.fingerprint, "info": info_to_dict(info)}
        (part / "dataset.json").write_text(json.dumps(facts, indent=1))
        os.replace(part, path)
    except OSError as error:
        raise FileError(f"`{path}` cannot be written ({error}).") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def load(path: str | Path) -> Dataset:
    """Open what `save` wrote; reads it once to compare the fingerprint. Raises FileError where it is damaged."""
    path = Path(path)
    try:
        facts = json.loads((path / "dataset.json").read_text())
        if facts["format"] != FORMAT:
            raise FileError(f"`{path}` is not of the layout `{FORMAT}`: another version of dawm wrote it.")
        data = _open(path, info_from_dict(facts["info"]))
        known = facts["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise FileError(f"`{path}` cannot be read ({error}): damaged or cut short. Copy or make it again.") from error
    if data.fingerprint != known:
        raise FileError(
            f"`{path}` is damaged: its values do not have the fingerprint that was saved with them. Make it again."
        )
    return data


def _open(path: Path, info: DatasetInfo) -> Dataset:
    columns: dict[str, Any] = {
        name: np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ROWS
    } | {name: np.load(path / f"{name}.npy", allow_pickle=False) for name in SMALL}
    for name, kind in ROWS.items():
        if columns[name].dtype != np.dtype(kind):
            raise ValueError(f"{name}.npy holds {columns[name].dtype} where {np.dtype(kind)} is written")
    return Dataset(**columns, info=info)


def _write_columns(parts: Iterable[Dataset], folder: Path) -> DatasetInfo:
    """Append the parts column by column; what is known of the whole."""
    large = {name: kind for name, kind in ROWS.items() if name != "source"}  # labels are known after the last part
    files: dict[str, BinaryIO] = {name: (folder / f"{name}.npy").open("wb") for name in large}
    first, rows, labels = None, 0, Labels()
    sources, ends, low, high = [], [], [], []
    try:
        for file in files.values():
            file.write(b" " * HEADER)
        for part in parts:
            first = first or part.select([0])  # one episode of it, to compare the others with
            check_alike(first, part)
            for name, kind in large.items():
                np.ascontiguousarray(getattr(part, name), kind).tofile(files[name])
            sources.append((np.array(part.source), labels.add(part)))
            ends.append(part.episode_ends + rows)
            low.append(part.act_low)
            high.append(part.act_high)
            rows += len(part)
        if first is None:
            raise FileError("no log was given: nothing can be written.")
        for name, kind in large.items():
            files[name].seek(0)
            files[name].write(_header(kind, (rows, *getattr(first, name).shape[1:])))
    finally:
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
    alone = len(sources) == 1
    source = sources[0][0] if alone else np.concatenate([joined for _, joined in sources])
    np.save(folder / "source.npy", source.astype(ROWS["source"]))
    np.save(folder / "episode_ends.npy", np.concatenate(ends).astype(np.int64))
    np.save(folder / "act_low.npy", np.min(low, axis=0).astype(np.float32))
    np.save(folder / "act_high.npy", np.max(high, axis=0).astype(np.float32))
    return first.info if alone else labels.info(first.info)


def _header(kind: str, shape: tuple[int, ...]) -> bytes:
    """The first `HEADER` bytes of a `.npy` file (NumPy's format 1.0), filled up with spaces."""
    words = str({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    room = HEADER - 10
    return b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + words.ljust(room - 1) + b"\n"
