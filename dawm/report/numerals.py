"""Numbers as people read them: few significant digits, thousands separated, a real minus sign, a dash where none is."""

from __future__ import annotations

import math
from typing import Any

MISSING = "–"


def number(value: Any) -> float | None:
    """A finite float, or None for anything else (null, NaN, text)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def numbers(values: Any) -> list[float]:
    """A list of floats with NaN for what is no finite number; empty where there is no list."""
    if not isinstance(values, list):
        return []
    return [math.nan if number(v) is None else float(v) for v in values]


def count(value: Any) -> str:
    """A whole number: 1,234,567."""
    found = number(value)
    return MISSING if found is None else _minus(f"{found:,.0f}")


def significant(value: Any, digits: int = 3) -> str:
    """`digits` significant digits, or all of the whole part: 1,234; 12.3; 0.00123; 4.10e−07."""
    found = number(value)
    if found is None:
        return MISSING
    if found == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(float(f"{found:.{digits - 1}e}"))))
    if magnitude < -4 or magnitude > 8:
        return _minus(f"{found:.{digits - 1}e}")
    return _minus(f"{found:,.{max(digits - 1 - magnitude, 0)}f}")


def score(value: Any) -> str:
    """A normalised score, with one decimal."""
    found = number(value)
    return MISSING if found is None else _minus(f"{found:,.1f}")


def signed(value: Any, form=score) -> str:
    """With its sign even where positive."""
    found = number(value)
    return MISSING if found is None else ("+" if found > 0 else "") + form(found)


def percent(value: Any) -> str:
    """A fraction as a percentage, with a space that does not break: 0.0123 -> 1.2 %."""
    found = number(value)
    return MISSING if found is None else f"{significant(100 * found, 2 if abs(found) < 0.1 else 3)} %"


def ratio(value: Any) -> str:
    """A ratio, with two decimals where that says something: 1.18, 0.52, 0.0031."""
    found = number(value)
    return significant(found, 2) if found is None or abs(found) < 0.1 else _minus(f"{found:,.2f}")


def axis(ticks: list[float]) -> list[str]:
    """The numbers of one axis, all in the same form: 0, 50k, 100k; or 0.02, 0.04."""
    top = max(map(abs, ticks), default=0.0)
    size, letter = 1.0, ""
    for large, name in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        if top >= 5 * large or (top >= large and all(t % large == 0 for t in ticks)):
            size, letter = large, name
    return [_minus(f"{t / size:,.4g}") + (letter if t else "") for t in ticks]


def anything(value: Any) -> str:
    """Whatever stands in a JSON file, on one line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return significant(value)
    if isinstance(value, list):
        shown = ", ".join(anything(v) for v in value[:8])
        return f"[{shown}{', …' if len(value) > 8 else ''}]"
    return str(value)


def _minus(text: str) -> str:
    """With a real minus sign, and none before a zero."""
    return text.replace("-", "−") if text.strip("-0.,") else text.lstrip("-")
