"""Peak memory of every program of the other measurements, each alone in a process of its own, at full size.

It counts all that the process does: imports, data, compilation, and two calls. For world models that includes the short
training that gives them all their parts.
"""

from __future__ import annotations

from typing import Any

from benchmarks.speed import denoisers, evaluation, learners, synthetic
from benchmarks.speed.children import run
from benchmarks.speed.comparison import Settings, figures, ratios
from dawm.errors import DawmError

MEASURED = {"learners": learners, "denoisers": denoisers, "synthetic": synthetic, "evaluation": evaluation}
MISSING = 3  # exit status of a program whose package is not installed


def measure(settings: Settings) -> dict[str, Any]:
    """A row of MiB for each comparison; where it is quick, of the first of each measurement."""
    rows = []
    for name, module in MEASURED.items():
        listed = module.comparisons(settings)
        rows += [_row(name, comparison, settings) for comparison in (listed[:1] if settings.quick else listed)]
    return {"rows": rows}


def _row(measurement: str, comparison: Any, settings: Settings) -> dict[str, Any]:
    programs: dict[str, Any] = {}
    for program in comparison.programs:
        words = [measurement, comparison.name, program.name, str(settings.threads), str(int(settings.quick))]
        ended = run(["-m", "benchmarks.speed.alone", *words])
        if ended.status == MISSING:
            programs[program.name] = {"missing": ended.words.strip().splitlines()[-1]}
        elif ended.status:
            raise DawmError(f"{program.name} of {measurement}/{comparison.name} failed: {ended.words[-500:]}")
        else:
            programs[program.name] = figures([ended.peak])
    row = {"name": f"{measurement}-{comparison.name}", "what": f"peak memory, {comparison.what}", "unit": "MiB"}
    return row | {"better": "less", "programs": programs, "ratios": ratios(programs, "less"), "rounds": 1}
