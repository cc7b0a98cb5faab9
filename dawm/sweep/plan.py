"""A sweep: a suite file, the folder of its results, and the hooks that it is run with. Every process opens it anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dawm.sweep.hooks import Hooks, load_hooks
from dawm.sweep.piece import Piece, called
from dawm.sweep.suite import Suite, Task, read_suite


@dataclass(frozen=True)
class Sweep:
    """What to do and where. `hooks_name` is "module:NAME", or "" for none."""

    path: Path
    out: Path
    hooks_name: str
    suite: Suite
    hooks: Hooks

    @classmethod
    def open(cls, path: str | Path, out: str | Path, hooks: str = "") -> Sweep:
        """Read the suite file. Raises FileError or ConfigError naming the setting."""
        found = load_hooks(hooks)
        return cls(Path(path).resolve(), Path(out).resolve(), hooks, read_suite(path, found), found)

    def folder_of(self, piece: Piece) -> Path:
        """Where the results of a piece are."""
        above = self.out / piece.dataset
        if piece.stage is None:
            return above / "policies" / piece.what
        stage, name = piece.stage
        if stage == "data":
            return above
        return above / (called("model", name) if stage == "calibration" else piece.what)

    def locate(self, task: Task) -> str:
        """What to give to `dawm.load`: each part of the path that exists in a known folder, else the name as it is.

        These folders are the one of the suite file and those of the hooks.
        """
        roots = [self.path.parent, *self.hooks.roots()]
        found = [next((root / part for root in roots if (root / part).exists()), part) for part in task.path.split("+")]
        return "+".join(map(str, found))

    def log_of(self, piece: Piece) -> Path:
        """What the process of a piece says."""
        return self.out / "logs" / f"{piece.dataset}--{piece.what}.log"
