"""Keeps what finished pieces of a suite say: their small files, copied from one folder of results to another.

    python -m benchmarks.record runs/core benchmarks/results/core    # keep: configurations, provenance, scores
    python -m benchmarks.record benchmarks/results/core runs/core    # go on elsewhere with what is missing
    python -m benchmarks.table benchmarks/results/core               # the table of all that was kept

A long suite is so finished over several sittings and machines. Weights are not kept: a piece that needs those of a
recorded one (a planner its policy, synthetic data their model) asks for it to be made again. Pieces that the target has
already stay as they are; pieces that are not finished are left out. Of the metrics the last row is kept. What names the
machine (its paths, the command) is left out.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomli_w

from benchmarks.hooks import data_root
from dawm.errors import DawmError, FileError
from dawm.run.checkpoint import write_whole

ABOUT_THE_MACHINE = ("command", "platform")  # of provenance.json
DERIVED = ("table.json",)  # of all pieces together


def record(source: Path, target: Path) -> list[str]:
    """Copy what `target` lacks; the names of the pieces that were copied. Raises FileError where there are none."""
    pieces = sorted(finished(source))
    if not pieces:
        raise FileError(f"`{source}` holds no finished piece of a suite.")
    missing = [piece for piece in pieces if not (target / piece / "finished").exists()]
    for piece in missing:
        for path in sorted((source / piece).iterdir()):
            if (content := kept(path)) is not None and path.name != "finished":
                _write(target / piece / path.name, content)
        _write(target / piece / "finished", "")  # last, so that half a copy is no finished piece
    return [str(piece) for piece in missing]


def finished(out: Path) -> Iterator[Path]:
    """Folders of finished pieces, relative to the folder of the results."""
    return (mark.parent.relative_to(out) for mark in out.glob("**/finished"))


def kept(path: Path) -> str | None:
    """What is kept of a file; None of one that is not."""
    if path.name == "run.toml":
        return tomli_w.dumps(_without_root(tomllib.loads(path.read_text())))
    if path.name == "metrics.jsonl":
        return "".join(path.read_text().splitlines(keepends=True)[-1:])
    if path.suffix != ".json" or path.name in DERIVED:
        return None
    content = json.loads(path.read_text())
    if path.name == "provenance.json":
        content = {key: value for key, value in content.items() if key not in ABOUT_THE_MACHINE}
    return json.dumps(_without_root(content), indent=1) + "\n"


def _without_root(value: Any) -> Any:
    """The value with places of data relative to the folder of the shared data, or to that of the package."""
    if isinstance(value, dict):
        return {key: _without_root(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_root(inner) for inner in value]
    if not isinstance(value, str):
        return value
    return re.sub(r"[^: ]*/(?=dawm/assets/)", "", value.replace(f"{data_root()}/", ""))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(text.encode()))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record", description="Keep what finished pieces say.")
    parser.add_argument("source", type=Path, help="folder of the results of a suite")
    parser.add_argument("target", type=Path, help="folder to copy to")
    given = parser.parse_args(arguments)
    try:
        copied = record(given.source, given.target)
    except DawmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    print("\n".join([*copied, f"{len(copied)} pieces copied to {given.target}"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
