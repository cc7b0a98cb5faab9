"""The Gaussian ensemble of the first training phase as a world model of its own: the model of MOPO and MOBILE.

    (s' - s, r) ~ N(m_k(s, a), diag v_k(s, a)),      k one of the elites,       end ~ Bernoulli(p(end | s, a, s'))

in standardised units. Source: Chua et al. 2018 (PETS, "PE-TS"); Yu et al. 2020 (MOPO, section 4 and appendix): 7
networks, of which the 5 with the smallest loss on held-out steps generate; Sun et al. 2023 (MOBILE) uses the same.

There is nothing to train in the second phase: the networks are the yardstick that every other model is measured
against, with the same rows, updates and width, and only the elites are chosen here.

Departures from MOPO: elites are chosen by likelihood, where its code takes the squared error; ends are a classifier
beside the ensemble, where it has a rule written by hand for each task; a future keeps its member (TS-inf of PETS),
where MOPO draws one at every step; networks are of this package's first phase (SiLU, AdamW, no weight decay by layer).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from dawm.nets.ensemble import joined, kept, shares, size
from dawm.run.mesh import device_count, spread
from dawm.types import Prediction, tree_rows
from dawm.worldmodel.base import AbstractWorldModel, Parts, single_step
from dawm.worldmodel.dynamics import Ending
from dawm.worldmodel.ends import EndNetwork
from dawm.worldmodel.onestep import GaussianEnsemble, Scales
from dawm.worldmodel.yardsticks import GaussianMembers, best_members, gaussian_members

ROWS = 4_096  # held-out steps, at most, by which the elites are chosen


@dataclass(frozen=True)
class EnsembleModelConfig:
    """Its networks are set in `world_model.networks.ensemble`."""

    kind: Literal["ensemble"] = "ensemble"
    horizon: int = 8  # steps at which it is measured, under recorded actions; it generates one

    members: ClassVar[int] = 0  # no cross-fitted anchors
    dynamics: ClassVar[bool] = True
    window: ClassVar[int] = 1
    returns: ClassVar[Literal["episode", "window"]] = "episode"
    discount: ClassVar[float] = 0.99

    def __post_init__(self):
        if self.horizon < 1:
            raise ValueError(f"horizon must be at least 1, got {self.horizon}")


class EnsembleModel(AbstractWorldModel):
    """The elites of a Gaussian ensemble, with the end classifier that was trained beside them."""

    ensemble: GaussianEnsemble  # its members are the elites
    elites: Int[Array, " k"]  # which of the trained members these are, best first
    ends: EndNetwork
    scales: Scales
    config: EnsembleModelConfig = eqx.field(static=True)

    @property
    def count(self) -> int:
        return size(self.ensemble.members)

    @property
    def steps(self) -> int:
        return 1

    @property
    def forecaster(self) -> GaussianMembers:
        """The same members as a yardstick has them."""
        return gaussian_members(self.ensemble, self.scales, 0.0)

    def advance(self, obs, action, source, key):
        return Ending(self.forecaster, self).advance(obs, action, source, key)

    def first(self, members):
        """The same model with at most so many members: the best."""
        if members >= self.count:
            return self
        rows = np.arange(members)
        ensemble = eqx.tree_at(lambda e: e.members, self.ensemble, kept(self.ensemble.members, rows))
        return eqx.tree_at(lambda m: (m.ensemble, m.elites), self, (ensemble, self.elites[rows]))

    def generate(self, start, key, skip=0):
        """One future by the best member; `generate_many` spreads futures over all of them."""
        one = jax.tree.map(lambda x: x[None], start)
        return jax.tree.map(lambda leaf: leaf[0], self.generate_many(one, key[None], skip))

    def generate_many(self, starts, keys, skip=0):
        """Future i by member i mod m. There are no levels of noise to skip."""
        n = len(starts.return_to_go)
        rows = spread(shares(n, self.count, device_count(n)), axis=1)
        split = jax.vmap(lambda key: jr.split(key))(keys)
        noise = jax.vmap(lambda keys: jr.normal(keys[0], self.ensemble.low.shape))(split)
        taken = tree_rows(starts, rows)
        following, reward = joined(self.forecaster.step(taken.obs, taken.action, noise[rows]), n)
        ends = jax.vmap(self.end_probability)(starts.obs, starts.action, following)
        uniform = jax.vmap(lambda keys: jr.uniform(keys[1]))(split)
        return single_step(starts, Prediction(following, reward, ends), uniform)


def make_ensemble(config: EnsembleModelConfig, parts: Parts, *, key: PRNGKeyArray) -> EnsembleModel:
    """The elites of trained networks by `parts.held`; the first members where there are no held-out steps."""
    del key  # nothing is drawn
    networks = parts.networks
    elites = np.arange(min(parts.elites, networks.ensemble.count))
    if parts.held is not None:
        rows = np.arange(0, len(parts.held), -(-len(parts.held) // ROWS))
        elites = best_members(networks.ensemble, parts.scales, parts.held, rows, parts.elites)
    chosen = jnp.asarray(elites, jnp.int32)
    ensemble = eqx.tree_at(lambda e: e.members, networks.ensemble, kept(networks.ensemble.members, chosen))
    return EnsembleModel(ensemble=ensemble, elites=chosen, ends=networks.ends, scales=parts.scales, config=config)
