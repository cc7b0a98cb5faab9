"""A planner in an environment: which model it plans in, which policy warms it up, and what it scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from dawm.agents.policy import MeanPolicy, MemberPolicy, TrainedPolicy
from dawm.data.dataset import References
from dawm.errors import ConfigError
from dawm.evaluate.score import score_actions
from dawm.planning.ascent import AscentConfig
from dawm.planning.nudge import NudgeConfig
from dawm.planning.planner import Planner, PlannerConfig
from dawm.planning.search import MPPIConfig
from dawm.run.config import to_dict
from dawm.run.folder import RunFolder
from dawm.run.progress import say
from dawm.worldmodel.dynamics import within
from dawm.worldmodel.holdout import unknown_share
from dawm.worldmodel.trained import TrainedModel

# One setting for every task. Few candidates and one refinement, because a longer search finds the model's errors; the
# gradient goes on from there in linear dynamics. Elsewhere the policy is only nudged where there is one slope: the best
# of a few candidates is mostly chance in all that its worth does not depend on, and some policies do not survive that;
# so plans are searched for only where the policy alone would leave the log, unless few episodes stand out (`roam`).
AROUND_A_POLICY = PlannerConfig(
    search=MPPIConfig(temperature=0.5),
    ascent=AscentConfig(steps=40, rate=0.03, horizon=10),
    nudge=NudgeConfig(radius=0.3, agreement=0.55),
    horizon=20,
    tail=20,
    candidates=32,
    refinements=1,
    spread=0.3,
    seek=0.1,
)


@dataclass(frozen=True)
class PlayConfig:
    """A planner and what it plans with; the defaults are for one around a policy."""

    planner: PlannerConfig = field(default_factory=lambda: AROUND_A_POLICY)
    dynamics: Literal["model", "ensemble", "anchor"] = "anchor"  # see `worldmodel/dynamics.py`
    member: int | Literal["mean"] = 0  # seed of the policy that warms up; "mean" of all, in actions and values
    terminal_value: bool = True  # what the policy's critic says of the last state; needs one
    climb: Literal["linear", "always"] = "linear"  # where `planner.ascent` counts, and elsewhere `planner.nudge`
    beyond: float = 100.0  # price of leaving the range of the log, in standard deviations of reward and state
    margin: float = 2.0  # how near to the edge of the log that begins, in errors of the point prediction
    spare: float = 0.5  # leave a policy alone where so much of its log is worth drawing; above 1: never
    unknown: float = 0.25  # and where one-step networks leave so much of a change unknown, on held-out episodes
    roam: float = 0.25  # search from every state where less of it is, whatever `planner.seek` says; 0: never

    def __post_init__(self):
        if self.roam < 0:
            raise ValueError(f"roam is a share of the log, at least 0; got {self.roam}")
        if self.spare <= 0:
            raise ValueError(f"spare is a share of the log, above 0; got {self.spare}")
        if self.unknown <= 0:
            raise ValueError(f"unknown is a share of what changes, above 0; got {self.unknown}")
        if self.beyond < 0:
            raise ValueError(f"beyond is a price, at least 0; got {self.beyond}")
        if self.margin < 0:
            raise ValueError(f"margin is a number of errors, at least 0; got {self.margin}")
        if self.member != "mean" and self.member < 0:
            raise ValueError(f"member is a seed of the policy, at least 0, or mean; got {self.member}")

    def planners(self, seeds: int) -> int:
        """How many play around a policy of so many seeds: one around each, or one around their mean."""
        return 1 if self.member == "mean" else seeds


class Alone:
    """What comes of a planner that leaves its policy alone."""

    def __init__(self, policy: MemberPolicy | MeanPolicy):
        self.policy = policy

    def begin(self) -> None:
        """Nothing to forget."""

    def __call__(self, obs: Float[np.ndarray, "m n obs"]) -> Float[np.ndarray, "m n act"]:
        """What the policy does, at raw observations."""
        return self.policy(obs.reshape(-1, obs.shape[-1])).reshape(*obs.shape[:-1], -1)


class Several:
    """Planners side by side, member i of the observations for planner i; acts like one with members."""

    def __init__(self, planners: Sequence[Planner | Alone]):
        self.planners = list(planners)

    def begin(self) -> None:
        for planner in self.planners:
            planner.begin()

    def __call__(self, obs: Float[np.ndarray, "m n obs"]) -> Float[np.ndarray, "m n act"]:
        acted = [planner(obs[i : i + 1]) for i, planner in enumerate(self.planners)]
        return np.concatenate(acted)


def make_planner(trained: TrainedModel, config: PlayConfig, policy: TrainedPolicy | None = None) -> Planner | Alone:
    """The planner that the configuration describes; the policy alone where `spares` says so.

    Raises ConfigError where the policy belongs to another task, has no such member, or has values in other units, or
    where the model has no dynamics.
    """
    start = value = None
    if policy is not None:
        sizes = (policy.spec.obs_dim, policy.spec.act_dim), (trained.spec.obs_dim, trained.spec.act_dim)
        if sizes[0] != sizes[1]:
            raise ConfigError(
                f"the policy has {sizes[0][0]} observation and {sizes[0][1]} action dimensions, the model"
                f" {sizes[1][0]} and {sizes[1][1]}: they belong to different tasks."
            )
        member = _warming(policy, config)
        start, value = member.traced, member.worth if config.terminal_value else None
        if value is not None and policy.config.normalise_reward:
            raise ConfigError(
                "the policy's values are of normalised rewards, which the model's are not: set terminal_value=false."
            )
        if spares(trained, config):
            return Alone(member)
    dynamics, linear = trained.dynamics(config.dynamics), climbs(trained, config)
    priced = within(trained, dynamics, config.beyond, config.margin)
    dynamics, leaving = priced if config.beyond else dynamics, replace(priced, alone=True)
    planner = config.planner
    if linear or policy is None:
        planner = replace(planner, nudge=NudgeConfig(), seek=0.0)
    elif roams(trained, config):
        planner = replace(planner, seek=0.0)
    if not linear:
        planner = replace(planner, ascent=AscentConfig())
    return Planner(dynamics, trained.spec, planner, policy=start, value=value, leaving=leaving)


def _warming(policy: TrainedPolicy, config: PlayConfig) -> MemberPolicy | MeanPolicy:
    """What the planner deviates from: one seed, or the mean of all."""
    if config.member == "mean":
        return policy.mean
    if config.member >= policy.members:
        raise ConfigError(f"`member` is {config.member} and the policy has {policy.members}, numbered from 0.")
    return policy[config.member]


def climbs(trained: TrainedModel, config: PlayConfig) -> bool:
    """Whether the gradient may go on from what the search finds; elsewhere the policy may be nudged.

    What it climbs lies outside the log, where a linear map still holds and a network says anything; so by default only
    in an anchor of which the log said that it is linear.
    """
    return config.climb == "always" or (config.dynamics == "anchor" and trained.networks.anchor.extrapolates)


def spares(trained: TrainedModel, config: PlayConfig) -> bool:
    """Whether a policy is better left alone; `why_spared` says why."""
    return why_spared(trained, config) is not None


def why_spared(trained: TrainedModel, config: PlayConfig) -> str | None:
    """Why a policy is better left alone; None where it is not, which is so wherever the dynamics are linear.

    Its log may be of good agents, or of one: most episodes are worth learning from (`data.focus.share_of`), so that the
    policy has little to gain, and the log holds little of what follows when things go wrong, which is what plans run
    into. Or the dynamics are hardly known: on held-out episodes the one-step network forecasts the next state little
    better than that nothing changes, and a plan is no better than the forecasts that it rests on.
    """
    if climbs(trained, config):
        return None
    share, left = _share(trained, 0.0), unknown_share(trained.measured)
    if share >= config.spare:
        return (
            f"a share of {share:g} of its log is worth drawing, so that there is little to gain, and plans would run"
            " into what the log does not hold (spare=2 plans all the same)"
        )
    if left >= config.unknown:
        return (
            f"one-step forecasts have {left:.0%} of the error of no change at all, and a plan is no better than the"
            " forecasts that it rests on (unknown=2 plans all the same)"
        )
    return None


def roams(trained: TrainedModel, config: PlayConfig) -> bool:
    """Whether to search from every state: few episodes of the log stand out, and the dynamics are not linear, where
    that is done anyway.

    From the others a policy learns little, so that it has much to gain; on the two such logs that were tried a search
    cost nothing and gained something (docs/experiments.md).
    """
    return _share(trained, 1.0) < config.roam and not climbs(trained, config)


def say_how(trained: TrainedModel, config: PlayConfig, policy: TrainedPolicy | None) -> None:
    """Tell people what the log made of the configuration: once, however many planners are made of it."""
    if policy is not None and (why := why_spared(trained, config)):
        say(f"the policy is left alone: {why}")
        return
    if policy is not None and config.planner.seek and roams(trained, config):
        share = trained.data["share"]
        say(f"plans are searched for everywhere: only {share:g} of the log is worth drawing (roam=0 keeps to `seek`)")
    if config.planner.ascent.steps and not climbs(trained, config):
        say("no gradient ascent: these dynamics are not linear, and it would climb their errors (climb=always does it)")


def _share(trained: TrainedModel, unknown: float) -> float:
    """How much of the log is worth drawing; models from before there were such rules do not know."""
    return trained.data.get("share", unknown)


def score_planner(
    trained: TrainedModel,
    env: str,
    config: PlayConfig | None = None,
    *,
    policy: TrainedPolicy | None = None,
    policy_path: str | None = None,
    members: int | None = None,
    episodes: int = 10,
    seed: int = 10_000,
    references: References | None = None,
    folder: str | Path | None = None,
) -> dict[str, Any]:
    """Play whole episodes with a planner; what `evaluate.score.score_policy` says of a policy, with the same starts.

    With `members`, that many planners play, one after another: planner i is warmed up by seed i of the policy, or
    without a policy has the seed `planner.seed + i`; where `member` is "mean" they can only be one. `spared` says
    whether the policy was left alone. With a folder (kind `planner`), what was planned with and the scores are recorded
    there. Raises ConfigError where `make_planner` does, and for several planners around the mean.
    """
    config = config or PlayConfig()
    if config.member == "mean" and members not in (None, 1):
        raise ConfigError(f"`member` is mean, which is one planner around all seeds, and `members` asks for {members}.")
    planner = Several([make_planner(trained, each, policy) for each in _members(config, members, policy)])
    why = None if policy is None else why_spared(trained, config)
    say_how(trained, config, policy)
    run = None
    if folder is not None:
        stored = {
            "play": to_dict(config),
            "data": trained.data,
            "env": env,
            "episodes": episodes,
            "evaluation_seed": seed,
        }
        stored |= {"model": {"path": trained.known_as or str(trained.folder), "fingerprint": trained.fingerprint}}
        stored |= {} if members is None else {"members": members}
        stored |= {} if policy is None else {"policy": {"path": policy_path, "step": policy.step}}
        run = RunFolder.start(folder, "planner", stored, {"seed": config.planner.seed})
        if run.finished:
            return run.read_json("scores.json") or {}
    acting = planner
    if policy is not None and why and members == policy.members:
        acting = policy.act  # all seeds in one call, so that the scores are the policy's to the bit
    scores = score_actions(
        acting,
        env,
        name=trained.data["name"],
        spec=trained.spec,
        members=len(planner.planners),
        episodes=episodes,
        seed=seed,
        references=references,
    )
    scores |= {"spared": why is not None, "spared_because": why}
    if run is not None:
        run.write_json("scores.json", scores)
        run.finish()
    return scores


def _members(config: PlayConfig, members: int | None, policy: TrainedPolicy | None) -> list[PlayConfig]:
    """The settings of each planner."""
    if members is None or config.member == "mean":
        return [config]
    if policy is not None:
        return [replace(config, member=i) for i in range(members)]
    seed = config.planner.seed
    return [replace(config, planner=replace(config.planner, seed=seed + i)) for i in range(members)]
