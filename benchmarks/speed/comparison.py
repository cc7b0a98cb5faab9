"""Programs that do the same work, timed in turns in one process: A B A B ...

Two programs that ran one after the other would differ by whatever else the machine did meanwhile. In turns they share
it, and the ratio is taken within a round. A round counts as undisturbed if every program had nearly all of the core;
disturbed rounds are repeated, and where the machine is never quiet the figures say so (`core`).

Modules are imported where a program is built, so that a list of comparisons costs nothing and a peer that is not
installed is a row that says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dawm.errors import MissingExtraError

OURS = "dawm"
QUIET = 0.97  # share of the core that a program must have had in an undisturbed round
MOST = 3  # rounds at most, for each that is wanted


class Settings(NamedTuple):
    """How all measurements are made."""

    repeats: int = 7  # rounds
    quick: bool = False  # as little work as shows that it runs; the figures mean nothing
    threads: int = 1

    def either(self, full: int, quick: int) -> int:
        """How much work: `full`, or `quick` where the figures do not count."""
        return quick if self.quick else full


class Work(NamedTuple):
    """A program that is ready: one call does `units` of work and returns when they are done."""

    call: Callable[[], Any]
    units: float
    flops: float = 0.0  # useful floating-point operations of one unit; 0 where they are not counted


class Program(NamedTuple):
    """One side of a comparison. `build` imports, allocates and prepares."""

    name: str
    build: Callable[[], Work]


class Comparison(NamedTuple):
    """Programs for the same work, ours first."""

    name: str  # without spaces, as td3bc
    what: str  # as "TD3+BC updates"
    unit: str  # as "updates/s"
    programs: tuple[Program, ...]


class Timing(NamedTuple):
    seconds: float
    core: float  # processor time of this process by wall-clock time


def compare(comparison: Comparison, settings: Settings) -> dict[str, Any]:
    """The record of one comparison: for every program the median rate, its range and the seconds until its first call
    was done; for every peer how many times faster ours is, the median over rounds and its range.
    """
    ready, programs = {}, {}
    for program in comparison.programs:
        begun = time.perf_counter()
        try:
            work = program.build()
            work.call()
        except ModuleNotFoundError as error:
            programs[program.name] = {"missing": f"{error.name} is not installed"}
            continue
        except MissingExtraError as error:
            programs[program.name] = {"missing": str(error)}
            continue
        programs[program.name] = {"first": round(time.perf_counter() - begun, 3)}
        ready[program.name] = work
    rounds = take_turns({name: work.call for name, work in ready.items()}, settings)
    for name, work in ready.items():
        programs[name] |= figures([work.units / r[name].seconds for r in rounds], work.flops)
        programs[name]["core"] = float(np.median([r[name].core for r in rounds]))
    record = {"name": comparison.name, "what": comparison.what, "unit": comparison.unit, "better": "more"}
    return record | {"programs": programs, "ratios": ratios(programs), "rounds": len(rounds)}


def take_turns(calls: dict[str, Callable[[], Any]], settings: Settings) -> list[dict[str, Timing]]:
    """`settings.repeats` undisturbed rounds, or the least disturbed of three times as many."""
    rounds: list[dict[str, Timing]] = []
    quiet = lambda done: settings.threads > 1 or min((t.core for t in done.values()), default=1.0) >= QUIET
    while len(rounds) < MOST * settings.repeats and sum(map(quiet, rounds)) < settings.repeats:
        rounds.append({name: timed(call) for name, call in calls.items()})
        if settings.quick and len(rounds) >= settings.repeats:
            break
    undisturbed = [done for done in rounds if quiet(done)]
    if len(undisturbed) >= settings.repeats:
        return undisturbed
    return sorted(rounds, key=lambda done: -min(t.core for t in done.values()))[: settings.repeats]


def timed(call: Callable[[], Any]) -> Timing:
    """What one call takes."""
    cpu, begun = time.process_time(), time.perf_counter()
    call()
    seconds = time.perf_counter() - begun
    return Timing(seconds, (time.process_time() - cpu) / seconds)


def figures(values: list[float], flops: float = 0.0) -> dict[str, Any]:
    """Median and range; every value is kept, and where operations are counted, GFLOP/s at the median."""
    middle = float(np.median(values))
    found = {"median": middle, "low": min(values), "high": max(values), "values": values}
    return found | ({"flops": flops, "gflops": middle * flops / 1e9} if flops else {})


def ratios(programs: dict[str, Any], better: str = "more") -> dict[str, Any]:
    """How many times better the first program is than each of the others, by rounds."""
    (ours, first), *others = programs.items()
    found = {}
    for name, peer in others:
        if "values" in first and "values" in peer:
            pairs = zip(first["values"], peer["values"], strict=False)
            found[name] = figures([a / b if better == "more" else b / a for a, b in pairs]) | {"of": ours}
    return found
