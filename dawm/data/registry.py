"""`load`: the one place that knows every format and every kind of name. Nothing is downloaded.

A source is a path, a name (D4RL `hopper-medium-v2`, Minari `mujoco/hopper/medium-v0`, OGBench `cube-single-play-v0`),
a dict of arrays or a Dataset. Files are recognised by what they hold, not by how they are called. Several logs joined
with `+` are read one after the other and keep their provenance: `hopper-medium-v2+hopper-expert-v2`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from dawm.data import arrays, d3rlpy, d4rl, mapped, minari, native, ogbench, references, tables, validate
from dawm.data.dataset import Dataset, DatasetInfo
from dawm.errors import DatasetError, FileError, suggest


class Contents(NamedTuple):
    """What can be seen of a file or folder without reading its arrays."""

    path: Path
    kind: str  # "hdf5", "npz", "table" or "folder"
    keys: frozenset[str]
    format: str  # the attribute of that name, empty where there is none


class Source(NamedTuple):
    """One row of `SOURCES`: how a format is recognised, read, and described to people."""

    recognise: Callable[[Contents], bool]
    load: Callable[[Path], Dataset]
    remark: str


# format: row; the first row that recognises a file reads it
SOURCES = {
    "native": Source(lambda c: c.format.startswith("dawm-dataset"), native.load, "dawm's own HDF5"),
    "mapped": Source(
        lambda c: c.kind == "folder" and "dataset.json" in c.keys,
        mapped.load,
        "a folder of columns that stay on disk, as `dawm data convert` writes for large logs",
    ),
    "minari": Source(
        lambda c: minari.recognise(c.kind, c.path, c.keys),
        minari.load,
        "a Minari dataset: its folder, main_data.hdf5, or id",
    ),
    "d3rlpy": Source(
        lambda c: c.kind == "hdf5" and ("episode_terminals" in c.keys or {"columns", "num_episodes"} <= c.keys),
        d3rlpy.load,
        "d3rlpy HDF5, flat (v1) or one group of arrays per episode (v2)",
    ),
    "ogbench": Source(
        lambda c: c.kind == "npz" and ogbench.recognise(c.path.stem, c.keys),
        ogbench.load,
        "OGBench npz, regular or compact",
    ),
    "d4rl": Source(
        lambda c: c.kind == "hdf5" and {"observations", "actions", "rewards", "terminals"} <= c.keys,
        d4rl.load,
        "D4RL HDF5, with or without next_observations and timeouts",
    ),
    "arrays": Source(lambda c: c.kind in ("npz", "hdf5"), arrays.load, "npz or HDF5 of flat arrays, NeoRL-2 included"),
    "csv": Source(lambda c: c.kind == "table", tables.load, "CSV with one row a step, columns named in its first line"),
}
PREFIXES = ("d4rl", "minari", "ogbench", "file", "demo")
OURS = ("native", "mapped")  # layouts that remember where their data came from
DEMOS = {"hopper": "hopper-medium-replay.h5"}


def load(
    source: str | Path | Mapping[str, Any] | Dataset,
    *,
    env: str | None = None,
    format: str | None = None,
    check: bool = True,
) -> Dataset:
    """Read a dataset; `data.info.origin` says what the source was resolved to.

    `env` overrides the environment that the data name; `format` forces a row of `SOURCES`. With `check`, data that no
    training can use (non-finite values, action bounds of no width) raise DatasetError; without, the doctor may look at
    them. Raises FileError where nothing is found or the file is damaged, naming where it looked.
    """
    if isinstance(source, Dataset):
        data = source
    elif isinstance(source, Mapping):
        data = arrays.from_arrays(source, DatasetInfo())
    elif isinstance(source, str | Path):
        data = load_text(str(source), format)
    else:
        raise DatasetError(f"a dataset is a path, a name, a dict of arrays or a Dataset, not {type(source).__name__}.")
    if env is not None:
        found = data.info.references or references.find(data.info.name, env)
        data = replace(data, info=replace(data.info, env=env, references=found))
    if check:
        validate.require_usable(data)
    return data


def load_text(text: str, format: str | None) -> Dataset:
    """A path or a name, or several joined with `+`."""
    loaded = [load_one(part, format) for part in parts_of(text)]
    if len(loaded) == 1:
        return loaded[0]
    joined = Dataset.concatenate(loaded)
    notes = tuple(f"{part.info.name}: {note}" for part in loaded for note in part.info.notes)
    same_env = all(part.info.env == loaded[0].info.env for part in loaded)
    extra = () if same_env else (f"the parts name different environments; {loaded[0].info.env} is used.",)
    return replace(joined, info=replace(joined.info, notes=notes + extra))


def parts_of(text: str) -> list[str]:
    """The paths and names that a text joins with `+`; one where a file or folder has just that name."""
    if text.strip() and Path(text).expanduser().exists():
        return [text]
    if parts := [part.strip() for part in text.split("+") if part.strip()]:
        return parts
    raise FileError("the name of the dataset is empty; give a path or a name such as `demo` or `hopper-medium-v2`.")


def load_one(text: str, format: str | None = None) -> Dataset:
    """One path or name."""
    path = resolve(text)
    format = format or sniff(path)
    if format not in SOURCES:
        raise FileError(f"no reader for the format `{format}`{suggest(format, SOURCES)}.")
    if text.startswith("ogbench:") and format == "arrays":
        format = "ogbench"
    data = SOURCES[format].load(path)
    details = data.info.details
    if format in OURS and data.info.format not in OURS:
        details = details | {"converted_from": data.info.origin}
    return replace(data, info=replace(data.info, origin=f"{format}:{path.resolve()}", format=format, details=details))


def sniff(path: Path) -> str:
    """The format of a file or folder by its contents. Raises FileError if no row of `SOURCES` knows it."""
    contents = look(path)
    for name, row in SOURCES.items():
        if row.recognise(contents):
            return name
    raise FileError(
        f"`{path}` holds no dataset that dawm knows ({contents.kind} with "
        f"{', '.join(sorted(contents.keys)[:8]) or 'nothing in it'}). "
        f"Readable: {'; '.join(row.remark for row in SOURCES.values())}."
    )


def look(path: Path) -> Contents:
    """Kind and top-level names of a file or folder. Raises FileError if it cannot be opened or is neither of both."""
    if path.is_dir():
        return Contents(path, "folder", frozenset(item.name for item in path.iterdir()), "")
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                return Contents(path, "hdf5", frozenset(file.keys()), str(file.attrs.get("format", "")))
        if path.open("rb").read(4) == b"PK\x03\x04":
            with np.load(path, allow_pickle=False) as file:
                return Contents(path, "npz", frozenset(file.files), "")
        with path.open("rb") as file:
            if names := tables.header(file.readline(tables.LONGEST)):
                return Contents(path, "table", frozenset(names), "")
    except Exception as error:  # h5py and zipfile raise many types on damaged files
        raise FileError(
            f"`{path}` cannot be opened ({error}): damaged or cut short. Copy or download it again."
        ) from error
    raise FileError(
        f"`{path}` is neither an HDF5, an npz nor a CSV file in UTF-8, or it is damaged. Copy or download it again."
    )


# -- names ------------------------------------------------------------------------------------------------------------


def resolve(text: str) -> Path:
    """The file or folder that a path or name means. Raises FileError saying where it looked and how to get the file."""
    prefix, _, rest = text.partition(":")
    if text == "demo" or prefix == "demo":
        return demo(rest or "hopper")
    if prefix not in PREFIXES:
        prefix, rest = "", text
    path = Path(rest).expanduser()
    if path.exists():
        return path
    if prefix == "file":
        raise FileError(f"there is no file or folder `{path}`.")
    looked: list[Path] = []
    for search in {"d4rl": (d4rl_files,), "minari": (minari.folders,), "ogbench": (ogbench_files,)}.get(
        prefix, (d4rl_files, minari.folders, ogbench_files)
    ):
        candidates = search(rest)
        looked += candidates
        if (found := next((c for c in candidates if c.exists()), None)) is not None:
            return found
    raise FileError(not_found(text, rest, looked))


def demo(name: str) -> Path:
    """The dataset that ships inside the package."""
    if name not in DEMOS:
        raise FileError(f"there is no bundled dataset `{name}`{suggest(name, DEMOS)}.")
    path = Path(__file__).parent.parent / "assets" / DEMOS[name]
    if not path.is_file():
        raise FileError(f"the bundled dataset `{path.name}` is missing from this installation; install dawm again.")
    return path


def search_roots(*, home: str, variable: str) -> list[Path]:
    """Folders to look in: those of DAWM_DATA and of the benchmark's own variable, its default one, the current one."""
    named = [p for v in ("DAWM_DATA", variable) for p in os.environ.get(v, "").split(os.pathsep) if p]
    return [Path(p).expanduser() for p in named] + [Path.home() / home, Path.cwd()]


