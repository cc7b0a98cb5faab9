"""`dawm eval`: the scores of a policy."""

from __future__ import annotations

import argparse

from dawm.cli.parser import Outcome, Parser, whole


def flags(parser: Parser) -> None:
    parser.add_argument("policy", metavar="POLICY_DIR", help="run folder of `dawm policy`, or OUT/policies/NAME")
    parser.flag("--env", metavar="ID", help="Gymnasium environment, or module:ID (the one of the data)")
    parser.flag("--episodes", metavar="N", type=whole, default=10, help="episodes per seed (10)")
    parser.flag("--seed", metavar="N", type=whole, default=10_000, help="seed of the first episode (10000)")
    parser.flag(
        "--mean", action="store_true", help="of one policy, which does the mean of what the seeds do; not stored"
    )
    parser.common()


def execute(flags: argparse.Namespace) -> Outcome:
    from dawm.evaluate.score import score_policy
    from dawm.pipeline import score_line
    from dawm.run.folder import RunFolder

    run = RunFolder.open(flags.policy, "policy")
    env = flags.env or environment(run)
    scores = score_policy(flags.policy, env, episodes=flags.episodes, seed=flags.seed, mean=flags.mean)
    name = run.path.resolve().name + (", mean of the seeds" if flags.mean else "")
    return Outcome({"folder": flags.policy, "mean": flags.mean} | scores, score_line(name, scores))


def environment(run) -> str:
    """The environment of earlier scores, or else the one that the policy's dataset names."""
    from dawm.errors import ConfigError
    from dawm.recorded import recorded_data

    stored = run.read_json("scores.json")
    env = stored["env"] if stored else recorded_data(run.read_config()["config"]["data"], run.path).info.env
    if env is None:
        raise ConfigError("the data of this policy name no environment: say which with --env, for example Hopper-v5")
    return env
