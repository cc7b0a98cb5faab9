"""Are synthetic transitions possible? Put the simulator into `obs`, take `action`, compare with `next_obs`.

For row i and dimension d the error is e = next_obs - simulated; with a scale s_d from a reference dataset (the log)

    row error_i = sqrt(mean_d (e_id / s_d)^2),      s = std(next_obs - obs)  or  s = std(obs)

Both scales are given: in units of the step a model that copies the state scores about 1 (or more, where steps have a
mean), so a model is of use only far below it. Coordinates that jump at random (targets) are left out of the row error
and reported by how often they change.

    python -m benchmarks.consistency DATASET --env ID [--reference REAL] [--rows 2000] [--seed 0] [--json]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import finish
from benchmarks.simulators import Simulator, find_simulator
from dawm.data.dataset import Dataset
from dawm.data.registry import load
from dawm.synth.generator import load_synthetic

THRESHOLDS = (0.01, 0.03, 0.1, 0.3, 1.0)
SMALL = 1e-8  # a dimension whose spread is below this is constant: its error is not scaled


def check(
    data: Dataset, env: str, rows: int = 2000, seed: int = 0, *, reference: Dataset | None = None
) -> dict[str, Any]:
    """Compare `rows` transitions of `data`, drawn without replacement, with the simulator of `env`; JSON values.

    Scales come from `reference` (default: `data` itself). Keys: `rows` compared; `excluded` by reason; `per_step` and
    `per_state`, each with rmse, median, p90 and `share_below` thresholds of the row error, and `dimensions` (rmse of
    each over its scale); `rmse` of each dimension in raw units; `reward` and `terminal`; `random_coordinates`.

    Raises ConfigError for an environment without a simulator, MissingExtraError where MuJoCo is not installed.
    """
    simulator, scales = find_simulator(env), _scales(reference if reference is not None else data)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(data))[:rows])
    obs, action, next_obs = data.obs[chosen], data.action[chosen], data.next_obs[chosen]
    finite = np.isfinite(np.concatenate([obs, action, next_obs, data.reward[chosen, None]], 1)).all(1)
    obs, action, next_obs, chosen = obs[finite], action[finite], next_obs[finite], chosen[finite]
    outcome = simulator.step(obs, action, next_obs)
    broken = outcome.usable & ~np.isfinite(outcome.next_obs).all(1)
    kept = outcome.usable & ~broken
    error = (next_obs - outcome.next_obs)[kept]
    judged = np.setdiff1d(np.arange(obs.shape[1]), simulator.random)
    return {
        "env": env,
        "dataset": data.info.name,
        "scales_from": (reference or data).info.name,
        "rows": int(kept.sum()),
        "seed": seed,
        "excluded": {
            "not_finite": int((~finite).sum()),
            "clipped_velocity": int((~outcome.usable).sum()),
            "simulation_broke_down": int(broken.sum()),
        },
        **{name: _row_errors(error, scale, judged) for name, scale in scales.items()},
        "rmse": _rms(error, 0).tolist(),
        "reward": _reward_error(data.reward[chosen][kept], outcome.reward[kept], reference or data),
        "terminal": _terminal_agreement(data.terminal[chosen][kept], outcome.terminal[kept]),
        "random_coordinates": _random(simulator, obs, next_obs),
    }


def _scales(data: Dataset) -> dict[str, np.ndarray]:
    """Scale of each dimension: spread of the step, and of the state."""
    step = (data.next_obs.astype(np.float64) - data.obs).std(0)
    state = data.obs.astype(np.float64).std(0)
    return {"per_step": np.where(step < SMALL, 1.0, step), "per_state": np.where(state < SMALL, 1.0, state)}


def _row_errors(error: np.ndarray, scale: np.ndarray, judged: np.ndarray) -> dict[str, Any]:
    scaled = error / scale
    return _summary(_rms(scaled[:, judged], 1)) | {"dimensions": _rms(scaled, 0).tolist()}


def _summary(values: np.ndarray) -> dict[str, Any]:
    """rmse, median, 90 % quantile and shares of non-negative errors; None for no rows."""
    if len(values) == 0:
        return {"rmse": None, "median": None, "p90": None, "share_below": {}}
    return {
        "rmse": float(_rms(values, 0)),
        "median": float(np.median(values)),
        "p90": float(np.quantile(values, 0.9)),
        "share_below": {str(t): float((values < t).mean()) for t in THRESHOLDS},
    }


def _rms(values: np.ndarray, axis: int) -> np.ndarray:
    """Root mean square; zeros where there is nothing."""
    return np.sqrt(np.square(values).mean(axis)) if values.size else np.zeros(np.delete(values.shape, axis))


def _reward_error(reward: np.ndarray, simulated: np.ndarray, scale_data: Dataset) -> dict[str, Any]:
    """Error of the recorded reward against the simulator's for the same (s, a), raw and over the spread of rewards."""
    error, spread = np.abs(reward - simulated), float(scale_data.reward.astype(np.float64).std())
    return _summary(error / max(spread, SMALL)) | {"raw_rmse": float(_rms(error, 0)), "spread": spread}


