"""From a dataset to a trained world model: split by episode, one-step networks, then the diffusion; measured as it
goes.

Run folder (kind `world_model`): `networks/` (the first phase, a run folder of its own), metrics.jsonl and checkpoints
of the diffusion, `holdout.json` with the errors on held-out episodes, `model.ckpt` with everything that generation
needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from dawm.data.dataset import Dataset
from dawm.data.normalise import NORMALISERS, Limits, Standard
from dawm.data.windows import Windows, make_windows
from dawm.nets.registry import make_body
from dawm.run.config import to_dict
from dawm.run.folder import RunFolder
from dawm.run.loop import LoopConfig, fit
from dawm.run.optim import OptimConfig, ema, make_optimiser
from dawm.run.progress import say
from dawm.types import Spec, Start
from dawm.worldmodel import holdout
from dawm.worldmodel.coordinates import COORDINATES
from dawm.worldmodel.networks import Networks, NetworksConfig, fit_scales, train_networks
from dawm.worldmodel.onestep import Scales
from dawm.worldmodel.trained import TrainedModel
from dawm.worldmodel.trajectory import TrajectoryConfig, TrajectoryModel


@dataclass(frozen=True)
class WorldModelConfig:
    """The trajectory model, the one-step networks, and how both are trained."""

    model: TrajectoryConfig = field(default_factory=TrajectoryConfig)
    networks: NetworksConfig = field(default_factory=NetworksConfig)
    batch_size: int = 256
    optim: OptimConfig = field(default_factory=OptimConfig)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=10_000))
    ema: float = 0.999  # memory of the averaged weights that generate
    holdout: float = 0.1  # share of episodes held out
    measure_windows: int = 512  # held-out windows in holdout.json
    measure_samples: int = 16  # futures per window
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
    kept, held = data.split_episodes(config.holdout, config.seed)
    train, test = data.select(kept), data.select(held)
    scales = fit_scales(train, data.spec)
    parts = None
    if run is not None:
        parts = RunFolder.start(
            run.path / "networks", "networks", {"networks": to_dict(config.networks), "data": origin}, {}
        )
    networks = train_networks(train, scales, config.networks, seed=config.seed, folder=parts)
    model = assemble(config, data.spec, scales, networks, train, key=jr.fold_in(jr.key(config.seed), 2))
    windows = make_windows(test, _steps(config.model), discount=config.model.discount, returns=config.model.returns)
    model = _train_diffusion(model, networks, train, windows, config, run)
    rows = holdout.choose_rows(windows, config.measure_windows, config.seed)
    measured = holdout.measure(model, networks, windows, rows, config.measure_samples, config.seed)
    measured["parameters"] = parameter_counts(model, networks)
    trained = TrainedModel(model, config, data.spec, origin | {"training_rows": len(train)}, measured)
    if run is not None:
        trained.save(run.path)
        run.write_json("holdout.json", measured)
        run.finish()
    say(verdict(measured))
    return trained


def assemble(
    config: WorldModelConfig, spec: Spec, scales: Scales, networks: Networks, train: Dataset | None, *, key
) -> TrajectoryModel:
    """The trajectory model around trained one-step networks; its normalisers are fitted on `train` (blank without
    it).
    """
    windows = None
    if train is not None:
        windows = make_windows(
            train, _steps(config.model), discount=config.model.discount, returns=config.model.returns
        )
    model_config, kind = config.model, NORMALISERS[config.model.normaliser]
    blank = np.zeros((2, spec.obs_dim), np.float32)  # NumPy: this also runs under `eval_shape`
    blank[1] = 1.0
    obs_norm = kind.fit(blank if train is None else train.obs)
    reward_norm = Limits.fit(blank[:, :1] if train is None else train.reward[:, None])
    returns = Standard.fit(blank[:, :1] if windows is None else jax.device_get(windows.return_to_go[:, None]))
    spread = jnp.ones(spec.obs_dim + 1) if windows is None else _residual_spread(scales, networks, windows)
    coordinates = COORDINATES[model_config.coordinates].build(
        scales, networks.inverse, networks.anchor, obs_norm, reward_norm, spread, model_config.horizon
    )
    start = (jnp.zeros(spec.obs_dim), jnp.zeros(spec.act_dim))
    conditions = coordinates.conditions(Start(*start, jnp.zeros(()), jnp.asarray(-1)))
    cond_dims = (*(len(c) for c in conditions), 2)
    shape = coordinates.rows, coordinates.channels, cond_dims
    body = eqx.filter_jit(lambda key: make_body(model_config.body, *shape, key=key))(key)
    return TrajectoryModel(body, coordinates, networks.ends, scales, returns, model_config)


def _residual_spread(scales: Scales, networks: Networks, windows: Windows) -> jax.Array:
    """Standard deviation of the anchor's error on the training rows, in standardised units, (obs + 1,)."""

    def error(row):
        obs, action, reward, next_obs = row
        return scales.targets(obs, reward, next_obs) - networks.anchor(scales.inputs(obs, action))

    columns = (windows.obs, windows.action, windows.reward, windows.next_obs)
    errors = eqx.filter_jit(lambda columns: jax.lax.map(error, columns, batch_size=4096))(columns)
    return jnp.maximum(jnp.sqrt(jnp.square(errors).mean(0)), 1e-5)


