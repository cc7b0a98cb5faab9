"""`dawm VERB ...`: finds the command, runs it, prints its result, and turns errors into one line and an exit status.

Exit status: 0 fine; 1 the data or the run has a problem that was named; 2 the command or a file could not be used;
130 stopped with Ctrl-C. Results go to standard output, everything else to standard error. With --json standard output
holds exactly one JSON object, also after an error: {"error": ..., "status": ...}. DAWM_DEBUG=1 shows tracebacks.

This module and the `flags` function of each command import nothing heavy, so that help is immediate.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dawm.cli.parser import Outcome, Parser
from dawm.errors import ConfigError, DawmError, suggest
from dawm.run.device import prepare
from dawm.run.progress import set_quiet


class Verb(NamedTuple):
    """One row of `VERBS`: the module with `flags(parser)` and `execute(flags)`, and the help."""

    module: str
    usage: str
    summary: str
    examples: tuple[str, ...]


VERBS = {
    "run": Verb(
        "dawm.cli.run",
        "DATASET [--out DIR]",
        "all of it: world model, synthetic data, policies, scores, report",
        ("dawm run demo --preset fast", "dawm run hopper-medium-v2 --algo iql --seeds 5 --out runs/hopper"),
    ),
    "data show": Verb(
        "dawm.cli.show", "DATASET", "what a dataset holds and what its name resolved to", ("dawm data show demo",)
    ),
    "data doctor": Verb(
        "dawm.cli.doctor",
        "DATASET",
        "examine a dataset; exit status 1 if training cannot use it",
        ("dawm data doctor demo", "dawm data doctor log.npz --json"),
    ),
    "data convert": Verb(
        "dawm.cli.convert",
        "SOURCE TARGET",
        "to HDF5 (.h5), arrays (.npz), a table (.csv) or Minari (minari:ID)",
        ("dawm data convert hopper-medium-v2 hopper.h5", "dawm data convert runs/x/synthetic minari:hopper/dawm-v0"),
    ),
    "train": Verb(
        "dawm.cli.train",
        "DATASET --out DIR",
        "a world model, with its inverse dynamics model",
        ("dawm train demo --preset fast --out runs/model", "dawm train log.h5 --out runs/model --set model.horizon=4"),
    ),
    "calibrate": Verb(
        "dawm.cli.calibrate",
        "MODEL_DIR",
        "whether a model's spread is honest, and its correction",
        ("dawm calibrate runs/model", "dawm calibrate runs/model --data other-log.h5 --json"),
    ),
    "futures": Verb(
        "dawm.cli.futures",
        "MODEL_DIR --out DIR",
        "a library of plausible futures for every recorded (s, a)",
        ("dawm futures runs/model --out runs/futures --count 16",),
    ),
    "generate": Verb(
        "dawm.cli.generate",
        "MODEL_DIR --out DIR",
        "synthetic transitions from a world model",
        (
            "dawm generate runs/model --out runs/synthetic -n 100000",
            "dawm generate runs/model --policy runs/bc --out runs/rollouts --set length=5",
        ),
    ),
    "policy": Verb(
        "dawm.cli.policy",
        "DATASET --out DIR",
        "a policy, on real data or on real and synthetic data",
        (
            "dawm policy demo --algo iql --seeds 5 --out runs/iql",
            "dawm policy demo --synthetic runs/synthetic --ratio 0.5 --out runs/td3bc-dawm",
        ),
    ),
    "eval": Verb(
        "dawm.cli.eval",
        "POLICY_DIR [--env ID]",
        "scores of a policy in its environment",
        ("dawm eval runs/iql --env Hopper-v5 --episodes 20",),
    ),
    "estimate": Verb(
        "dawm.cli.estimate",
        "POLICY_DIR",
        "what a policy is worth, without its environment",
        ("dawm estimate runs/iql", "dawm estimate runs/demo/policies/td3bc --model runs/demo/model --json"),
    ),
    "plan": Verb(
        "dawm.cli.plan",
        "MODEL_DIR [--env ID]",
        "scores of a planner in a world model, from scratch or from a policy",
        ("dawm plan runs/model --policy runs/iql --env Hopper-v5 --set planner.risk.measure=cvar",),
    ),
    "distil": Verb(
        "dawm.cli.distil",
        "MODEL_DIR --out DIR",
        "a policy that has learnt what a planner around it does",
        ("dawm distil runs/model --policy runs/iql --out runs/iql-distil", "dawm eval runs/iql-distil --env Hopper-v5"),
    ),
    "sweep": Verb(
        "dawm.cli.sweep",
        "SUITE.toml --out DIR",
        "datasets x methods x seeds of a suite, resumable, and their table",
        (
            "dawm sweep examples/sweep.toml --out runs/sweep --workers 2",
            "dawm sweep suite.toml --out runs/suite --only 'hopper/*' --executor ray",
        ),
    ),
    "report": Verb("dawm.cli.report", "DIR", "the HTML page about a run folder", ("dawm report runs/demo",)),
    "resume": Verb(
        "dawm.cli.resume",
        "DIR",
        "go on with an interrupted run of any kind",
        ("dawm resume runs/demo", "dawm resume runs/demo --data /new/place/log.h5"),
    ),
}

HEAD = """dawm: from a log of interactions to a policy to a report, with a diffusion world model

