"""`dawm estimate`: how good a policy is, without its environment."""

from __future__ import annotations

import argparse
from pathlib import Path

from dawm.cli.parser import Outcome, Parser


def flags(parser: Parser) -> None:
    parser.add_argument("policy", metavar="POLICY_DIR", help="run folder of `dawm policy`, or OUT/policies/NAME")
    parser.flag("--model", metavar="MODEL_DIR", help="a world model for the policy to live in")
    parser.flag("--data", metavar="DATASET", help="where the log is now, if it has moved")
    parser.assignments("as fqe.loop.steps=20000, fqe.members=8, model.starts=256, model.steps=500")
    parser.common()


def execute(flags: argparse.Namespace) -> Outcome:
    from dawm.evaluate.estimate import EstimateConfig, estimate_policy, verdict
    from dawm.recorded import recorded_data, stored_model
    from dawm.run.config import override
    from dawm.run.folder import RunFolder

    config = override(EstimateConfig(), flags.assignments)
    run = RunFolder.open(flags.policy, "policy")
    data = recorded_data(run.read_config()["config"]["data"], Path(flags.policy), flags.data)
    model = stored_model(flags.model, used_in=flags.policy) if flags.model else None
    found = estimate_policy(flags.policy, data, config, model=model)
    return Outcome({"folder": flags.policy} | found, "\n".join(verdict(found)))
