"""The pieces of work that a suite comes to: the smallest things that are done, recorded and skipped by themselves."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import NamedTuple

from dawm.errors import ConfigError
from dawm.sweep.suite import PLAIN, STAGES, Method, Suite


class Piece(NamedTuple):
    """One thing to do: a stage ("data", "model", "synthetic") or a method, for one dataset."""

    dataset: str
    what: str
    needs: tuple[str, ...]  # names of the pieces before it

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.what}"

    @property
    def stage(self) -> tuple[str, str] | None:
        """(stage, name of the model or data), None for a method."""
        stage, _, name = self.what.partition("-")
        return (stage, name or PLAIN) if stage in STAGES else None


def called(stage: str, name: str) -> str:
    """What the piece of a stage is called, and its folder."""
    return stage if name == PLAIN else f"{stage}-{name}"


def pieces(suite: Suite) -> list[Piece]:
    """All pieces, each after those it needs; world models first, since most waits for them."""
    methods = {name: suite.method(name) for name in suite.methods}
    made = sorted({m.synthetic for m in methods.values() if m.ratio > 0} | set(suite.synthetic))
    libraries = sorted(suite.futures)
    models = {suite.model_of("synthetic", n) for n in made} | {suite.model_of("futures", n) for n in libraries}
    models |= {m.model for m in methods.values() if m.planner is not None or m.looks_ahead}
    models = sorted(models | set(suite.models))
    corrected = "model" if suite.calibrate is None else "calibration"  # what comes before futures
    out = [Piece(d, "data", ()) for d in suite.datasets]
    for stage, names, before in (
        ("model", models, lambda name: "data"),
        ("calibration", models if suite.calibrate is not None else [], lambda name: called("model", name)),
        ("synthetic", made, lambda name: called("model", suite.model_of("synthetic", name))),
        ("futures", libraries, lambda name: called(corrected, suite.model_of("futures", name))),
    ):
        out += [Piece(d, called(stage, n), (f"{d}/{before(n)}",)) for n in names for d in suite.datasets]
    for dataset in suite.datasets:
        for name in methods:
            needs = _needs(methods[name])
            out.append(Piece(dataset, name, tuple(f"{dataset}/{need}" for need in needs or ["data"])))
    acted = {called("synthetic", n): suite.actor_of(n) for n in made if suite.actor_of(n)}
    out = [p._replace(needs=(*p.needs, f"{p.dataset}/{acted[p.what]}")) if p.what in acted else p for p in out]
    return _in_order(out)


def _in_order(every: list[Piece]) -> list[Piece]:
    """The same pieces, each as early as what it needs allows; their order is kept otherwise."""
    out, left = [], every
    while left:
        done = {p.name for p in out}
        ready = [p for p in left if done.issuperset(p.needs)]
        out, left = out + ready, [p for p in left if p not in ready]
    return out


def _needs(method: Method) -> list[str]:
    """What a method needs beside the data."""
    if method.planner is not None:
        return [called("model", method.model), *([method.warmed_by] if method.warmed_by else [])]
    needs = [called("synthetic", method.synthetic)] if method.ratio > 0 else []
    needs += [called("model", method.model)] if method.looks_ahead else []
    return needs + ([called("futures", method.futures)] if method.futures else [])


def choose(suite: Suite, only: list[str]) -> list[Piece]:
    """The pieces that match any pattern, with all that they need; all pieces without a pattern."""
    every = pieces(suite)
    if not only:
        return every
    named = {p.name: p for p in every}
    unmatched = [o for o in only if not any(fnmatch(n, o) for n in named)]
    if unmatched:
        raise ConfigError(f"--only {unmatched[0]} matches no piece of `{suite.name}`; there are {', '.join(named)}.")
    wanted = {n for n in named if any(fnmatch(n, o) for o in only)}
    while more := {need for name in wanted for need in named[name].needs} - wanted:
        wanted |= more
    return [p for p in every if p.name in wanted]
