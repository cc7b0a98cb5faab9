"""`Dataset`: a log of episodes as flat NumPy arrays, in raw units. The one internal form of every reader.

Two things that other software mixes up are apart here: `terminal` (the MDP ended, do not bootstrap) is a column, and
the end of a recording is an entry of `episode_ends`. An episode whose last row is not terminal was cut, by a time
limit or by the recorder. `next_obs` is the true next observation on every row, also at terminals and cuts.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from dawm.errors import DatasetError
from dawm.types import Spec, Transition

COLUMNS = ("obs", "action", "reward", "next_obs", "terminal", "source")  # one entry a row
BLOCK = 1_000_000  # rows that are looked at together, of a log that may be larger than memory


class References(NamedTuple):
    """Returns that mean a score of 0 and of 100, and where they come from."""

    low: float
    high: float
    source: str

    def normalise(self, value: Any) -> Any:
        """Score of a mean return: 100 (R - low) / (high - low), never clipped."""
        return 100.0 * (np.asarray(value) - self.low) / (self.high - self.low)

    def scale(self, spread: Any) -> Any:
        """Score units of a spread: the affine map's slope only, never its offset."""
        return 100.0 * np.asarray(spread) / (self.high - self.low)


@dataclass(frozen=True)
class DatasetInfo:
    """Where a dataset comes from."""

    name: str = "arrays"
    origin: str = "arrays"  # what `load` resolved the given name to: format and path
    format: str = "arrays"
    env: str | None = None  # Gymnasium id in which policies for it can be evaluated
    horizon: int | None = None  # time limit in steps
    references: References | None = None
    sources: tuple[str, ...] = ()  # names of the provenance labels
    notes: tuple[str, ...] = ()  # what the reader had to decide or drop, in words
    details: dict[str, Any] = field(default_factory=dict)  # whatever else the file says; JSON


