"""Pieces as processes of this machine, each with its output in OUT/logs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from dawm.sweep.hooks import home_of
from dawm.sweep.piece import Piece
from dawm.sweep.plan import Sweep
from dawm.sweep.process import variables


class LocalExecutor:
    """Starts processes; with several workers each keeps to one thread."""

    def __init__(self, sweep: Sweep, workers: int):
        self.sweep, self.workers = sweep, workers
        self.running: list[subprocess.Popen] = []

    def launch(self, piece: Piece) -> subprocess.Popen:
        """Begin a piece."""
        sweep, log = self.sweep, self.sweep.log_of(piece)
        log.parent.mkdir(parents=True, exist_ok=True)
        words = [str(sweep.path), str(sweep.out), piece.name, sweep.hooks_name]
        env = os.environ | variables(self.workers, [home_of(sweep.hooks_name)])
        with log.open("ab") as file:
            command = [sys.executable, "-m", "dawm.sweep.process", *words]
            job = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=env, cwd=sweep.out)
        self.running.append(job)
        return job

    def interrupt(self) -> None:
        """Ask every piece to save and stop, as Ctrl-C does by itself."""
        for job in self.running:
            job.send_signal(signal.SIGINT)

    def wait(self) -> None:
        """Until they have stopped: they were interrupted too, and save before they do."""
        for job in self.running:
            job.wait()

    def close(self) -> None:
        """Nothing is left to give back."""
