"""Tables, and numbers with their intervals, as people read them in a text file."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def with_interval(value: float, interval: Sequence[float] | None, digits: int = 1, *, sign: bool = False) -> str:
    """As "70.9 [70.4, 71.5]"; the value alone where there is no interval. `sign`: with + where it is positive."""
    form = f"{'+' if sign else ''}.{digits}f"
    ends = "" if interval is None else f" [{', '.join(format(end, form) for end in interval)}]"
    return format(value, form) + ends