@dataclass(frozen=True, eq=False)
class Dataset:
    """N steps in E episodes, on the host. Immutable: every method returns a new one."""

    obs: Float[np.ndarray, "n obs"]
    action: Float[np.ndarray, "n act"]
    reward: Float[np.ndarray, " n"]
    next_obs: Float[np.ndarray, "n obs"]
    terminal: Bool[np.ndarray, " n"]
    episode_ends: Int[np.ndarray, " e"]  # exclusive end of each episode: episode i is rows ends[i-1]:ends[i]
    source: Int[np.ndarray, " n"]  # provenance label of each row, -1 where unknown
    act_low: Float[np.ndarray, " act"]
    act_high: Float[np.ndarray, " act"]
    info: DatasetInfo = DatasetInfo()

    def __post_init__(self):
        n = len(self.reward)
        for name in ("obs", "action", "next_obs", "terminal", "source"):
            if len(getattr(self, name)) != n:
                raise DatasetError(f"`{name}` has {len(getattr(self, name)):,} rows where `reward` has {n:,}.")
        if n == 0:
            raise DatasetError("the dataset holds no step at all: nothing can be learnt from it.")
        if self.next_obs.shape != self.obs.shape:
            raise DatasetError(f"`next_obs` has shape {self.next_obs.shape} where `obs` has {self.obs.shape}.")
        ends = self.episode_ends
        if len(ends) == 0 or ends[-1] != n or (np.diff(ends) <= 0).any() or ends[0] <= 0:
            raise DatasetError(f"`episode_ends` must increase strictly and end at {n:,}; it has {len(ends)} entries.")

    def __len__(self) -> int:
        return len(self.reward)

    @cached_property
    def spec(self) -> Spec:
        low, high = (tuple(float(x) for x in bound) for bound in (self.act_low, self.act_high))
        return Spec(self.obs.shape[1], self.action.shape[1], low, high, self.info.horizon, int(self.source.max()) + 1)

    # -- episodes ---------------------------------------------------------------------------------------------------

    @property
    def episodes(self) -> int:
        return len(self.episode_ends)

    @cached_property
    def episode_starts(self) -> Int[np.ndarray, " e"]:
        return np.concatenate([[0], self.episode_ends[:-1]]).astype(np.int64)

    @cached_property
    def episode_of(self) -> Int[np.ndarray, " n"]:
        """The episode that each row belongs to."""
        return np.repeat(np.arange(self.episodes), self.lengths)

    @property
    def lengths(self) -> Int[np.ndarray, " e"]:
        return self.episode_ends - self.episode_starts

    @cached_property
    def returns(self) -> Float[np.ndarray, " e"]:
        """Undiscounted return of each episode (float64)."""
        return np.add.reduceat(self.reward.astype(np.float64), self.episode_starts)

    @cached_property
    def cut(self) -> Bool[np.ndarray, " e"]:
        """Whether each episode was cut (by a time limit or by the recorder) and not ended by the MDP."""
        return ~self.terminal[self.episode_ends - 1]

    def return_to_go(self, discount: float) -> Float[np.ndarray, " n"]:
        """Discounted sum of rewards from each row to the end of its episode (DWM section 6.3), float32."""
        from scipy.signal import lfilter  # where it is used: SciPy is slow to import

        out = np.empty(len(self), np.float32)
        for first, end in zip(self.episode_starts, self.episode_ends, strict=True):
            backwards = self.reward[first:end][::-1].astype(np.float64)
            out[first:end] = lfilter([1.0], [1.0, -discount], backwards)[::-1]
        return out

    def next_action(self) -> Float[np.ndarray, "n act"]:
        """The action recorded at `next_obs`; zeros on the last row of each episode, where none was."""
        following = np.roll(self.action, -1, axis=0)
        following[self.episode_ends - 1] = 0.0
        return following

    def transitions(self) -> Transition:
        """All rows as one record of NumPy arrays."""
        known = np.ones(len(self), bool)
        known[self.episode_ends - 1] = False
        columns = self.obs, self.action, self.reward, self.next_obs, self.next_action(), self.terminal, self.source
        return Transition(*columns, next_known=known)

    @property
    def mapped(self) -> bool:
        """Whether the rows stay on disk and are read where they are needed (`data/mapped.py`)."""
        return isinstance(self.obs, np.memmap)

    # -- selection --------------------------------------------------------------------------------------------------

    def select(self, episodes: Any) -> Dataset:
        """The given episodes (indices or a mask), in the given order."""
        chosen = np.arange(self.episodes)[np.asarray(episodes)]
        if len(chosen) == 0:
            raise DatasetError("no episode was selected: an empty dataset cannot be used.")
        spans = [np.arange(int(self.episode_starts[e]), int(self.episode_ends[e])) for e in chosen]
        rows = np.concatenate(spans)
        return dataclasses.replace(
            self,
            **{
                k: np.asarray(getattr(self, k)[rows])
                for k in ("obs", "action", "reward", "next_obs", "terminal", "source")
            },
            episode_ends=np.cumsum([len(s) for s in spans]),
        )

    def split(self, holdout: float = 0.1, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Training and held-out episodes: whole episodes, shuffled by `seed`; at least one on each side."""
        kept, held = self.split_episodes(holdout, seed)
        return self.select(kept), self.select(held)

    def split_episodes(self, holdout: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the training and of the held-out episodes that `split` uses, each increasing."""
        if not 0 < holdout < 1:
            raise DatasetError(f"the held-out share must be between 0 and 1, got {holdout}.")
        if self.episodes < 2:
            raise DatasetError(
                "the dataset holds one episode only, so none can be held out. Record more episodes, or mark where "
                "one ends and the next begins (`timeouts` or `truncated`)."
            )
        order = np.random.default_rng(seed).permutation(self.episodes)
        count = min(max(1, round(holdout * self.episodes)), self.episodes - 1)
        return np.sort(order[count:]), np.sort(order[:count])

    @staticmethod
    def concatenate(parts: list[Dataset], name: str | None = None) -> Dataset:
        """Several logs as one; rows of unlabelled part i get the provenance label of that part, labelled ones keep
        theirs.

        Labels are renumbered so that names stay apart; `info.sources` lists them.
        """
        first, labels = parts[0], Labels()
        for part in parts:
            check_alike(first, part)
        sources = [labels.add(part) for part in parts]
        offsets = np.cumsum([0] + [len(p) for p in parts[:-1]])
        joined = {
            k: np.concatenate([getattr(p, k) for p in parts])
            for k in ("obs", "action", "reward", "next_obs", "terminal")
        }
        return Dataset(
            **joined,
            episode_ends=np.concatenate([p.episode_ends + o for p, o in zip(parts, offsets, strict=True)]),
            source=np.concatenate(sources),
            act_low=np.min([p.act_low for p in parts], axis=0),
            act_high=np.max([p.act_high for p in parts], axis=0),
            info=labels.info(first.info, name),
        )

    # -- identity and words -------------------------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all values: two datasets with the same fingerprint are the same data."""
        digest = hashlib.sha256()
        for name in ("obs", "action", "reward", "next_obs", "terminal", "episode_ends", "source"):
            array = getattr(self, name)
            digest.update(f"{name}{array.shape}{array.dtype}".encode())
            for first in range(0, len(array), BLOCK):
                digest.update(np.ascontiguousarray(array[first : first + BLOCK]).tobytes())
        return digest.hexdigest()

    def summary(self) -> str:
        """A few lines for people: size, episodes, ends, returns, and what the reader decided."""
        length, value = self.lengths, self.returns
        lines = [
            f"{self.info.name}  ({self.info.origin})",
            f"  {len(self):,} steps in {self.episodes:,} episodes of {length.min()} to {length.max()} steps"
            f" (mean {length.mean():.0f}); observation {self.obs.shape[1]}-, action {self.action.shape[1]}-dimensional",
            f"  {int(self.terminal.sum()):,} terminal steps, {int(self.cut.sum()):,} episodes cut",
            f"  return {value.mean():.1f} ± {value.std():.1f} ({value.min():.1f} to {value.max():.1f})",
        ]
        if self.info.references:
            score, spread = self.info.references.normalise(value.mean()), self.info.references.scale(value.std())
            lines.append(f"  score {score:.1f} ± {spread:.1f}, references: {self.info.references.source}")
        return "\n".join(lines + [f"  note: {note}" for note in self.info.notes])

    def save(self, path: str | Path) -> None:
        """Write in dawm's own layout (`data/native.py`): compact, whole or not at all, no pickle."""
        from dawm.data.native import save

        save(self, Path(path))

    def to_minari(self, dataset_id: str, root: str | Path | None = None) -> str:
        """Write as a local Minari dataset that `minari.load_dataset(dataset_id)` opens; returns the folder written."""
        from dawm.data.minari import save

        return save(self, dataset_id, root)


class Labels:
    """Provenance labels of logs that are joined one after the other, renumbered so that their names stay apart."""

    def __init__(self):
        self.names: list[str] = []
        self.parts: list[DatasetInfo] = []

    def add(self, part: Dataset) -> Int[np.ndarray, " n"]:
        """The labels of the rows of the next log, int32."""
        labels, offset = part.source, len(self.names)
        self.parts.append(part.info)
        if (labels < 0).all():
            self.names.append(part.info.name)
            return np.full(len(part), offset, np.int32)
        known = part.info.sources or tuple(str(i) for i in range(labels.max() + 1))
        self.names += [f"{part.info.name}/{label}" for label in known]
        return np.where(labels < 0, -1, labels + offset).astype(np.int32)

    def info(self, first: DatasetInfo, name: str | None = None) -> DatasetInfo:
        """What is known of all of them."""
        return dataclasses.replace(
            first,
            name=name or "+".join(info.name for info in self.parts),
            origin=" + ".join(info.origin for info in self.parts),
            sources=tuple(self.names),
            notes=tuple(f"{info.name}: {note}" for info in self.parts for note in info.notes),
        )


def check_alike(first: Dataset, part: Dataset) -> None:
    """Raise DatasetError where two logs cannot be joined."""
    if part.obs.shape[1] != first.obs.shape[1] or part.action.shape[1] != first.action.shape[1]:
        raise DatasetError(
            f"`{part.info.name}` has {part.obs.shape[1]} observation and {part.action.shape[1]} action "
            f"dimensions where `{first.info.name}` has {first.obs.shape[1]} and {first.action.shape[1]}."
        )
