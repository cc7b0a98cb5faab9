"""docs/results.md: what the kept records of suites say, in a page and a picture each; nothing is written by hand.

    python -m benchmarks.page                                # after `python -m benchmarks.record`
    python -m benchmarks.page benchmarks/results/core        # some of the records

A score stands in a table where it was recorded, also where it is bad, and a cell that was not run says so.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.beside import beside_section
from benchmarks.command import finish
from benchmarks.hooks import HOOKS, best_published
from benchmarks.intervals import draw
from dawm.errors import FileError
from dawm.run.checkpoint import write_whole
from dawm.sweep.markdown import markdown_table, with_interval
from dawm.sweep.overall import overall_facts
from dawm.sweep.table import base_of, made_with, read_results

ROOT = Path(__file__).resolve().parents[1]
RECORDS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "results.md"
OPENING = """# Results

Made by `python -m benchmarks.page` on {day} from the records in `benchmarks/results`; change those and not this page.
What led to the settings, trials and ablations with what did not help, is in [experiments.md](experiments.md), speed
in [performance.md](performance.md).

Every score is of the last checkpoint, with one setting for all tasks of a suite: the interquartile mean over seeds of
the means of their episodes, with a 95 % interval from a bootstrap over seeds and, within them, episodes. Scores are
normalised by the references that the table of each suite names; 0 is a random policy, 100 a good one. Roll-outs of
other people's agents (`hopper-*`, `halfcheetah-*`) are not D4RL's logs and must not be set beside its published scores.
`{preset}` is what `dawm run` does, and so are `iql-auto-distil`, the policy that it makes of that, and
`iql-auto-distil-plan`, a planner around it.
"""
PRESET = "iql-auto-plan"
Task = dict[str, Any]
Method = dict[str, Any]


def page(records: Sequence[Path], day: str, pictures: Path | None = None) -> str:
    """The page as Markdown. `pictures`: the folder that figures are drawn into; none are drawn without it, and their
    links are the same. Raises FileError where a record belongs to no suite of `benchmarks/suites`.
    """
    return "\n".join([OPENING.format(day=day, preset=PRESET), *(_suite(record, pictures) for record in records)])


def _suite(record: Path, pictures: Path | None) -> str:
    path = ROOT / "benchmarks" / "suites" / f"{record.name}.toml"
    if not path.exists():
        raise FileError(f"`{record}` is named after no suite: `{path.relative_to(ROOT)}` is not there.")
    suite, tasks = tomllib.loads(path.read_text()), read_results(record, HOOKS)
    tasks = sorted(tasks, key=lambda task: list(suite["datasets"]).index(task["dataset"]))
    names = _scored(suite, tasks)
    picture = f"results-{record.name}.svg"
    if pictures:
        draw(pictures / picture, [_panel(task) for task in tasks], names)
    return "\n\n".join(
        part
        for part in (
            f"## {record.name.capitalize()}: {len(names)} methods, {len(tasks)} tasks",
            _said(record.name, suite, tasks),
            f"![Scores of all methods on each task, with intervals](img/{picture})",
            _scores(tasks, names),
            _standards(tasks, names),
            _differences(tasks, names),
            beside_section(record, tasks),
            _missing(suite, tasks),
            _made_by(tasks),
        )
        if part
    )


def _scored(suite: dict[str, Any], tasks: list[Task]) -> list[str]:
    """Methods with a score anywhere, in the order of the suite: learners, then planners and what imitated them."""
    found = {m["method"]: m for task in tasks for m in task["methods"] if m["scored"]}
    return sorted((name for name in suite["methods"] if name in found), key=lambda n: "over" in found[n])


def _of(task: Task, name: str) -> Method | None:
    return next((m for m in task["methods"] if m["method"] == name and m["scored"]), None)


def _said(name: str, suite: dict[str, Any], tasks: list[Task]) -> str:
    return (
        f"`python -m benchmarks.compare benchmarks/suites/{name}.toml --out DIR`: {suite['updates']:,} updates,"
        f" {suite['seeds']} seeds. The [suite](../benchmarks/suites/{name}.toml) says what each method is;"
        f" [every figure](../benchmarks/results/{name}/table.md) has each seed, episodes, returns, published scores,"
        " held-out errors of the world models, and what each stage cost. *P(better)* is the probability that a seed of"
        " a method beats one of what it is compared with, mean over the tasks that both were run on (their number in"
        f" brackets where not all {len(tasks)}). The best of a column is bold."
    )


# -- the table of scores -----------------------------------------------------------------------------------------------


def _scores(tasks: list[Task], names: list[str]) -> str:
    best = {task["dataset"]: max(_means(task, names)) for task in tasks}
    scaled = [task for task in tasks if task["data"]["references"]]
    every = f"all {len(tasks)}" if len(scaled) == len(tasks) else f"all {len(scaled)} with scores"
    header = ["", *(_column(task) for task in tasks), every, "compared with", "P(better)"]
    rows = [["*the data*", *(f"{_data(task):.1f}" for task in tasks), "", "", ""]]
    others = [best_published(task["data"]) for task in tasks]
    if any(others):
        rows.append(["*best published*", *(f"{o[1]:.1f} ({o[0]})" if o else "–" for o in others), "", "", ""])
    for name in names:
        cells = [_cell(_of(task, name), best[task["dataset"]]) for task in tasks]
        rows.append([name, *cells, _over_all(scaled, name), *_improvement(tasks, name)])
    return markdown_table(header, rows)


def _column(task: Task) -> str:
    return task["dataset"] if task["data"]["references"] else f"{task['dataset']} (return)"


def _means(task: Task, names: list[str]) -> list[float]:
    return [m["iqm"] for name in names if (m := _of(task, name))] or [float("-inf")]


def _cell(method: Method | None, best: float) -> str:
    if method is None:
        return "not run"
    text = with_interval(method["iqm"], method["interval"])
    return "**{}** {}".format(*text.split(" ", 1)) if method["iqm"] == best else text


def _data(task: Task) -> float:
    data = task["data"]
    return data["score_mean"] if data["references"] else data["returns"]["mean"]


def _published(task: Task) -> float | None:
    best = best_published(task["data"])
    return best and best[1]


def _over_all(tasks: list[Task], name: str) -> str:
    if not all(_of(task, name) for task in tasks):
        return "–"
    facts = overall_facts(tasks, lambda *_: None, [name], profiles=False)
    return with_interval(facts["methods"][0]["iqm"], facts["methods"][0]["interval"]) if facts else "–"


def _improvement(tasks: list[Task], name: str) -> tuple[str, str]:
    """What a method is compared with, and the probability that it is better, on the tasks that have both."""
    base = next((b["method"] for task in tasks if (b := _base(task, name))), None)
    if base is None:
        return "–", "–"
    facts = overall_facts(
        tasks, lambda m, all_: all_[base] if m["method"] == name else None, [name, base], profiles=False
    )
    if facts is None:
        return "–", "–"
    better = facts["methods"][0]["improvement"]
    some = f" ({len(facts['tasks'])})" if len(facts["tasks"]) < len(tasks) else ""
    return base, with_interval(better["value"], better["interval"], 2) + some


def _base(task: Task, name: str) -> Method | None:
    method = _of(task, name)
    return base_of(method, {m["method"]: m for m in task["methods"] if m["scored"]}) if method else None


# -- what differs, what is missing, what it was made with --------------------------------------------------------------


def _differences(tasks: list[Task], names: list[str]) -> str:
    """Gains and losses whose interval leaves 0 out, both in full."""
    every = [(task["dataset"], m) for name in names for task in tasks if (m := _of(task, name)) and "gain" in m]
    even = sum(m["gain"]["interval"][0] <= 0 <= m["gain"]["interval"][1] for _, m in every)
    said = (
        f"Of {len(every)} comparisons with the same learner on the log alone (of planners with the policy that they"
        f" start from), {even} have an interval that holds 0. The others:"
    )
    parts = ["### What differs", said, _one_way(every, "Better", 1), _one_way(every, "Worse", -1)]
    return "\n\n".join(part for part in parts if part)


def _one_way(every: list[tuple[str, Method]], word: str, sign: int) -> str:
    pairs: dict[str, list[str]] = {}
    for dataset, m in every:
        gain = m["gain"]
        if min(sign * end for end in gain["interval"]) > 0:
            said = f"{dataset} {with_interval(gain['value'], gain['interval'], sign=True)}"
            pairs.setdefault(f"`{m['method']}` than `{gain['over']}`", []).append(said)
    lines = [f"- {pair}: {', '.join(cells)}" for pair, cells in pairs.items()]
    return "\n".join([f"{word}:", "", *lines]) if lines else ""


def _standards(tasks: list[Task], names: list[str]) -> str:
    """Which methods pass the data, and the best that was published, in all of their seeds wherever they were run."""
    lines = []
    for said, standard in (("the data", _data), ("the best published score", _published)):
        known = [task for task in tasks if standard(task) is not None]
        above = [name for name in names if known and all(_all_above(_of(task, name), standard(task)) for task in known)]
        if known:
            where = f"all {len(known)} tasks" if len(known) == len(tasks) else ", ".join(t["dataset"] for t in known)
            methods = ", ".join(f"`{name}`" for name in above) or "none"
            lines.append(f"- Above {said} on {where}, in every seed: {methods}.")
    return "\n".join(lines)


def _all_above(method: Method | None, score: float | None) -> bool:
    return method is not None and score is not None and min(method["seed_means"]) > score


def _missing(suite: dict[str, Any], tasks: list[Task]) -> str:
    there = [task["dataset"] for task in tasks]
    lines = []
    if others := [name for name in suite["datasets"] if name not in there]:
        lines.append(f"- no method: {', '.join(others)}")
    for name in suite["methods"]:
        if lacks := [task["dataset"] for task in tasks if not _of(task, name)]:
            lines.append(f"- `{name}`: {'all tasks' if len(lacks) == len(tasks) else ', '.join(lacks)}")
    return "### Not run\n\n" + "\n".join(lines) if lines else ""


def _made_by(tasks: list[Task]) -> str:
    runs = [m for task in tasks for m in task["methods"] if m["scored"]]
    commits = {m["commit"] for m in runs if m["commit"]}
    kept = f"{len(runs)} scored methods of {len(commits)} commits, each in the `provenance.json` of its folder."
    return f"{kept} {made_with(runs)}\n"


def _panel(task: Task) -> dict[str, Any]:
    return {
        "title": _column(task),
        "data": _data(task),
        "published": _published(task),
        "methods": {m["method"]: (m["iqm"], m["interval"]) for m in task["methods"] if m["scored"]},
        "kinds": {m["method"]: _kind(m) for m in task["methods"] if m["scored"]},
    }


def _kind(method: Method) -> str:
    if "over" in method:
        return "planner" if method["algo"] == "planner" else "imitated planner"
    return "synthetic data" if method["ratio"] or method["added"] else "log alone"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description="docs/results.md from the records.")
    parser.add_argument("records", type=Path, nargs="*", help="folders of records (all of benchmarks/results)")
    parser.add_argument("--out", type=Path, default=PAGE, metavar="FILE", help="where to (docs/results.md)")
    given = parser.parse_args(arguments)
    records = given.records or sorted((p for p in RECORDS.iterdir() if p.is_dir()), key=lambda p: p.name != "core")

    def make() -> str:
        pictures = given.out.parent / "img"
        pictures.mkdir(parents=True, exist_ok=True)
        text = page(records, date.today().isoformat(), pictures)
        write_whole(given.out, lambda file: file.write(text.encode()))
        return str(given.out)

    return finish(make, str, as_json=False)


if __name__ == "__main__":
    sys.exit(main())
