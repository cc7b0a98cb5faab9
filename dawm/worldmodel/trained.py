"""A trained world model as its users hold it: batches of starts in, futures out, in raw units."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from dawm.data.dataset import Dataset
from dawm.errors import ConfigError, FileError
from dawm.run import checkpoint
from dawm.run.config import from_dict
from dawm.run.folder import RunFolder
from dawm.run.mesh import split_rows, spread
from dawm.types import Dynamics, Segment, Spec, Start
from dawm.uncertainty.recalibrate import Recalibration
from dawm.worldmodel.base import AbstractWorldModel
from dawm.worldmodel.dynamics import dynamics_of
from dawm.worldmodel.networks import Networks

if TYPE_CHECKING:
    from dawm.worldmodel.fit import WorldModelConfig

BATCH = 1024  # starts per compiled call: large enough for full matrix products, small enough for the cache


@dataclass(frozen=True)
class TrainedModel:
    """A world model, what it was trained on, and how well it did on the episodes that it never saw."""

    model: AbstractWorldModel
    config: WorldModelConfig
    spec: Spec
    data: dict[str, Any]  # name, origin and fingerprint of the dataset, and the share of it that `share_of` draws
    measured: dict[str, Any]  # content of holdout.json
    folder: Path | None = None
    known_as: str | None = None  # its path in the records of other run folders, where that is not `folder`
    fresh: Networks | None = None  # the one-step networks, where they are not in a folder

    def generate(self, starts: Start, key: jax.Array, skip: int = 0) -> Segment:
        """One future for each of n starts (leading axis n); NumPy arrays in raw units. For `skip` see `Start.near`.

        The futures depend on the key and on the position of a start, not on how many starts there are.
        """
        count = len(starts.return_to_go)
        parts, model = [], split_rows(BATCH).copied(self.model)  # once, and not for every block
        for first in range(0, count, BATCH):
            chunk = jax.tree.map(lambda leaf, first=first: _padded(leaf[first : first + BATCH]), starts)
            used = min(BATCH, count - first)
            out = jax.device_get(_generate(model, chunk, key, jnp.asarray(first), skip))
            parts.append(jax.tree.map(lambda leaf, n=used: leaf[:n], out))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all arrays of the model."""
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves(eqx.filter(self.model, eqx.is_array)):
            digest.update(np.asarray(leaf).tobytes())
        return digest.hexdigest()

    @property
    def record(self) -> dict[str, str]:
        """Its path and its fingerprint, for the folders of runs that use it."""
        return {"path": self.known_as or str(self.folder), "fingerprint": self.fingerprint}

    def dynamics(self, name: str = "model", members: int | None = None) -> Dynamics:
        """What planners and value expansion ask for steps; see `worldmodel.dynamics.dynamics_of`."""
        return dynamics_of(self, name, members)

    def require(self, data: Dataset) -> None:
        """Raise ConfigError of data that the model was not trained on: the split by episode would no longer hold."""
        if data.fingerprint != self.data["fingerprint"]:
            raise ConfigError(
                f"the world model was trained on `{self.data['name']}` ({self.data['origin']}), not on the dataset"
                f" given (`{data.info.name}`): futures start from the model's own training episodes."
            )

    @cached_property
    def networks(self) -> Networks:
        """The one-step networks: parts of the model, and yardsticks beside it. Raises FileError where they are gone."""
        if self.fresh is not None or self.folder is None:
            assert self.fresh is not None
            return self.fresh
        path = self.folder / "networks.ckpt"
        if not path.exists():
            raise FileError(f"`{path}` is missing: train the model again to compare it with the yardsticks.")
        return checkpoint.load(path, eqx.filter_eval_shape(lambda: blank_networks(self.config, self.spec)))

    @cached_property
    def recalibration(self) -> Recalibration | None:
        """The correction that `dawm calibrate` fitted, if it has been fitted."""
        path = None if self.folder is None else self.folder / "recalibration.json"
        return Recalibration.load(path) if path is not None and path.exists() else None

    def save(self, folder: str | Path) -> None:
        """Write `networks.ckpt` and `model.ckpt`; the configuration is in the folder's run.toml."""
        checkpoint.save(Path(folder) / "networks.ckpt", self.networks, {"data": self.data})
        checkpoint.save(Path(folder) / "model.ckpt", self.model, {"data": self.data})

    @staticmethod
    def load(folder: str | Path) -> TrainedModel:
        """The model of a finished run folder. Raises FileError where there is none, CheckpointError where it is
        damaged.
        """
        from dawm.worldmodel.fit import WorldModelConfig, assemble
        from dawm.worldmodel.networks import fit_scales

        run = RunFolder.open(folder, "world_model")
        path = run.path / "model.ckpt"
        if not path.exists():
            raise FileError(f"the world model in `{folder}` is not finished. Go on with: dawm resume {folder}")
        stored = run.read_config()["config"]
        config = from_dict(WorldModelConfig, stored["world_model"], "world_model.")
        facts = stored["spec"]
        bounds = tuple(facts["act_low"]), tuple(facts["act_high"])
        sizes = facts["obs_dim"], facts["act_dim"]
        spec = Spec(*sizes, *bounds, facts.get("horizon"), facts.get("sources", 0))

        def blank():
            rows = _blank_rows(spec)
            return assemble(config, spec, fit_scales(rows, spec), blank_networks(config, spec), None, key=jr.key(0))

        model = checkpoint.load(path, eqx.filter_eval_shape(blank))
        data = checkpoint.read_header(path)["data"]
        return TrainedModel(model, config, spec, data, run.read_json("holdout.json") or {}, run.path)


def blank_networks(config: WorldModelConfig, spec: Spec) -> Networks:
    """Networks of the right shapes, for a checkpoint to fill."""
    return Networks(config.networks, spec.obs_dim, spec.act_dim, True, config.model.members, key=jr.key(0))


def _blank_rows(spec: Spec) -> Dataset:
    """Two rows: enough to build normalisers of the right shape before their values are loaded."""
    obs, action, flag = np.zeros((2, spec.obs_dim)), np.zeros((2, spec.act_dim)), np.zeros(2)
    bounds = np.asarray(spec.act_low), np.asarray(spec.act_high)
    return Dataset(obs, action, flag, obs + 1.0, flag > 0, np.asarray([2]), flag.astype(int), *bounds)


@eqx.filter_jit
def _generate(model: AbstractWorldModel, starts: Start, key: jax.Array, first: jax.Array, skip: int) -> Segment:
    """A block of futures; that of start i has the key folded with `first + i`."""
    keys = jax.vmap(lambda i: jr.fold_in(key, i))(first + jnp.arange(len(starts.return_to_go)))
    return spread(model.generate_many(starts, keys, skip))


def _padded(leaf: np.ndarray) -> np.ndarray:
    """The array with its last row repeated up to BATCH rows, so that one program serves every size."""
    leaf = np.asarray(leaf)
    return leaf if len(leaf) == BATCH else np.concatenate([leaf, np.repeat(leaf[-1:], BATCH - len(leaf), 0)])
