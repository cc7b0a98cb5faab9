"""What a trained world model can be asked for single steps as: itself, or one of the networks beside it.

model      futures of the world model, with all that it leaves open
ensemble   the Gaussian ensemble that was trained beside it: no denoising steps
anchor     the point prediction that the world model is built on: no chance, one network, a fiftieth of the cost
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.nets.linear import Linear
from dawm.types import Dynamics, Prediction
from dawm.worldmodel.base import AbstractWorldModel, require_dynamics
from dawm.worldmodel.onestep import Scales, StepNetwork
from dawm.worldmodel.reward import RewardNetwork, reward_inputs
from dawm.worldmodel.yardsticks import gaussian_members

if TYPE_CHECKING:
    from dawm.worldmodel.trained import TrainedModel


class PointPrediction(eqx.Module):
    """A one-step network as dynamics without chance, with rewards of the step that it predicts."""

    network: StepNetwork | Linear
    reward: RewardNetwork
    scales: Scales

    @property
    def count(self) -> int:
        """One member."""
        return 1

    def advance(self, obs, action, source, key: PRNGKeyArray) -> Prediction:
        """See `types.Dynamics`; ends are not predicted."""
        del key
        x = jax.vmap(jax.vmap(self.scales.inputs))(obs, action)
        change = jax.vmap(jax.vmap(self.network))(x)
        following, _ = jax.vmap(jax.vmap(self.scales.outcome))(obs, change)
        told = jax.vmap(jax.vmap(partial(reward_inputs, self.scales)))(obs, action, following)
        reward = self.scales.reward.invert(jax.vmap(jax.vmap(self.reward))(told)[..., None])[..., 0]
        return Prediction(following, reward, jnp.zeros(source.shape))


class Within(eqx.Module):
    """Other dynamics with a price on steps that the log does not hold.

    The reward falls by `price` of its standard deviations for every standard deviation by which the next observation,
    or the change to it, lies beyond what the log holds anywhere, or nearer to that edge than `room`; summed over
    dimensions. It keeps a planner from limits whose price the log never shows, with room for the errors of the
    dynamics; less than the whole range would forbid what is rare and right.
    """

    dynamics: Any
    scales: Scales
    price: float = eqx.field(static=True)
    room: Float[Array, " 2*obs"] | float = 0.0
    alone: bool = eqx.field(static=True, default=False)  # the reward is that distance, at most 0, and nothing else

    @property
    def count(self) -> int:
        """Members."""
        return self.dynamics.count

    def advance(self, obs, action, source, key: PRNGKeyArray) -> Prediction:
        """See `types.Dynamics`."""
        out = self.dynamics.advance(obs, action, source, key)
        after = jax.vmap(jax.vmap(self.scales.after))(obs, out.next_obs)
        least, most = self.scales.least + self.room, self.scales.most - self.room
        beyond = jax.nn.relu(after - most) + jax.nn.relu(least - after)
        if self.alone:
            return out._replace(reward=-beyond.sum(-1))
        return out._replace(reward=out.reward - self.price * self.scales.reward.scale[0] * beyond.sum(-1))


def within(trained: TrainedModel, dynamics: Dynamics, price: float, margin: float) -> Within:
    """`Within` the log of a trained model, with room for `margin` root mean square errors of its point prediction."""
    scales, error = trained.model.scales, trained.networks.error[:-1]
    room = jnp.concatenate([error * scales.change.scale / scales.obs.scale, error])
    return Within(dynamics, scales, price, margin * room)


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
    """One of the dynamics above, each with the model's ends; the first `members` of its members, or all of them.

    Raises ConfigError of a model without dynamics.
    """
    if name == "model":
        require_dynamics(trained.config.model, "looking ahead in it")
        return trained.model if members is None else trained.model.first(members)
    if name == "anchor":
        anchor, reward = trained.networks.anchor, trained.networks.reward
        network = anchor.linear() if anchor.extrapolates else anchor  # the hidden layers would be multiplied by 0
        return Ending(PointPrediction(network, reward, trained.model.scales), trained.model)
    ensemble = trained.networks.ensemble
    kept = None if members is None else np.arange(min(members, ensemble.count))
    return Ending(gaussian_members(ensemble, trained.model.scales, 0.0, kept), trained.model)