usage: dawm COMMAND ... [--help]
"""
TAIL = """
DATASET is a path (HDF5, npz, a Minari folder), a name (hopper-medium-v2, mujoco/hopper/medium-v0,
cube-single-play-v0), several joined with +, or `demo`, the Hopper dataset inside the package.

every command: --json (one JSON object on standard output), --quiet, --help
training too:  --preset fast|default|paper, --config FILE, --set KEY=VALUE, --seed N, --dry-run
exit status:   0 fine, 1 a named problem of data or run, 2 unusable command or file, 130 Ctrl-C
start here:    dawm run demo --preset fast"""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status."""
    words = list(sys.argv[1:] if words is None else words)
    as_json, stdout = "--json" in words, sys.stdout
    set_quiet("--quiet" in words)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints is no result
            outcome = execute(words)
    except DawmError as error:
        if os.environ.get("DAWM_DEBUG"):
            raise
        print(f"dawm: {error}", file=sys.stderr)
        outcome = Outcome({"error": str(error), "status": error.exit_status}, status=error.exit_status)
    except KeyboardInterrupt:
        remark = f"interrupted{how_to_go_on(words)}"
        print(f"\ndawm: {remark}", file=sys.stderr)
        outcome = Outcome({"error": remark, "status": 130}, status=130)
    try:
        text = json.dumps(json_safe(outcome.result), indent=2) if as_json else outcome.text
        if text:
            print(text, file=stdout, flush=True)
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return outcome.status


def execute(words: Sequence[str]) -> Outcome:
    """Find the command, read its flags, run it."""
    if words and words[0] in ("--version", "-V"):
        import dawm

        return Outcome({"version": dawm.__version__}, f"dawm {dawm.__version__}")
    name, rest = find(words)
    if name not in VERBS:
        return Outcome({"commands": list(VERBS)}, overview(name), status=0)
    parser = make_parser(name)
    if {"-h", "--help"} & set(rest):
        return Outcome({"help": parser.format_help()}, parser.format_help().rstrip())
    flags = parser.parse(rest)
    prepare()
    return importlib.import_module(VERBS[name].module).execute(flags)


def find(words: Sequence[str]) -> tuple[str, list[str]]:
    """(command, the rest); the command is "" or "data" where only help is asked for."""
    group = next((word for word in words if not word.startswith("-")), "")
    before = list(words[: words.index(group)]) if group else list(words)
    strange = [word for word in before if word not in ("-h", "--help", "--json", "--quiet")]
    if strange:
        raise ConfigError(f"`dawm` does not know `{strange[0]}`. See: dawm --help")
    rest = before + list(words[len(before) + 1 :])
    if group != "data":
        if group and group not in VERBS:
            raise ConfigError(
                f"there is no command `{group}`{suggest(group, dict.fromkeys(v.split()[0] for v in VERBS))}"
            )
        return group, rest
    if not rest or rest[0] in ("-h", "--help"):
        return "data", rest
    if f"data {rest[0]}" not in VERBS:
        actions = [name.split()[1] for name in VERBS if name.startswith("data ")]
        raise ConfigError(f"there is no command `data {rest[0]}`{suggest(rest[0], actions)}")
    return f"data {rest[0]}", rest[1:]


def make_parser(name: str) -> Parser:
    """The parser of one command."""
    row = VERBS[name]
    summary = row.summary[0].upper() + row.summary[1:] + "."
    parser = Parser(f"dawm {name}", row.usage, summary, row.examples)
    importlib.import_module(row.module).flags(parser)
    return parser


def overview(group: str) -> str:
    """The help of `dawm`, or of `dawm data`."""
    rows = {name: row for name, row in VERBS.items() if name.startswith(group)}
    width = max(len(name) + len(row.usage) for name, row in rows.items()) + 1
    lines = [f"  {f'{name} {row.usage}':<{width}}  {row.summary}" for name, row in rows.items()]
    return "\n".join([HEAD, *lines, TAIL] if not group else ["usage: dawm data ACTION ... [--help]\n", *lines])


def how_to_go_on(words: Sequence[str]) -> str:
    """The command that takes up what was interrupted, if anything was begun."""
    places = [b for a, b in itertools.pairwise(words) if a == "--out"]
    places += [word.removeprefix("--out=") for word in words if word.startswith("--out=")] + list(words[1:2])
    from dawm.cli import run

    places += [str(run.started)] if run.started else []
    begun = next((place for place in places if (Path(place) / "run.toml").is_file()), None)
    return f"; what was done is kept. Go on with: dawm resume {begun}" if begun else ""


def json_safe(value: Any) -> Any:
    """The same value with null where a number is not finite: JSON has no NaN."""
    if isinstance(value, dict):
        return {str(k): json_safe(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(v) for v in value]
    if hasattr(value, "tolist"):
        return json_safe(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