def _terminal_agreement(recorded: np.ndarray, simulated: np.ndarray) -> dict[str, Any]:
    """Rates of ends; `missed` are rows that end in the simulator only, `invented` those that end in the data only."""
    return {
        "rate": float(recorded.mean()) if len(recorded) else None,
        "simulated_rate": float(simulated.mean()) if len(recorded) else None,
        "missed": int((simulated & ~recorded).sum()),
        "invented": int((recorded & ~simulated).sum()),
    }


def _random(simulator: Simulator, obs: np.ndarray, next_obs: np.ndarray) -> dict[str, Any]:
    """How often the coordinates that jump at random differ between obs and next_obs."""
    index = list(simulator.random)
    return {"index": index, "change_rate": (obs[:, index] != next_obs[:, index]).mean(0).tolist() if len(obs) else []}


def describe(result: dict[str, Any]) -> str:
    """The result in a few lines for people."""
    excluded = result["excluded"].items()
    left_out = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in excluded if count)
    lines = [
        f"{result['dataset']} against {result['env']}: {result['rows']:,} rows compared"
        + (f" (left out: {left_out})" if left_out else "")
    ]
    titles = {"per_step": "next_obs, error / std of a step ", "per_state": "next_obs, error / std of state  "}
    for name, title in (titles | {"reward": "reward, error / std of rewards  "}).items():
        row = result[name]
        if row["rmse"] is not None:
            shares = "  ".join(f"<{t}: {share:.1%}" for t, share in row["share_below"].items())
            figures = f"rmse {row['rmse']:.2e}  median {row['median']:.2e}  90 % {row['p90']:.2e}"
            lines.append(f"  {title} {figures}   {shares}")
    ends = result["terminal"]
    if ends["rate"] or ends["simulated_rate"]:
        lines.append(
            f"  ends: {ends['rate']:.2%} of the rows, {ends['simulated_rate']:.2%} in the simulator;"
            f" {ends['missed']} missed, {ends['invented']} invented"
        )
    dimensions = " ".join(f"{x:.1e}" for x in result["per_step"]["dimensions"])
    lines.append(f"  rmse of each dimension / std of a step: {dimensions}")
    return "\n".join(lines)


def _load(source: str) -> Dataset:
    """A dataset by path or name, or the folder of a generation."""
    if (Path(source) / "run.toml").is_file():
        return load_synthetic(source)
    return load(source, check=False)


def main(arguments: list[str] | None = None) -> int:
    about = "Compare transitions with what a simulator does in the same state."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.consistency", description=about)
    parser.add_argument("dataset", help="path or name of the (synthetic) dataset, or the folder of a generation")
    parser.add_argument("--env", required=True, help="environment id, for example Hopper-v5")
    parser.add_argument("--reference", help="the real log, whose spreads are the units (default: the dataset itself)")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)

    def make() -> dict[str, Any]:
        reference = load(given.reference) if given.reference else None
        return check(_load(given.dataset), given.env, given.rows, given.seed, reference=reference)

    return finish(make, describe, given.json)


if __name__ == "__main__":
    sys.exit(main())
