"""One program in a process of its own, for its memory: built, and called twice.

python -m benchmarks.speed.alone learners td3bc dawm THREADS QUICK
"""

from __future__ import annotations

import sys

from benchmarks.speed.children import pin
from benchmarks.speed.comparison import Settings
from benchmarks.speed.memory import MEASURED, MISSING


def main(measurement: str, comparison: str, program: str, threads: str, quick: str) -> int:
    settings = Settings(threads=int(threads), quick=bool(int(quick)))
    pin(settings.threads)
    (rows,) = [c.programs for c in MEASURED[measurement].comparisons(settings) if c.name == comparison]
    (chosen,) = [p for p in rows if p.name == program]
    try:
        work = chosen.build()
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed")
        return MISSING
    work.call()
    work.call()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
