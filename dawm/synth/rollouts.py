"""Futures that a policy lives through: the branched rollouts of MBPO and MOPO.

    s_0 recorded,   a_t = clip(pi(s_t) + noise * half the action range * n_t),   (s_{t+1}, r_t, p_t) ~ model(s_t, a_t)

Every future keeps one member of the model (TS-inf of PETS, as in `worldmodel.rollout.unroll`) and one seed of the
policy from its first step to its last, and stops at its first end. Members change fastest, so that with enough futures
every member meets every seed.

Source: Janner et al. 2019 (MBPO, algorithm 2); Yu et al. 2020 (MOPO, algorithm 2). Departures: the policy is one that
was trained before and stands still, where theirs is the one that is being trained; members are kept, where theirs are
drawn anew at every step; ends are drawn from the model's probability.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from dawm.agents.policy import RawActors, TrainedPolicy
from dawm.errors import ConfigError, NumericalError
from dawm.types import Dynamics, Segment, Start
from dawm.worldmodel.rollout import advance_rows

BLOCK = 1024  # futures in one compiled call, or a few more


def roll(
    model: Dynamics, policy: TrainedPolicy, starts: Start, length: int, noise: float, key: PRNGKeyArray
) -> Segment:
    """Futures (n, length, ...) of n starts under a policy; NumPy arrays in raw units, padded after an end.

    The starts' actions and returns are not read. `noise` is the standard deviation of what is added to every action, in
    units of half the action range. Raises NumericalError where the model leaves the finite numbers.
    """
    n, together = len(starts.source), model.count * policy.members
    size = -(-min(n, BLOCK) // together) * together
    parts = []
    for first in range(0, n, size):
        rows = np.minimum(np.arange(first, first + size), n - 1)  # the last block repeats its last start
        block = starts.obs[rows], starts.source[rows]
        made = _lived(model, policy.traced, *block, length, noise, jr.fold_in(key, first))
        parts.append([np.asarray(leaf)[: n - first] for leaf in made])
    obs, action, reward, ends = (np.concatenate(leaves) for leaves in zip(*parts, strict=True))
    valid = np.cumsum(ends, 1) - ends == 0
    _check_finite(obs[:, 1:], reward, valid)
    reached = np.minimum(np.arange(length + 1), valid.sum(1, keepdims=True))  # after the end it stays where it ended
    return Segment(
        obs=np.take_along_axis(obs, reached[..., None], 1),
        action=np.where(valid[..., None], action, 0.0).astype(action.dtype),
        reward=np.where(valid, reward, 0.0).astype(reward.dtype),
        terminal=ends & valid,
        valid=valid,
        return_to_go=np.asarray(starts.return_to_go),
        source=np.asarray(starts.source),
    )


@eqx.filter_jit
def _lived(
    model: Dynamics, policy: RawActors, obs: Float[Array, "n obs"], source: Int[Array, " n"], length: int,
    noise: float, key: PRNGKeyArray,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """(states (n, length + 1, obs), actions, rewards, ends (n, length, ...)); nothing stops at an end."""
    n, m = len(source), model.count
    scale, low, high = (jnp.asarray(bound) for bound in policy.bounds[1:])
    members = jax.tree.leaves(eqx.filter(policy.actor, eqx.is_array))[0].shape[0]
    # future i is of member i mod m and of seed (i // m) mod seeds

    def act(obs):
        grouped = jnp.swapaxes(obs.reshape(-1, members, m, obs.shape[-1]), 0, 1)
        action = policy(grouped.reshape(members, -1, obs.shape[-1]))
        return jnp.swapaxes(action.reshape(*grouped.shape[:3], -1), 0, 1).reshape(n, -1)

    def step(obs, key):
        key_act, key_step, key_end = jr.split(key, 3)
        action = act(obs)
        if noise > 0:
            action = jnp.clip(action + noise * scale * jr.normal(key_act, action.shape), low, high)
        out = advance_rows(model, obs, action, source, key_step)
        ends = jr.uniform(key_end, (n,)) < out.terminal_prob
        return out.next_obs, (out.next_obs, action, out.reward, ends)

    _, (following, *columns) = jax.lax.scan(step, obs, jr.split(key, length))
    states = jnp.concatenate([obs[None], following])
    return tuple(jnp.swapaxes(leaf, 0, 1) for leaf in (states, *columns))  # type: ignore[return-value]


def _check_finite(
    next_obs: Float[np.ndarray, "n h obs"], reward: Float[np.ndarray, "n h"], valid: Bool[np.ndarray, "n h"]
) -> None:
    """Raise NumericalError for the earliest step at which a future is not finite."""
    bad = valid & ~(np.isfinite(next_obs).all(-1) & np.isfinite(reward))
    if bad.any():
        steps = np.flatnonzero(bad.any(0))
        raise NumericalError(
            f"{bad.any(1).sum():,} of {len(bad):,} futures under the policy leave the finite numbers, the first at step"
            f" {steps[0] + 1} of {valid.shape[1]}. Lower generate.length."
        )


def check_policy(policy: TrainedPolicy | None, actions: str, sizes: tuple[int, int]) -> None:
    """Raise ConfigError unless there is a policy exactly where one acts, and it is of a task of these (observation,
    action) dimensions.
    """
    if (policy is not None) != (actions == "policy"):
        raise ConfigError(
            "generate.actions = policy needs the policy that acts: give its run folder with --policy."
            if policy is None
            else "a policy is given and generate.actions is `model`: set it to `policy`, or leave the policy out."
        )
    if policy is not None and (found := (policy.spec.obs_dim, policy.spec.act_dim)) != sizes:
        raise ConfigError(
            f"the policy has {found[0]} observation and {found[1]} action dimensions, the model {sizes[0]} and"
            f" {sizes[1]}: they belong to different tasks."
        )
