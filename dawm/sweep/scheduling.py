"""Pieces that need one another, a few at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from dawm.sweep.piece import Piece

POLL_SECONDS = 0.2


class Job(Protocol):
    """A piece at work: `subprocess.Popen`, or something like it."""

    def poll(self) -> int | None:
        """None while it works, then its exit status."""


class Outcome(NamedTuple):
    """Names of pieces by what became of them."""

    done: list[str]
    failed: list[str]
    left: list[str]  # never begun, because a piece that they need failed


def schedule(
    todo: Iterable[Piece],
    launch: Callable[[Piece], Job],
    *,
    workers: int,
    finished: Iterable[str] = (),
    report: Callable[[Piece, int, float], None] = lambda piece, status, seconds: None,
    poll_seconds: float = POLL_SECONDS,
) -> Outcome:
    """Launch every piece as soon as what it needs is done and a worker is free, in the given order.

    `finished` names pieces that are done already. A failure stops only what needs it. `report(piece, status, seconds)`
    is called at the end of each piece.
    """
    waiting, done = list(todo), list(finished)
    outcome, running = Outcome([], [], []), {}
    while waiting or running:
        for name, (piece, job, begun) in list(running.items()):
            if (status := job.poll()) is not None:
                del running[name]
                report(piece, status, time.monotonic() - begun)
                (outcome.failed if status else outcome.done).append(name)
                done += [] if status else [name]
        ready = [p for p in waiting if all(need in done for need in p.needs)]
        for piece in ready[: workers - len(running)]:
            waiting.remove(piece)
            running[piece.name] = (piece, launch(piece), time.monotonic())
        if not running and not ready:
            outcome.left.extend(p.name for p in waiting)
            break
        if running:
            time.sleep(poll_seconds)
    return outcome
