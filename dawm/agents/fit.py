"""Training a policy: prepare the transitions, then draw a batch and update the learner, all seeds in one program.

Observations are standardised and rewards scaled with the statistics of the real log, also where rows are synthetic, so
that real and synthetic transitions are in the same units. Actions are mapped to [-1, 1].

Member i at update k uses the key folded from `seed + i` and k. It therefore sees the batches that a run with
`seeds=1, seed=seed + i` sees, and a run that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from dawm.agents.cloning import cloning_weights, log_support, only_the_log
from dawm.agents.config import PolicyConfig
from dawm.agents.expansion import Scaled, expanded, scaled_world
from dawm.agents.policy import TrainedPolicy, TrainedState, initial_state, policy_of, seeds_of
from dawm.agents.priority import PriorityConfig, known, novelty_mass, refreshed, uncertainty_mass
from dawm.agents.registry import make_agent
from dawm.agents.targets import Target, one_step, over_futures
from dawm.data.dataset import Dataset
from dawm.data.focus import share_of, sharpness, trajectory_mass
from dawm.data.prioritised import draw_prioritised
from dawm.data.sampling import Pool, draw, make_pool, synthetic_rows
from dawm.data.stream import Stream, stream_of
from dawm.errors import ConfigError, DatasetError
from dawm.run.config import to_dict
from dawm.run.feed import Feed
from dawm.run.folder import RunFolder
from dawm.run.loop import Update, fit
from dawm.run.mesh import split_seeds
from dawm.run.optim import ema
from dawm.run.progress import say
from dawm.types import Futures, Prediction, Spec, Transition, World

STD_FLOOR = 1e-3  # added to each standard deviation, as in CORL
RETURN_RANGE = 1000.0  # what `normalise_reward` makes of the distance from the worst return to the best


class Fed(NamedTuple):
    """What an update reads besides its state, where that is more than the pool."""

    pool: Pool
    world: Scaled | None  # that targets look ahead in
    mass: Float[Array, " n"] | None  # of the rows of the log, where it does not change


def train_policy(
    data: Dataset,
    config: PolicyConfig | None = None,
    *,
    synthetic: Dataset | None = None,
    futures: Futures | None = None,
    model: World | None = None,
    folder: str | Path | None = None,
    monitor: Callable[[int, TrainedPolicy], dict[str, Any]] | None = None,
) -> TrainedPolicy:
    """Train `config.seeds` policies on `data`, with a share `config.ratio` of `synthetic` in every batch.

    With `futures`, plausible outcomes of the rows of `data`, TD targets are the measure `config.risk` over them; a
    synthetic row has only its own outcome. With `model`, TD targets look `config.expansion.horizon` steps ahead in it.

    A log that stays on disk is read in blocks of `config.block` rows, one for each chunk of updates (`data.stream`).

    With a folder, the run is recorded there, and taken up again where the folder holds the same run. `monitor(step,
    policy)` returns further numbers for the record every `config.loop.monitor_every` updates; it must not keep
    `policy`, whose arrays the next chunk takes over.

    Raises ConfigError on settings that contradict each other or the folder, DatasetError on data that cannot be scaled,
    NumericalError when training diverges.
    """
    config = config or PolicyConfig()
    spec = data.spec
    _check_bounds(spec)
    stream = blocks_of(data, config, futures=futures is not None)
    log = data if stream is None else stream.block(0).data
    mean, scale = _statistics(log, config)
    real, made = log.transitions(), None if synthetic is None else synthetic.transitions()
    outcomes = None
    if futures is not None:
        outcomes = _futures(futures, data)
        real = real._replace(futures=outcomes)
        made = made and _alone(made, outcomes.reward.shape[1])
    gain, size = _reward_gain(data, config), None if outcomes is None else outcomes.reward.shape[1]
    world = scaled_world(model, config.expansion, log, mean, scale, gain, size)
    mass = _mass(config.priority, data, real, outcomes, config.seed)
    share = share_of(data.returns, data.lengths) if config.focus == "auto" else config.focus
    sharp = _sharpness(share, data)
    if config.thin > 0:
        support = log_support(data, config.seed)
        real = real._replace(cloning=cloning_weights(support, real, config.thin))
        made = made and made._replace(cloning=cloning_weights(support, made, config.thin))
    prepare = functools.partial(_prepare, spec=spec, mean=mean, scale=scale, gain=gain)

    def mass_of(rows: Int[np.ndarray, " n"]) -> Float[Array, " n"] | None:
        if sharp == 0:
            return mass
        episode = np.searchsorted(data.episode_ends, rows, side="right")  # a whole one, also where a block cuts it
        return jnp.asarray(trajectory_mass(data.returns[episode], sharp))

    def inputs_of(real: Transition, mass: Float[Array, " n"] | None) -> Pool | Fed:
        rows = real, made
        if made is not None and config.clone == "log":
            rows = only_the_log(real, made, synthetic_rows(config.ratio, config.batch_size) / config.batch_size)
        pool = make_pool(*rows, config.ratio, prepare=prepare)
        return pool if world is None and mass is None else Fed(pool, world, mass)

    def block_inputs(i: int) -> Pool | Fed:
        assert stream is not None
        block = stream.block(i)
        return inputs_of(block.data.transitions(), mass_of(block.rows))

    inputs = inputs_of(real, mass_of(np.arange(len(data)))) if stream is None else Feed(block_inputs)
    run = None if folder is None else _start(folder, data, synthetic, futures, model, config, share)
    state = fit(
        policy_update(config, spec, one_step if futures is None else over_futures(config.risk, futures.members)),
        initial_state(config, spec, mean, scale, len(data)),
        inputs,
        config.loop,
        seed=config.seed,
        folder=run,
        monitor=monitor and (lambda step, state: monitor(step, policy_of(state, spec, config, step, data.info.name))),
        label=f"policy ({config.algo.kind})",
        layout=split_seeds(config.seeds),
        members=seeds_of(config),
    )
    if run is not None:
        run.finish()
    return policy_of(state, spec, config, config.loop.steps, data.info.name)


def policy_update(config: PolicyConfig, spec: Spec, target: Target = one_step) -> Update:
    """The update of `run.loop.fit` on a pool of prepared transitions: of one seed."""
    made = lambda target: make_agent(config.algo, spec, config.loop.steps, target)
    near, priority = made(target), config.priority
    correction = priority.correction if config.focus == 1 else 0.0  # focus is another log, not made up for

    def update(state, fed, key):
        pool, world, mass = fed if isinstance(fed, Fed) else Fed(fed, None, None)
        learner = near if world is None else made(expanded(config.expansion, config.risk, world))
        key_batch, key_update = jr.split(key)
        kept, average = state.mass, state.average
        if mass is None and kept is None:
            batch = draw(pool, key_batch, config.batch_size)
            inner, metrics = learner.update(state.learner, batch, key_update)
        else:
            mass = known(kept) if mass is None else mass
            index, batch = draw_prioritised(pool, mass, key_batch, config.batch_size, correction)
            inner, metrics = learner.update(state.learner, batch, key_update)
            error = metrics.pop("critic/td_error", None)
            if kept is not None and error is not None:
                kept = refreshed(kept, index, error, priority.exponent)
        if average is not None:
            average = ema(average, learner.policy(inner), config.average, state.learner.step)
        return TrainedState(inner, state.standardise, kept, average), metrics

    return update


def blocks_of(data: Dataset, config: PolicyConfig, *, futures: bool) -> Stream | None:
    """The blocks of a log that stays on disk; None where it is in memory. Raises ConfigError of settings that cannot do
    with blocks.
    """
    stream = stream_of(data, config.block, config.seed)
    asked = {"futures": futures, "priority": config.priority.kind != "none", "thin": config.thin > 0}
    if stream is not None and any(asked.values()):
        setting = next(name for name, given in asked.items() if given)
        raise ConfigError(
            f"`{setting}` needs all rows of the log at once, and `{data.info.name}` stays on disk: leave it out, or set"
            f" `block` to {len(data):,}, if so many rows fit into memory."
        )
    return stream


def _mass(
    config: PriorityConfig, data: Dataset, rows: Transition, outcomes: Prediction | None, seed: int
) -> Float[Array, " n"] | None:
    """How often each row of the log is drawn by its priority, where that is settled before the first update."""
    if config.kind == "novelty":
        return jnp.asarray(novelty_mass(log_support(data, seed), rows, config.exponent))
    if config.kind == "uncertainty":
        if outcomes is None:
            raise ConfigError("`priority.kind` uncertainty is the spread of futures: give them (--futures DIR).")
        return jnp.asarray(uncertainty_mass(outcomes, rows, config.exponent))
    return None


def _sharpness(share: float, data: Dataset) -> float:
    """1 / τ of trajectory weighting, 0 where rows are drawn alike; and a line on what it does to this log."""
    sharp = 0.0 if share == 1 else sharpness(data.returns, data.lengths, share)
    if sharp > 0:
        drawn = np.average(data.returns, weights=data.lengths * trajectory_mass(data.returns, sharp))
        plain = np.average(data.returns, weights=data.lengths)
        say(
            f"focus {share:g}: rows are of episodes whose mean return is {drawn:,.4g} as drawn, {plain:,.4g} in the log"
        )
    return sharp


def _prepare(rows: Transition, *, spec: Spec, mean: np.ndarray, scale: np.ndarray, gain: float) -> Transition:
    """Raw rows in the units of a learner."""
    futures = rows.futures
    if futures is not None:
        futures = futures._replace(
            next_obs=((futures.next_obs - mean) / scale).astype(np.float32),
            reward=(futures.reward * np.float32(gain)).astype(np.float32),
        )
    return rows._replace(
        futures=futures,
        obs=((rows.obs - mean) / scale).astype(np.float32),
        next_obs=((rows.next_obs - mean) / scale).astype(np.float32),
        action=((rows.action - spec.act_centre) / spec.act_scale).astype(np.float32),
        next_action=((rows.next_action - spec.act_centre) / spec.act_scale).astype(np.float32),
        reward=(rows.reward * np.float32(gain)).astype(np.float32),
    )


def _futures(futures: Futures, data: Dataset) -> Prediction:
    if futures.data != data.fingerprint:
        raise ConfigError(
            f"`{futures.origin}` holds the futures of other data than `{data.info.name}`: make them for it with"
            " dawm futures."
        )
    return futures.rows(np.arange(len(data)))


def _alone(rows: Transition, count: int) -> Transition:
    """Synthetic rows, whose only future is their own outcome."""
    many = lambda leaf: np.repeat(np.asarray(leaf)[:, None], count, 1)
    return rows._replace(
        futures=Prediction(many(rows.next_obs), many(rows.reward), many(rows.terminal.astype(np.float32)))
    )


def _statistics(data: Dataset, config: PolicyConfig) -> tuple[np.ndarray, np.ndarray]:
    if not config.normalise_obs:
        return np.zeros(data.obs.shape[1], np.float32), np.ones(data.obs.shape[1], np.float32)
    obs = data.obs.astype(np.float64)
    return obs.mean(0).astype(np.float32), (obs.std(0) + STD_FLOOR).astype(np.float32)


def _reward_gain(data: Dataset, config: PolicyConfig) -> float:
    if not config.normalise_reward:
        return 1.0
    spread = float(data.returns.max() - data.returns.min())
    if spread <= 0:
        raise DatasetError(
            "`reward`: all episodes have the same return, so `normalise_reward` cannot scale by their range."
        )
    return RETURN_RANGE / spread


def _check_bounds(spec: Spec) -> None:
    for i, (low, high) in enumerate(zip(spec.act_low, spec.act_high, strict=True)):
        if not (np.isfinite([low, high]).all() and low < high):
            raise DatasetError(
                f"`action` dimension {i} has the bounds {low} and {high}: a policy needs finite ones, the lower "
                "below the upper. Give `act_low` and `act_high` with the data."
            )


def _start(
    folder: str | Path,
    data: Dataset,
    synthetic: Dataset | None,
    futures: Futures | None,
    model: World | None,
    config: PolicyConfig,
    share: float,
) -> RunFolder:
    described = {
        "policy": to_dict(config),
        "data": {"origin": data.info.origin, "name": data.info.name, "fingerprint": data.fingerprint},
        "spec": data.spec._asdict(),
    }
    if config.focus == "auto":
        described["focus"] = share  # what it came to, for the report
    if synthetic is not None:
        described["synthetic"] = {"path": synthetic.info.origin, "fingerprint": synthetic.fingerprint}
    if config.priority.kind == "td_error":
        described["data"]["rows"] = len(data)  # the checkpoint has a number for each
    if model is not None:
        described["model"] = model.record
    if futures is not None:
        described["futures"] = {"path": futures.origin, "data": futures.data}
    provenance = {"seed": config.seed, "seeds": config.seeds, "fingerprint": data.fingerprint}
    return RunFolder.start(folder, "policy", described, provenance)
