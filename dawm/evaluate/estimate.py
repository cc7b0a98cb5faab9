"""How good a policy is, without its environment: by fitted Q evaluation, and by living in a world model.

Both answer with a discounted return from the first states of the log, beside that of the log itself. Neither is a
score: use them to choose between policies, and look at the intervals and at how far the two agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dawm.agents.policy import TrainedPolicy, load_policy
from dawm.data.dataset import Dataset
from dawm.errors import ConfigError
from dawm.evaluate.fqe import FQEConfig, fitted_values
from dawm.evaluate.imagined import ImagineConfig, imagined_returns
from dawm.evaluate.trust import TRUST
from dawm.run.config import to_dict
from dawm.run.folder import RunFolder
from dawm.worldmodel.trained import TrainedModel

NORMAL = 1.96  # standard errors to each side of a 95 % interval


@dataclass(frozen=True)
class EstimateConfig:
    """Settings of both."""

    fqe: FQEConfig = field(default_factory=FQEConfig)
    model: ImagineConfig = field(default_factory=ImagineConfig)

    def __post_init__(self):
        if self.fqe.discount != self.model.discount:
            raise ValueError(
                f"fqe.discount ({self.fqe.discount}) and model.discount ({self.model.discount}) must agree"
            )


def estimate_policy(
    policy: TrainedPolicy | str | Path,
    data: Dataset,
    config: EstimateConfig | None = None,
    *,
    model: TrainedModel | None = None,
    fitted: bool = True,
) -> dict[str, Any]:
    """Estimates for every seed of the policy: `fqe` unless `fitted` is false, and `model` where one is given.

    Each has lists over seeds: `value`, `low`, `high` (95 %); that of the model also `left`, the share of its futures
    that left the log. `log` is the discounted return of the recorded episodes, `model.log` that of as many steps as
    futures have; `model.linear` says whether the log told the model that its dynamics are. From a run folder, also
    written to its `estimates.json`, beside what was estimated there before of the same weights in the other way.
    Raises ConfigError where the policy, the data and the model are not of one task.
    """
    config = config or EstimateConfig()
    if model is None and not fitted:
        raise ConfigError("there is nothing to estimate by: give a world model, or leave `fitted` true.")
    folder = None if isinstance(policy, TrainedPolicy) else RunFolder.open(policy, "policy")
    trained = policy if isinstance(policy, TrainedPolicy) else load_policy(policy)
    _check_task(trained, data, model)
    recorded = data.return_to_go(config.fqe.discount)[data.episode_starts]
    result = {
        "dataset": data.info.name,
        "checkpoint": trained.step,
        "seeds": trained.members,
        "discount": config.fqe.discount,
        "settings": to_dict(config),
        "log": float(recorded.mean()),
    }
    if fitted:
        result["fqe"] = _by_fqe(trained, data, config.fqe)
    if model is not None:
        result["model"] = _by_model(trained, data, model, config.model)
    if folder is not None:
        folder.write_json("estimates.json", _beside(folder.read_json("estimates.json") or {}, result))
    return result


def _beside(before: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """The result, and of an earlier one what it answers to the same question in the way that was not asked now."""
    if any(before.get(key) != result[key] for key in ("dataset", "checkpoint", "seeds", "discount")):
        return result
    kept = [name for name in ("fqe", "model") if name in before and name not in result]
    settings = result["settings"] | {name: before["settings"][name] for name in kept}
    return result | {name: before[name] for name in kept} | {"settings": settings}


def _by_fqe(policy: TrainedPolicy, data: Dataset, config: FQEConfig) -> dict[str, list[float]]:
    every = lambda obs: policy.act(np.broadcast_to(obs, (policy.members, *obs.shape)))
    found = fitted_values(data, every(data.next_obs), every(data.obs[data.episode_starts]), config)
    return _interval(found.mean(1), found.std(1, ddof=1))


def _by_model(policy: TrainedPolicy, data: Dataset, trained: TrainedModel, config: ImagineConfig) -> dict[str, Any]:
    values, errors, left = [], [], []
    dynamics = trained.dynamics(config.dynamics)
    for member in range(policy.members):
        returns, lost = imagined_returns(dynamics, policy[member].traced, data, config)
        between = returns.mean(1).std(ddof=1) if len(returns) > 1 else 0.0  # members of the model
        within = returns.mean(0).std(ddof=1) / np.sqrt(returns.shape[1])  # first states
        values.append(returns.mean())
        errors.append(np.hypot(between, within))
        left.append(float(lost.mean()))
    found = _interval(np.asarray(values), np.asarray(errors)) | {"left": left}
    linear = config.dynamics == "anchor" and trained.networks.anchor.extrapolates
    return found | {"log": _recorded(data, config), "linear": linear, "fingerprint": trained.fingerprint}


def _recorded(data: Dataset, config: ImagineConfig) -> float:
    """The mean discounted return of the first `steps` of the recorded episodes."""
    after = np.minimum(np.arange(config.steps)[:, None], data.lengths - 1)
    rows = data.episode_starts + after
    counts = np.arange(config.steps)[:, None] < data.lengths
    return float((config.discount ** np.arange(config.steps) @ (counts * data.reward[rows])).mean())


def _interval(value: np.ndarray, error: np.ndarray) -> dict[str, list[float]]:
    return {
        "value": value.tolist(),
        "low": (value - NORMAL * error).tolist(),
        "high": (value + NORMAL * error).tolist(),
    }


def _check_task(policy: TrainedPolicy, data: Dataset, model: TrainedModel | None) -> None:
    sizes = {"policy": policy.spec, "data": data.spec} | ({} if model is None else {"model": model.spec})
    known = {name: (spec.obs_dim, spec.act_dim) for name, spec in sizes.items()}
    if len(set(known.values())) > 1:
        words = ", ".join(f"the {name} {obs} and {act}" for name, (obs, act) in known.items())
        raise ConfigError(f"observation and action dimensions differ: {words}. They belong to different tasks.")


def verdict(found: dict[str, Any]) -> list[str]:
    """For people: one line an estimate, the mean over seeds and the widest interval."""
    lines = [f"discounted return (factor {found['discount']}) of the log: {found['log']:.4g}"]
    for name, title in (("fqe", "fitted Q evaluation"), ("model", "in the world model")):
        if (part := found.get(name)) is None:
            continue
        line = f"{title}: {np.mean(part['value']):.4g} [{min(part['low']):.4g}, {max(part['high']):.4g}]"
        if part.get("left") is not None and (left := float(np.mean(part["left"]))) > 0:
            line += f"; {left:.0%} of the futures left what the log holds, and count as its worst"
        lines.append(line)
    if "model" in found:
        lines.append(TRUST[bool(found["model"]["linear"])])
    return lines
