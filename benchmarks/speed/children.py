"""Processes of their own: pinned to as many cores as were asked for, with their peak memory.

A child pins itself before it imports anything that counts cores (JAX and PyTorch both size their pools by the cores
that a process may use). Its peak memory is the kernel's account of it (`ru_maxrss`), which begins with the size of the
process that started it: the one that calls `run` must therefore be small, and have imported neither JAX nor PyTorch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
POLL = 0.02  # seconds between looks at a child


class Ended(NamedTuple):
    """What a child came to."""

    status: int  # 0, or the exit status, or minus the signal
    seconds: float  # from its start to its end, or to `until`
    peak: float  # MiB
    words: str  # the end of what it printed


def pin(threads: int) -> list[int]:
    """Keep this process to the last `threads` of its cores, where the system can; returns the cores."""
    if not hasattr(os, "sched_setaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))[-threads:]
    os.sched_setaffinity(0, cores)
    return cores


def run(
    arguments: Sequence[str],
    *,
    until: Callable[[], bool] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Ended:
    """`python ARGUMENTS` to its end, or until `until()` holds; then it is stopped."""
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryFile() as output:
        begun = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": search} | dict(environment or {}),
            cwd=folder,
        )
        reached = False
        try:
            while True:
                pid, status, usage = os.wait4(child.pid, 0 if until is None else os.WNOHANG)
                if pid:
                    break
                if until is not None and not reached and until():
                    reached, seconds = True, time.perf_counter() - begun
                    child.kill()
                time.sleep(POLL)
        except BaseException:
            child.terminate()  # so that it can stop what it has started itself
            child.wait()
            raise
        if not reached:
            seconds = time.perf_counter() - begun
        child.returncode = 0 if reached else os.waitstatus_to_exitcode(status)  # `wait4` has taken it from `Popen`
        output.seek(0)
        words = output.read().decode(errors="replace")[-2_000:]
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return Ended(child.returncode, seconds, usage.ru_maxrss / scale, words)
