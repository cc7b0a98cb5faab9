"""The reward of a recorded step from (s, a, s'): what a planner climbs, so it leans on nothing that it does not need.

    r = w·x + MLP(x),      x = [s, a, s', s' - s] in standard units

w is the least-squares solution and stays. The rows of the perceptron's first matrix, one for each input, start at 0 and
are pulled back there at every update by a group lasso (Yuan & Lin 2006; the proximal step of Parikh & Boyd 2014,
section 6.5.4, with the learning rate as its step),

    row  <-  row · max(0, 1 - rate · sparsity / |row|),

so that only inputs that the reward answers to come in. s' and s' - s say the same twice, and the shorter description
wins: a distance to a target needs the one, a speed the other. The loss is the absolute error, because a jump that was
not foreseen is not this network's to explain.
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dawm.nets.mlp import MLP
from dawm.worldmodel.onestep import Scales
from dawm.worldmodel.squares import Sums, blocks

RIDGE = 1e-6  # on w, per row: the inputs say some things twice


@dataclass(frozen=True)
class RewardConfig:
    """The reward network of planners."""

    width: int = 256
    depth: int = 3
    sparsity: float = 1.0  # pull of every input's weights towards 0; 0 keeps all inputs

    def __post_init__(self):
        if self.sparsity < 0:
            raise ValueError(f"sparsity must be at least 0, got {self.sparsity}")


class RewardNetwork(eqx.Module):
    """The standardised reward of `reward_inputs`."""

    body: MLP
    linear: Float[Array, " in"]  # fitted once, not trained

    def __init__(self, config: RewardConfig, obs_dim: int, act_dim: int, *, key):
        size = 3 * obs_dim + act_dim
        body = MLP(size, 1, width=config.width, depth=config.depth, activation="silu", key=key)
        first = lambda net: net.layers[0].weight
        self.body = eqx.tree_at(first, body, jnp.zeros_like(first(body)))
        self.linear = jnp.zeros(size)

    def __call__(self, x: Float[Array, " in"]) -> Float[Array, ""]:
        return self.body(x)[0] + jax.lax.stop_gradient(self.linear) @ x


def reward_inputs(
    scales: Scales, obs: Float[Array, " obs"], action: Float[Array, " act"], next_obs: Float[Array, " obs"]
) -> Float[Array, " 3*obs+act"]:
    """x of the module docstring."""
    return jnp.concatenate([scales.inputs(obs, action), scales.after(obs, next_obs)])


def begun(network: RewardNetwork, x: Float[np.ndarray, "n in"], y: Float[np.ndarray, " n"]) -> RewardNetwork:
    """The network with w fitted to standardised rewards y; as it is without rows."""
    if not len(x):
        return network
    doubles = lambda rows: (x[rows].astype(np.float64), y[rows, None].astype(np.float64))
    linear = Sums.over(map(doubles, blocks(np.arange(len(x))))).solve(np.full(x.shape[1], RIDGE))[:, 0]
    return eqx.tree_at(lambda n: n.linear, network, jnp.asarray(linear, jnp.float32))


def reward_loss(
    network: RewardNetwork, x: Float[Array, "b in"], y: Float[Array, " b"], weight: Float[Array, " b"]
) -> Float[Array, ""]:
    """Weighted mean absolute error in standard units; the weights sum to one."""
    return weight @ jnp.abs(jax.vmap(network)(x) - y)


def thinned(network: RewardNetwork, pull: Float[Array, ""]) -> RewardNetwork:
    """The proximal step: every input's weights shorter by `pull`, or 0."""
    rows = network.body.layers[0].weight
    norm = jnp.linalg.norm(rows, axis=1, keepdims=True)
    return eqx.tree_at(lambda n: n.body.layers[0].weight, network, rows * jnp.maximum(0, 1 - pull / (norm + 1e-12)))
