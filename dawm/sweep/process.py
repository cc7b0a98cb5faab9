"""One piece in a process of its own: what the executors start.

    python -m dawm.sweep.process SUITE OUT PIECE [HOOKS]

JAX is imported only after the settings of the process are made.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dawm.errors import DawmError

ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # processes that share a GPU
}


def variables(workers: int, roots: Sequence[Path | None]) -> Mapping[str, str]:
    """The environment variables of a piece beside those of its parent: threads, and where modules are found."""
    here = Path(__file__).resolve().parents[2]
    search = [*dict.fromkeys(str(root) for root in (here, *roots) if root), os.environ.get("PYTHONPATH")]
    threads = ONE_THREAD if workers > 1 else {}
    return threads | {"PYTHONPATH": os.pathsep.join(filter(None, search))}


def do_piece(path: str, out: str, name: str, hooks: str = "") -> int:
    """Do one piece; returns the exit status, after a sentence on standard error where it failed."""
    from dawm.sweep.piece import pieces
    from dawm.sweep.plan import Sweep
    from dawm.sweep.work import do

    try:
        sweep = Sweep.open(path, out, hooks)
        (piece,) = [p for p in pieces(sweep.suite) if p.name == name]
        do(sweep, piece)
    except DawmError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    sys.exit(do_piece(*sys.argv[1:]))
