"""What somebody else's evidence adds to a sweep: settings, measurements after a piece, columns of the table.

A record `Hooks` in a module of theirs, named as "module:NAME", because every piece is a process of its own that finds
it by this name. `benchmarks/hooks.py` is one. Every field has a default that adds nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dawm.errors import ConfigError

if TYPE_CHECKING:
    from dawm.data.dataset import Dataset
    from dawm.run.folder import RunFolder
    from dawm.sweep.piece import Piece
    from dawm.sweep.suite import Suite, Task


class Columns(NamedTuple):
    """Further columns of the table of a dataset: `rows` has the cells of each method, in their order."""

    header: list[str]
    rows: list[list[str]]
    below: str = ""  # a line under the table


@dataclass(frozen=True)
class Hooks:
    """What is added to a sweep. Settings are given with their defaults and land in `extra` of the suite or the task."""

    suite_settings: Mapping[str, Any] = field(default_factory=dict)
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    roots: Callable[[], list[Path]] = list  # further folders that the paths of datasets may be relative to
    # files that a piece is not done without, beside its own
    results: Callable[[Suite, Piece, Task], list[str]] = lambda suite, piece, task: []
    # called in the process of a piece when its own work is done, also if it was done before: make the missing files
    after: Callable[[Suite, Piece, Task, Dataset, Path], None] = lambda suite, piece, task, data, folder: None
    # of the run folder of a method: facts for the table
    read: Callable[[RunFolder], dict[str, Any]] = lambda run: {}
    # of the facts about the data of a dataset (data.json) and of its scored methods
    columns: Callable[[dict[str, Any], list[dict[str, Any]]], Columns] = lambda data, methods: Columns(
        [], [[] for _ in methods]
    )
    synthetic_results: tuple[str, ...] = ()  # names of further JSON results beside synthetic data
    # of all JSON results beside synthetic data: further half-sentences about these
    facts: Callable[[dict[str, Any]], list[str]] = lambda made: []


NO_HOOKS = Hooks()


def load_hooks(name: str) -> Hooks:
    """The record that "module:NAME" names; no hooks for "". Raises ConfigError where there is no such thing."""
    if not name:
        return NO_HOOKS
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the hooks `{name}` cannot be imported: {error}.") from None
    if not isinstance(found, Hooks):
        raise ConfigError(f"`{name}` is no record of dawm.sweep.hooks.Hooks.")
    return found


def home_of(name: str) -> Path | None:
    """The folder from which the module of hooks is imported, for the processes that import it too."""
    if not name:
        return None
    module = importlib.import_module(name.partition(":")[0])
    return Path(str(module.__file__)).resolve().parents[module.__name__.count(".")]
