r"""The learners that people use, on our arrays and through our roll-outs: d3rlpy's TD3+BC, IQL or ReBRAC.

    python -m benchmarks.outside DATA --env ENV --algo td3bc --updates 50000 --seeds 3 --episodes 20 --seed 20000 \
        --out runs/outside/td3bc

What is set as in dawm: batch 256, two hidden layers of 256 units (ReBRAC three), standardised observations, the number
of updates, the episodes of the evaluation and their starts. Everything else is d3rlpy's default, which differs in
places (IQL without the cosine schedule of its actor; targets of cut episodes lose their last step, which d3rlpy cannot
store). So a difference of scores is one between implementations with their habits, and not between algorithms.

    OUT/settings.json       what was asked for
    OUT/seed-0.json ...     returns and lengths of each seed; those that are there are not trained again
    OUT/scores.json         all seeds, as in the run folder of a policy

Kept as benchmarks/results/SUITE/TASK/outside/ALGO.json it is set beside ours in docs/results.md (`beside.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import finish
from dawm.data.dataset import Dataset
from dawm.data.references import find
from dawm.data.registry import load
from dawm.errors import ConfigError, FileError, MissingExtraError
from dawm.evaluate.rollouts import Episodes, rollout
from dawm.evaluate.score import describe_episodes
from dawm.run.checkpoint import write_whole
from dawm.run.progress import say

DEPTH = {"td3bc": 2, "iql": 2, "rebrac": 3}
EPISODE_FIELDS = ("returns", "lengths", "terminated")


def train_outside(
    data: Dataset, env: str, *, algo: str, updates: int, seeds: int, out: Path, episodes: int = 10, seed: int = 10_000
) -> dict[str, Any]:
    """Train `seeds` policies with d3rlpy and play `episodes` whole episodes of `env` with each; returns what
    `scores.json` holds.

    Raises ConfigError where `out` holds other settings, MissingExtraError without d3rlpy.
    """
    if min(updates, seeds, episodes) < 1:
        raise ConfigError(f"updates, seeds and episodes must be at least 1, got {updates}, {seeds} and {episodes}.")
    asked = {"algo": algo, "updates": updates, "env": env, "episodes": episodes, "evaluation_seed": seed}
    _begin(out, asked | {"data": data.fingerprint})
    played = [_one(data, asked, number, out / f"seed-{number}.json") for number in range(seeds)]
    together = Episodes(*(np.asarray([p[name] for p in played]) for name in EPISODE_FIELDS))
    scores = describe_episodes(together, data.info.references or find(data.info.name, env))
    scores |= asked | {"seeds": seeds, "library": played[0]["library"], "data": data.info.name}
    scores["updates_per_second"] = float(np.median([p["updates_per_second"] for p in played]))
    _write(out / "scores.json", scores)
    return scores


def _begin(out: Path, asked: dict[str, Any]) -> None:
    """Refuse a folder of other settings."""
    path = out / "settings.json"
    if path.exists() and (stored := _read(path)) != asked:
        changed = ", ".join(f"{key} {stored.get(key)!r}" for key in asked if stored.get(key) != asked[key])
        raise ConfigError(f"`{out}` was begun with other settings ({changed}): choose another --out, or delete it.")
    _write(path, asked)


def _one(data: Dataset, asked: dict[str, Any], number: int, path: Path) -> dict[str, Any]:
    """What one seed came to: read if it is there, else trained and played."""
    if path.exists():
        return _read(path)
    try:
        from benchmarks.peers import d3
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "d3rlpy", "peers", "this comparison") from None
    dataset, kind, updates = d3.from_log(data), asked["algo"], asked["updates"]
    algo = d3.make_algo(kind, dataset, depth=DEPTH[kind], bounds=data.spec, seed=number)
    say(f"d3rlpy {kind}, seed {number}: {updates:,} updates")
    begun = time.perf_counter()
    d3.train(algo, dataset, updates)
    rate = updates / (time.perf_counter() - begun)
    act = lambda obs: algo.predict(obs[0].astype(np.float32))[None]
    episodes = rollout(act, asked["env"], episodes=asked["episodes"], seed=asked["evaluation_seed"], spec=data.spec)
    found = {name: getattr(episodes, name)[0].tolist() for name in EPISODE_FIELDS}
    found |= {"updates_per_second": rate, "library": f"d3rlpy {d3.d3rlpy.__version__}"}
    say(f"  return {np.mean(found['returns']):.1f} over {asked['episodes']} episodes, {rate:.0f} updates/s")
    _write(path, found)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileError(f"`{path}` is damaged: {error}. Delete it and give the command again.") from None


def _write(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def line(scores: dict[str, Any]) -> str:
    """One line for people."""
    text = f"{scores['library']} {scores['algo']} on {scores['data']}: return {scores['return_mean']:.1f}"
    text += f" ± {scores['return_std']:.1f}"
    if scores["normalized_score"] is not None:
        text += f", score {scores['normalized_score']:.1f} ± {scores['score_std']:.1f}"
    return f"{text} over {scores['seeds']} x {scores['episodes']} episodes in {scores['env']}"


def main(arguments: list[str] | None = None) -> int:
    about = "Train a learner of d3rlpy on a dataset, and score it as dawm scores its own."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outside", description=about)
    parser.add_argument("data", help="a path or a name, as for dawm run")
    parser.add_argument("--env", required=True, help="Gymnasium environment to score in, as benchmarks.neorl2:DMSD-v0")
    parser.add_argument("--algo", choices=sorted(DEPTH), default="td3bc", help="learner (td3bc)")
    parser.add_argument("--updates", type=int, default=50_000, metavar="N", help="of the critics (50000)")
    parser.add_argument("--seeds", type=int, default=1, metavar="K", help="policies, with seeds 0, 1, ... (1)")
    parser.add_argument("--episodes", type=int, default=10, metavar="N", help="evaluation episodes per seed (10)")
    parser.add_argument("--seed", type=int, default=10_000, metavar="N", help="seed of the first episode (10000)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="results; seeds that are there are kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)

    def make() -> dict[str, Any]:
        settings = {"algo": given.algo, "updates": given.updates, "seeds": given.seeds, "episodes": given.episodes}
        settings["seed"] = given.seed
        return train_outside(load(given.data, env=given.env), given.env, **settings, out=given.out)

    return finish(make, line, given.json)


if __name__ == "__main__":
    sys.exit(main())
