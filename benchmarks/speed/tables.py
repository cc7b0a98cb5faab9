"""Records as tables: what, ours, a peer, how many times better ours is, and the share of the machine's peak."""

from __future__ import annotations

from typing import Any

from benchmarks.speed.comparison import QUIET
from dawm.sweep.markdown import markdown_table

NOTHING = "–"
DISTURBED = "†"


def peak_of(measurements: dict[str, Any]) -> float | None:
    """GFLOP/s of the fastest product of JAX; None where the machine was not measured."""
    rows = measurements.get("machine", {}).get("rows", [])
    return max((row["programs"]["JAX"]["median"] for row in rows), default=None)


def section(record: dict[str, Any], peak: float | None = None) -> str:
    """The tables of one measurement, as Markdown."""
    rows = record["rows"]
    shares = peak is not None and any("gflops" in p for row in rows for p in row["programs"].values())
    first = {next(iter(row["programs"])) for row in rows}
    header = ["what", first.pop() if len(first) == 1 else "ours", "peer", "ratio"] + ["share of peak"] * shares
    text = markdown_table(header, [line for row in rows for line in _lines(row, peak if shares else None)])
    for row in rows:
        if "stages" in row:
            stages = [[name, f"{seconds:.1f}"] for name, seconds in row["stages"].items()]
            text += f"\n\n{row['what']}: peak memory {number(row['peak'])} MiB\n\n" + markdown_table(
                ["stage", "s"], stages
            )
    if DISTURBED in text:
        text += f"\n\n{DISTURBED} The machine was busy: the program had less than {QUIET:.0%} of its core."
    return text


def _lines(row: dict[str, Any], peak: float | None) -> list[list[str]]:
    """A line for each peer, or one where there is none."""
    (_, ours), *peers = row["programs"].items()
    what, lines = f"{row['what']}, {row['unit']}", []
    for name, peer in peers or [(None, None)]:
        ratio = row["ratios"].get(name)
        beside = NOTHING if peer is None else f"{name}: {value(peer)}"
        line = [what, value(ours), beside, value(ratio) if ratio else NOTHING]
        lines.append(line if peak is None else [*line, _share(ours, peer, peak)])
    return lines


def value(figures: dict[str, Any]) -> str:
    """The median and, where there were several rounds, the range; or why there is none."""
    if "missing" in figures:
        return figures["missing"]
    text = number(figures["median"])
    if len(figures["values"]) > 1:
        text += f" ({number(figures['low'])} … {number(figures['high'])})"
    return text + (f" {DISTURBED}" if figures.get("core", 1.0) < QUIET else "")


def number(value: float) -> str:
    """Three digits: 0.0123, 1.23, 12.3, 123, 12,300."""
    if value >= 100:
        digits = len(f"{value:.0f}") - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


def _share(ours: dict[str, Any], peer: dict[str, Any] | None, peak: float) -> str:
    shown = [f"{p['gflops'] / peak:.0%}" if p and "gflops" in p else NOTHING for p in (ours, peer)]
    return shown[0] if peer is None else f"{shown[0]}, peer {shown[1]}"
