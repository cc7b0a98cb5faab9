"""The whole job on the log inside the package, `dawm run demo --preset fast`: what `make demo` runs once installed.

Twice in new folders: with an empty compilation cache, and with the programs of the first time. Seconds by stage are the
differences between the times at which the files that end each stage appeared.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.speed.children import run
from benchmarks.speed.comparison import OURS, Settings, figures
from dawm.errors import DawmError

# what is written last in each stage, in order; policies and their scores are found by their folders
STAGES = (
    ("start, imports, reading", "data.json"),
    ("one-step networks", "model/networks/metrics.jsonl"),
    ("diffusion, held-out errors", "model/finished"),
    ("calibration", "model/calibration.json"),
    ("synthetic data, fidelity", "synthetic/finished"),
)
SMALL = (
    "world_model.networks.loop.steps=4", "world_model.networks.loop.chunk=2", "world_model.loop.steps=4",
    "world_model.loop.chunk=2", "world_model.measure_windows=16", "calibrate.windows=8", "policy.loop.steps=4",
    "policy.loop.chunk=2", "generate.transitions=200", "generate.shard=64", "episodes=1",
)  # fmt: skip


def measure(settings: Settings) -> dict[str, Any]:
    """Two rows, each with `stages`, seconds of each stage, and `peak`, MiB."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, what in (("first", "empty compilation cache"), ("again", "programs cached")):
            rows.append(_row(name, what, Path(scratch), settings))
    return {"rows": rows}


def _row(name: str, what: str, scratch: Path, settings: Settings) -> dict[str, Any]:
    folder = scratch / name
    small = [word for one in SMALL for word in ("--set", one)] if settings.quick else []
    begun = time.time()
    command = ["-m", "dawm", "run", "demo", "--preset", "fast", "--out", str(folder), *small]
    ended = run(command, environment={"DAWM_CACHE": str(scratch / "cache")})
    if ended.status:
        raise DawmError(f"dawm run ended with status {ended.status}: {ended.words[-500:]}")
    row = {"name": name, "what": f"dawm run demo --preset fast, {what}", "unit": "s", "better": "less", "rounds": 1}
    row |= {"programs": {OURS: figures([ended.seconds])}, "ratios": {}}
    return row | {"peak": ended.peak, "stages": stages(folder, begun)}


def stages(folder: Path, begun: float) -> dict[str, float]:
    """Seconds of each stage of the run in `folder`, which began at the time `begun`."""
    ends = [(name, folder / path) for name, path in STAGES]
    for policy in (folder / "policies").glob("*"):
        ends += [(f"policy {policy.name}", policy / "finished"), (f"scores {policy.name}", policy / "scores.json")]
    ends.append(("report", folder / "finished"))
    times = sorted((path.stat().st_mtime, name) for name, path in ends if path.exists())
    found, before = {}, begun
    for moment, name in times:
        found[name], before = round(moment - before, 2), moment
    return found
