"""What people see while they wait: on a terminal a bar with rate and time left, elsewhere a line every ten seconds.

Everything goes to standard error, so that standard output holds results only.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

EVERY_SECONDS = 10.0

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence all progress and remarks of this process (`--quiet`)."""
    global _quiet
    _quiet = quiet


def say(text: str = "") -> None:
    """One remark for people, on standard error."""
    if not _quiet:
        print(text, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """'48 s', '3 min 20 s', '2 h 05 min' or '3 days 4 h'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    if seconds < 48 * 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 86400} days {seconds % 86400 // 3600} h"


@contextlib.contextmanager
def progress_bar(label: str, total: int, unit: str, done: int = 0) -> Iterator[Callable[[int, str], None]]:
    """Yields `advance(done, remark)`; rate and time left are counted from where the work was taken up."""
    if _quiet:
        yield lambda done, remark="": None
    elif sys.stderr.isatty():
        with _bar(label, total, unit, done) as advance:
            yield advance
    else:
        yield _lines(label, total, unit, done)


@contextlib.contextmanager
def _bar(label: str, total: int, unit: str, done: int) -> Iterator[Callable[[int, str], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = [
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} " + unit),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[remark]}"),
    ]
    start, first = time.monotonic(), done
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(label, total=total, completed=done, rate="", remark="")

        def advance(done: int, remark: str = "") -> None:
            rate = (done - first) / max(time.monotonic() - start, 1e-9)
            bars.update(task, completed=done, rate=f"{rate:,.0f}/s", remark=remark)

        yield advance


def _lines(label: str, total: int, unit: str, first: int) -> Callable[[int, str], None]:
    start = last = time.monotonic()

    def advance(done: int, remark: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if done < total and now - last < EVERY_SECONDS:
            return
        last, rate = now, (done - first) / max(now - start, 1e-9)
        left = f"{duration((total - done) / rate)} left" if rate and done < total else f"took {duration(now - start)}"
        print(
            f"{label}: {done:,}/{total:,} {unit}, {rate:,.0f}/s, {left} {remark}".rstrip(), file=sys.stderr, flush=True
        )

    return advance
