"""TD3+BC whose critics know the distribution of the return, and whose policy may be careful about it.

    critics  quantiles z_k(s, a) at levels (2 k − 1) / 2 N, by the quantile Huber loss against
             r + γ (1 − p) z'_k(s', a') of all futures of the transition (one, if only the recorded outcome is known),
             sorted together and read at the same levels; z' of the critic whose mean is lower
    actor    min_π  E [ −λ ρ(z_1(s, π(s))) + (π(s) − a)² ],   λ = alpha / mean |ρ|

ρ is a risk measure over the quantiles: `caution`. Quantile regression after Dabney et al. 2018 (arXiv 1710.10044,
eq. 10), the careful policy after Urpí et al. 2021 (O-RAAC, arXiv 2102.05371); all else as `td3bc`.

Departures: two critics, the lower by its mean (TD3's twin minimum), where O-RAAC has one; no perturbation policy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dawm.agents.base import Learner, imitation, weighted
from dawm.agents.critics import TwinCritic
from dawm.agents.targets import RiskConfig, Target, one_step, risk
from dawm.agents.td3 import Form, TD3Config, make_td3
from dawm.types import Spec

HUBER = 1.0  # where the loss turns from square to linear


@dataclass(frozen=True)
class QuantileConfig(TD3Config):
    """Defaults: those of `td3bc`."""

    kind: Literal["quantile"] = "quantile"
    alpha: float = 2.5  # weight of ρ against cloning
    quantiles: int = 25
    caution: RiskConfig = field(default_factory=RiskConfig)  # ρ; policy.risk, over futures, is not used here

    def __post_init__(self):
        super().__post_init__()
        if self.quantiles < 2:
            raise ValueError(f"quantiles must be at least 2, got {self.quantiles}")
        if self.caution.measure == "disagree":
            raise ValueError("caution is over the quantiles of one critic: disagree compares the members of a model")


def make_quantile(config: QuantileConfig, spec: Spec, steps: int, target: Target = one_step) -> Learner:
    """TD3+BC with quantile critics; metrics of `td3.make_td3`."""
    del steps  # no schedule depends on the length of the run
    count = config.quantiles

    def next_value(critic, obs, action):
        z = critic.rows(obs, action)
        lower = z.mean(-1).argmin(-1)
        return jnp.take_along_axis(z, lower[:, None, None], 1)[:, 0]

    def targets(target, value, batch, _):
        found = target.outcomes(value, batch, config.discount)  # (b, futures, quantiles)
        return read_at_levels(found.reshape(len(found), -1), count)

    def critic_loss(critic, batch, y):
        z = critic.rows(batch.obs, batch.action)
        return weighted(quantile_loss(z, y[:, None]), batch).mean(0).sum(), z.mean()

    def actor_loss(worth, action, batch):
        weight = config.alpha / jax.lax.stop_gradient(weighted(jnp.abs(worth), batch).mean())
        return -weight * weighted(worth, batch).mean() + imitation(jnp.square(action - batch.action).mean(-1), batch)

    size: dict[str, Any] = {"width": config.width, "depth": config.depth}
    form = Form(
        critic=lambda key: TwinCritic(spec.obs_dim, spec.act_dim, **size, outputs=count, key=key),
        next_value=next_value,
        targets=targets,
        critic_loss=critic_loss,
        climbs=lambda critic, obs, action: risk(jax.vmap(critic.first)(obs, action), config.caution),
        actor_loss=actor_loss,
    )
    return make_td3(config, spec, form, target)


def levels(count: int) -> np.ndarray:
    """The levels of `count` quantiles."""
    return ((np.arange(count) + 0.5) / count).astype(np.float32)


def read_at_levels(samples: Float[Array, "b m"], count: int) -> Float[Array, "b count"]:
    """Quantiles of equally likely samples at the levels of `count`; the sorted samples themselves if m = count."""
    m = samples.shape[1]
    return jnp.sort(samples, -1)[:, np.minimum((levels(count) * m).astype(int), m - 1)]


def quantile_loss(z: Float[Array, "*b n"], y: Float[Array, "*#b m"]) -> Float[Array, "*b"]:
    """Quantile Huber loss of n quantiles against m samples: the sum over quantiles of the mean over samples."""
    error = y[..., None, :] - z[..., :, None]
    size = jnp.abs(error)
    huber = jnp.where(size <= HUBER, 0.5 * error**2, HUBER * (size - 0.5 * HUBER))
    weight = jnp.abs(levels(z.shape[-1])[:, None] - (error < 0))
    return (weight * huber / HUBER).mean(-1).sum(-1)
