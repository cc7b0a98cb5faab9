"""`dawm generate`: synthetic transitions from a trained world model."""

from __future__ import annotations

import argparse

from dawm.cli.parser import Outcome, Parser, whole


def flags(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL_DIR", help="run folder of `dawm train`, or OUT/model of `dawm run`")
    parser.flag("--out", metavar="DIR", required=True, help="run folder; an unfinished one is taken up again")
    parser.flag("-n", "--transitions", metavar="N", type=whole, help="synthetic transitions (100,000)")
    parser.flag("--policy", metavar="DIR", help="a policy that acts in the futures, generate.length steps of each")
    parser.flag("--data", metavar="PATH", help="where the dataset is, if it has moved since the model was trained")
    parser.flag("--minari", metavar="ID", help="also save as this Minari dataset, such as hopper/dawm-v0")
    parser.common(settings=True, dry_run=True)


def execute(flags: argparse.Namespace) -> Outcome:
    import os
    from dataclasses import replace
    from pathlib import Path

    from dawm.agents.policy import load_policy
    from dawm.cli.settings import configuration
    from dawm.errors import ConfigError
    from dawm.recorded import recorded_data, stored_model
    from dawm.run.progress import say
    from dawm.synth.generator import generate

    config = configuration(flags, "generate").generate
    policy = load_policy(flags.policy) if flags.policy else None
    if policy is not None:
        try:
            config = replace(config, actions="policy")
        except ValueError as error:
            raise ConfigError(f"{error}.") from None
    model = stored_model(flags.model, used_in=flags.out)
    data = recorded_data(model.data, Path(flags.model), flags.data)
    say(f"data  {data.info.origin}: {len(data):,} steps in {data.episodes:,} episodes")
    if flags.dry_run:
        from dawm.cli.forecast import forecast_generation

        return forecast_generation(model, data, config)
    path = os.path.relpath(flags.policy, flags.out) if flags.policy else None
    synthetic = generate(model, data, config, folder=flags.out, policy=policy, policy_path=path)
    result = {"folder": flags.out, "transitions": len(synthetic), "futures": synthetic.episodes}
    result |= {"fingerprint": synthetic.fingerprint, "terminal_rate": float(synthetic.terminal.mean())}
    if flags.minari:
        result["minari"] = synthetic.to_minari(flags.minari)
        say(f"saved as the Minari dataset {result['minari']}")
    return Outcome(result, flags.out)
