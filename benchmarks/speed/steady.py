"""A learner on one core for some seconds, begun together with others: its updates a second are the last line printed.

python -m benchmarks.speed.steady KIND CORE SECONDS FOLDER: compiles, says so by FOLDER/CORE, waits for FOLDER/go.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from benchmarks.speed.comparison import Settings

POLL = 0.01


def main(kind: str, core: str, seconds: str, folder: str) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core)})
    from benchmarks.speed.learners import ours

    work = ours(kind, Settings())
    work.call()
    (Path(folder) / core).touch()
    while not (Path(folder) / "go").exists():
        time.sleep(POLL)
    calls, begun = 0, time.perf_counter()
    while time.perf_counter() < begun + float(seconds):
        work.call()
        calls += 1
    print(calls * work.units / (time.perf_counter() - begun))


if __name__ == "__main__":
    main(*sys.argv[1:])
