"""How good a world model is on episodes that it never saw, beside the yardsticks on the same windows.

For windows of held-out episodes and h = 1..T: error and CRPS of the state after h steps, in standard deviations of
the state (root mean square over dimensions). The trajectory model sees (s_t, a_t, g) only; the one-step network, the
Gaussian ensemble and a latent model are unrolled with the *recorded* actions, which from the second step on is
information that the trajectory model does not have. At the first step all see the same. `consistency` asks of generated
steps what no recorded future can: does the plain one-step network, given the inferred action, reach the generated next
state? Of a model without dynamics this is all that can be asked: its draws are no forecasts of anything.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.data.windows import Windows
from dawm.types import Segment, Start
from dawm.uncertainty.scores import fair_crps, spread
from dawm.worldmodel.base import AbstractWorldModel
from dawm.worldmodel.inverse import SATURATED
from dawm.worldmodel.networks import Networks
from dawm.worldmodel.rollout import unroll
from dawm.worldmodel.yardsticks import gaussian_members

NOTES = {
    False: "one_step and ensemble are unrolled with the recorded actions; dawm sees the first action only",
    True: "all are unrolled with the recorded actions",
}
NO_DYNAMICS = "the model draws whole transitions and forecasts nothing; the others see the recorded action"


def choose_rows(windows: Windows, count: int, seed: int) -> np.ndarray:
    """Rows at which to measure: at random without repetition."""
    return np.sort(np.random.default_rng(seed).permutation(len(windows))[:count])


def measure(
    model: AbstractWorldModel, networks: Networks, windows: Windows, rows: np.ndarray, samples: int, seed: int
) -> dict[str, Any]:
    """All measurements as plain numbers; see the module docstring. `rows` are start rows in `windows`."""
    arrays = _measured(model, networks, windows, jnp.asarray(rows), samples, jr.key(seed))
    found = jax.tree.map(lambda leaf: leaf.tolist(), arrays)
    models, steps = found["models"], len(found["models"]["one_step"]["rmse"])
    found["consistency"]["unit"] = "standard deviations of the change of state"
    found["inverse"] = {"head": networks.inverse.head, "nll": None} | found["inverse"]
    found |= {
        "horizon": steps,
        "windows": len(rows),
        "samples_per_start": samples,
        "unit": "standard deviations of the state",
        "members_note": NOTES[model.steps == 1] if model.config.dynamics else NO_DYNAMICS,
    }
    if "dawm" in models:
        yardstick = max(models["one_step"]["rmse"][0], 1e-12)
        for name, key in (("first_step_ratio", "rmse"), ("first_step_mean_ratio", "mean_rmse")):
            found[name] = models["dawm"][key][0] / yardstick
    return found


def unknown_share(measured: dict[str, Any]) -> float:
    """What a one-step network leaves unknown of a change of state: the error of its first step over that of "nothing
    changes"; 0 where that was not measured. `measured` is what `measure` returns.
    """
    models = measured.get("models", {})
    errors = [(models.get(name, {}).get("mean_rmse") or [None])[0] for name in ("one_step", "persistence")]
    return errors[0] / errors[1] if errors[0] is not None and errors[1] else 0.0


@eqx.filter_jit
def _measured(
    model: AbstractWorldModel, networks: Networks, windows: Windows, rows: Array, samples: int, key: PRNGKeyArray
) -> dict[str, Any]:
    """All arrays of `measure` in one program."""
    segments = jax.vmap(windows.segment)(rows)
    futures = _futures(model, segments, samples, key)
    steps = futures.action.shape[2]
    yardstick = gaussian_members(networks.ensemble, model.scales, 0.0)
    members = unroll(yardstick, segments, samples, jr.fold_in(key, 1))
    one_step = _unrolled(model, networks.one_step, segments)
    stay = jnp.broadcast_to(segments.obs[:, None, :1], (len(rows), 1, steps, segments.obs.shape[-1]))
    mean_reward = jnp.broadcast_to(model.scales.reward.mean[0], (len(rows), 1, steps))
    own = {"dawm": _errors(model, segments, futures.obs[:, :, 1:], futures.reward)} if model.config.dynamics else {}
    return {
        "models": own
        | {
            "one_step": _errors(model, segments, one_step[0][:, :, :steps], one_step[1][:, :, :steps]),
            "ensemble": _errors(model, segments, members.next_obs[:, :, :steps], members.reward[:, :, :steps]),
            "persistence": _errors(model, segments, stay, mean_reward),
        },
        "consistency": _consistency(model, networks, segments, futures),
        "inverse": _inverse(model, networks, segments),
        "ends": _ends(model, segments, futures),
    }


def _futures(model: AbstractWorldModel, segments: Segment, samples: int, key) -> Segment:
    """(windows, samples, ...) futures of the recorded starts; of a one-step model under the recorded actions."""
    if model.steps == 1 and model.config.dynamics:
        return _one_step_futures(model, segments, samples, key)
    starts = Start(segments.obs[:, 0], segments.action[:, 0], segments.return_to_go, segments.source)
    keys = jr.split(key, (len(segments.return_to_go), samples))
    return jax.lax.map(
        lambda item: jax.vmap(lambda key: model.generate(item[0], key))(item[1]), (starts, keys), batch_size=64
    )


def _one_step_futures(model: AbstractWorldModel, segments: Segment, samples: int, key) -> Segment:
    key_steps, key_ends = jr.split(key)
    out = unroll(model, segments, samples, key_steps)
    many = lambda leaf: jnp.broadcast_to(leaf[:, None], (leaf.shape[0], out.reward.shape[1], *leaf.shape[1:]))
    valid = many(segments.valid)
    return Segment(
        obs=jnp.concatenate([many(segments.obs[:, :1]), out.next_obs], 2),
        action=many(segments.action),
        reward=out.reward,
        terminal=(jr.uniform(key_ends, valid.shape) < out.terminal_prob) & valid,
        valid=valid,
        return_to_go=many(segments.return_to_go),
        source=many(segments.source),
    )


def _unrolled(model: AbstractWorldModel, network, segments: Segment) -> tuple[Array, Array]:
    """States and rewards (windows, 1, steps, ...) of a deterministic network under the recorded actions."""

    def one(segment):
        def step(obs, action):
            following, reward = model.scales.outcome(obs, network(model.scales.inputs(obs, action)))
            return following, (following, reward)

        return jax.lax.scan(step, segment.obs[0], segment.action)[1]

    obs, reward = jax.vmap(one)(segments)
    return obs[:, None], reward[:, None]


def _errors(model: AbstractWorldModel, segments: Segment, obs: Array, reward: Array) -> dict[str, Array]:
    """Errors per step of states (windows, samples, steps, obs) and rewards (windows, samples, steps)."""
    steps = obs.shape[2]
    valid = segments.valid[:, :steps]
    truth = segments.obs[:, 1 : steps + 1] / model.scales.obs.scale
    scaled = jnp.moveaxis(obs / model.scales.obs.scale, 1, 0)  # samples first
    per_step = lambda x: _per_step(x.mean(-1), valid)
    reward_error = jnp.square(jnp.moveaxis(reward, 1, 0) - segments.reward[:, :steps]).mean(0)
    return {
        "rmse": jnp.sqrt(per_step(jnp.square(scaled - truth).mean(0))),
        "mean_rmse": jnp.sqrt(per_step(jnp.square(scaled.mean(0) - truth))),
        "crps": per_step(fair_crps(scaled, truth)),
        "spread": jnp.sqrt(per_step(jnp.square(spread(scaled)))),
        "reward_rmse": jnp.sqrt(_per_step(reward_error, valid)),
    }


def _per_step(x: Float[Array, "n steps"], valid: Array) -> Float[Array, " steps"]:
    return jnp.where(valid, x, 0.0).sum(0) / jnp.maximum(valid.sum(0), 1)


def _consistency(model: AbstractWorldModel, networks: Networks, segments: Segment, futures: Segment) -> dict[str, Any]:
    """RMSE of the plain one-step network, in standard deviations of the change: on generated steps and on recorded
    ones.
    """

    def error(obs, action, next_obs):
        predicted = networks.one_step(model.scales.inputs(obs, action))[:-1]
        return jnp.square(predicted - model.scales.change.apply(next_obs - obs)).mean()

    over = lambda f, n: jax.vmap(f) if n == 1 else jax.vmap(over(f, n - 1))
    generated = over(error, 3)(futures.obs[:, :, :-1], futures.action, futures.obs[:, :, 1:])
    recorded = over(error, 2)(segments.obs[:, :-1], segments.action, segments.obs[:, 1:])
    valid = futures.valid
    per_step = jnp.where(valid, generated, 0).sum((0, 1)) / jnp.maximum(valid.sum((0, 1)), 1)
    return {
        "generated": jnp.sqrt(per_step),
        "recorded": jnp.sqrt((recorded * segments.valid).sum() / segments.valid.sum()),
    }


def _inverse(model: AbstractWorldModel, networks: Networks, segments: Segment) -> dict[str, Array]:
    """Held-out action error (actions scaled to [-1, 1]), likelihood, and cycle error through the anchor."""
    scales, inverse = model.scales, networks.inverse
    obs, action, following = segments.obs[:, 0], scales.action(segments.action[:, 0]), segments.obs[:, 1]
    obs_z, change = scales.obs.apply(obs), scales.change.apply(following - obs)
    inferred = jax.vmap(inverse.infer)(obs_z, change)
    reached = jax.vmap(networks.anchor)(jnp.concatenate([obs_z, inferred], 1))[:, :-1]
    direct = jax.vmap(networks.anchor)(jnp.concatenate([obs_z, action], 1))[:, :-1]
    error = jnp.square(inferred - action).mean()
    out = {
        "rmse": jnp.sqrt(error),
        "r2": 1 - error / jnp.maximum(jnp.square(action - action.mean(0)).mean(), 1e-12),
        "cycle_rmse": jnp.sqrt(jnp.square(reached - change).mean()),
        "recorded_action_rmse": jnp.sqrt(jnp.square(direct - change).mean()),
    }
    if inverse.head == "gaussian":
        inside = jnp.clip(action, -SATURATED, SATURATED)
        out["nll"] = -jax.vmap(inverse.log_prob)(obs_z, change, inside).mean()
    return out


def _ends(model: AbstractWorldModel, segments: Segment, futures: Segment) -> dict[str, Array]:
    """Share of steps that end, recorded and generated, and the Brier score of the end on recorded steps."""
    probability = jax.vmap(jax.vmap(model.end_probability))(segments.obs[:, :-1], segments.action, segments.obs[:, 1:])
    valid = segments.valid
    steps = futures.valid.shape[2]
    return {
        "real_rate": segments.terminal[:, :steps].sum() / valid[:, :steps].sum(),
        "generated_rate": futures.terminal.sum() / futures.valid.sum(),
        "brier": jnp.where(valid, jnp.square(probability - segments.terminal), 0).sum() / valid.sum(),
    }
