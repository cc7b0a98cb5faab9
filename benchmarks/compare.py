"""Run a suite of ours: `dawm sweep` with the hooks of `benchmarks/hooks.py`.

    python -m benchmarks.compare benchmarks/suites/first.toml --out runs/first --workers 2
    python -m benchmarks.compare SUITE --out DIR --only 'pipeline/*' --only hopper-mixed/td3bc

`--only dataset/method` (shell patterns; also the stages data, model, synthetic) picks pieces; what they need is done
too. Each piece is a process of its own, with its output in OUT/logs/; with several workers each keeps to one thread.
Ctrl-C or a kill loses no more than the updates since the last checkpoint: give the same command again. The table is
printed at the end and by `python -m benchmarks.table OUT`.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from dawm.errors import DawmError, FileError
from dawm.sweep.driver import run_sweep
from dawm.sweep.local import LocalExecutor
from dawm.sweep.piece import choose
from dawm.sweep.plan import Sweep
from dawm.sweep.process import do_piece
from dawm.sweep.table import write_table

HOOKS = "benchmarks.hooks:HOOKS"
SUITES = Path(__file__).parent / "suites"


def opened(path: str | Path, out: str | Path) -> Sweep:
    """The sweep of a suite file with our hooks. Raises FileError naming our suites where there is no such file."""
    if not Path(path).exists():
        known = ", ".join(sorted(p.stem for p in SUITES.glob("*.toml")))
        raise FileError(f"there is no suite file `{path}`; those in benchmarks/suites: {known}.")
    return Sweep.open(path, out, HOOKS)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description="Run a suite of comparisons.")
    parser.add_argument("suite", type=Path, help="a suite file, such as benchmarks/suites/first.toml")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--only", action="append", default=[], metavar="DATASET/METHOD", help="pieces to do (patterns)")
    parser.add_argument("--workers", type=int, default=1, help="pieces at a time")
    parser.add_argument("--list", action="store_true", help="print the pieces and what they need, and do nothing")
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.piece:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
        return do_piece(str(given.suite.resolve()), str(given.out.resolve()), given.piece, HOOKS)
    try:
        sweep = opened(given.suite, given.out)
        if given.list:
            print("\n".join(f"{p.name:40} {' '.join(p.needs)}" for p in choose(sweep.suite, given.only)))
            return 0
        sweep.out.mkdir(parents=True, exist_ok=True)
        result = run_sweep(sweep, LocalExecutor(sweep, max(1, given.workers)), given.only)
        if any(sweep.out.glob("*/data.json")) and not result.interrupted:
            print(write_table(sweep.out, sweep.hooks))
        return result.status
    except DawmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