def d4rl_files(name: str) -> list[Path]:
    """Where a D4RL dataset may lie: D4RL writes `hopper_medium-v2.hdf5` for hopper-medium-v2."""
    if "/" in name or not (references.is_d4rl_name(name) or (Path(name).suffix == "" and "-" in name)):
        return []
    first, _, rest = name.partition("-")
    body, _, version = rest.rpartition("-")
    underscored = f"{first}_{body.replace('-', '_')}-{version}" if body else name
    spellings = dict.fromkeys([underscored, name, name.replace("-", "_"), f"{first}_{rest}"])
    roots = search_roots(home=".d4rl/datasets", variable="D4RL_DATASET_DIR")
    return [root / f"{spelling}{suffix}" for root in roots for spelling in spellings for suffix in (".hdf5", ".h5")]


def ogbench_files(name: str) -> list[Path]:
    if "/" in name or not name:
        return []
    return [root / f"{name}.npz" for root in search_roots(home=".ogbench/data", variable="OGBENCH_DATA_DIR")]


def not_found(text: str, name: str, looked: list[Path]) -> str:
    """What to say where nothing was found: where the search went and how people get such a file."""
    if references.is_d4rl_name(name):
        how = (
            "D4RL files are published as HDF5 on the benchmark's site; put the file in ~/.d4rl/datasets or in a "
            "folder named by DAWM_DATA."
        )
    elif ogbench.is_name(name):
        how = (
            f"Get it with `pip install ogbench` and `ogbench.download_datasets(['{name}'])`, or set DAWM_DATA to the "
            "folder that holds it."
        )
    elif minari.is_id(name) and "/" in name:
        how = (
            f"Get it with `pip install 'minari[hf]'` and `minari download {name}`, or set MINARI_DATASETS_PATH to "
            "the folder that holds it."
        )
    else:
        how = "Give the path of a file, or `demo` for the bundled dataset."
    folders = list(dict.fromkeys(str(path.parent) for path in looked))
    where = f" Looked in {', '.join(folders)}." if folders else ""
    return f"there is no dataset `{text}`.{where} {how}"
