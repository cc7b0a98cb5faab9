"""The table of a suite of ours, from its run folders and nothing else (see `dawm/sweep/table.py`).

python -m benchmarks.table runs/first [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.hooks import HOOKS
from dawm.errors import DawmError
from dawm.sweep.table import read_suite_results, write_table


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description="The table of a suite as Markdown.")
    parser.add_argument("out", type=Path, help="folder of the results of a suite")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args(arguments)
    try:
        found = (
            json.dumps(read_suite_results(given.out, HOOKS), indent=1) if given.json else write_table(given.out, HOOKS)
        )
        print(found)
    except DawmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
