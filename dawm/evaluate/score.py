"""The score of a trained policy: its last checkpoint, all seeds, whole episodes, raw returns and normalised scores.

    score = 100 (R − low) / (high − low)

Spreads are scaled by 100 / (high − low) and never shifted. Without references there is no score, and the raw return
stands alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dawm.agents.policy import TrainedPolicy, load_policy
from dawm.data.dataset import References
from dawm.evaluate.rollouts import Episodes, rollout
from dawm.evaluate.statistics import Scores, cvar
from dawm.run.folder import RunFolder, environment
from dawm.types import Spec

WORST = 0.1  # share of the episodes whose mean is the CVaR


def score_policy(
    policy: TrainedPolicy | str | Path,
    env: str,
    *,
    episodes: int = 10,
    seed: int = 10_000,
    references: References | None = None,
    mean: bool = False,
) -> dict[str, Any]:
    """Play `episodes` episodes with every seed of the policy; from a run folder, also write its `scores.json`. With
    `mean`, play them with the one policy that does what the seeds do on average, and write nothing.

    `references` are the returns that mean 0 and 100; by default those known for the dataset and environment, if any.
    `return_cvar` is the mean of the worst tenth of all episodes, `failure_rate` the share of them that the MDP ended
    (in tasks that end at success: the share of successes). `cost_mean` is the sum of `info["cost"]` over an episode,
    `cost_rate` that over a step (each seed); null where the environment reports no cost.
    `iqm` and interval are over seeds, or over episodes where there is one seed (`interval_over` says which).
    """
    folder = None if isinstance(policy, TrainedPolicy) else RunFolder.open(policy, "policy")
    trained = policy if isinstance(policy, TrainedPolicy) else load_policy(policy)
    one = lambda obs: trained.mean(obs[0])[None]
    act, members = (one, 1) if mean else (trained.act, trained.members)
    result = score_actions(
        act,
        env,
        name=trained.dataset,
        spec=trained.spec,
        members=members,
        episodes=episodes,
        seed=seed,
        references=references,
    )
    result["checkpoint"] = trained.step
    if folder is not None and not mean:
        folder.write_json("scores.json", result)
    return result


def score_actions(
    act: Callable[[np.ndarray], Any],
    env: str,
    *,
    name: str,
    spec: Spec,
    members: int = 1,
    episodes: int = 10,
    seed: int = 10_000,
    references: References | None = None,
) -> dict[str, Any]:
    """The same of anything that acts (see `evaluate.rollouts.rollout`); `name` is the dataset that it comes from."""
    played = rollout(act, env, episodes=episodes, seed=seed, members=members, spec=spec)
    return describe_episodes(played, references or _known_references(name, env)) | {
        "env": env,
        "episodes": episodes,
        "seeds": members,
        "evaluation_seed": seed,
        "versions": environment()["versions"],
    }


def describe_episodes(played: Episodes, references: References | None) -> dict[str, Any]:
    """What `scores.json` says of returns, lengths and ends; without references there is no normalised score."""
    raw = Scores.of(played.returns)
    score = None if references is None else Scores.of(references.normalise(played.returns))
    return {
        "returns": played.returns.tolist(),
        "lengths": played.lengths.tolist(),
        "terminated": played.terminated.tolist(),
        "costs": played.costs if played.costs is None else played.costs.tolist(),
        "return_mean": raw.mean,
        "return_std": raw.std,
        "return_cvar": cvar(played.returns, WORST),
        "failure_rate": float(played.terminated.mean()),
        "cost_mean": None if played.costs is None else float(played.costs.mean()),
        "cost_rate": None if played.costs is None else (played.costs.sum(1) / played.lengths.sum(1)).tolist(),
        "return_iqm": raw.iqm,
        "return_interval": raw.interval and list(raw.interval),
        "interval_over": raw.over,
        "normalized_score": score and score.mean,
        "score_std": score and score.std,
        "score_iqm": score and score.iqm,
        "score_interval": score and score.interval and list(score.interval),
        "references": references and references._asdict(),
    }


def _known_references(dataset: str, env: str) -> References | None:
    from dawm.data.references import find

    return find(dataset, env)
