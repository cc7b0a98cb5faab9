"""Measure dawm's speed beside its peers and beside what the machine can do.

    python -m benchmarks.speed                              everything
    python -m benchmarks.speed --only machine --only learners --repeats 9
    python -m benchmarks.speed --quick                      only to see that all of it runs

Every measurement is a process of its own that keeps to one core (`--threads 2`: two). Results go to DIR/COMMIT.json
after each measurement, beside those that the file holds of the others, so that one can be repeated alone; quick
results and those of two threads have files of their own. `python -m benchmarks.speed.page FILE` makes the page.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.speed.children import pin, run
from benchmarks.speed.comparison import Settings
from benchmarks.speed.registry import MEASUREMENTS
from dawm.errors import ConfigError, DawmError, suggest


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description="Measure speed, beside peers.")
    known = ", ".join(MEASUREMENTS)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help=f"repeatable: {known}")
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="rounds of each comparison (7)")
    parser.add_argument("--quick", action="store_true", help="as little as shows that it runs; figures mean nothing")
    parser.add_argument("--out", type=Path, default=Path("runs/speed"), metavar="DIR", help="results (runs/speed)")
    parser.add_argument("--threads", type=int, default=1, choices=(1, 2), help="cores that programs may use (1)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    settings = Settings(2 if given.quick else given.repeats, given.quick, given.threads)
    try:
        if given.repeats < 1:
            raise ConfigError(f"--repeats is a number of rounds, at least 1; got {given.repeats}.")
        for name in given.only:
            if name not in MEASUREMENTS:
                raise ConfigError(f"there is no measurement `{name}`{suggest(name, MEASUREMENTS)}.")
        if given.child:
            return measure_here(given.child, settings, given.out)
        return measure_all([n for n in MEASUREMENTS if not given.only or n in given.only], settings, given.out)
    except DawmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130


def measure_here(name: str, settings: Settings, result: Path) -> int:
    """The child: one measurement, its record in a file. Nothing heavy may be imported before (see `children`)."""
    pin(settings.threads)
    result.write_text(json.dumps(MEASUREMENTS[name].measure(settings)))
    return 0


def measure_all(names: list[str], settings: Settings, out: Path) -> int:
    """Measure in turn, store and show each; 1 where one of them failed, the others done nevertheless."""
    from benchmarks.speed.store import file_name, machine_facts, store
    from dawm.run.progress import duration, say

    facts, failed = machine_facts(), []
    path = out / file_name(settings, facts["commit"])
    for name in names:
        say(f"{name} ...")
        with tempfile.TemporaryDirectory() as scratch:
            result = Path(scratch) / "result.json"
            words = ["--child", name, "--out", str(result), "--threads", str(settings.threads)]
            words += ["--quick"] if settings.quick else ["--repeats", str(settings.repeats)]
            ended = run(["-m", "benchmarks.speed", *words], folder=Path(scratch))
            if ended.status:
                failed.append(name)
                say(f"{name} FAILED (exit status {ended.status}):\n{ended.words}")
                continue
            record: dict[str, Any] = json.loads(result.read_text())
        store(path, name, record, facts, settings)
        say(f"{name}: {duration(ended.seconds)}")
        _show(path, name)
    print(path)
    return 1 if failed else 0


def _show(path: Path, name: str) -> None:
    from benchmarks.speed.store import read
    from benchmarks.speed.tables import peak_of, section
    from dawm.run.progress import say

    measurements = read(path)["measurements"]
    say(section(measurements[name], peak_of(measurements)) + "\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: a child is stopped with its parent
    sys.exit(main())
