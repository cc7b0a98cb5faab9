"""Errors that a user can cause. Each message names the field, the place and the remedy; none needs a traceback.

`exit_status` is what the command line returns: 1 where the data or the run has a problem that was named, 2 where the
command or a file could not be used.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DawmError(Exception):
    """Any mistake that dawm can name."""

    exit_status = 1


class DatasetError(DawmError):
    """The data could be read and are wrong: names the field, the index and the remedy."""


class NumericalError(DawmError):
    """Training met a number that is not finite: names the run, the step, the quantity and the likely cause."""


class ConfigError(DawmError):
    """A setting is unknown or impossible, or disagrees with the run folder that it meets."""

    exit_status = 2


class FileError(DawmError):
    """A file or folder is missing, unreadable, or not of a layout that dawm knows."""

    exit_status = 2


class CheckpointError(FileError):
    """A checkpoint is corrupt or belongs to another configuration."""


class MissingExtraError(DawmError):
    """An optional dependency is not installed: names the extra."""

    exit_status = 2

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(f"{purpose} needs `{package}`, which is not installed. Run: pip install 'dawm[{extra}]'")


def suggest(word: str, known: Iterable[str]) -> str:
    """'; did you mean `x`?' for the nearest known word, or the list of known words."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(known)}"
