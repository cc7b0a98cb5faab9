"""Order, parallelism and failure of pieces, with jobs that end when the test says so."""

from __future__ import annotations

import pytest

from dawm.sweep.piece import Piece
from dawm.sweep.scheduling import schedule

PIECES = [
    Piece("d", "data", ()),
    Piece("d", "model", ("d/data",)),
    Piece("d", "synthetic", ("d/model",)),
    Piece("d", "bc", ("d/data",)),
    Piece("d", "td3bc-dawm", ("d/synthetic",)),
]


class Jobs:
    """Each job works for two polls; records what was begun, and how many worked at once."""

    def __init__(self, failing=()):
        self.failing, self.begun, self.alive, self.most = failing, [], 0, 0

    def launch(self, piece):
        self.begun.append(piece.name)
        self.alive += 1
        self.most = max(self.most, self.alive)
        return Job(self, 1 if piece.name in self.failing else 0)


class Job:
    def __init__(self, jobs, status):
        self.jobs, self.status, self.left = jobs, status, 2

    def poll(self):
        self.left -= 1
        if self.left > 0:
            return None
        self.jobs.alive -= 1
        return self.status


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_everything_is_done_after_what_it_needs(workers):
    jobs, ends = Jobs(), []
    outcome = schedule(
        PIECES, jobs.launch, workers=workers, report=lambda p, *_: ends.append(("end", p.name)), poll_seconds=0
    )
    assert sorted(outcome.done) == sorted(p.name for p in PIECES)
    assert outcome.failed == outcome.left == []
    assert jobs.most <= workers
    for piece in PIECES:
        assert all(jobs.begun.index(need) < jobs.begun.index(piece.name) for need in piece.needs)
    assert [name for _, name in ends] == outcome.done


def test_two_workers_do_two_things_at_once():
    jobs = Jobs()
    schedule(PIECES, jobs.launch, workers=2, poll_seconds=0)
    assert jobs.most == 2
    assert jobs.begun[:3] == ["d/data", "d/model", "d/bc"]


def test_a_failure_stops_only_what_needs_it():
    jobs = Jobs(failing=("d/model",))
    outcome = schedule(PIECES, jobs.launch, workers=2, poll_seconds=0)
    assert outcome.failed == ["d/model"]
    assert sorted(outcome.done) == ["d/bc", "d/data"]
    assert outcome.left == ["d/synthetic", "d/td3bc-dawm"]


def test_what_is_finished_is_not_done_again():
    jobs = Jobs()
    todo = [p for p in PIECES if p.what not in ("data", "model")]
    outcome = schedule(todo, jobs.launch, workers=1, finished=["d/data", "d/model"], poll_seconds=0)
    assert sorted(outcome.done) == sorted(p.name for p in todo)
