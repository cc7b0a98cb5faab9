"""A CSV file, one row a step, as a Dataset: what people export from a spreadsheet, a database or a device.

    episode,obs_temperature,obs_load,action_valve,reward,terminal,timeout
    a17,21.5,0.3,0.25,-1.2,0,0

Columns are known by the names in the first line. `obs_...`, `action_...` and `next_obs_...` are dimensions of the
vectors, in the order of the file; `reward`, `terminal` and `timeout` (0, 1, true or false), `episode` and `source` (any
text) stand alone; the other spellings of `arrays.SPELLINGS` are read too, with `_`, `.`, `:`, `/` or `[` before a
dimension. Separated by commas, semicolons or tabs. What the columns mean is decided in `arrays.py`; what is decided
here, and said in `info.notes`:

- columns of other names are left out, and named;
- rows of an episode stand together, in the order of time: an episode that comes back is an error;
- an empty cell is an error, for nobody but its owner knows what it stands for;
- actions that are whole numbers throughout are amounts, and not the numbers of choices.
"""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dawm.data.arrays import SPELLINGS, from_arrays, named
from dawm.data.dataset import Dataset
from dawm.errors import DatasetError, FileError

SEPARATORS = ",;\t"
LONGEST = 1_000_000  # bytes of a line of names
VECTORS = ("obs", "action", "next_obs")
NUMBERS = (*VECTORS, "reward")
FLAGGED = ("terminal", "cut")
FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
SINGLE = ("reward", *FLAGGED, "episode_ids", "source")
NOT_READ = ("act_low", "act_high", "episode_ends")  # of which a table has no column of its own
MORE = {"episode_ids": ("episode",)}  # spellings that only a table has


def header(line: bytes) -> list[str]:
    """The names in the first line of a table; none where it is no such line."""
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        return []
    if not text.replace("\t", " ").isprintable() or not any(mark in text for mark in SEPARATORS):
        return []
    try:
        return [name.strip() for name in next(csv.reader([text], delimiter=_separator(text)))]
    except csv.Error:
        return []


def load(path: Path) -> Dataset:
    """Raises FileError where the file is no table, DatasetError where a cell or a column is not what it must be."""
    with path.open("rb") as file:
        names = header(first := file.readline(LONGEST))
    if not names:
        raise FileError(f"`{path}` does not begin with a line of column names, separated by commas.")
    places = _places(names)
    cells = _cells(path, _separator(first.decode("utf-8-sig")), names, places)
    columns: dict[str, Any] = {}
    for ours, dims in places.items():
        if ours in NUMBERS:
            columns[ours] = np.stack([cells[place] for place in dims.values()], 1)
            continue
        name = names[dims[""]]
        column = np.char.strip(cells[dims[""]].astype(str))
        known = name.lower() if name.lower() in SPELLINGS[ours] else SPELLINGS[ours][0]  # `done` is no `terminal`
        columns[known] = _flags(name, column) if ours in FLAGGED else column
    if "next_obs" in places:
        columns["next_obs"] = columns["next_obs"][:, _same_order(places)]
    if "episode_ids" in places:
        _together(cells[places["episode_ids"][""]])
    if "source" in columns and all(re.fullmatch(r"-?\d+", text) for text in np.unique(columns["source"])):
        columns["source"] = columns["source"].astype(np.int64)
    info = named(path.stem, path, "csv")
    return from_arrays(columns, replace(info, notes=(*info.notes, *_notes(names, places, columns))))


# -- columns ----------------------------------------------------------------------------------------------------------


def _separator(text: str) -> str:
    return max(SEPARATORS, key=text.count)


def _places(names: list[str]) -> dict[str, dict[str, int]]:
    """Of every column of ours, the dimensions that the file has and where; "" is that of a column of one."""
    places: dict[str, dict[str, int]] = {}
    for place, name in enumerate(names):
        if (found := _parts(name)) is None:
            continue
        dims = places.setdefault(found[0], {})
        if found[1] in dims:
            raise DatasetError(f"the columns `{names[dims[found[1]]]}` and `{name}` mean the same: keep one of them.")
        dims[found[1]] = place
    for ours in ("obs", "action", "reward"):
        if ours not in places:
            missing = f"{ours}_..." if ours in VECTORS else ours
            held = ", ".join(f"`{name}`" for name in names)
            raise DatasetError(f"there is no column `{missing}`; the file has {held}. Rename those that are meant.")
    return places


