"""Whether a step ends the MDP: a Bernoulli head on (s, a, s').

Thresholding a diffused flag loses nearly all ends (values stay short of the threshold just before a fall), so the end
is a classification of its own, trained by cross-entropy on all steps and sampled at generation. Departure from DWM
and DAWM, which do not model ends at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from dawm.nets.mlp import MLP


@dataclass(frozen=True)
class EndsConfig:
    """The perceptron of the end classifier."""

    width: int = 128
    depth: int = 2


class EndNetwork(eqx.Module):
    """Logit of the end from standardised (s, a, change, s').

    Where the data hold no terminal step at all the probability is exactly zero (`possible` is 0), not merely small.
    """

    body: MLP
    possible: Float[Array, ""]

    def __init__(self, config: EndsConfig, obs_dim: int, act_dim: int, possible: bool, *, key):
        self.body = MLP(3 * obs_dim + act_dim, 1, width=config.width, depth=config.depth, activation="silu", key=key)
        self.possible = jnp.asarray(float(possible), jnp.float32)

    def logit(self, x: Float[Array, " in"]) -> Float[Array, ""]:
        return self.body(x)[0]

    def probability(self, x: Float[Array, " in"]) -> Float[Array, ""]:
        # compared with 0, not multiplied: weight decay of the optimiser may shrink `possible`
        return jnp.where(self.possible > 0, jax.nn.sigmoid(self.logit(x)), 0.0)


def end_inputs(obs, action, change, next_obs) -> Float[Array, " in"]:
    """What the end network sees; all parts standardised."""
    return jnp.concatenate([obs, action, change, next_obs])


def end_loss(network: EndNetwork, x: Float[Array, "b in"], terminal: Float[Array, " b"]) -> Float[Array, ""]:
    """Mean cross-entropy."""
    return optax.sigmoid_binary_cross_entropy(jax.vmap(network.logit)(x), terminal).mean()
