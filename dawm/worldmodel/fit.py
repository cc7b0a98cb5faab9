"""From a dataset to a trained world model: split by episode, one-step networks, then the diffusion; measured as it
goes. A model that is made of the one-step networks alone has no second phase.

Run folder (kind `world_model`): `networks/` (the first phase, a run folder of its own), metrics.jsonl and checkpoints
of the diffusion, `holdout.json` with the errors on held-out episodes, `model.ckpt` with everything that generation
needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from dawm.data.dataset import Dataset
from dawm.data.focus import share_of
from dawm.data.windows import Windows, make_windows
from dawm.run.config import to_dict
from dawm.run.feed import Feed
from dawm.run.folder import RunFolder
from dawm.run.loop import LoopConfig, fit
from dawm.run.mesh import split_rows
from dawm.run.optim import OptimConfig, ema, make_optimiser
from dawm.run.progress import say
from dawm.types import Spec
from dawm.worldmodel import holdout
from dawm.worldmodel.base import AbstractDiffusionModel, AbstractWorldModel, Parts
from dawm.worldmodel.networks import Networks, NetworksConfig, fit_scales, fold_of, train_networks
from dawm.worldmodel.onestep import Scales
from dawm.worldmodel.registry import ModelConfig, make_world_model
from dawm.worldmodel.split import Split, split_log
from dawm.worldmodel.trained import TrainedModel
from dawm.worldmodel.trajectory import TrajectoryConfig


@dataclass(frozen=True)
class WorldModelConfig:
    """The world model, the one-step networks, and how both are trained."""

    model: ModelConfig = field(default_factory=TrajectoryConfig)
    networks: NetworksConfig = field(default_factory=NetworksConfig)
    batch_size: int = 256
    optim: OptimConfig = field(default_factory=OptimConfig)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=10_000))
    ema: float = 0.999  # memory of the averaged weights that generate
    holdout: float = 0.1  # share of episodes held out
    measure_windows: int = 512  # held-out windows in holdout.json
    measure_samples: int = 16  # futures per window
    block: int = 262_144  # rows in memory at a time, of a log that stays on disk
    seed: int = 0


def train_world_model(
    data: Dataset, config: WorldModelConfig | None = None, *, folder: str | Path | None = None
) -> TrainedModel:
    """Train on the training episodes of `data` and measure on the others; resumes from `folder`.

    Raises DatasetError if no episode can be held out, NumericalError if a loss is not finite, ConfigError if the
    folder holds another run.
    """
    config = config or WorldModelConfig()
    origin = {"name": data.info.name, "origin": data.info.origin, "fingerprint": data.fingerprint}
    run = None
    if folder is not None:
        settings = {"world_model": to_dict(config), "data": origin, "spec": data.spec._asdict()}
        run = RunFolder.start(folder, "world_model", settings, {"seed": config.seed})
        if run.finished:
            return TrainedModel.load(run.path)
    split = split_log(data, config)
    train = split.train
    scales = fit_scales(train, data.spec)
    parts = None
    if run is not None:
        parts = RunFolder.start(
            run.path / "networks", "networks", {"networks": to_dict(config.networks), "data": origin}, {}
        )
    members = config.model.members
    rows = None if split.blocks is None else split.blocks.rows()
    networks = train_networks(
        train, scales, config.networks, members=members, seed=config.seed, folder=parts, rows=rows
    )
    windows = windows_of(split.held, config, config.model.horizon)
    model = assemble(config, data.spec, scales, networks, train, held=windows, key=jr.fold_in(jr.key(config.seed), 2))
    rows = holdout.choose_rows(windows, config.measure_windows, config.seed)
    look = lambda model: holdout.measure(model, networks, windows, rows, config.measure_samples, config.seed)
    if isinstance(model, AbstractDiffusionModel):
        model = train_diffusion(model, split, look, config, run)
    measured = look(model)
    measured["parameters"] = parameter_counts(model, networks)
    facts = origin | {"training_rows": split.count, "share": share_of(data.returns, data.lengths, least=1)}
    trained = TrainedModel(model, config, data.spec, facts, measured, run and run.path, fresh=networks)
    if run is not None:
        trained.save(run.path)
        run.write_json("holdout.json", measured)
        run.finish()
    say(verdict(measured))
    return trained


def windows_of(data: Dataset, config: WorldModelConfig, horizon: int) -> Windows:
    """Windows with the return-to-go that the model is conditioned on."""
    return make_windows(data, horizon, discount=config.model.discount, returns=config.model.returns)


def training_rows(data: Dataset, config: WorldModelConfig) -> tuple[Windows, Int[np.ndarray, " n"]]:
    """(windows of the model's training, fold of each row): what `annotate` takes."""
    folds = fold_of(data, config.model.members, config.seed)
    return windows_of(data, config, config.model.window), folds


def assemble(
    config: WorldModelConfig,
    spec: Spec,
    scales: Scales,
    networks: Networks,
    train: Dataset | None,
    *,
    held: Windows | None = None,
    key,
) -> AbstractWorldModel:
    """The untrained world model around trained one-step networks; blank, for a checkpoint to fill, without `train`."""
    windows, fold = (None, None) if train is None else training_rows(train, config)
    parts = Parts(spec, scales, networks, train, windows, fold, held, config.networks.ensemble.elites)
    return make_world_model(config.model, parts, key=key)


def train_diffusion(
    model: AbstractDiffusionModel,
    split: Split,
    look: Callable[[AbstractWorldModel], dict[str, Any]],
    config: WorldModelConfig,
    run: RunFolder | None,
) -> AbstractDiffusionModel:
    """The second phase: what the model calls `trained`, by its loss; returns the model with averaged weights."""
    inputs = diffusion_inputs(model, split, config)
    optimiser = make_optimiser(config.optim, config.loop.steps)
    update = diffusion_update(config, optimiser)
    state = initial_state(model, optimiser)

    def monitor(step, state):
        measured = look(model.with_trained(state[1]))
        say(f"  update {step:,}: {verdict(measured)}")
        return _monitored(measured)

    state = fit(
        update, state, inputs, config.loop,
        seed=config.seed + 1, folder=run, monitor=monitor, label="diffusion world model",
        layout=split_rows(config.batch_size),
    )  # fmt: skip
    return model.with_trained(state[1])


def diffusion_inputs(model: AbstractDiffusionModel, split: Split, config: WorldModelConfig) -> Any:
    """(model, windows, notes) of all training rows, or of each block of them.

    The windows of a block have the returns-to-go of whole episodes, also where the block cuts one.
    """
    if split.blocks is None:
        windows, fold = training_rows(split.train, config)
        return model, windows, annotated(model, windows, fold)
    stream, fold = split.blocks.stream, split.blocks.fold
    to_go = stream.data.return_to_go(config.model.discount) if config.model.returns == "episode" else None

    def make(number: int):
        block = stream.block(number)
        windows = windows_of(block.data, config, config.model.window)
        if to_go is not None:
            windows = eqx.tree_at(lambda w: w.return_to_go, windows, jnp.asarray(to_go[block.rows]))
        return model, windows, annotated(model, windows, fold[block.rows])

    return Feed(make)


@eqx.filter_jit
def annotated(model: AbstractDiffusionModel, windows: Windows, fold: Int[np.ndarray, " n"]) -> Float[Array, "n k"]:
    """The notes of the model on all rows."""
    return model.annotate(windows, jnp.asarray(fold))


def initial_state(model: AbstractDiffusionModel, optimiser: optax.GradientTransformation) -> tuple:
    """(trained part, its average, state of the optimiser, updates done)."""
    part = model.trained
    return part, part, jax.jit(optimiser.init)(eqx.filter(part, eqx.is_inexact_array)), jnp.zeros((), jnp.int32)


def diffusion_update(config: WorldModelConfig, optimiser: optax.GradientTransformation) -> Callable:
    """The update of `run.loop.fit` on (model, windows, notes)."""

    def loss(part, model, windows, notes, key):
        return model.with_trained(part).batch_loss(windows, notes, key, config.batch_size)

    def update(state, inputs, key):
        part, average, opt, step = state
        model, windows, notes = inputs
        (value, metrics), grads = eqx.filter_value_and_grad(loss, has_aux=True)(part, model, windows, notes, key)
        change, opt = optimiser.update(grads, opt, eqx.filter(part, eqx.is_inexact_array))
        part = eqx.apply_updates(part, change)
        return (part, ema(average, part, config.ema, step), opt, step + 1), {"loss": value} | metrics

    return update


def _monitored(measured: dict[str, Any]) -> dict[str, float]:
    """The few numbers of a measurement that go into the metrics as training runs."""
    row = {}
    for name, errors in measured["models"].items():
        for quantity in ("rmse", "mean_rmse", "crps"):
            row[f"holdout/{name}/{quantity}_1"] = errors[quantity][0]
            row[f"holdout/{name}/{quantity}_H"] = errors[quantity][-1]
    row["holdout/ends/generated_rate"] = measured["ends"]["generated_rate"]
    row["holdout/consistency"] = measured["consistency"]["generated"][-1]
    return row


def parameter_counts(model: AbstractWorldModel, networks: Networks) -> dict[str, int]:
    """Numbers of trained parameters by part."""
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array)))
    diffusion = model.trained if isinstance(model, AbstractDiffusionModel) else None
    names = ("anchor", "behaviour", "inverse", "ends", "reward", "one_step", "ensemble")
    return {"diffusion": count(diffusion)} | {name: count(getattr(networks, name)) for name in names}


def verdict(measured: dict[str, Any]) -> str:
    """One line in words: the first step beside the plain one-step network and the ensemble, or, of a model without
    dynamics, how its transitions fit that network.

    A network that answers with a mean is compared with the mean of the futures; one future of a calibrated model has
    about 1.41 times that error, whatever its quality.
    """
    models, ratio = measured["models"], measured.get("first_step_mean_ratio")
    if ratio is None:
        drawn, real = measured["consistency"]["generated"][0], measured["consistency"]["recorded"]
        return (
            f"a plain one-step network misses the next states of drawn transitions by {drawn:.4f} standard deviations"
            f" of the change, those of held-out ones by {real:.4f}"
        )
    word = "as precise as" if ratio <= 1.1 else "close to" if ratio <= 1.5 else "LESS PRECISE than"
    return (
        f"held-out first-step error {models['dawm']['mean_rmse'][0]:.4f}, {word} a plain one-step network"
        f" ({models['one_step']['rmse'][0]:.4f}); one future {measured['first_step_ratio']:.2f} times that;"
        f" CRPS {models['dawm']['crps'][0]:.4f}, of a Gaussian ensemble {models['ensemble']['crps'][0]:.4f}"
    )
