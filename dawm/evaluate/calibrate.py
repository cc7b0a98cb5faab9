"""Can the futures be trusted? A world model's forecasts of episodes that it never saw, beside four simple forecasters.

Every forecaster is unrolled under the recorded actions; an outcome is the next state and the reward, each dimension in
its own standard deviations. The unseen episodes are split in two halves, and each is corrected by what was fitted to
the other: all of them are judged, and none on what it was fitted to. The correction that is stored with the model is
fitted to all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Bool, Float

from dawm.data.dataset import Dataset
from dawm.data.windows import Windows, make_windows
from dawm.errors import ConfigError, DatasetError
from dawm.evaluate.groups import group_masks
from dawm.run.config import to_dict
from dawm.run.folder import RunFolder
from dawm.run.progress import progress_bar, say
from dawm.types import Dynamics
from dawm.uncertainty import calibration as measures
from dawm.uncertainty.quantiles import level_of, value_at
from dawm.uncertainty.recalibrate import METHODS, Method, Recalibration, fit_recalibration
from dawm.uncertainty.scores import fair_crps
from dawm.uncertainty.support import fit_support
from dawm.worldmodel.base import require_dynamics
from dawm.worldmodel.holdout import choose_rows
from dawm.worldmodel.rollout import unroll
from dawm.worldmodel.split import split_log
from dawm.worldmodel.trained import TrainedModel
from dawm.worldmodel.yardsticks import best_members, gaussian_members, neighbours, persistence

BLOCK = 64  # windows forecast at once
NEIGHBOUR_SAMPLES = 16  # of the slowest yardstick; the scores do not depend on how many there are
PAIRS = 100  # pairs of dimensions in the variogram score


@dataclass(frozen=True)
class CalibrateConfig:
    """How much is forecast, and how it is corrected."""

    windows: int = 512  # of each half of the episodes
    samples: int = 64  # futures of a window
    horizon: int = 8
    method: Method = "isotonic"
    seed: int = 0

    def __post_init__(self):
        if min(self.windows, self.horizon) < 1 or self.samples < 2:
            raise ValueError(f"windows and horizon must be at least 1 and samples at least 2, got {self}")
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")


class Forecast(NamedTuple):
    """Futures of n windows, and what happened."""

    samples: Float[np.ndarray, "m n steps d"]
    observed: Float[np.ndarray, "n steps d"]
    valid: Bool[np.ndarray, "n steps"]
    end_probability: Float[np.ndarray, "n steps"]
    ended: Bool[np.ndarray, "n steps"]


def calibrate_model(
    trained: TrainedModel,
    training: Dataset,
    config: CalibrateConfig | None = None,
    *,
    data: Dataset | None = None,
    folder: str | Path | None = None,
) -> dict[str, Any]:
    """All measurements as plain numbers; with a folder also calibration.json and recalibration.json there.

    `training` is the file that the model was trained on: its held-out episodes are judged, or all of `data` where that
    is another file. Raises DatasetError where fewer than two episodes are unseen, ConfigError for data that do not fit
    or a model without dynamics.
    """
    config = config or CalibrateConfig()
    require_dynamics(trained.config.model, "calibration")
    train, unseen, words = unseen_episodes(trained, training, data)
    order = np.random.default_rng(config.seed).permutation(unseen.episodes)
    halves = [unseen.select(np.sort(rows)) for rows in (order[: len(order) // 2], order[len(order) // 2 :])]
    parts = [_part(half, config) for half in halves]
    number = [half.episode_of[rows] for half, (_, rows) in zip(halves, parts, strict=True)]
    episode = np.concatenate([number[0], halves[0].episodes + number[1]])
    forecasters = _forecasters(trained, train, parts[0], config)
    found: dict[str, dict[str, Any]] = {}
    inside, outside = (np.concatenate([part.obs, part.action], 1) for part in (train, unseen))
    support = fit_support(inside, outside)
    masks = [group_masks(*part, support) for part in parts]
    groups = {name: np.concatenate([mask[name] for mask in masks]) for name in masks[0]}
    stored = None
    with progress_bar("forecasting", len(forecasters), "forecasters") as advance:
        for name, (model, samples) in forecasters.items():
            made = [
                forecast(trained, model, *part, samples, jr.fold_in(jr.key(config.seed), i))
                for i, part in enumerate(parts)
            ]
            first, second = (_corrected(config, part, half.episodes) for part, half in zip(made, halves, strict=True))
            pairs = zip(made, (second, first), strict=True)
            mended = [part._replace(samples=correction.apply(part.samples)) for part, correction in pairs]
            whole = _joined(made)
            found[name] = _measured(whole, groups, episode)
            found[name]["recalibrated"] = _measured(_joined(mended), groups, episode)
            if name == "model":
                stored = _corrected(config, whole, unseen.episodes)
            advance(len(found), name)
    result = found.pop("model") | {"baselines": found}
    result |= {
        "model": trained.config.model.kind,
        "data": {"name": unseen.info.name, "fingerprint": unseen.fingerprint, "judged_on": words},
        "episodes": {"judge": unseen.episodes, "fit": [half.episodes for half in halves]},
        "windows": {"judge": len(episode), "fit": [len(rows) for _, rows in parts]},
        "settings": to_dict(config),
        "fingerprint": trained.fingerprint,
        "samples": config.samples,
        "horizon": config.horizon,
        "method": config.method,
        "unit": "standard deviations of each outcome (states, then the reward)",
    }
    result["grade"] = grade(result["recalibrated"])
    result["verdict"] = verdict(result)
    if folder is not None and stored is not None:
        stored.save(Path(folder) / "recalibration.json")
        RunFolder.open(folder, "world_model").write_json("calibration.json", result)
    say(result["verdict"])
    return result


def unseen_episodes(trained: TrainedModel, training: Dataset, data: Dataset | None) -> tuple[Dataset, Dataset, str]:
    """(training episodes, episodes that the model was not trained on, which ones these are in words)."""
    if training.fingerprint != trained.data["fingerprint"]:
        raise ConfigError(
            f"the world model was trained on `{trained.data['name']}` ({trained.data['origin']}), not on"
            f" `{training.info.name}`."
        )
    split = split_log(training, trained.config)
    train, unseen = split.train, split.held
    words = f"the {unseen.episodes} held-out of {training.episodes} episodes of the file that the model was trained on"
    if data is not None and data.fingerprint != training.fingerprint:
        sizes = data.spec.obs_dim, data.spec.act_dim
        if sizes != (trained.spec.obs_dim, trained.spec.act_dim):
            raise ConfigError(
                f"the world model is of {trained.spec.obs_dim} observation and {trained.spec.act_dim} action"
                f" dimensions; `{data.info.name}` has {sizes[0]} and {sizes[1]}."
            )
        unseen, words = data, f"all {data.episodes} episodes of a file that it was not trained on"
    if unseen.episodes < 2:
        raise DatasetError(
            f"`{unseen.info.name}` has {unseen.episodes} episode that the model never saw, and calibration needs two:"
            " what is fitted to one is judged on the other. Train with a larger world_model.holdout, or give"
            " another file with --data."
        )
    return train, unseen, words


def forecast(
    trained: TrainedModel, model: Dynamics, windows: Windows, rows: np.ndarray, samples: int, key: jax.Array
) -> Forecast:
    """Futures of the windows that start at `rows`, standardised."""
    parts = []
    for first in range(0, len(rows), BLOCK):
        block = rows[first : first + BLOCK]
        n = len(block)
        padded = np.concatenate([block, np.repeat(block[-1:], BLOCK - n)])
        out = jax.device_get(_forecast(model, trained.model.scales, windows, padded, samples, jr.fold_in(key, first)))
        parts.append(jax.tree.map(lambda leaf, n=n: leaf[:n], out))
    joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    samples_first = np.moveaxis(joined.samples, 1, 0).astype(np.float64)
    return joined._replace(samples=samples_first, observed=joined.observed.astype(np.float64))


@eqx.filter_jit
def _forecast(model: Dynamics, scales, windows: Windows, rows, samples: int, key) -> Forecast:
    segments = jax.vmap(windows.segment)(jnp.asarray(rows))
    out = unroll(model, segments, samples, key)
    units: Any = lambda obs, reward: jnp.concatenate(
        [obs / scales.obs.scale, reward[..., None] / scales.reward.scale[0]], -1
    )
    return Forecast(
        samples=units(out.next_obs, out.reward),
        observed=units(segments.obs[:, 1:], segments.reward),
        valid=segments.valid,
        end_probability=out.terminal_prob.mean(1),
        ended=segments.terminal,
    )


def _joined(parts: list[Forecast]) -> Forecast:
    join = lambda field, axis: np.concatenate([getattr(part, field) for part in parts], axis)
    return Forecast(*(join(field, int(field == "samples")) for field in Forecast._fields))


def _corrected(config: CalibrateConfig, found: Forecast, episodes: int) -> Recalibration:
    return fit_recalibration(config.method, found.samples, found.observed, found.valid, episodes=episodes)


def _part(data: Dataset, config: CalibrateConfig) -> tuple[Windows, np.ndarray]:
    windows = make_windows(data, config.horizon, discount=1.0)
    return windows, choose_rows(windows, config.windows, config.seed)


def _forecasters(
    trained: TrainedModel, train: Dataset, fit: tuple[Windows, np.ndarray], config: CalibrateConfig
) -> dict[str, tuple[Any, int]]:
    """(forecaster, samples) by name: the model, then the yardsticks, trained on the same rows for the same updates."""
    networks = trained.networks
    scales, rate = trained.model.scales, float(train.terminal.mean())
    elites = best_members(networks.ensemble, scales, *fit, trained.config.networks.ensemble.elites)
    return {
        "model": (trained.model, config.samples),
        "persistence": (persistence(train), 2),
        "neighbours": (neighbours(train, scales, config.seed), min(config.samples, NEIGHBOUR_SAMPLES)),
        "gaussian": (gaussian_members(networks.ensemble, scales, rate, elites[:1]), config.samples),
        "ensemble": (gaussian_members(networks.ensemble, scales, rate, elites), config.samples),
    }


# -- measuring --------------------------------------------------------------------------------------------------------


def _measured(found: Forecast, groups: dict[str, np.ndarray], episode: np.ndarray) -> dict[str, Any]:
    """All measures of one forecaster: lists over the steps of the horizon where nothing else is said. `episode` is the
    one of each window.
    """
    samples = found.samples
    levels = level_of(samples, found.observed)
    varying = np.ptp(found.observed[found.valid[:, 0], 0], 0) > 1e-9 if found.valid[:, 0].any() else np.zeros(0, bool)
    if not varying.any():
        varying = np.ones(found.observed.shape[-1], bool)
    samples, observed, levels = samples[..., varying], found.observed[..., varying], levels[..., varying]
    crps = np.asarray(fair_crps(jnp.asarray(samples), jnp.asarray(observed)))
    steps = range(observed.shape[1])
    rng = np.random.default_rng(0)
    at = lambda h: (samples[:, found.valid[:, h], h], observed[found.valid[:, h], h], levels[found.valid[:, h], h])
    over = lambda f: [f(*at(h)) if found.valid[:, h].any() else None for h in steps]
    interval = lambda x, p: value_at(x, np.array([0.5 - p / 2, 0.5 + p / 2])[:, None, None])
    width = lambda x, p: float(np.diff(interval(x, p), axis=0).mean())
    ends, at_risk = found.end_probability[found.valid], found.ended[found.valid]
    return {
        "coverage": {f"{p:g}": over(lambda x, y, u, p=p: measures.coverage(u, p)) for p in measures.LEVELS},
        "coverage_90_error": [
            measures.coverage_error(levels[found.valid[:, h], h], 0.9, episode[found.valid[:, h]])
            if found.valid[:, h].any()
            else None
            for h in steps
        ],
        "width": {f"{p:g}": over(lambda x, y, u, p=p: width(x, p)) for p in measures.LEVELS},
        "ece": over(lambda x, y, u: measures.calibration_error(u)),
        "crps": [float(crps[found.valid[:, h], h].mean()) if found.valid[:, h].any() else None for h in steps],
        "rmse": over(lambda x, y, u: float(np.sqrt(np.square(x.mean(0) - y).mean()))),
        "energy": over(lambda x, y, u: float(measures.energy_score(x, y).mean())),
        "variogram": over(lambda x, y, u: float(measures.variogram_score(x, y, pairs=PAIRS).mean())),
        "spread_skill": over(lambda x, y, u: measures.spread_skill(x, y)),
        "pit": over(lambda x, y, u: measures.histogram(u).round(5).tolist()),
        "rank_histogram": over(lambda x, y, u: measures.rank_histogram(x, y, rng).round(5).tolist()),
        "error_against_spread": over(_certainty),
        "dimensions": [
            {
                "dimension": int(d),
                "coverage_90": over(lambda x, y, u, i=i: measures.coverage(u[:, i], 0.9)),
                "ece": over(lambda x, y, u, i=i: measures.calibration_error(u[:, i])),
                "crps": [float(crps[found.valid[:, h], h, i].mean()) for h in steps],
            }
            for i, d in enumerate(np.flatnonzero(varying))
        ],
        "end": measures.end_calibration(ends, at_risk) if len(ends) else None,
        "groups": {
            name: _group(samples, observed, levels, crps, found.valid & mask)
            for name, mask in groups.items()
            if (found.valid & mask).any()
        },
    }


def _certainty(samples: np.ndarray, observed: np.ndarray, levels: np.ndarray) -> dict[str, float]:
    """Of the outcome as a whole: root mean square spread over dimensions against the error of the mean."""
    spread = np.sqrt(samples.var(0).mean(-1))
    return measures.error_against_spread(spread, np.sqrt(np.square(samples.mean(0) - observed).mean(-1)))


def _group(samples, observed, levels, crps, mask: np.ndarray) -> dict[str, Any]:
    return {
        "steps": int(mask.sum()),
        "coverage_90": measures.coverage(levels[mask], 0.9),
        "ece": measures.calibration_error(levels[mask]),
        "crps": float(crps[mask].mean()),
        "spread_skill": measures.spread_skill(samples[:, mask], observed[mask]),
    }


def grade(part: dict[str, Any]) -> str:
    """`well`, `roughly` or `not` calibrated: by the calibration error and by what 90 % intervals hold, both on average
    over the steps.
    """
    known = lambda values: np.array([v for v in values if v is not None])
    error, off = known(part["ece"]).mean(), np.abs(known(part["coverage"]["0.9"]) - 0.9).mean()
    return "well" if error < 0.02 and off < 0.03 else "roughly" if error < 0.05 and off < 0.08 else "not"


def verdict(found: dict[str, Any]) -> str:
    """A sentence or two: how honest the spread is, before and after recalibration, and beside the ensemble."""
    mean = lambda values: float(np.mean([v for v in values if v is not None]))
    raw, mended = (mean(part["coverage"]["0.9"]) for part in (found, found["recalibrated"]))
    ece, skill = mean(found["recalibrated"]["ece"]), mean(found["spread_skill"])
    word = "too narrow" if raw < 0.87 else "too wide" if raw > 0.93 else "honest"
    errors = [e for e in found["recalibrated"]["coverage_90_error"] if e is not None]
    sure = f" (± {100 * max(errors):.1f} over episodes)" if errors else ""
    ratio = mean(found["crps"]) / max(mean(found["baselines"]["ensemble"]["crps"]), 1e-12)
    return (
        f"The spread is {word}: 90 % intervals hold {100 * raw:.1f} % of what happened (spread over error {skill:.2f})."
        f" Recalibrated ({found['method']}) they hold {100 * mended:.1f} %{sure}, calibration error {ece:.3f}:"
        f" {found['grade']} calibrated. CRPS {ratio:.2f} times that of a Gaussian ensemble."
    )
