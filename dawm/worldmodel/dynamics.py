"""What a trained world model can be asked for single steps as: itself, or the ensemble that was trained beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from dawm.types import Dynamics, Prediction
from dawm.worldmodel.base import AbstractWorldModel, require_dynamics
from dawm.worldmodel.yardsticks import gaussian_members

if TYPE_CHECKING:
    from dawm.worldmodel.trained import TrainedModel


class Ending(eqx.Module):
    """Other dynamics with the ends of a world model."""

    dynamics: Any
    model: AbstractWorldModel

    @property
    def count(self) -> int:
        """Members."""
        return self.dynamics.count

    def advance(self, obs, action, source, key: PRNGKeyArray) -> Prediction:
        """See `types.Dynamics`."""
        out = self.dynamics.advance(obs, action, source, key)
        ends = jax.vmap(jax.vmap(self.model.end_probability))(obs, action, out.next_obs)
        return out._replace(terminal_prob=ends)


def dynamics_of(trained: TrainedModel, name: str, members: int | None = None) -> Dynamics:
    """The diffusion model ("model"), or the Gaussian ensemble with the model's ends ("ensemble"), which needs no
    denoising; the first `members` of its members, or all of them. Raises ConfigError of a model without dynamics.
    """
    if name == "model":
        require_dynamics(trained.config.model, "looking ahead in it")
        return trained.model if members is None else trained.model.first(members)
    ensemble = trained.networks.ensemble
    kept = None if members is None else np.arange(min(members, ensemble.count))
    return Ending(gaussian_members(ensemble, trained.model.scales, 0.0, kept), trained.model)
