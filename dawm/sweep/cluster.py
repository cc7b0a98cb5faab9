"""Pieces as tasks of Ray, on this machine or on a cluster whose machines see the same files (the extra `ray`).

Every piece has one processor and a worker process of its own, begun with the environment variables that fix its
threads: nothing here imports JAX, so that these stand before a piece does. Its output is in OUT/logs, as with local
processes, and the scores are the same to the last bit.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from dawm.errors import ConfigError, MissingExtraError
from dawm.sweep.hooks import home_of
from dawm.sweep.process import do_piece, variables

if TYPE_CHECKING:
    from dawm.sweep.piece import Piece
    from dawm.sweep.plan import Sweep

INTERRUPTED = 130
PATIENCE = 120.0  # seconds in which an interrupted piece may save and stop


class RayExecutor:
    """Starts tasks in the cluster at `address`, or in a Ray of its own on this machine."""

    def __init__(self, sweep: Sweep, workers: int | None, address: str | None):
        """Raises MissingExtraError without Ray, ConfigError where no cluster answers at the address."""
        try:
            import ray
        except ImportError:
            raise MissingExtraError("ray", "ray", "--executor ray") from None
        self.ray, self.sweep = ray, sweep
        here = {} if address else {"num_cpus": workers, "include_dashboard": False}
        try:
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **here)
        except Exception as error:  # Ray raises many types, bare `Exception` among them
            ray.shutdown()
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(f"no Ray could be reached or started at `{address or 'local'}`: {reason}") from None
        self.workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        self.running: list[RayJob] = []

    def launch(self, piece: Piece) -> RayJob:
        """Begin a piece."""
        sweep, log = self.sweep, self.sweep.log_of(piece)
        log.parent.mkdir(parents=True, exist_ok=True)
        settings = dict(variables(self.workers, [home_of(sweep.hooks_name)]))
        # max_calls: a worker is used once, since threads are chosen when JAX begins; a failure is not tried again
        work = self.ray.remote(num_cpus=1, max_calls=1, max_retries=0, runtime_env={"env_vars": settings})(do_task)
        words = str(sweep.path), str(sweep.out), piece.name, sweep.hooks_name, str(log)
        self.running.append(RayJob(self.ray, work.remote(*words), str(log)))
        return self.running[-1]

    def interrupt(self) -> None:
        """Ask every piece to save and stop."""
        for job in self.running:
            self.ray.cancel(job.task, force=False)

    def wait(self) -> None:
        """Until they have stopped. Ctrl-C reaches this process alone, so they are asked here too."""
        tasks = [job.task for job in self.running if job.poll() is None]
        self.interrupt()
        if tasks:
            self.ray.wait(tasks, num_returns=len(tasks), timeout=PATIENCE)

    def close(self) -> None:
        """Leave the cluster, or end the Ray of this machine."""
        self.ray.shutdown()


class RayJob:
    """A task as `schedule` sees it."""

    def __init__(self, ray: Any, task: Any, log: str):
        self.ray, self.task, self.log = ray, task, log
        self.status: int | None = None

    def poll(self) -> int | None:
        """None while it works, then its exit status; what Ray says of a lost worker goes to the log."""
        if self.status is None and self.ray.wait([self.task], timeout=0)[0]:
            try:
                self.status = int(self.ray.get(self.task))
            except self.ray.exceptions.TaskCancelledError:
                self.status = INTERRUPTED
            except self.ray.exceptions.RayError as error:
                self.status = 1
                with open(self.log, "a") as file:
                    file.write(f"{error}\n")
        return self.status


def do_task(path: str, out: str, name: str, hooks: str, log: str) -> int:
    """One piece, in a worker of Ray; returns the exit status."""
    from dawm.run.device import prepare

    os.chdir(out)
    with open(log, "a", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file
        prepare()
        return do_piece(path, out, name, hooks)
