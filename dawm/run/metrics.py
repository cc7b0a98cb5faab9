"""`metrics.jsonl`: one JSON object a line, each with a `step`. Numbers only; `seconds` is the time that training
has taken, over all sittings of a run that was interrupted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from dawm.run.checkpoint import write_whole


def plain(value: Any) -> Any:
    """Arrays and NumPy scalars as JSON values."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return np.asarray(value).tolist() if hasattr(value, "dtype") else value


class MetricsFile:
    """Appends rows and reads them back; `truncate` forgets rows after the step from which a run resumes."""

    def __init__(self, path: Path):
        self.path = path

    def append(self, row: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(plain(row)) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """All whole rows; a last line cut short by a kill is left out."""
        if not self.path.exists():
            return []
        out = []
        for line in self.path.read_text().splitlines():
            try:
                out.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return out

    def seconds(self) -> float | None:
        """What training has taken so far; None before its first row."""
        rows = self.rows()
        return rows[-1]["seconds"] if rows else None

    def truncate(self, step: int) -> None:
        kept = [json.dumps(row) + "\n" for row in self.rows() if row["step"] <= step]
        if self.path.exists():
            write_whole(self.path, lambda file: file.writelines(line.encode() for line in kept))
