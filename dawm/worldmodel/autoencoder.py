"""The autoencoder of the latent model: outcomes y of a step to latents z and back to a distribution over outcomes.

    encode   q(z | y, c) = N(mu(y, c), diag exp(2 rho(y, c)))
    decode   p(y | z, c) = N(m(z, c), diag s(z, c)^2)
    loss     E_q[-log p(y | z, c)] / dim y  +  kl * KL(q(z | y, c) || N(0, I)) / dim z

y is the whitened residual of a one-step anchor (change of state and reward), c the encoding of state, action and
provenance, with the exact state and action beside it. After Kingma and Welling 2014 (arXiv 1312.6114) and Higgins et
al. 2017 (beta-VAE); the diffusion learns the aggregate posterior of z given c afterwards, as in latent diffusion
(Rombach et al. 2022), so the KL term need only keep z of order one and smooth.

Departure: both terms are per dimension, so that `kl` means the same for tasks of every size.
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.nets.mlp import MLP


@dataclass(frozen=True)
class AutoencoderConfig:
    """Two perceptrons and the weight of the regulariser."""

    dim: int = 0  # of the latent; 0 takes as many as the outcome has
    width: int = 128
    depth: int = 2
    kl: float = 0.05  # weight of the KL term; 1 is the evidence lower bound, 0 a plain autoencoder
    smallest_scale: float = 0.01  # of the decoded distribution, in standard deviations of the residual

    def __post_init__(self):
        if self.dim < 0 or self.width < 1 or self.depth < 1:
            raise ValueError(f"dim must be at least 0, width and depth at least 1, got {self}")
        if self.kl < 0 or not 0 < self.smallest_scale < 1:
            raise ValueError(
                f"kl must be at least 0 and smallest_scale in (0, 1), got {self.kl}, {self.smallest_scale}"
            )


class Autoencoder(eqx.Module):
    """Encoder and decoder of one outcome."""

    encoder: MLP
    decoder: MLP
    config: AutoencoderConfig = eqx.field(static=True)

    def __init__(self, config: AutoencoderConfig, outcome: int, context: int, *, key: PRNGKeyArray):
        keys, latent = jr.split(key), config.dim or outcome
        settings = {"width": config.width, "depth": config.depth, "activation": "silu"}
        self.encoder = MLP(outcome + context, 2 * latent, **settings, key=keys[0])
        self.decoder = MLP(latent + context, 2 * outcome, **settings, key=keys[1])
        self.config = config

    def encode(
        self, y: Float[Array, " out"], context: Float[Array, " c"]
    ) -> tuple[Float[Array, " latent"], Float[Array, " latent"]]:
        """Mean and log standard deviation of the latent."""
        mean, raw = jnp.split(self.encoder(jnp.concatenate([jnp.tanh(y / 5) * 5, context])), 2)
        return mean, -5.0 + jax.nn.softplus(raw + 3.0) - jax.nn.softplus(raw - 3.0)  # smooth, in (-5, 1)

    def decode(
        self, z: Float[Array, " latent"], context: Float[Array, " c"]
    ) -> tuple[Float[Array, " out"], Float[Array, " out"]]:
        """Mean and standard deviation of the outcome."""
        mean, raw = jnp.split(self.decoder(jnp.concatenate([z, context])), 2)
        return mean, self.config.smallest_scale + jax.nn.softplus(raw)

    def loss(
        self, y: Float[Array, " out"], counted: Float[Array, ""], context: Float[Array, " c"], key: PRNGKeyArray
    ) -> tuple[Array, Array, dict[str, Array]]:
        """(loss, a draw of the latent, its parts) of one outcome; `counted` is 0 for an outcome that is unknown."""
        mean, log_std = self.encode(y, context)
        z = mean + jnp.exp(log_std) * jr.normal(key, mean.shape)
        centre, scale = self.decode(z, context)
        nll = (0.5 * jnp.square((y - centre) / scale) + jnp.log(scale)).mean()
        kl = (0.5 * (jnp.exp(2 * log_std) + jnp.square(mean) - 1) - log_std).mean()
        parts = {"reconstruction": counted * nll, "kl": counted * kl}
        return counted * (nll + self.config.kl * kl), z, parts


def active_dimensions(means: Float[Array, "n latent"], threshold: float = 0.01) -> Float[Array, ""]:
    """Latent dimensions whose posterior mean varies over the data: Var_y(E_q[z]) > threshold (Burda et al. 2016)."""
    return (means.var(0) > threshold).sum()
