"""`dawm distil`: a policy that has learnt what a planner around it does."""

from __future__ import annotations

import argparse

from dawm.cli.parser import Outcome, Parser, whole


def flags(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL_DIR", help="run folder of `dawm train`, or OUT/model of `dawm run`")
    parser.flag("--policy", metavar="DIR", required=True, help="the policy, whose weights it begins with")
    parser.flag("--out", metavar="DIR", required=True, help="run folder; an unfinished one is taken up again")
    parser.add_argument(
        "--mean", action="store_true", help="one planner around the mean of all seeds labels states for all of them"
    )
    parser.flag("--labels", metavar="N", type=whole, help="states that the planner of each seed labels (10,000)")
    parser.flag("--seed", metavar="N", type=whole, help="of the states and of the batches (0)")
    parser.flag("--data", metavar="PATH", help="where the dataset is, if it has moved since the model was trained")
    parser.assignments("of the planner, as in `dawm plan`, or as rounds=2, labels.length=10, loop.steps=2000")
    parser.common()


def execute(flags: argparse.Namespace) -> Outcome:
    import os
    from dataclasses import fields
    from pathlib import Path

    from dawm.agents.policy import load_policy
    from dawm.planning.distil import DistilConfig, distil_planner
    from dawm.planning.play import PlayConfig
    from dawm.recorded import recorded_data, stored_model
    from dawm.run.config import override
    from dawm.run.folder import RunFolder

    own = {field.name for field in fields(DistilConfig)}
    is_own = lambda text: text.partition("=")[0].partition(".")[0].strip() in own
    meant = [] if flags.labels is None else [f"labels.count={flags.labels}"]
    meant += [] if flags.seed is None else [f"seed={flags.seed}"]
    config = override(DistilConfig(), meant + [text for text in flags.assignments if is_own(text)])
    around = ["member=mean"] * flags.mean + [text for text in flags.assignments if not is_own(text)]
    play = override(PlayConfig(), around)
    model, policy = stored_model(flags.model, used_in=flags.out), load_policy(flags.policy)
    data = recorded_data(model.data, Path(flags.model), flags.data)
    distil_planner(
        model, data, policy, config, play, folder=flags.out, policy_path=os.path.relpath(flags.policy, flags.out)
    )
    found = RunFolder.open(flags.out, "policy").read_json("distil.json")
    return Outcome({"folder": flags.out, "seeds": policy.members} | found, flags.out)
