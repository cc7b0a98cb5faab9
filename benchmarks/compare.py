"""Run a suite: every piece is done once, recorded in a run folder, and skipped afterwards.

    python -m benchmarks.compare benchmarks/suites/first.toml --out runs/first --workers 2
    python -m benchmarks.compare SUITE --out DIR --only 'pipeline/*' --only hopper-mixed/td3bc

`--only dataset/method` (shell patterns; also the stages data, model, synthetic) picks pieces; what they need is done
too. Each piece is a process of its own, with its output in OUT/logs/; with several workers each keeps to one thread.
Ctrl-C or a kill loses no more than the updates since the last checkpoint: give the same command again. The table is
printed at the end and by `python -m benchmarks.table OUT`.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.schedule import schedule
from benchmarks.suite import Piece, Suite, pieces, read_suite
from dawm.errors import ConfigError, DawmError
from dawm.run.progress import duration, say

ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # processes that share a GPU
}
ROOT = Path(__file__).resolve().parents[1]


def choose(suite: Suite, only: list[str]) -> list[Piece]:
    """The pieces that match any pattern, with all that they need; all pieces without a pattern."""
    every = pieces(suite)
    if not only:
        return every
    named = {p.name: p for p in every}
    unmatched = [o for o in only if not any(fnmatch(n, o) for n in named)]
    if unmatched:
        raise ConfigError(f"--only {unmatched[0]} matches no piece of `{suite.name}`; there are {', '.join(named)}.")
    wanted = {n for n in named if any(fnmatch(n, o) for o in only)}
    while more := {need for name in wanted for need in named[name].needs} - wanted:
        wanted |= more
    return [p for p in every if p.name in wanted]


def run(suite: Suite, path: Path, out: Path, *, only: list[str], workers: int) -> int:
    """Do what is left to do; 0 if everything chosen is done."""
    from benchmarks.work import is_done

    chosen = choose(suite, only)
    finished = [p.name for p in chosen if is_done(suite, p, out)]
    todo = [p for p in chosen if p.name not in finished]
    say(f"suite {suite.name}: {len(todo)} of {len(chosen)} pieces to do, {workers} at a time; results in {out}")
    running = []
    begun = time.monotonic()

    def launch(piece: Piece) -> subprocess.Popen:
        say(f"{_clock(begun)} {piece.name}: begins")
        running.append(_launch(piece, path, out, workers))
        return running[-1]

    def report(piece: Piece, status: int, seconds: float) -> None:
        word = "done" if status == 0 else f"FAILED (exit status {status}), see {_log(out, piece)}"
        say(
            f"{_clock(begun)} {piece.name}: {word} after {duration(seconds)}{_last_words(out, piece) if status else ''}"
        )

    def stop(number: int, frame: object) -> None:
        for job in running:
            job.send_signal(signal.SIGINT)  # as Ctrl-C does by itself
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        outcome = schedule(todo, launch, workers=workers, finished=finished, report=report)
    except KeyboardInterrupt:
        for job in running:
            job.wait()  # they were interrupted too, and save before they stop
        say("stopped; give the same command again to go on.")
        return 130
    if outcome.left:
        say(f"not begun, because something that they need failed: {', '.join(outcome.left)}")
    return 1 if outcome.failed or outcome.left else 0


def _launch(piece: Piece, path: Path, out: Path, workers: int) -> subprocess.Popen:
    log = _log(out, piece)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.compare", str(path), "--out", str(out), "--piece", piece.name]
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    threads = ONE_THREAD if workers > 1 else {}
    with log.open("ab") as file:
        return subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=os.environ | threads | {"PYTHONPATH": search}, cwd=out
        )


def _log(out: Path, piece: Piece) -> Path:
    return out / "logs" / f"{piece.dataset}--{piece.what}.log"


def _last_words(out: Path, piece: Piece) -> str:
    lines = _log(out, piece).read_text(errors="replace").splitlines()
    return "\n    " + "\n    ".join(lines[-4:])


def _clock(begun: float) -> str:
    return f"[{duration(time.monotonic() - begun):>12}]"


def _do_piece(suite: Suite, name: str, out: Path) -> int:
    """The process of one piece."""
    from benchmarks.work import do

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    (piece,) = [p for p in pieces(suite) if p.name == name]
    do(suite, piece, out)
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description="Run a suite of comparisons.")
    parser.add_argument("suite", type=Path, help="a suite file, such as benchmarks/suites/first.toml")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--only", action="append", default=[], metavar="DATASET/METHOD", help="pieces to do (patterns)")
    parser.add_argument("--workers", type=int, default=1, help="pieces at a time")
    parser.add_argument("--list", action="store_true", help="print the pieces and what they need, and do nothing")
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    path, out = given.suite.resolve(), given.out.resolve()
    try:
        suite = read_suite(path)
        if given.piece:
            return _do_piece(suite, given.piece, out)
        if given.list:
            print("\n".join(f"{p.name:40} {' '.join(p.needs)}" for p in choose(suite, given.only)))
            return 0
        out.mkdir(parents=True, exist_ok=True)
        status = run(suite, path, out, only=given.only, workers=max(1, given.workers))
        if any(out.glob("*/data.json")):
            from benchmarks.table import write_table

            print(write_table(out))
        return status
    except DawmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
