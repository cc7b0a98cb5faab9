"""An example run folder for tests and for looking at the page. It is a fixture: no training took place.

The numbers come from small real computations: returns of a random walk, errors of linear models with a known drift on
a linear-Gaussian system, Kolmogorov-Smirnov distances and histograms of drawn samples.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from dawm.data.dataset import References

VERSIONS = {
    "dawm": "0.1.0",
    "jax": "0.10.2",
    "equinox": "0.13.8",
    "numpy": "2.4.6",
    "gymnasium": "1.4.0",
    "mujoco": None,
}
LOW, HIGH = -20.272305, 3234.3
ORIGIN = "file:hopper-mixed.npz"


def write_example(
    folder: Path,
    *,
    name: str = "hopper-mixed",
    seeds: int = 5,
    episodes: int = 10,
    gain: float = 260.0,
    env: str | None = "Hopper-v5",
    references: bool = True,
    learners: tuple[str, ...] = ("td3bc",),
    dims: int = 11,
) -> Path:
    """A finished run of kind "run"; `gain` is what synthetic data add to the mean return of a learner."""
    rng = np.random.default_rng(0)
    begin(
        folder,
        "run",
        {"dataset": ORIGIN, "preset": "default", "algo": learners[0], "seeds": seeds} | ({"env": env} if env else {}),
    )
    write_json(folder / "data.json", data_json(rng, name, references))
    write_model(folder / "model", rng)
    write_synthetic(folder / "synthetic", rng, dims)
    returns = {"bc": 850.0} | {a: 1150.0 + 90 * i for i, a in enumerate(learners)}
    returns |= {f"{a}-dawm": 1150.0 + 90 * i + gain for i, a in enumerate(learners)}
    for kind, mean in returns.items():
        write_policy(folder / "policies" / kind, rng, mean, seeds, episodes, env, references)
    (folder / "finished").touch()
    return folder


def begin(folder: Path, kind: str, config: dict[str, Any]) -> None:
    """run.toml and provenance.json, as RunFolder.start writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.toml").write_text(tomli_w.dumps({"kind": kind, "config": config}))
    provenance = {
        "versions": VERSIONS,
        "python": "3.11.9",
        "platform": "Linux-6.1-x86_64",
        "device": "TFRT_CPU_0",
        "commit": "fea2d64c0ffee",
        "command": ["/usr/local/bin/dawm", "run", ORIGIN, "--env", "Hopper-v5", "--out", "runs/hopper mixed"],
        "seed": 0,
    }
    write_json(folder / "provenance.json", provenance)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_metrics(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def histogram(x: np.ndarray, bins: int, density: bool = False) -> dict[str, list[float]]:
    height, edges = np.histogram(x, bins, density=density)
    return {"edges": edges.tolist(), "density" if density else "counts": height.tolist()}


def data_json(rng: np.random.Generator, name: str, references: bool) -> dict[str, Any]:
    lengths = np.minimum(rng.gamma(2.2, 95.0, 420).astype(int) + 12, 1000)
    returns = 2.6 * lengths + rng.normal(0, 40, 420)
    steps = int(lengths.sum())
    known = References(LOW, HIGH, "D4RL, hopper") if references else None
    return {
        "name": name,
        "origin": ORIGIN,
        "format": "npz",
        "env": "Hopper-v5",
        "steps": steps,
        "episodes": 420,
        "obs_dim": 11,
        "act_dim": 3,
        "act_low": [-1.0] * 3,
        "act_high": [1.0] * 3,
        "lengths": {
            "min": int(lengths.min()),
            "mean": float(lengths.mean()),
            "max": int(lengths.max()),
            **histogram(lengths, 24),
        },
        "returns": {
            "mean": float(returns.mean()),
            "std": float(returns.std()),
            "min": float(returns.min()),
            "max": float(returns.max()),
            "percentiles": {str(q): float(np.percentile(returns, q)) for q in (10, 50, 90)},
            **histogram(returns, 28),
        },
        "terminal_steps": 391,
        "cut_episodes": 29,
        "references": known and known._asdict(),
        "score_mean": known and float(known.normalise(returns.mean())),
        "fingerprint": "sha256:5d1c0f7a44be",
        "notes": ["12 duplicate rows were kept."],
        "doctor": {
            "ok": True,
            "problems": [
                {
                    "severity": "warning",
                    "check": "duplicates",
                    "message": "12 transitions occur twice; the first at step 8,812.",
                },
                {
                    "severity": "note",
                    "check": "references",
                    "message": "Reference returns are those of hopper in D4RL.",
                },
            ],
        },
        "split": {"train_episodes": 378, "holdout_episodes": 42, "seed": 0},
    }


def errors(rng: np.random.Generator, drift: float, noise: float, horizon: int) -> dict[str, list[float]]:
    """Measured errors of a model whose step is wrong by `drift` and noisy by `noise`, on a slowly turning system."""
    angle, n, draws = 0.12, 400, 8
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    truth = rng.normal(size=(n, 2))
    model = np.repeat(truth[:, None], draws, 1)
    found: dict[str, list[float]] = {k: [] for k in ("rmse", "mean_rmse", "crps", "reward_rmse", "spread")}
    for _ in range(horizon):
        truth = truth @ turn.T
        model = model @ turn.T * (1 + drift) + noise * rng.normal(size=model.shape)
        off = np.abs(model - truth[:, None])
        pairs = np.abs(model[:, :, None] - model[:, None]).sum((1, 2)) / (draws * (draws - 1))
        found["rmse"].append(float(np.sqrt((off**2).mean())))
        found["mean_rmse"].append(float(np.sqrt(((model.mean(1) - truth) ** 2).mean())))
        found["crps"].append(float((off.mean(1) - pairs / 2).mean()))
        found["reward_rmse"].append(float(np.sqrt((off[..., 0] ** 2).mean())) * 3)
        found["spread"].append(float(model.std(1).mean()))
    return found


def holdout_json(rng: np.random.Generator, horizon: int = 8) -> dict[str, Any]:
    models = {
        "dawm": errors(rng, 0.012, 0.045, horizon),
        "one_step": errors(rng, 0.04, 0.0, horizon),
        "ensemble": errors(rng, 0.03, 0.06, horizon),
    }
    still = [float(np.sqrt(2 - 2 * np.cos(0.12 * h))) for h in range(1, horizon + 1)]
    models["persistence"] = {
        "rmse": still,
        "mean_rmse": still,
        "crps": [0.8 * e for e in still],
        "spread": [0.0] * horizon,
    }
    ratio = lambda key: models["dawm"][key][0] / models["one_step"]["rmse"][0]
    return {
        "horizon": horizon,
        "windows": 400,
        "samples_per_start": 8,
        "unit": "standard deviations of the state",
        "members_note": "one_step and ensemble are unrolled with the recorded actions; dawm sees the first action only",
        "models": models,
        "first_step_ratio": ratio("rmse"),
        "first_step_mean_ratio": ratio("mean_rmse"),
        "consistency": {
            "generated": [0.08 + 0.004 * h for h in range(horizon)],
            "recorded": 0.061,
            "unit": "std of the change",
        },
        "inverse": {
            "head": "gaussian",
            "rmse": 0.083,
            "r2": 0.962,
            "nll": -1.94,
            "cycle_rmse": 0.071,
            "recorded_action_rmse": 0.06,
        },
        "ends": {"real_rate": 0.00465, "generated_rate": 0.0051, "brier": 0.0038},
        "parameters": {
            "diffusion": 412_000,
            "anchor": 71_000,
            "inverse": 69_000,
            "ends": 18_000,
            "one_step": 71_000,
            "ensemble": 355_000,
        },
    }


def calibration_json(horizon: int = 8) -> dict[str, Any]:
    def part(coverage, ece, crps, skill):
        steps = [float(h) for h in range(1, horizon + 1)]
        return {
            "coverage": {"0.9": [coverage + 0.004 * h for h in steps], "0.5": [coverage - 0.4] * horizon},
            "ece": [ece + 0.002 * h for h in steps],
            "crps": [crps * h**0.8 for h in steps],
            "spread_skill": [skill] * horizon,
            "groups": {"before an end": {"steps": 212, "coverage_90": coverage - 0.02, "ece": ece, "crps": crps}},
        }

    return part(0.8, 0.04, 0.02, 0.71) | {
        "recalibrated": part(0.87, 0.001, 0.019, 0.98),
        "baselines": {
            "ensemble": part(0.93, 0.06, 0.031, 1.3),
            "neighbours": part(0.7, 0.1, 0.09, 0.6),
            "persistence": part(0.0, 0.4, 0.3, 0.0) | {"crps": [None] * horizon},
        },
        "data": {"name": "hopper", "judged_on": "the 11 held-out of 112 episodes of the file it was trained on"},
        "unit": "standard deviations of each outcome",
        "grade": "well",
        "verdict": "The spread is too narrow: 90 % intervals hold 81.8 % of what happened.",
    }


def write_model(folder: Path, rng: np.random.Generator, *, steps: int = 20_000, finished: bool = True) -> None:
    loop = {"steps": 20_000, "chunk": 500, "monitor_every": 4_000}
    begin(folder, "world_model", {"world_model": {"model": {"kind": "trajectory", "horizon": 8}, "loop": loop}})
    rows = []
    for step in range(500, steps + 1, 500):
        rows.append({"step": step, "loss": 0.9 * step**-0.35 + 0.004 * abs(rng.normal()), "seconds": step / 90})
        if step % 4_000 == 0:
            for kind, end in (("dawm", 0.047), ("one_step", 0.04), ("ensemble", 0.068)):
                rows[-1] |= {f"holdout/{kind}/rmse_1": end * (1 + (kind == "dawm") * 4_000 / step)}
                rows[-1] |= {f"holdout/{kind}/rmse_H": 5 * end * (1 + (kind == "dawm") * 3_000 / step)}
                rows[-1] |= {f"holdout/{kind}/crps_1": 0.6 * end * (1 + (kind == "dawm") * 4_000 / step)}
    write_metrics(folder / "metrics.jsonl", rows)
    if finished:
        write_json(folder / "holdout.json", holdout_json(rng))
        write_json(folder / "calibration.json", calibration_json())
        (folder / "finished").touch()


def marginal(rng: np.random.Generator, name: str, shift: float) -> dict[str, Any]:
    real = rng.gamma(3.0, 0.4, 4_000) if "reward" in name else rng.normal(0, 1, 4_000) + rng.choice([-1.1, 1.1], 4_000)
    synthetic = rng.permutation(real)[:3_000] + rng.normal(shift, 0.12, 3_000)
    both = np.sort(np.concatenate([real, synthetic]))
    below = [np.searchsorted(np.sort(x), both, "right") / len(x) for x in (real, synthetic)]
    return {
        "name": name,
        "ks": float(np.abs(below[0] - below[1]).max()),
        "real": histogram(real, 32, density=True),
        "synthetic": histogram(synthetic, 32, density=True),
    }


def write_synthetic(folder: Path, rng: np.random.Generator, dims: int = 11) -> None:
    begin(
        folder,
        "synthetic",
        {"generate": {"count": 200_000, "quantile": 0.9, "factor": 1.1}, "model": {"fingerprint": "9f3e"}},
    )
    names = ["reward", *(f"next_obs[{i}]" for i in range(dims)), *(f"action[{i}]" for i in range(3))]
    generation = {
        "transitions": 200_000,
        "futures": 26_114,
        "terminal_rate": 0.0049,
        "source": {"model": "model", "fingerprint": "9f3e"},
        "settings": {},
        "seconds": 41.0,
        "transitions_per_second": 4878.0,
        "fingerprint": "sha256:77aa01",
    }
    fidelity = {
        "marginals": [marginal(rng, n, 0.35 * (i % 5 == 2) + 0.02 * i) for i, n in enumerate(names)],
        "two_sample_auc": 0.583,
        "nearest_neighbour": {"synthetic_to_train": 0.21, "holdout_to_train": 0.24, "ratio": 0.875},
        "inverse_consistency": 0.091,
        "one_step_consistency": {"synthetic_rmse": 0.093, "real_rmse": 0.061},
        "terminal_rate": {"real": 0.00465, "synthetic": 0.0049},
        "reward": {"rmse": 0.034, "correlation": 0.991},
        "verdict": "Synthetic transitions lie close to real ones; next_obs[1] is shifted.",
    }
    write_json(folder / "generation.json", generation)
    write_json(folder / "fidelity.json", fidelity)
    (folder / "finished").touch()


def scores_json(returns: np.ndarray, env: str, references: bool) -> dict[str, Any]:
    """As dawm.evaluate.score writes it: the interquartile mean and its bootstrap are over the means of seeds."""
    known = References(LOW, HIGH, "D4RL, hopper") if references else None
    means = returns.mean(1)
    draws = np.random.default_rng(0).choice(means, (500, len(means)))
    iqm = lambda x: float(np.sort(x)[len(x) // 4 : len(x) - len(x) // 4].mean())
    bounds = np.quantile([iqm(d) for d in draws], [0.025, 0.975])
    scale = lambda x: None if known is None else float(100 * (x - LOW) / (HIGH - LOW))
    return {
        "env": env,
        "episodes": returns.shape[1],
        "checkpoint": 200_000,
        "seeds": len(returns),
        "returns": returns.tolist(),
        "lengths": (returns / 2.9).round().tolist(),
        "terminated": (returns < 2_000).tolist(),
        "return_mean": float(returns.mean()),
        "return_std": float(returns.std()),
        "return_iqm": iqm(means),
        "return_interval": bounds.tolist(),
        "interval_over": "seeds" if len(means) > 1 else "episodes",
        "normalized_score": scale(returns.mean()),
        "score_std": known and float(100 * returns.std() / (HIGH - LOW)),
        "score_iqm": scale(iqm(means)),
        "score_interval": known and [scale(b) for b in bounds],
        "references": known and known._asdict(),
        "versions": VERSIONS,
    }


def write_policy(
    folder: Path,
    rng: np.random.Generator,
    mean: float,
    seeds: int = 5,
    episodes: int = 10,
    env: str | None = "Hopper-v5",
    references: bool = True,
) -> None:
    algo = folder.name.removesuffix("-dawm").removesuffix("-futures")
    config: dict[str, Any] = {
        "policy": {
            "algo": {"kind": algo},
            "batch_size": 256,
            "ratio": 0.0,
            "seeds": seeds,
            "seed": 0,
            "loop": {"steps": 200_000},
        },
        "data": {"origin": ORIGIN, "name": "hopper-mixed", "fingerprint": "sha256:5d1c0f7a44be"},
        "spec": {"obs_dim": 11, "act_dim": 3},
    }
    if folder.name.endswith("-dawm"):
        config["synthetic"] = {"path": "runs/hopper mixed/synthetic", "fingerprint": "sha256:77aa01"}
        config["policy"]["ratio"] = 0.5
    if folder.name.endswith("-futures"):
        config["futures"] = {"path": "futures:../../futures", "data": "sha256:5d1c0f7a44be"}
        config["policy"]["risk"] = {"measure": "cvar", "level": 0.25}
    begin(folder, "policy", config)
    rows = []
    for step in range(2_000, 200_001, 2_000):
        noise = rng.normal(0, 1, (2, seeds))
        rows.append(
            {"step": step, "actor/loss": (-1.5 + 2 * step**-0.2 + 0.03 * noise[0]).tolist(), "seconds": step / 800}
        )
        if algo != "bc":
            rows[-1]["critic/loss"] = (3 + 40 * step**-0.3 + 0.4 * noise[1]).tolist()
    write_metrics(folder / "metrics.jsonl", rows)
    if env:
        returns = mean + rng.normal(0, 90, (seeds, 1)) + rng.normal(0, 260, (seeds, episodes))
        write_json(folder / "scores.json", scores_json(returns, env, references))
    (folder / "finished").touch()


if __name__ == "__main__":
    import sys

    from dawm.report.page import write_report

    print(write_report(write_example(Path(sys.argv[1]))))
