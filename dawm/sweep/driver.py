"""Running a sweep: what is left to do is handed to an executor, piece by piece, and told to people as it ends."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import Any, Protocol

from dawm.run.progress import duration, say
from dawm.sweep.piece import Piece, choose
from dawm.sweep.plan import Sweep
from dawm.sweep.scheduling import Job, schedule
from dawm.sweep.work import is_done

LAST_WORDS = 4  # lines of the log of a failed piece


class Executor(Protocol):
    """Where pieces run."""

    workers: int  # pieces at a time

    def launch(self, piece: Piece) -> Job:
        """Begin a piece."""
        ...

    def interrupt(self) -> None:
        """Ask every piece to save and stop."""

    def wait(self) -> None:
        """Until every piece that was interrupted has stopped."""

    def close(self) -> None:
        """Give back what the executor holds."""


@dataclass(frozen=True)
class Result:
    """Names of pieces by what became of them, and the exit status: 0 if everything chosen is done."""

    finished: list[str]  # before this call
    done: list[str]
    failed: list[str]
    left: list[str]  # never begun, because something that they need failed
    interrupted: bool = False

    @property
    def status(self) -> int:
        if self.interrupted:
            return 130
        return 1 if self.failed or self.left else 0

    def as_json(self) -> dict[str, Any]:
        return {"finished": self.finished, "done": self.done, "failed": self.failed, "left": self.left}


def run_sweep(sweep: Sweep, executor: Executor, only: list[str]) -> Result:
    """Do what is left of the pieces that match `only`, with all that they need; all pieces if it is empty.

    Raises ConfigError, before anything is begun, where a pattern matches nothing or a folder holds another run.
    """
    chosen = choose(sweep.suite, only)
    finished = [p.name for p in chosen if is_done(sweep, p)]
    todo = [p for p in chosen if p.name not in finished]
    begun = time.monotonic()
    say(
        f"suite {sweep.suite.name}: {len(todo)} of {len(chosen)} pieces to do, {executor.workers} at a time;"
        f" results in {sweep.out}"
    )

    def launch(piece: Piece) -> Job:
        say(f"{_clock(begun)} {piece.name}: begins")
        return executor.launch(piece)

    def report(piece: Piece, status: int, seconds: float) -> None:
        word = "done" if status == 0 else f"FAILED (exit status {status}), see {sweep.log_of(piece)}"
        last = _last_words(sweep, piece) if status else ""
        say(f"{_clock(begun)} {piece.name}: {word} after {duration(seconds)}{last}")

    def stop(number: int, frame: object) -> None:
        executor.interrupt()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        outcome = schedule(todo, launch, workers=executor.workers, finished=finished, report=report)
    except KeyboardInterrupt:
        executor.wait()
        say("stopped; give the same command again to go on.")
        return Result(finished, [], [], [], interrupted=True)
    finally:
        signal.signal(signal.SIGTERM, before)
    if outcome.left:
        say(f"not begun, because something that they need failed: {', '.join(outcome.left)}")
    return Result(finished, *outcome)


def _last_words(sweep: Sweep, piece: Piece) -> str:
    log = sweep.log_of(piece)
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "".join(f"\n    {line}" for line in lines[-LAST_WORDS:])


def _clock(begun: float) -> str:
    return f"[{duration(time.monotonic() - begun):>12}]"
