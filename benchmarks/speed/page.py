"""The page of a file of results: every number on it comes from the file, and none is written by hand.

    python -m benchmarks.speed.page runs/speed/0123456789ab.json

writes docs/performance.md, with --remark WORDS about how it was measured. With several files (one thread, two threads)
each has a part of its own.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.command import finish
from benchmarks.speed.registry import MEASUREMENTS
from benchmarks.speed.scaling import draw
from benchmarks.speed.store import read
from benchmarks.speed.tables import peak_of, section
from dawm.sweep.markdown import markdown_table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
OPENING = """# How fast it is

Made by `python -m benchmarks.speed` and `python -m benchmarks.speed.page`; change those and not this page.

Figures are medians of rounds, with the range from the lowest to the highest in brackets. Programs of one row ran in
turns in one process (what starts processes: in turns too), and the ratio is taken within a round: above 1, dawm is
faster, or smaller. Operations are counted by hand from the matrix products that the mathematics asks for
(`benchmarks/speed/flops.py`).
"""
QUICK = "\n**These are quick results: they show that everything runs, and their numbers mean nothing.**\n"


def page(results: list[dict[str, Any]], plot: str | None = None, remark: str = "") -> str:
    """The page as Markdown, a part for each file of results; `plot` is the name of the picture of the growth."""
    opening = OPENING + (f"\n{remark}\n" if remark else "")
    return "\n".join([opening, *(_part(result, plot, several=len(results) > 1) for result in results)])


def _part(result: dict[str, Any], plot: str | None = None, *, several: bool) -> str:
    settings, measurements = result["settings"], result["measurements"]
    threads = "one thread" if settings["threads"] == 1 else f"{settings['threads']} threads"
    level = "###" if several else "##"
    text = f"## On {threads}\n" if several else ""
    text += (QUICK if settings["quick"] else "") + "\n" + _machine(result, threads)
    peak = peak_of(measurements)
    for name, about in MEASUREMENTS.items():
        if name in measurements:
            record = measurements[name]
            text += f"\n{level} {about.title}\n\n{about.about} Measured {record['date']}.\n\n{section(record, peak)}\n"
            text += f"\n![Seconds over work, logarithmic axes]({plot})\n" if plot and name == "scaling" else ""
    return text


def _machine(result: dict[str, Any], threads: str) -> str:
    facts = result["machine"]
    versions = ", ".join(f"{name} {number or 'not installed'}" for name, number in facts["versions"].items())
    rows = [
        ["processor", f"{facts['processor']}, {facts['cores']} cores; programs were kept to {threads}"],
        ["memory", f"{facts['memory_gib']} GiB" if "memory_gib" in facts else "unknown"],
        ["system", f"{facts['platform']}, Python {facts['python']}, {facts['device']}"],
        ["versions", versions],
        ["commit", str(facts["commit"])],
    ]
    return markdown_table(["machine", ""], rows) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.page", description="The page of speed results.")
    parser.add_argument("results", type=Path, nargs="+", metavar="FILE", help="results of python -m benchmarks.speed")
    parser.add_argument("--out", type=Path, default=PAGE, metavar="FILE", help="where to (docs/performance.md)")
    parser.add_argument("--remark", default="", metavar="WORDS", help="what a reader must know of the measuring")
    given = parser.parse_args(arguments)

    def make() -> str:
        from dawm.run.checkpoint import write_whole

        results = [read(path) for path in given.results]
        plot = None
        if growth := results[0]["measurements"].get("scaling"):
            plot = given.out.with_name(f"{given.out.stem}-growth.svg")
            draw(growth["rows"], plot)
        text = page(results, plot and plot.name, given.remark)
        write_whole(given.out, lambda file: file.write(text.encode()))
        return str(given.out)

    return finish(make, str, as_json=False)


if __name__ == "__main__":
    sys.exit(main())
