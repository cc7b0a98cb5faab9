"""`dawm futures`: a library of plausible futures for every recorded (s, a)."""

from __future__ import annotations

import argparse
from pathlib import Path

from dawm.cli.parser import Outcome, Parser, whole


def flags(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL_DIR", help="run folder of `dawm train`, or OUT/model")
    parser.flag("--out", metavar="DIR", required=True, help="run folder; an unfinished one is taken up again")
    parser.flag("--data", metavar="DATASET", help="the rows to make futures for (those of the training file)")
    parser.flag("--count", metavar="M", type=whole, default=16, help="futures of each row (16)")
    parser.flag("--raw", help="without the correction that `dawm calibrate` found")
    parser.flag("--seed", metavar="N", type=whole, default=0, help="of the futures (0)")
    parser.common()


def execute(flags: argparse.Namespace) -> Outcome:
    from dawm.data.registry import load
    from dawm.errors import ConfigError
    from dawm.recorded import recorded_data, stored_model
    from dawm.run.folder import RunFolder
    from dawm.synth.futures import FuturesConfig, build_library

    try:
        config = FuturesConfig(futures=flags.count, recalibrated=not flags.raw, seed=flags.seed)
    except ValueError as error:
        raise ConfigError(f"{error}.") from None
    model = stored_model(flags.model, used_in=flags.out)
    data = load(flags.data) if flags.data else recorded_data(model.data, Path(flags.model))
    build_library(model, data, config, folder=flags.out)
    facts = RunFolder.open(flags.out, "futures").read_json("library.json") or {}
    return Outcome({"folder": flags.out} | facts, flags.out)
