"""The table of a suite of ours, from its run folders and nothing else (see `dawm/sweep/table.py`).

    python -m benchmarks.table runs/first [--json]
    python -m benchmarks.table runs/first --methods iql,iql-focus,iql-focus-plan --over iql

The second compares these methods on all tasks that every one of them was scored on, with the first of them or the one
that --over names; it prints this alone and writes no files.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.hooks import HOOKS
from dawm.errors import ConfigError, DawmError
from dawm.sweep.overall import overall_facts, overall_section
from dawm.sweep.table import read_results, read_suite_results, write_table


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description="The table of a suite as Markdown.")
    parser.add_argument("out", type=Path, help="folder of the results of a suite")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--methods", metavar="A,B,...", help="compare these alone, on the tasks that all of them have")
    parser.add_argument("--over", metavar="A", help="with --methods: which of them the others are compared with")
    given = parser.parse_args(arguments)
    if given.over and not given.methods:
        parser.error("--over needs --methods")
    try:
        if given.methods:
            facts = compared(given.out, given.methods.split(","), given.over)
            print(json.dumps(facts, indent=1) if given.json else overall_section(facts, drawn=False))
        elif given.json:
            print(json.dumps(read_suite_results(given.out, HOOKS), indent=1))
        else:
            print(write_table(given.out, HOOKS))
    except DawmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def compared(out: Path, names: list[str], over: str | None) -> dict[str, Any] | None:
    """Aggregates of these methods over the tasks that all of them were scored on. Raises ConfigError where one of them
    was not scored or `over` is none of them.
    """
    base = over or names[0]
    if base not in names:
        raise ConfigError(f"`--over {base}` is none of the methods: name one of {', '.join(names)}.")
    return overall_facts(
        read_results(out, HOOKS), lambda method, methods: None if method["method"] == base else methods[base], names
    )


if __name__ == "__main__":
    sys.exit(main())
