"""`dawm report`: the page about a run folder."""

from __future__ import annotations

import argparse

from dawm.cli.parser import Outcome, Parser


def flags(parser: Parser) -> None:
    parser.add_argument("folder", metavar="DIR", help="a run folder of any kind")
    parser.common()


def execute(flags: argparse.Namespace) -> Outcome:
    from dawm.report.page import write_report

    path = write_report(flags.folder)
    return Outcome({"report": str(path)}, str(path))
