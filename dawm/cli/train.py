"""`dawm train`: a world model from a dataset."""

from __future__ import annotations

import argparse

from dawm.cli.parser import Outcome, Parser


def flags(parser: Parser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="a path or a name; `demo` is inside the package")
    parser.flag("--out", metavar="DIR", required=True, help="run folder; an unfinished one is taken up again")
    kinds = "trajectory, latent, transition or ensemble (trajectory)"
    parser.flag("--model", dest="world_model", metavar="KIND", help=kinds)
    parser.common(settings=True, dry_run=True)


def execute(flags: argparse.Namespace) -> Outcome:
    from dawm.cli.settings import configuration
    from dawm.data.doctor import describe
    from dawm.pipeline import examined
    from dawm.run.folder import RunFolder
    from dawm.worldmodel.fit import train_world_model

    config = configuration(flags, "world_model")
    if flags.dry_run:
        from dawm.cli.forecast import forecast_stages

        return forecast_stages(flags.dataset, config, ("world_model",))
    data, diagnosis = examined(flags.dataset)
    model = train_world_model(data, config.world_model, folder=flags.out)
    split = {"split_seed": config.world_model.seed, "holdout": config.world_model.holdout}
    RunFolder(flags.out).write_json("data.json", describe(data, **split, diagnosis=diagnosis))
    return Outcome({"folder": flags.out, "fingerprint": model.fingerprint, "holdout": model.measured}, flags.out)
