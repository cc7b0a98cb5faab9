"""`dawm plan`: the scores of a receding-horizon planner in a world model."""

from __future__ import annotations

import argparse
from pathlib import Path

from dawm.cli.parser import Outcome, Parser, whole


def flags(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL_DIR", help="run folder of `dawm train`, or OUT/model")
    parser.flag("--policy", metavar="DIR", help="a policy that the search starts from, its critic values what follows")
    parser.add_argument(
        "--mean", action="store_true", help="deviate from all seeds of it as one policy, not from the first"
    )
    parser.flag("--env", metavar="ID", help="Gymnasium environment, or module:ID (the one of the data)")
    parser.flag("--episodes", metavar="N", type=whole, default=10, help="episodes (10)")
    parser.flag("--out", metavar="DIR", help="run folder for the settings and the scores")
    parser.flag("--seed", metavar="N", type=whole, default=10_000, help="seed of the first episode (10000)")
    parser.assignments("as planner.horizon=5, planner.search.kind=cem, planner.risk.measure=cvar, dynamics=anchor")
    parser.common()


def execute(flags: argparse.Namespace) -> Outcome:
    import os

    from dawm.agents.policy import load_policy
    from dawm.errors import ConfigError
    from dawm.pipeline import score_line
    from dawm.planning.play import PlayConfig, score_planner
    from dawm.recorded import recorded_data, stored_model
    from dawm.run.config import override

    if flags.mean and not flags.policy:
        raise ConfigError("--mean is of the seeds of a policy: name one with --policy DIR")
    config = override(PlayConfig(), flags.assignments + ["member=mean"] * flags.mean)
    out = flags.out or flags.model
    model = stored_model(flags.model, used_in=out)
    policy = load_policy(flags.policy) if flags.policy else None
    env = flags.env or recorded_data(model.data, Path(flags.model)).info.env
    if env is None:
        raise ConfigError("the data of this model name no environment: say which with --env, for example Hopper-v5")
    scores = score_planner(
        model,
        env,
        config,
        policy=policy,
        policy_path=os.path.relpath(flags.policy, out) if flags.policy else None,
        episodes=flags.episodes,
        seed=flags.seed,
        folder=flags.out,
    )
    return Outcome({"folder": flags.out} | scores, score_line("planner", scores))
