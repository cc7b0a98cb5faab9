"""`dawm data show`: what a dataset holds."""

from __future__ import annotations

import argparse

from dawm.cli.parser import Outcome, Parser


def flags(parser: Parser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="a path, a name, or the folder of `dawm generate`")
    parser.common()


def execute(flags: argparse.Namespace) -> Outcome:
    from dawm.cli.sources import read
    from dawm.data.doctor import gather

    data = read(flags.dataset, check=False, announce=False)
    facts = gather(data) | {"env": data.info.env, "format": data.info.format, "fingerprint": data.fingerprint}
    known = data.info.env or "none known"
    return Outcome(facts, f"{data.summary()}\n  environment {known}; fingerprint {data.fingerprint[:16]}")
