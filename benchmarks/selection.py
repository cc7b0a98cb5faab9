"""Can the best policy be picked without the environment? Estimates against scores, over all policies of a dataset.

    python -m benchmarks.selection OUT/safety-half-cheetah --data DATASET --model model-latent

Every seed of every method is one policy. For each criterion (fitted Q evaluation, the world model): the rank
correlation of estimates and returns (Spearman), and the regret of taking the policy with the highest estimate, in
units of the distance from the worst to the best return (Fu et al. 2021, arXiv 2103.16596). Estimates are made where
they are missing and kept with the policies; those whose weights are gone are left out. `--no-fqe`: by the model alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.command import finish
from dawm.data.registry import load
from dawm.errors import FileError
from dawm.evaluate.estimate import EstimateConfig, estimate_policy
from dawm.run.config import override
from dawm.run.folder import RunFolder
from dawm.sweep.markdown import markdown_table
from dawm.worldmodel.trained import TrainedModel

CRITERIA = ("fqe", "model")


def estimate_all(folder: Path, data: Any, config: EstimateConfig, model: TrainedModel | None, fitted: bool) -> None:
    """`estimates.json` in every scored policy of `folder` that has none, and has its weights."""
    for run in scored(folder):
        if run.read_json("estimates.json") is None and run.checkpoints():
            estimate_policy(run.path, data, config, model=model, fitted=fitted)


def scored(folder: Path) -> list[RunFolder]:
    """The policies below `folder` whose scores are known. Raises FileError where there is none."""
    found = [RunFolder(p.parent) for p in sorted((folder / "policies").glob("*/scores.json"))]
    found = [run for run in found if not (run.path / "run.toml").exists() or run.kind == "policy"]  # and no planner
    if not found:
        raise FileError(f"`{folder}` has no policies with scores: run a suite first.")
    return found


def judged(folder: Path) -> dict[str, Any]:
    """Policies with their returns and estimates, and how well each criterion ranks them."""
    policies = []
    for run in scored(folder):
        scores, estimates = run.read_json("scores.json") or {}, run.read_json("estimates.json") or {}
        for seed, returns in enumerate(scores["returns"]):
            values = {name: estimates[name]["value"][seed] for name in CRITERIA if name in estimates}
            if not values:
                continue
            policies.append({"method": run.path.name, "seed": seed, "return": float(np.mean(returns))} | values)
    return {
        "policies": policies,
        "criteria": {name: ranking(policies, name) for name in CRITERIA if all(name in p for p in policies)},
    }


def ranking(policies: list[dict[str, Any]], criterion: str) -> dict[str, float]:
    """Rank correlation and regret of a criterion; a regret of 0 is the best policy, 1 the worst."""
    returns, values = (np.array([p[key] for p in policies]) for key in ("return", criterion))
    width = returns.max() - returns.min()
    regret = (returns.max() - returns[values.argmax()]) / width if width > 0 else 0.0
    middle = (returns.max() - np.median(returns)) / width if width > 0 else 0.0
    return {
        "rank_correlation": float(spearmanr(returns, values).statistic),  # pyright: ignore[reportAttributeAccessIssue]
        "regret": float(regret),
        "regret_of_the_median": float(middle),
    }


def table(found: dict[str, Any]) -> str:
    """As Markdown."""
    names = list(found["criteria"])
    figure = lambda value: f"{value:.4g}"
    rows = [
        [p["method"], str(p["seed"]), figure(p["return"]), *(figure(p[n]) for n in names)] for p in found["policies"]
    ]
    lines = [
        f"{name}: rank correlation {c['rank_correlation']:.2f}, regret of its choice {c['regret']:.2f} (of the middle"
        f" policy {c['regret_of_the_median']:.2f})"
        for name, c in found["criteria"].items()
    ]
    return markdown_table(["method", "seed", "return", *names], rows) + "\n\n" + "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    about = "Whether estimates without the environment rank policies as the environment does."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.selection", description=about)
    parser.add_argument("folder", type=Path, help="folder of a dataset in the results of a suite")
    parser.add_argument("--data", required=True, help="the dataset")
    parser.add_argument("--model", help="world model in that folder, for example model-latent")
    parser.add_argument("--no-fqe", action="store_true", help="by the model alone, in seconds")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as fqe.loop.steps=5000")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)

    def make() -> dict[str, Any]:
        config = override(EstimateConfig(), given.set)
        model = TrainedModel.load(given.folder / given.model) if given.model else None
        estimate_all(given.folder, load(given.data), config, model, fitted=not given.no_fqe)
        return judged(given.folder)

    return finish(make, table, given.json)


if __name__ == "__main__":
    sys.exit(main())
