"""`dawm sweep`: datasets x methods x seeds of a suite file, taken up where they were left, and their table."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dawm.cli.parser import Outcome, Parser, whole

if TYPE_CHECKING:
    from dawm.sweep.driver import Executor
    from dawm.sweep.plan import Sweep

EXECUTORS = ("local", "ray")


def flags(parser: Parser) -> None:
    parser.add_argument(
        "suite", metavar="SUITE.toml", help="datasets, methods, updates, seeds: see examples/sweep.toml"
    )
    parser.flag("--out", metavar="DIR", required=True, help="folder of the results; what is done there stays")
    parser.flag(
        "--only", metavar="PATTERN", action="append", default=[],
        help="pieces, as DATASET/METHOD with * and ?, and all that they need; repeatable",
    )  # fmt: skip
    parser.flag("--workers", metavar="N", type=whole, help="pieces at a time (1; with ray, one a processor)")
    parser.flag("--executor", metavar="NAME", default="local", help="local, or ray, which needs the extra `ray`")
    parser.flag("--address", metavar="HOST:PORT", help="a Ray cluster that sees the same files (this machine alone)")
    parser.flag("--list", "--dry-run", dest="list", help="print the pieces, their state and what they need, and stop")
    parser.common()


def execute(flags: argparse.Namespace) -> Outcome:
    from dawm.errors import ConfigError, FileError, suggest
    from dawm.sweep.driver import run_sweep
    from dawm.sweep.plan import Sweep
    from dawm.sweep.table import read_suite_results, write_table

    if flags.executor not in EXECUTORS:
        raise ConfigError(f"there is no executor `{flags.executor}`{suggest(flags.executor, EXECUTORS)}")
    if flags.address and flags.executor != "ray":
        raise ConfigError("`--address` is that of a Ray cluster: add --executor ray")
    if flags.workers is not None and flags.workers < 1:
        raise ConfigError(f"`--workers` must be at least 1, got {flags.workers}")
    sweep = Sweep.open(flags.suite, flags.out)
    if flags.list:
        return listing(sweep, flags.only)
    try:
        sweep.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot write the folder `{sweep.out}`: {error.strerror}.") from None
    executor = make_executor(sweep, flags)
    try:
        result = run_sweep(sweep, executor, flags.only)
    finally:
        executor.close()
    if result.interrupted:
        return Outcome({"error": "interrupted; give the same command again to go on", "status": 130}, status=130)
    facts = {"folder": str(sweep.out)} | result.as_json()
    if not any(sweep.out.glob("*/data.json")):
        return Outcome(facts, status=result.status)
    text = write_table(sweep.out)
    return Outcome(facts | read_suite_results(sweep.out), text.rstrip(), status=result.status)


def make_executor(sweep: Sweep, flags: argparse.Namespace) -> Executor:
    """What `--executor` names. Raises MissingExtraError without Ray, ConfigError without the cluster."""
    if flags.executor == "ray":
        from dawm.sweep.cluster import RayExecutor

        return RayExecutor(sweep, flags.workers, flags.address)
    from dawm.sweep.local import LocalExecutor

    return LocalExecutor(sweep, flags.workers or 1)


def listing(sweep: Sweep, only: list[str]) -> Outcome:
    """The pieces, whether they are done, and what each needs."""
    from dawm.sweep.piece import choose
    from dawm.sweep.work import is_done

    rows = [(p, is_done(sweep, p)) for p in choose(sweep.suite, only)]
    lines = [f"{'done' if done else 'to do':6} {p.name:40} {' '.join(p.needs)}".rstrip() for p, done in rows]
    named = [{"piece": p.name, "done": done, "needs": list(p.needs)} for p, done in rows]
    return Outcome({"folder": str(sweep.out), "pieces": named}, "\n".join(lines))