def _parts(name: str) -> tuple[str, str] | None:
    """(name of ours, dimension) of a column; None of one that is not known."""
    if any(name.lower() in SPELLINGS[ours] for ours in NOT_READ):
        return None
    for ours in SINGLE:
        if name.lower() in SPELLINGS[ours] + MORE.get(ours, ()):
            return ours, ""
    for ours in VECTORS:
        for spelling in SPELLINGS[ours]:
            if found := re.fullmatch(rf"{spelling}(?:[_.:/\[](.+?)\]?)?", name, re.IGNORECASE):
                return ours, found[1] or ""
    return None


def _same_order(places: Mapping[str, Mapping[str, int]]) -> list[int]:
    """Where among the dimensions of the next observation those of the observation are."""
    obs, following = list(places["obs"]), list(places["next_obs"])
    if alone := sorted(set(obs) ^ set(following)):
        where, other = ("obs", "next_obs") if alone[0] in obs else ("next_obs", "obs")
        raise DatasetError(f"`{where}_{alone[0]}` has no `{other}_{alone[0]}` beside it: both or neither is needed.")
    return [following.index(dim) for dim in obs]


def _together(episodes: np.ndarray) -> None:
    """Raises DatasetError where the rows of an episode do not stand together."""
    first = np.append(0, np.flatnonzero(episodes[1:] != episodes[:-1]) + 1)
    seen: set[str] = set()
    for row in first:
        name = str(episodes[row])
        if name in seen:
            raise DatasetError(f"episode `{name}` comes back in row {row:,}: sort the rows by episode and by time.")
        seen.add(name)


def _notes(names: list[str], places: Mapping[str, Mapping[str, int]], columns: Mapping[str, Any]) -> list[str]:
    used, notes = {place for dims in places.values() for place in dims.values()}, []
    if left := [f"`{name}`" for place, name in enumerate(names) if place not in used]:
        notes.append(f"columns that dawm does not know were left out: {', '.join(left)}.")
    if np.array_equal(columns["action"], np.round(columns["action"])):
        notes.append("all actions are whole numbers: they are taken for amounts, not for the numbers of choices.")
    return notes


# -- cells ------------------------------------------------------------------------------------------------------------


def _cells(path: Path, separator: str, names: list[str], places: Mapping[str, Mapping[str, int]]) -> list[np.ndarray]:
    """All columns of the file: numbers, texts as they stand, and of those that are left out nothing of use."""
    kinds = ["S1"] * len(names)
    for ours, dims in places.items():
        for place in dims.values():
            kinds[place] = "f8" if ours in NUMBERS else "O"
    options: dict[str, Any] = {"delimiter": separator, "encoding": "utf-8-sig", "quotechar": '"', "comments": None}
    row = [(str(place), kind) for place, kind in enumerate(kinds)]  # so every line must have as many cells
    try:
        with warnings.catch_warnings():  # of a file without rows, which is an error below
            warnings.simplefilter("ignore", UserWarning)
            found = np.loadtxt(path, dtype=row, skiprows=1, ndmin=1, **options)
    except ValueError as error:
        _explain(path, separator, names, [place for place, kind in enumerate(kinds) if kind == "f8"])
        raise FileError(f"`{path}` cannot be read as a table ({error}).") from error
    if not len(found):
        raise DatasetError(f"`{path}` has column names and no rows.")
    return [found[name] for name, _ in row]


def _explain(path: Path, separator: str, names: list[str], numbers: list[int]) -> None:
    """Raises DatasetError for the first line or cell that is not what it must be, with its line as an editor counts."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader((line.replace("\0", "?") for line in file), delimiter=separator)
        next(reader)
        for row in reader:
            line = reader.line_num
            if row and len(row) != len(names):
                raise DatasetError(f"line {line:,} has {len(row)} cells where the first line has {len(names)}.")
            for place in numbers if row else ():
                cell, name = row[place].strip(), names[place]
                if not cell:
                    raise DatasetError(
                        f"`{name}` is empty in line {line:,}: fill it in as your field does, or leave the episode out."
                    )
                try:
                    float(cell)
                except ValueError:
                    raise DatasetError(f"`{name}` must be a number; line {line:,} has `{cell}`.") from None


def _flags(name: str, texts: np.ndarray) -> np.ndarray:
    """Zeros and ones of what stands in a column."""
    values, inverse = np.unique(np.char.lower(texts), return_inverse=True)
    for i, value in enumerate(values):
        if value not in FLAGS:
            row = int(np.argmax(inverse == i))
            raise DatasetError(f"`{name}` must be 0, 1, true or false; row {row:,} holds `{texts[row]}`.")
    return np.asarray([FLAGS[value] for value in values], np.int64)[inverse]