def _train_diffusion(
    model: TrajectoryModel,
    networks: Networks,
    train: Dataset,
    held: Windows,
    config: WorldModelConfig,
    run: RunFolder | None,
) -> TrajectoryModel:
    """The second phase: the body, by denoising; returns the model with averaged weights."""
    windows = make_windows(train, _steps(config.model), discount=config.model.discount, returns=config.model.returns)
    notes = eqx.filter_jit(model.coordinates.annotate)(windows)
    optimiser = make_optimiser(config.optim, config.loop.steps)
    body = model.body
    state = (body, body, jax.jit(optimiser.init)(eqx.filter(body, eqx.is_inexact_array)), jnp.zeros((), jnp.int32))

    def loss(body, model, windows, notes, rows, keys):
        full = eqx.tree_at(lambda m: m.body, model, body)
        one = lambda row, key: full.loss(windows.segment(row), notes[windows.rows(row)], key)
        total, counted = jax.vmap(one)(rows, keys)
        return total.sum() / counted.sum()

    def update(state, inputs, key):
        body, average, opt, step = state
        model, windows, notes = inputs
        key_rows, key_loss = jr.split(key)
        rows = windows.draw(key_rows, config.batch_size)
        value, grads = eqx.filter_value_and_grad(loss)(
            body, model, windows, notes, rows, jr.split(key_loss, config.batch_size)
        )
        change, opt = optimiser.update(grads, opt, eqx.filter(body, eqx.is_inexact_array))
        body = eqx.apply_updates(body, change)
        return (body, ema(average, body, config.ema, step), opt, step + 1), {"loss": value}

    rows = holdout.choose_rows(held, 256, config.seed + 1)

    def monitor(step, state):
        averaged = eqx.tree_at(lambda m: m.body, model, state[1])
        measured = holdout.measure(averaged, networks, held, rows, 8, config.seed + step)
        say(f"  update {step:,}: {verdict(measured)}")
        return _monitored(measured)

    state = fit(
        update, state, (model, windows, notes), config.loop,
        seed=config.seed + 1, folder=run, monitor=monitor, label="diffusion world model",
    )  # fmt: skip
    return eqx.tree_at(lambda m: m.body, model, state[1])


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


def _steps(config: TrajectoryConfig) -> int:
    """Transitions in the windows that the model is trained on."""
    return config.horizon


def parameter_counts(model: TrajectoryModel, networks: Networks) -> dict[str, int]:
    """Numbers of trained parameters by part."""
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array)))
    parts = {"body": model.body, "anchor": networks.anchor, "inverse": networks.inverse, "ends": networks.ends}
    yardsticks = {"one_step": networks.one_step, "ensemble": networks.ensemble}
    return {name: count(tree) for name, tree in (parts | yardsticks).items()}


def verdict(measured: dict[str, Any]) -> str:
    """One line in words: the first step beside the plain one-step network and the ensemble.

    A network that answers with a mean is compared with the mean of the futures; one future of a calibrated model has
    about 1.41 times that error, whatever its quality.
    """
    models, ratio = measured["models"], measured["first_step_mean_ratio"]
    word = "as precise as" if ratio <= 1.1 else "close to" if ratio <= 1.5 else "LESS PRECISE than"
    return (
        f"held-out first-step error {models['dawm']['mean_rmse'][0]:.4f}, {word} a plain one-step network"
        f" ({models['one_step']['rmse'][0]:.4f}); one future {measured['first_step_ratio']:.2f} times that;"
        f" CRPS {models['dawm']['crps'][0]:.4f}, of a Gaussian ensemble {models['ensemble']['crps'][0]:.4f}"
    )
