"""`dawm resume`: go on with an interrupted run, from what its folder says."""

from __future__ import annotations

import argparse

from dawm.cli.parser import Outcome, Parser


def flags(parser: Parser) -> None:
    parser.add_argument("folder", metavar="DIR", help="run folder of dawm run, train, generate or policy")
    parser.flag("--data", metavar="PATH", help="where the dataset is, if it has moved")
    parser.common()


def execute(flags: argparse.Namespace) -> Outcome:
    from pathlib import Path

    from dawm.cli.run import summary
    from dawm.pipeline import resume

    place = resume(flags.folder, flags.data)
    if place.name == "report.html" and place.parent == Path(flags.folder):
        return Outcome(summary(place.parent), str(place))
    return Outcome({"folder": str(place)}, str(place))
