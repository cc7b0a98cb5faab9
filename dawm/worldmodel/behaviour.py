"""What the log does in a state: the mean action of its policies, a = b(s), by least squares.

The default coordinates of the trajectory model diffuse what actions deviate from it (`coordinates.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.nets.mlp import MLP


@dataclass(frozen=True)
class BehaviourConfig:
    """Its perceptron, of the size of a policy."""

    width: int = 256
    depth: int = 2


class Behaviour(eqx.Module):
    """Scaled mean action in [-1, 1] at a standardised state."""

    network: MLP

    def __init__(self, config: BehaviourConfig, obs_dim: int, act_dim: int, *, key: PRNGKeyArray):
        width, depth = config.width, config.depth
        self.network = MLP(obs_dim, act_dim, width=width, depth=depth, activation="silu", final="tanh", key=key)

    def __call__(self, obs: Float[Array, " obs"]) -> Float[Array, " act"]:
        return self.network(obs)
