"""`dawm data convert`: one dataset in another layout."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dawm.cli.parser import Outcome, Parser
from dawm.errors import ConfigError

if TYPE_CHECKING:
    from dawm.data.dataset import Dataset


def flags(parser: Parser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="a path, a name, or the folder of `dawm generate`")
    parser.add_argument(
        "target", metavar="TARGET", help="FILE.h5, FILE.npz, FILE.csv, FOLDER.dawm or minari:NAMESPACE/NAME-v0"
    )
    parser.common()


def execute(flags: argparse.Namespace) -> Outcome:
    from dawm.cli.sources import read
    from dawm.data import mapped
    from dawm.data.registry import parts_of

    kind, _, name = flags.target.partition(":")
    suffix = Path(flags.target).suffix
    if kind != "minari" and suffix not in (".h5", ".hdf5", ".npz", ".csv", mapped.SUFFIX):
        raise ConfigError(
            f"`{flags.target}` must end in .h5, .npz, .csv or {mapped.SUFFIX} (for logs larger than memory), or begin"
            " with minari: (the layout to write)"
        )
    if kind != "minari" and suffix == mapped.SUFFIX:
        mapped.save((read(part, check=False) for part in parts_of(flags.source)), flags.target)
        data = mapped.load(flags.target)
        return Outcome({"path": flags.target, "steps": len(data), "fingerprint": data.fingerprint}, flags.target)
    data = read(flags.source, check=False)
    place = flags.target
    if kind == "minari":
        place = data.to_minari(name)
    elif suffix == ".npz":
        save_arrays(data, Path(flags.target))
    elif suffix == ".csv":
        save_table(data, Path(flags.target))
    else:
        data.save(flags.target)
    return Outcome({"path": str(place), "steps": len(data), "fingerprint": data.fingerprint}, str(place))


def columns_of(data: Dataset) -> dict[str, Any]:
    """Flat arrays in D4RL's spelling, with provenance where there is any; an episode ends where a flag says so."""
    import numpy as np

    ends = np.zeros(len(data), bool)
    ends[data.episode_ends - 1] = True
    columns: dict[str, Any] = {
        "observations": data.obs,
        "actions": data.action,
        "rewards": data.reward,
        "next_observations": data.next_obs,
        "terminals": data.terminal,
        "timeouts": ends & ~data.terminal,
    }
    return columns | ({"source": data.source} if (data.source >= 0).any() else {})


def save_arrays(data: Dataset, path: Path) -> None:
    """An npz file of flat arrays in D4RL's spelling, with provenance and action bounds; `load` reads it back whole."""
    import numpy as np

    from dawm.run.checkpoint import write_whole

    arrays: dict[str, Any] = columns_of(data) | {"act_low": data.act_low, "act_high": data.act_high}
    write_whole(path, lambda file: np.savez_compressed(file, **arrays))


def save_table(data: Dataset, path: Path) -> None:
    """A CSV file with a row a step, for people and spreadsheets. `load` reads every number back to the last bit; the
    bounds of actions and the names of sources are not in it.
    """
    import numpy as np

    from dawm.run.checkpoint import write_whole

    parts = {"episode": data.episode_of} | columns_of(data)
    dims = lambda name, part: [name] if part.ndim == 1 else [f"{name}_{i}" for i in range(part.shape[1])]
    names = [column for name, part in parts.items() for column in dims(name, part)]
    table = np.column_stack([part.astype(np.float64) for part in parts.values()])
    options: dict[str, Any] = {"fmt": "%.9g", "delimiter": ",", "header": ",".join(names), "comments": ""}
    write_whole(path, lambda file: np.savetxt(file, table, **options))
