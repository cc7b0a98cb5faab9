"""What comes before the first update: imports, compilation, and the seconds from the start of a process.

Every figure is of a new process, started in turns. `dawm policy` and `dawm run` are the commands that people give, on
the log inside the package, stopped when the record of their first update is on disk; "again" is with the programs that
the first time left in the compilation cache, "first" with an empty one. The PyTorch loop and d3rlpy are timed from the
start of their process to the end of their first five updates.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.speed.children import Ended, run
from benchmarks.speed.comparison import OURS, Settings, figures, ratios
from dawm.errors import DawmError

FIRST = "benchmarks.speed.first"  # first updates of a peer
MISSING = "ModuleNotFoundError"


def measure(settings: Settings) -> dict[str, Any]:
    """Rows of seconds; the first program of each is ours."""
    imports = {
        OURS: lambda: run(["-c", "import dawm.pipeline"]),
        "PyTorch": lambda: run(["-c", "import torch"]),
        "d3rlpy": lambda: run(["-c", "import d3rlpy"]),
    }
    rows = [record("imports", "Python and all imports", imports, settings)]
    alone = {OURS: lambda: run(["-c", "import dawm.cli.main"])}
    rows.append(record("command", "Python and the imports of the command line, before JAX", alone, settings))
    with tempfile.TemporaryDirectory() as scratch:
        policy = ["policy", "demo", "--algo", "td3bc", "--set", "policy.loop.chunk=1"]
        whole = ["run", "demo", "--preset", "fast", "--set", "world_model.networks.loop.chunk=1"]
        peers = {name: lambda kind=kind: run(["-m", FIRST, kind]) for name, kind in PEERS.items()}
        for name, command, record_of, beside in (
            ("policy", policy, "metrics.jsonl", peers),
            ("run", whole, "model/networks/metrics.jsonl", {}),
        ):
            what = f"process start to first update, dawm {name}"
            first = {OURS: lambda c=command, r=record_of: to_first(Path(scratch), c, r, cached=False)}
            rows.append(record(f"{name}-first", f"{what}, first time", first | beside, settings))
            again = {OURS: lambda c=command, r=record_of: to_first(Path(scratch), c, r, cached=True)}
            again[OURS]()  # fills the cache
            rows.append(record(f"{name}-again", f"{what}, again", again | beside, settings))
    return {"rows": rows}


PEERS = {"PyTorch loop": "torch", "d3rlpy": "d3rlpy"}


def to_first(scratch: Path, command: list[str], record_of: str, *, cached: bool) -> Ended:
    """A command of dawm until its record has a line, in a new folder, with the cache of `scratch` or an empty one."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        out, cache = Path(folder) / "out", scratch / "cache" if cached else Path(folder) / "cache"
        lines = out / record_of
        return run(
            ["-m", "dawm", *command, "--out", str(out)],
            until=lambda: lines.exists() and lines.stat().st_size > 0,
            environment={"DAWM_CACHE": str(cache), "JAX_ENABLE_COMPILATION_CACHE": "1"},
        )


def record(name: str, what: str, programs: dict[str, Callable[[], Ended]], settings: Settings) -> dict[str, Any]:
    """One row: seconds of new processes, in turns. Raises DawmError where one of ours ends in an error."""
    seconds: dict[str, list[float]] = {program: [] for program in programs}
    found: dict[str, Any] = {}
    rounds = 1 if settings.quick else min(settings.repeats, 5)
    for _ in range(rounds):
        for program, start in programs.items():
            if "missing" in found.get(program, {}):
                continue
            ended = start()
            if ended.status and MISSING in ended.words:
                found[program] = {"missing": ended.words.strip().splitlines()[-1].partition(": ")[2]}
            elif ended.status:
                raise DawmError(f"{program} of `{name}` ended with status {ended.status}: {ended.words[-500:]}")
            else:
                seconds[program].append(ended.seconds)
    programs_found = {p: found.get(p) or figures(seconds[p]) for p in programs}
    row = {"name": name, "what": what, "unit": "s", "better": "less", "programs": programs_found}
    return row | {"ratios": ratios(programs_found, "less"), "rounds": rounds}
