"""Two runs side by side, each on a core of its own, against one run alone: what the second core is worth.

Processes compile first and begin together. The rates of both are added; on a machine whose two cores are two threads of
one, or share its bandwidth, that is less than twice the one.
"""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.speed.children import run
from benchmarks.speed.comparison import OURS, Settings, figures, ratios
from dawm.errors import DawmError

SECONDS = 10
WORDS = {"td3bc": "TD3+BC", "iql": "IQL"}
POLL = 0.05
SOLO = "one alone"


def measure(settings: Settings) -> dict[str, Any]:
    """A row for each learner; none where there is one core."""
    cores = list(range(os.cpu_count() or 1))[-2:]
    return {"rows": [_row(kind, cores, settings) for kind in WORDS] if len(cores) == 2 else []}


def _row(kind: str, cores: list[int], settings: Settings) -> dict[str, Any]:
    both, one = [], []
    for _ in range(settings.either(min(settings.repeats, 3), 1)):
        both.append(rate(kind, cores, settings))
        one.append(rate(kind, cores[-1:], settings))
    programs = {OURS: figures(both), SOLO: figures(one)}
    row = {"name": kind, "what": f"{WORDS[kind]} updates, two runs side by side", "unit": "updates/s", "better": "more"}
    return row | {"programs": programs, "ratios": ratios(programs), "rounds": len(both)}


def rate(kind: str, cores: list[int], settings: Settings) -> float:
    """Updates a second of one process on each core, all together."""
    seconds = settings.either(SECONDS, 1)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(cores)) as threads:
        words = lambda core: ["-m", "benchmarks.speed.steady", kind, str(core), str(seconds), folder]
        running = [threads.submit(run, words(core)) for core in cores]
        while not all((Path(folder) / str(core)).exists() for core in cores):
            if any(child.done() for child in running):
                break  # one has failed: let the others go too
            time.sleep(POLL)
        (Path(folder) / "go").touch()
        ended = [child.result() for child in running]
    if failed := [each for each in ended if each.status]:
        raise DawmError(f"a run side by side ended with status {failed[0].status}: {failed[0].words[-500:]}")
    return sum(float(each.words.strip().splitlines()[-1]) for each in ended)
