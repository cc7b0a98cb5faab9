"""A run folder explains itself and survives a crash.

run.toml          what was run: kind and the complete configuration with its defaults filled in
provenance.json   versions, commit, device, seed, fingerprint of the data
metrics.jsonl     one JSON object a line
checkpoints/      00050000.ckpt, ...
*.json            results (scores.json, fidelity.json, ...)
finished          present only after a clean end
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tomli_w

from dawm.errors import ConfigError, FileError
from dawm.run import checkpoint
from dawm.run.config import differences, without_none
from dawm.run.metrics import MetricsFile, plain


class RunFolder:
    """The folder of one run of a given kind ("world_model", "synthetic", "policy", "run")."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.metrics = MetricsFile(self.path / "metrics.jsonl")

    # -- opening ------------------------------------------------------------------------------------------------------

    @classmethod
    def start(cls, path: str | Path, kind: str, config: dict[str, Any], provenance: dict[str, Any]) -> RunFolder:
        """Create the folder, or take it up again if it holds the same run; otherwise say what differs.

        `config` decides whether two runs are the same; `provenance` is only recorded. Raises ConfigError where the
        folder holds another run, FileError where it cannot be written.
        """
        folder, content = cls(path), {"kind": kind, "config": plain(without_none(config))}
        if (folder.path / "run.toml").exists():
            stored = folder.read_config()
            changed = differences(stored, json.loads(json.dumps(content)))
            if changed:
                lines = "\n  ".join(changed[:12])
                raise ConfigError(
                    f"`{folder.path}` holds another run. Choose another --out, delete it, or undo these changes:"
                    f"\n  {lines}"
                )
            return folder
        if folder.path.exists() and any(folder.path.iterdir()):
            strange = sorted(p.name for p in folder.path.iterdir())[:3]
            own = lambda name: name == "provenance.json" or name.endswith(".part")  # of a start that was killed
            if not all(map(own, strange)) and kind != "run":
                raise ConfigError(f"`{folder.path}` is not empty and no run folder (it holds {', '.join(strange)}).")
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
            folder.write_json("provenance.json", environment() | provenance)
            checkpoint.write_whole(folder.path / "run.toml", lambda f: f.write(tomli_w.dumps(content).encode()))
        except OSError as error:
            raise FileError(f"cannot write the run folder `{folder.path}`: {error.strerror}.") from None
        return folder

    @classmethod
    def open(cls, path: str | Path, kind: str | tuple[str, ...] | None = None) -> RunFolder:
        """An existing run folder, of the given kind if one is named."""
        folder = cls(path)
        if not (folder.path / "run.toml").is_file():
            found = "does not exist" if not folder.path.exists() else "has no run.toml"
            raise FileError(f"`{path}` {found}: it is no run folder of dawm.")
        kinds = (kind,) if isinstance(kind, str) else kind
        if kinds and folder.kind not in kinds:
            raise FileError(f"`{path}` holds a {folder.kind}, where a {' or '.join(kinds)} is needed.")
        return folder

    def read_config(self) -> dict[str, Any]:
        """{"kind": ..., "config": ...} as stored."""
        try:
            return tomllib.loads((self.path / "run.toml").read_text())
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise FileError(f"`{self.path / 'run.toml'}` cannot be read: {error}.") from None

    @property
    def kind(self) -> str:
        return self.read_config().get("kind", "?")

    # -- results ------------------------------------------------------------------------------------------------------

    def write_json(self, name: str, value: Any) -> None:
        text = json.dumps(plain(value), indent=2) + "\n"
        checkpoint.write_whole(self.path / name, lambda file: file.write(text.encode()))

    def read_json(self, name: str) -> Any:
        """The content of a JSON result, or None where it was not written."""
        path = self.path / name
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise FileError(f"`{path}` is damaged: {error}. Delete it and redo the command that wrote it.") from None

    # -- state --------------------------------------------------------------------------------------------------------

    def save_state(self, step: int, state: Any, header: dict[str, Any] | None = None, keep: int = 2) -> None:
        """Write the checkpoint of `step` and forget all but the last `keep`."""
        checkpoint.save(self.checkpoint_path(step), state, {"step": step} | (header or {}))
        for old in self.checkpoints()[:-keep]:
            self.checkpoint_path(old).unlink(missing_ok=True)

    def checkpoint_path(self, step: int) -> Path:
        return self.path / "checkpoints" / f"{step:08d}.ckpt"

    def checkpoints(self) -> list[int]:
        """Steps of which a checkpoint exists, increasing."""
        return sorted(int(p.stem) for p in (self.path / "checkpoints").glob("*.ckpt") if p.stem.isdigit())

    def load_state(self, like: Any, step: int | None = None) -> tuple[int, Any]:
        """(step, state) of the last checkpoint, or of the one of `step`."""
        steps = self.checkpoints()
        if not steps:
            raise FileError(
                f"`{self.path}` has no checkpoint: the run has not come that far. Try: dawm resume {self.path}"
            )
        step = steps[-1] if step is None else step
        return step, checkpoint.load(self.checkpoint_path(step), like)

    @property
    def finished(self) -> bool:
        return (self.path / "finished").exists()

    def finish(self) -> None:
        checkpoint.write_whole(self.path / "finished", lambda file: file.write(b""))


def environment() -> dict[str, Any]:
    """Versions, platform, device and commit, for the record."""
    import jax

    packages = ("dawm", "jax", "jaxlib", "equinox", "optax", "numpy", "gymnasium", "mujoco")
    return {
        "versions": {name: _version(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(jax.devices()[0]),
        "devices": jax.local_device_count(),
        "commit": _commit(),
        "command": sys.argv,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the source tree that dawm runs from, with '+' if it has changes; None for an installed package."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        run = lambda *args: subprocess.run(
            ["git", *args], cwd=here, capture_output=True, text=True, timeout=10
        ).stdout.strip()
        return run("rev-parse", "HEAD") + ("+" if run("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
