"""The first updates of a peer in a process of its own: `python -m benchmarks.speed.first torch` (or d3rlpy)."""

from __future__ import annotations

import sys

from benchmarks.speed.comparison import Settings
from benchmarks.speed.learners import in_d3rlpy, in_torch

if __name__ == "__main__":
    {"torch": in_torch, "d3rlpy": in_d3rlpy}[sys.argv[1]]("td3bc", Settings(quick=True)).call()
