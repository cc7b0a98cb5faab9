"""The first of two phases of training: every network that looks at one step only, all in one program.

They are the parts that the trajectory model is built on (anchor, behaviour, inverse dynamics, ends) and the yardsticks
that it is measured against (a plain one-step network and a Gaussian ensemble, trained on the same rows for the same
updates). Their losses share no parameter, so one optimiser step on the sum trains each as if it were alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from dawm.data.arrays import next_obs_unknown
from dawm.data.dataset import Dataset
from dawm.data.normalise import Standard
from dawm.nets.ensemble import restack, size, stack, unstack
from dawm.run.feed import Feed
from dawm.run.folder import RunFolder
from dawm.run.loop import LoopConfig, fit
from dawm.run.mesh import split_rows, spread
from dawm.run.optim import OptimConfig, learning_rate, make_optimiser, updates_done
from dawm.types import Spec, Transition, tree_rows
from dawm.worldmodel.behaviour import Behaviour, BehaviourConfig
from dawm.worldmodel.ends import EndNetwork, EndsConfig, end_inputs, end_loss
from dawm.worldmodel.inverse import InverseConfig, InverseDynamics
from dawm.worldmodel.onestep import (
    EnsembleConfig,
    GaussianEnsemble,
    Scales,
    StepConfig,
    StepNetwork,
    ensemble_loss,
    step_loss,
)
from dawm.worldmodel.readout import settled
from dawm.worldmodel.reward import RewardConfig, RewardNetwork, begun, reward_inputs, reward_loss, thinned
from dawm.worldmodel.squares import thin


@dataclass(frozen=True)
class NetworksConfig:
    """The one-step networks and their training."""

    anchor: StepConfig = field(default_factory=StepConfig)
    behaviour: BehaviourConfig = field(default_factory=BehaviourConfig)
    inverse: InverseConfig = field(default_factory=InverseConfig)
    ends: EndsConfig = field(default_factory=EndsConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    one_step: StepConfig = field(default_factory=lambda: StepConfig(linear_skip=False))  # yardstick
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)  # yardstick
    closed_readout: bool = True  # of the anchors: last layers by least squares, every output in its simplest form
    batch_size: int = 256
    optim: OptimConfig = field(default_factory=OptimConfig)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=10_000))


Rows = tuple[Transition, Array, Array]  # transitions, whether next_obs was recorded, fold


class Networks(eqx.Module):
    """Everything that is trained in this phase."""

    anchor: StepNetwork
    folds: StepNetwork | None  # stacked: anchor k never saw the rows of fold k, so its errors there are honest
    behaviour: Behaviour
    inverse: InverseDynamics
    ends: EndNetwork
    reward: RewardNetwork
    one_step: StepNetwork
    ensemble: GaussianEnsemble
    error: Float[Array, " obs+1"]  # of the anchor: root mean squares over the rows, standardised (change, reward)

    def __init__(
        self, config: NetworksConfig, obs_dim: int, act_dim: int, can_end: bool, members: int = 0, *, key: PRNGKeyArray
    ):
        keys = jr.split(key, 5)
        self.anchor = StepNetwork(config.anchor, obs_dim, act_dim, key=keys[0])
        anchor = lambda key: StepNetwork(config.anchor, obs_dim, act_dim, key=key)
        self.folds = stack(anchor, members, jr.fold_in(key, 5)) if members else None
        self.behaviour = Behaviour(config.behaviour, obs_dim, act_dim, key=jr.fold_in(key, 7))
        self.inverse = InverseDynamics(config.inverse, obs_dim, act_dim, key=keys[1])
        self.ends = EndNetwork(config.ends, obs_dim, act_dim, can_end, key=keys[2])
        self.reward = RewardNetwork(config.reward, obs_dim, act_dim, key=jr.fold_in(key, 6))
        self.one_step = StepNetwork(config.one_step, obs_dim, act_dim, key=keys[3])
        self.ensemble = GaussianEnsemble(config.ensemble, obs_dim, act_dim, key=keys[4])
        self.error = jnp.zeros(obs_dim + 1)  # measured after training


def fit_scales(data: Dataset, spec: Spec) -> Scales:
    """Units of states, changes, rewards and actions, and the range of the log, from the training episodes."""
    obs, change = Standard.fit(data.obs), Standard.fit(data.next_obs - data.obs)
    after = np.concatenate([data.next_obs, data.next_obs - data.obs], 1)
    both = Standard(jnp.concatenate([obs.mean, change.mean]), jnp.concatenate([obs.scale, change.scale]))
    return Scales(
        obs=obs,
        change=change,
        reward=Standard.fit(data.reward[:, None]),
        least=both.apply(jnp.asarray(after.min(0), jnp.float32)),
        most=both.apply(jnp.asarray(after.max(0), jnp.float32)),
        act_centre=jnp.asarray(spec.act_centre),
        act_scale=jnp.asarray(spec.act_scale),
    )


def device_rows(data: Dataset) -> tuple[Transition, Bool[Array, " n"]]:
    """All transitions as device arrays, float32, and on which of them the next observation was recorded."""
    move = lambda leaf: jnp.asarray(leaf, jnp.float32 if np.issubdtype(leaf.dtype, np.floating) else leaf.dtype)
    return jax.tree.map(move, data.transitions()), jnp.asarray(~next_obs_unknown(data))


def fold_of(data: Dataset, count: int, seed: int) -> Int[np.ndarray, " n"]:
    """Which of `count` groups of whole episodes each row is in; with fewer episodes than groups, of rows by blocks.

    All 0 where there are no groups, or one.
    """
    return folds(data.lengths, count, seed)


def folds(lengths: Int[np.ndarray, " e"], count: int, seed: int) -> Int[np.ndarray, " n"]:
    """`fold_of` the rows of episodes of these lengths."""
    count, n = max(1, count), int(lengths.sum())
    order = np.random.default_rng([seed, count]).permutation(len(lengths))
    if len(lengths) >= count:
        return np.repeat(np.argsort(order) % count, lengths)
    return np.arange(n) * 4 * count // n % count


def train_networks(
    data: Dataset,
    scales: Scales,
    config: NetworksConfig,
    *,
    members: int = 0,
    seed: int,
    folder: RunFolder | None,
    monitor=None,
    rows: Feed | None = None,
) -> Networks:
    """Train all of them on the rows of `data`, with cross-fitted anchors for `members` folds; resumes from
    `folder`. `rows` feeds those of the training, where `data` are only a part of them.
    """
    key = jr.fold_in(jr.key(seed), 1)
    sizes = data.obs.shape[1], data.action.shape[1], bool(data.terminal.any()), members
    networks = eqx.filter_jit(lambda key: Networks(config, *sizes, key=key))(key)  # one program, not one per layer
    whole = lambda: (*device_rows(data), jnp.asarray(fold_of(data, members, seed)))
    some = whole() if rows is None else rows.make(0)
    networks = eqx.tree_at(lambda n: n.reward, networks, _begun(networks.reward, some, scales))
    optimiser = make_optimiser(config.optim, config.loop.steps, apart=True)
    rate = learning_rate(config.optim, config.loop.steps)
    state = (networks, jax.jit(optimiser.init)(eqx.filter(networks, eqx.is_inexact_array)))
    count = config.ensemble.members

    def update(state, inputs, key):
        networks, opt = state
        rows, scales = inputs
        index = spread(jr.randint(key, (1 + count + members, config.batch_size), 0, len(rows[1])), axis=1)
        (_, metrics), grads = eqx.filter_value_and_grad(_loss, has_aux=True)(networks, scales, tree_rows(rows, index))
        step, opt = optimiser.update(grads, opt, eqx.filter(networks, eqx.is_inexact_array))
        networks = eqx.apply_updates(networks, step)
        pull = config.reward.sparsity * jnp.asarray(rate(updates_done(opt)))
        return (eqx.tree_at(lambda n: n.reward, networks, thinned(networks.reward, pull)), opt), metrics

    inputs = (some, scales) if rows is None else rows.then(lambda rows: (rows, scales))
    state = fit(
        update, state, inputs, config.loop,
        seed=seed, folder=folder, monitor=monitor and (lambda step, state: monitor(state[0])),
        label="one-step networks", layout=split_rows(config.batch_size),
    )  # fmt: skip
    networks = _settle(state[0], some, scales) if config.closed_readout else state[0]
    return eqx.tree_at(lambda n: n.error, networks, _error(networks.anchor, scales, some[0], some[1]))


def _begun(network: RewardNetwork, rows: Rows, scales: Scales) -> RewardNetwork:
    """The reward network before training; its linear part is fitted on at most `squares.ROWS` of the rows."""
    transitions, recorded, _ = rows
    use = thin(np.asarray(recorded))
    few = tree_rows(transitions, use)
    x = eqx.filter_jit(jax.vmap(partial(reward_inputs, scales)))(few.obs, few.action, few.next_obs)
    return begun(network, np.asarray(x), np.asarray(scales.reward.apply(few.reward[:, None])[:, 0]))


def _settle(networks: Networks, rows: Rows, scales: Scales) -> Networks:
    """The anchors with their last layers in closed form; see `readout.py`. An anchor of a fold is fitted on what it
    was trained on and judged on its fold; the one of all rows is judged on a fifth of them.
    """
    transitions, recorded, fold = rows[0], np.asarray(rows[1]), np.asarray(rows[2])
    x, y = (np.asarray(leaf) for leaf in _pairs(scales, transitions))
    part = np.arange(len(recorded)) * 20 // len(recorded) % 5 == 4  # every fifth of twenty stretches
    anchor = settled(networks.anchor, x, y, recorded & ~part, recorded & part, again=True)
    if networks.folds is None:
        return eqx.tree_at(lambda n: n.anchor, networks, anchor)
    anchors, alone = unstack(networks.folds), size(networks.folds) < 2
    judged = lambda k: part if alone else fold == k
    each = [
        settled(one, x, y, recorded & ~judged(k), recorded & judged(k), again=alone) for k, one in enumerate(anchors)
    ]
    return eqx.tree_at(lambda n: (n.anchor, n.folds), networks, (anchor, restack(each)))


@eqx.filter_jit
def _error(anchor: StepNetwork, scales: Scales, rows: Transition, recorded: Array) -> Float[Array, " obs+1"]:
    x, y = _pairs(scales, rows)
    off = jnp.square(jax.vmap(anchor)(x) - y)
    return jnp.sqrt(jnp.where(recorded[:, None], off, 0.0).sum(0) / jnp.maximum(recorded.sum(), 1))


@eqx.filter_jit
def _pairs(scales: Scales, rows: Transition) -> tuple[Float[Array, "n in"], Float[Array, "n out"]]:
    x = jax.vmap(scales.inputs)(rows.obs, rows.action)
    return x, jax.vmap(scales.targets)(rows.obs, rows.reward, rows.next_obs)


def _loss(networks: Networks, scales: Scales, batch: Rows) -> tuple[Array, dict[str, Array]]:
    """Sum of the losses; the first batch of rows trains the single networks, the others one ensemble member or
    fold each.

    Rows whose next observation was not recorded count only for the end network, with the anchor's in its place.
    """
    rows, recorded, fold = batch
    own = 1 + networks.ensemble.count  # first batch of the folds
    is_fold = jnp.arange(len(fold)) - own
    recorded = recorded & ((fold != is_fold[:, None]) | (len(fold) - own < 2))  # one fold: its anchor sees all
    count = recorded / jnp.maximum(recorded.sum(-1, keepdims=True), 1)  # weights that sum to one in each batch
    x = jax.vmap(jax.vmap(scales.inputs))(rows.obs, rows.action)
    y = jax.vmap(jax.vmap(scales.targets))(rows.obs, rows.reward, rows.next_obs)
    one = tree_rows(rows, 0)
    guess = jax.lax.stop_gradient(jax.vmap(networks.anchor)(x[0]))[:, :-1]
    change = jnp.where(recorded[0][:, None], y[0, :, :-1], guess)
    obs, action = scales.obs.apply(one.obs), scales.action(one.action)
    next_obs = scales.obs.apply(one.obs + scales.change.invert(change))
    told = jax.vmap(partial(reward_inputs, scales))(one.obs, one.action, one.next_obs)
    losses = {
        "reward/loss": reward_loss(networks.reward, told, y[0, :, -1], count[0]),
        "anchor/loss": step_loss(networks.anchor, x[0], y[0], count[0]),
        "one_step/loss": step_loss(networks.one_step, x[0], y[0], count[0]),
        "ensemble/nll": ensemble_loss(networks.ensemble, x[1:own], y[1:own], count[1:own]),
        "behaviour/loss": jnp.square(jax.vmap(networks.behaviour)(obs) - action).mean(),
        "inverse/loss": count[0] @ jax.vmap(networks.inverse.loss)(obs, change, action),
        "ends/loss": end_loss(networks.ends, jax.vmap(end_inputs)(obs, action, change, next_obs), one.terminal * 1.0),
    }
    if networks.folds is not None:
        each = eqx.filter_vmap(step_loss)(networks.folds, x[own:], y[own:], count[own:])
        losses["folds/loss"] = each.sum()  # a sum: every member learns as fast as if it were alone
    return sum(losses.values()), losses  # type: ignore[return-value]
