"""A library of plausible futures: for every recorded (s, a), M next states, rewards and ends, made once and read often.

On disk a future is its deviation from the mean future of its row, in half precision and in units of the typical
deviation of its dimension; the means are in single precision. So a nearly deterministic dimension loses nothing, and a
million futures of 12 numbers take about 29 MB. Blocks are memory-mapped: a library may be larger than memory. Block i
is made from the key folded with i, so it can be taken up where it was interrupted, or made again from its seed.

Where `dawm calibrate` has fitted a correction of the model's spread, the futures are corrected before they are stored
(keeping their ranks), so that what is averaged over them later is a calibrated forecast.

Run folder (kind `futures`): blocks/00000.npy ..., library.json.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Int

from dawm.data.dataset import Dataset
from dawm.errors import ConfigError, FileError
from dawm.run.checkpoint import write_whole
from dawm.run.config import to_dict
from dawm.run.folder import RunFolder
from dawm.run.mesh import split_rows
from dawm.run.progress import progress_bar
from dawm.types import Prediction
from dawm.uncertainty.recalibrate import Recalibration
from dawm.worldmodel.base import AbstractWorldModel, require_dynamics
from dawm.worldmodel.rollout import outcomes
from dawm.worldmodel.trained import TrainedModel

LARGEST = 6.0e4  # of half precision, nearly


@dataclass(frozen=True)
class FuturesConfig:
    """How many futures of each row."""

    futures: int = 16  # of each recorded (s, a), spread over the members
    block: int = 4_096  # rows of a file
    recalibrated: bool = True  # corrected by what `dawm calibrate` found, where it has been run
    seed: int = 0

    def __post_init__(self):
        if self.futures < 2 or self.block < 1:
            raise ValueError(f"futures must be at least 2 and block at least 1, got {self.futures} and {self.block}")


@dataclass(frozen=True, eq=False)
class FuturesLibrary:
    """The futures of the rows of a dataset."""

    blocks: list[np.ndarray]  # memory-mapped; fields centre (d,), deviation (m, d), end (m,)
    unit: np.ndarray  # (d,) of the deviations
    block: int
    origin: str  # its folder
    data: str  # fingerprint of the dataset
    members: int  # of the model; future i of a row is of member i modulo this

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def futures(self) -> int:
        return self.blocks[0]["end"].shape[1]

    def rows(self, index: Int[np.ndarray, " n"]) -> Prediction:
        """The futures of some rows: leaves (n, m, ...), float32, raw units."""
        index = np.asarray(index)
        if len(index) and not (index.min() >= 0 and index.max() < len(self)):
            raise ConfigError(
                f"the library holds rows 0 to {len(self) - 1:,}; {index.min()} to {index.max()} asked for."
            )
        found = np.empty(len(index), self.blocks[0].dtype)
        for number in np.unique(index // self.block):
            here = index // self.block == number
            found[here] = self.blocks[number][index[here] - number * self.block]
        outcome = found["centre"][:, None] + found["deviation"].astype(np.float32) * self.unit
        return Prediction(outcome[..., :-1], outcome[..., -1], found["end"].astype(np.float32))


def build_library(
    model: TrainedModel, data: Dataset, config: FuturesConfig | None = None, *, folder: str | Path
) -> FuturesLibrary:
    """Make the futures of every row of `data`, or those that are missing in `folder`, and open them.

    Raises ConfigError if the folder holds other futures, if `data` has other dimensions than the model's task, or if
    the model has no dynamics.
    """
    config = config or FuturesConfig()
    require_dynamics(model.config.model, "a library of futures")
    if (data.obs.shape[1], data.action.shape[1]) != (model.spec.obs_dim, model.spec.act_dim):
        raise ConfigError(
            f"the model is of {model.spec.obs_dim} observation and {model.spec.act_dim} action dimensions,"
            f" `{data.info.name}` has {data.obs.shape[1]} and {data.action.shape[1]}."
        )
    correction = model.recalibration if config.recalibrated else None
    settings = {
        "futures": to_dict(config),
        "model": {"path": model.known_as or str(model.folder), "fingerprint": model.fingerprint},
        "correction": None if correction is None else correction.fingerprint,
        "data": {"name": data.info.name, "origin": data.info.origin, "fingerprint": data.fingerprint},
    }
    run = RunFolder.start(folder, "futures", settings, {"seed": config.seed})
    if run.finished:
        return open_library(folder)
    world, begun = split_rows(config.block).copied(model.model), time.monotonic()  # moved once, not for every block
    unit = typical_deviation(world, data, config, correction)
    (run.path / "blocks").mkdir(exist_ok=True)
    with progress_bar("futures", len(data), "rows") as advance:
        for number, first in enumerate(range(0, len(data), config.block)):
            path = run.path / "blocks" / f"{number:05d}.npy"
            rows = np.arange(first, min(first + config.block, len(data)))
            if not path.exists():
                key = jr.fold_in(jr.key(config.seed), number)
                block = make_block(world, data, rows, unit, config, key, correction)
                write_whole(path, lambda file, block=block: np.save(file, block))  # type: ignore[arg-type]
            advance(int(rows[-1]) + 1, "")
    facts = {"rows": len(data), "futures": config.futures, "block": config.block, "unit": unit.tolist()}
    facts |= {"members": min(model.model.count, config.futures), "correction": correction and correction.method}
    seconds = time.monotonic() - begun
    size = sum(p.stat().st_size for p in (run.path / "blocks").glob("*.npy"))
    rate = {"seconds": round(seconds, 3), "bytes_per_million_futures": size / (len(data) * config.futures) * 1e6}
    run.write_json("library.json", facts | rate)
    run.finish()
    return open_library(folder)


def open_library(folder: str | Path) -> FuturesLibrary:
    """The library of a finished folder. Raises FileError where it is unfinished or damaged."""
    run = RunFolder.open(folder, "futures")
    facts: dict[str, Any] | None = run.read_json("library.json")
    if not run.finished or facts is None:
        raise FileError(f"the library in `{folder}` is not finished. Go on with: dawm resume {folder}")
    blocks = []
    for path in sorted((run.path / "blocks").glob("*.npy")):
        try:
            blocks.append(np.load(path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise FileError(f"`{path}` is damaged ({error}). Delete it and `finished`, and make it again.") from None
    if sum(map(len, blocks)) != facts["rows"]:
        raise FileError(f"blocks of `{folder}` are missing. Delete `{run.path / 'finished'}`, and make them again.")
    data = run.read_config()["config"]["data"]["fingerprint"]
    unit = np.asarray(facts["unit"], np.float32)
    return FuturesLibrary(blocks, unit, facts["block"], f"futures:{run.path}", data, facts["members"])


def make_block(
    model: AbstractWorldModel,
    data: Dataset,
    rows: np.ndarray,
    unit: np.ndarray,
    config: FuturesConfig,
    key: jax.Array,
    correction: Recalibration | None = None,
) -> np.ndarray:
    """The futures of some rows as they are stored."""
    padded = np.concatenate([rows, np.repeat(rows[-1:], config.block - len(rows))])
    outcome, end = (leaf[: len(rows)] for leaf in _outcomes(model, data, padded, config, key, correction))
    block = np.empty(len(rows), layout(*outcome.shape[1:]))
    block["centre"] = outcome.mean(1)
    deviation = (outcome - block["centre"][:, None]) / unit
    block["deviation"] = np.clip(deviation, -LARGEST, LARGEST)
    block["end"] = end
    return block


def layout(futures: int, dims: int) -> np.dtype:
    """What is stored of a row."""
    return np.dtype([("centre", "<f4", (dims,)), ("deviation", "<f2", (futures, dims)), ("end", "<f2", (futures,))])


def typical_deviation(
    model: AbstractWorldModel, data: Dataset, config: FuturesConfig, correction: Recalibration | None = None
) -> np.ndarray:
    """Unit of the deviations: their root mean square over some rows, and never so small that a few units overflow."""
    rows = np.random.default_rng(config.seed).integers(0, len(data), config.block)
    outcome, _ = _outcomes(model, data, rows, config, jr.key(config.seed), correction)
    typical = np.sqrt(np.square(outcome - outcome.mean(1, keepdims=True)).mean((0, 1)))
    return np.maximum(typical, 1e-6 * np.maximum(np.abs(outcome).max((0, 1)), 1e-6)).astype(np.float32)


def _outcomes(
    model: AbstractWorldModel,
    data: Dataset,
    rows: np.ndarray,
    config: FuturesConfig,
    key: jax.Array,
    correction: Recalibration | None,
) -> tuple[np.ndarray, np.ndarray]:
    """(next state and reward (n, m, obs + 1), probability of the end (n, m)) of the futures of some rows."""
    columns = data.obs[rows], data.action[rows], data.source[rows]
    out = jax.device_get(_futures(model, *columns, config.futures, key))
    outcome = np.concatenate([out.next_obs, out.reward[..., None]], -1)
    if correction is not None:  # it knows samples (m, n, steps, d), in any units
        samples = np.swapaxes(outcome, 0, 1)[:, :, None].astype(np.float64)
        outcome = np.swapaxes(correction.apply(samples)[:, :, 0], 0, 1)
    return outcome, out.terminal_prob


@eqx.filter_jit
def _futures(model: AbstractWorldModel, obs, action, source, futures: int, key) -> Prediction:
    """(n, futures, ...) futures of n rows, every member as many as the others or one less, in turn."""
    each = -(-futures // model.count)

    def arranged(leaf):  # (members, each, n, ...)
        leaf = jnp.moveaxis(leaf, (2, 1, 0), (0, 1, 2))
        return leaf.reshape(leaf.shape[0], -1, *leaf.shape[3:])[:, :futures]

    return jax.tree.map(arranged, outcomes(model, obs, action, source, each, key))
