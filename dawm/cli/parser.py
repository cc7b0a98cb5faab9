"""Flags: what the commands share, and a parser whose mistakes are errors of ours with a suggestion.

argparse rather than a typed parser: it is imported in milliseconds, and its help fits on one screen.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from dawm.errors import ConfigError, suggest

WIDTH = 100


@dataclass(frozen=True)
class Outcome:
    """What a command came to: a result for programs, the same for people, and the exit status."""

    result: dict[str, Any]
    text: str = ""  # standard output without --json
    status: int = 0
    remarks: tuple[str, ...] = field(default=())


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ConfigError."""

    def __init__(self, prog: str, usage: str, summary: str, examples: Sequence[str]):
        shown = "examples:\n" + "\n".join(f"  {line}" for line in examples)
        width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
        super().__init__(
            prog=prog,
            usage=f"{prog} {usage} [flags]",
            description=summary,
            epilog=shown,
            allow_abbrev=False,
            add_help=False,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=width),
        )
        self._optionals.title = "flags"
        self._positionals.title = "arguments"

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """The flags in `words`; unknown ones are errors that name the nearest known one."""
        flags, unknown = self.parse_known_args(list(words))
        if unknown:
            known = [name for action in self._actions for name in action.option_strings]
            word = unknown[0].partition("=")[0]
            hint = suggest(word, known) if word.startswith("-") else ", which is one argument too many"
            raise ConfigError(f"`{self.prog}` does not know `{word}`{hint} (see {self.prog} --help)")
        return flags

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")

    def flag(self, *names: str, help: str, **settings: Any) -> None:
        """One flag; a `metavar` makes it take a value, without one it is a switch."""
        if "metavar" not in settings:
            settings.setdefault("action", "store_true")
        self.add_argument(*names, help=help, **settings)

    def assignments(self, help: str) -> None:
        """`--set KEY=VALUE`, any number of times."""
        self.flag("--set", metavar="KEY=VALUE", action="append", default=[], dest="assignments", help=help)

    def common(self, *, settings: bool = False, dry_run: bool = False) -> None:
        """The flags that every command has, and those of the commands that have settings."""
        if settings:
            self.flag("--preset", metavar="NAME", help="fast, default or paper")
            self.flag("--config", metavar="FILE", help="settings over the preset's: TOML, JSON, or a run's run.toml")
            self.assignments("one setting over all of these, as policy.loop.steps=1000; repeatable")
            self.flag("--seed", metavar="N", type=whole, help="seed of every stage (0)")
        if dry_run:
            self.flag("--dry-run", help="say sizes, parameters, memory and time (measured here), and stop")
        self.flag("--json", help="print one JSON object and nothing else on standard output")
        self.flag("--quiet", help="no progress and no remarks")
        self.add_argument("-h", "--help", action="help", help="print this and stop")


def whole(text: str) -> int:
    """A whole number as people write it: 1000000, 1_000_000 or 1e6."""
    try:
        value = float(text.replace("_", "").replace(",", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is no number") from None
    if value != int(value):
        raise argparse.ArgumentTypeError(f"`{text}` is no whole number")
    return int(value)
