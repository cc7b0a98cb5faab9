"""`dawm policy`: an offline RL policy on real, or on real and synthetic, transitions."""

from __future__ import annotations

import argparse

from dawm.cli.parser import Outcome, Parser, whole


def flags(parser: Parser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="a path or a name; `demo` is inside the package")
    parser.flag("--out", metavar="DIR", required=True, help="run folder; an unfinished one is taken up again")
    parser.flag("--synthetic", metavar="DIR", help="synthetic transitions to mix in: the folder of `dawm generate`")
    parser.flag("--ratio", metavar="R", type=float, help="their share of each batch (0.5); needs --synthetic")
    parser.flag("--futures", metavar="DIR", help="TD targets over plausible futures (policy.risk): of `dawm futures`")
    parser.flag("--model", metavar="DIR", help="TD targets that look ahead in a world model (policy.expansion)")
    parser.flag("--algo", metavar="NAME", help="learner: bc, td3bc, iql, rebrac or quantile (iql)")
    parser.flag("--seeds", metavar="N", type=whole, help="policies trained at once, with seeds 0, 1, ...")
    parser.common(settings=True, dry_run=True)


def execute(flags: argparse.Namespace) -> Outcome:
    from dataclasses import replace

    from dawm.agents.fit import train_policy
    from dawm.cli.settings import configuration
    from dawm.cli.sources import read
    from dawm.errors import ConfigError
    from dawm.recorded import stored_futures, stored_model, stored_synthetic

    if flags.ratio and not flags.synthetic:
        raise ConfigError("`--ratio` is the share of synthetic data in each batch: name them with --synthetic DIR")
    config = configuration(flags, "policy")
    if flags.dry_run:
        from dawm.cli.forecast import forecast_stages

        model = stored_model(flags.model, used_in=flags.out) if flags.model else None
        return forecast_stages(flags.dataset, config, ("policy",), model)
    data = read(flags.dataset)
    synthetic = stored_synthetic(flags.synthetic, used_in=flags.out) if flags.synthetic else None
    settings = config.policy if synthetic is not None else replace(config.policy, ratio=0.0)
    futures = stored_futures(flags.futures, used_in=flags.out) if flags.futures else None
    model = stored_model(flags.model, used_in=flags.out) if flags.model else None
    policy = train_policy(data, settings, synthetic=synthetic, futures=futures, model=model, folder=flags.out)
    result = {"folder": flags.out, "algo": settings.algo.kind, "seeds": policy.members, "updates": policy.step}
    return Outcome(result | {"ratio": settings.ratio}, flags.out)
