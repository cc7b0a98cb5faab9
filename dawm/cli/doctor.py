"""`dawm data doctor`: proofs and statistics of a dataset, with an exit status for continuous integration."""

from __future__ import annotations

import argparse

from dawm.cli.parser import Outcome, Parser


def flags(parser: Parser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="a path, a name, or the folder of `dawm generate`")
    parser.flag("--env", metavar="ID", help="environment, where the data name none (for reference scores)")
    parser.common()


def execute(flags: argparse.Namespace) -> Outcome:
    from dawm.cli.sources import is_synthetic, read
    from dawm.data.doctor import diagnose

    source = read(flags.dataset) if is_synthetic(flags.dataset) else flags.dataset
    diagnosis = diagnose(source, env=flags.env)
    return Outcome(diagnosis.to_dict(), diagnosis.text(), status=0 if diagnosis.ok else 1)
