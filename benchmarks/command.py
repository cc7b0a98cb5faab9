"""How the small commands here end: JSON or text on standard output, one sentence where something is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from dawm.errors import DawmError


def finish(make: Callable[[], Any], text: Callable[[Any], str], as_json: bool) -> int:
    """Print what `make()` returns, as JSON or as `text` of it; returns the exit status."""
    try:
        result = make()
    except DawmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    print(json.dumps(result, indent=2) if as_json else text(result))
    return 0
