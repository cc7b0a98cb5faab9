"""The value of a policy from the log alone: fitted Q evaluation (Le et al. 2019, arXiv 1903.08738, algorithm 3).

    min_Q  E_log w_e [ (Q(s, a) − y)² ],   y = r + γ (1 − terminal) Q'(s', π(s'))
    V      = Σ_e w_e Q(s_0^e, π(s_0^e)) / Σ_e w_e,   s_0^e the first state of episode e

Each of several critics sees the log as one draw of a bootstrap over episodes: w_e is how often it drew episode e
(Hao et al. 2021, arXiv 2102.03607). Critics learn (Q − c) / k, with c and k the mean and the standard deviation of the
log's returns-to-go: they begin near the scale of the answer. All policies and critics are trained in one program, on
the same batches and from the same weights, so that differences between policies are sharper than values.

The interval covers what another log of as many episodes would have changed. It does not cover the bias of a network
that is asked about actions far from the log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float

from dawm.agents.critics import moved
from dawm.data.dataset import Dataset
from dawm.nets.ensemble import stack
from dawm.nets.mlp import MLP
from dawm.run.loop import LoopConfig, fit


@dataclass(frozen=True)
class FQEConfig:
    """Departure from common practice: a target that follows ten times faster than a learner's, with LayerNorm. The
    policy stands still, and at 0.005 a discount of 0.99 takes 20,000 updates to lose two thirds of the first error.
    """

    members: int = 5  # critics, each on a bootstrap of the episodes
    discount: float = 0.99
    learning_rate: float = 3e-4
    target_update_rate: float = 0.05
    batch_size: int = 256
    width: int = 256
    depth: int = 2
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(10_000, 500, 10_000, 10_000))
    seed: int = 0

    def __post_init__(self):
        if self.members < 2:
            raise ValueError(f"members must be at least 2, for an interval; got {self.members}")
        if not 0 <= self.discount < 1:
            raise ValueError(f"discount must be in [0, 1), got {self.discount}")
        if not 0 < self.target_update_rate <= 1:
            raise ValueError(f"target_update_rate must be in (0, 1], got {self.target_update_rate}")


class Rows(NamedTuple):
    """The log on the device, with what p policies would do; observations standardised, actions in [-1, 1]."""

    obs: Float[Array, "n obs"]
    action: Float[Array, "n act"]
    reward: Float[Array, " n"]
    next_obs: Float[Array, "n obs"]
    goes_on: Float[Array, " n"]
    next_action: Float[Array, "p n act"]
    weight: Float[Array, "m n"]


def fitted_values(
    data: Dataset,
    next_action: Float[np.ndarray, "p n act"],
    first_action: Float[np.ndarray, "p e act"],
    config: FQEConfig | None = None,
) -> Float[np.ndarray, "p m"]:
    """Discounted returns of p policies by m critics, in raw rewards.

    The policies are known by what they do at `data.next_obs` and at the first states of the episodes, in raw actions.
    Raises NumericalError when training diverges.
    """
    config = config or FQEConfig()
    rng = np.random.default_rng([config.seed, 1])
    counts = rng.multinomial(data.episodes, np.full(data.episodes, 1 / data.episodes), config.members)  # (m, e)
    mean, scale = data.obs.mean(0), data.obs.std(0) + 1e-3
    known = (data.obs - mean) / scale
    unit = lambda action: (np.asarray(action) - data.spec.act_centre) / data.spec.act_scale
    to_go = data.return_to_go(config.discount)
    centre, spread = float(to_go.mean()), float(to_go.std()) + 1e-6
    log = (known, unit(data.action), data.reward, (data.next_obs - mean) / scale, 1.0 - data.terminal)
    rows = Rows(*(jnp.asarray(leaf, jnp.float32) for leaf in (*log, unit(next_action), counts[:, data.episode_of])))
    policies, optimiser = len(next_action), optax.adam(config.learning_rate)

    def build(key):
        size = {"width": config.width, "depth": config.depth, "layer_norm": True}
        return MLP(data.spec.obs_dim + data.spec.act_dim, 1, **size, key=key)

    @eqx.filter_jit
    def init(key):
        one = stack(build, config.members, key)  # the same critics for every policy
        critics = jax.tree.map(lambda x: jnp.stack([x] * policies) if eqx.is_array(x) else x, one)
        return critics, critics, optimiser.init(eqx.filter(critics, eqx.is_inexact_array))

    def update(state, rows, key):
        critics, targets, opt = state
        index = jr.randint(key, (config.batch_size,), 0, len(rows.reward))
        obs, action, reward, next_obs, goes_on = (leaf[index] for leaf in rows[:5])
        ahead = values(targets, next_obs, rows.next_action[:, index])
        y = (reward + config.discount * goes_on * (centre + spread * ahead) - centre) / spread

        def loss(critics):
            q = values(critics, obs, jnp.broadcast_to(action, (policies, *action.shape)))
            return (rows.weight[:, index] * jnp.square(q - y)).mean(-1).sum()

        error, grad = eqx.filter_value_and_grad(loss)(critics)
        change, opt = optimiser.update(grad, opt)
        critics = eqx.apply_updates(critics, change)
        return (critics, moved(targets, critics, config.target_update_rate), opt), {"loss": error}

    state = init(jr.key(config.seed))
    _, targets, _ = fit(update, state, rows, config.loop, seed=config.seed, label="fitted Q evaluation")
    first = known[data.episode_starts]
    q = values(targets, jnp.asarray(first, jnp.float32), jnp.asarray(unit(first_action), jnp.float32))  # (p, m, e)
    return np.asarray(((centre + spread * q) * counts).sum(-1) / counts.sum(-1))


@eqx.filter_jit
def values(critics: MLP, obs: Float[Array, "b obs"], action: Float[Array, "p b act"]) -> Float[Array, "p m b"]:
    """Of every critic of every policy at its own actions."""

    def of_policy(critics, action):
        x = jnp.concatenate([obs, action], -1)
        return eqx.filter_vmap(lambda critic: jax.vmap(critic)(x)[:, 0])(critics)

    return eqx.filter_vmap(of_policy)(critics, action)
