"""The table of a suite, from its run folders and nothing else.

Every number belongs to the last checkpoint. `mean ± std` is over all episodes of all seeds. The IQM is over the means
of the seeds; its interval comes from a nested bootstrap (seeds are drawn with replacement, then episodes in each), so
it covers both sources of chance. With two seeds it is a rough guide; with one it covers the episodes only. The gain is
the difference of IQMs to the same learner trained on real data alone, for a planner, or a policy that imitated it, to
the policy that warms it up, with the interval of that difference.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dawm.data.dataset import References
from dawm.errors import FileError
from dawm.evaluate.statistics import iqm
from dawm.run.checkpoint import write_whole
from dawm.run.folder import RunFolder
from dawm.sweep.cost import cost_section
from dawm.sweep.hooks import NO_HOOKS, Hooks
from dawm.sweep.markdown import markdown_table, with_interval
from dawm.sweep.overall import overall_facts, overall_section
from dawm.sweep.profiles import write_profiles
from dawm.sweep.worlds import calibration_summary, read_worlds, worlds_section

RESAMPLES = 2_000
ORDER = ("bc", "td3bc", "quantile", "iql", "rebrac")  # learners in the order of the table; others follow by name


def write_table(out: str | Path, hooks: Hooks = NO_HOOKS) -> str:
    """The report of the suite in `out` as Markdown, also written there as table.md, table.json and profiles.svg."""
    out = Path(out)
    found = read_suite_results(out, hooks)
    tasks, overall = found["tasks"], found["overall"]
    calibration = calibration_summary({task["dataset"]: task["worlds"] for task in tasks})
    parts = [
        _heading(tasks),
        overall_section(overall),
        calibration,
        *(_section(task, hooks) for task in tasks),
        cost_section(tasks),
        _footing(tasks),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    for name, content in (("table.md", text), ("table.json", json.dumps(found, indent=1))):
        write_whole(out / name, lambda file, content=content: file.write(content.encode()))
    if overall:
        write_profiles(out / "profiles.svg", overall["profiles"])
    return text


def read_suite_results(out: str | Path, hooks: Hooks = NO_HOOKS) -> dict[str, Any]:
    """{"tasks": `read_results`, "overall": `dawm.sweep.overall.overall_facts` of them}, as JSON values."""
    tasks = read_results(out, hooks)
    return {"tasks": tasks, "overall": overall_facts(tasks, base_of)}


def read_results(out: str | Path, hooks: Hooks = NO_HOOKS) -> list[dict[str, Any]]:
    """Facts about each dataset of a suite and its methods, as JSON values. Raises FileError where there is none."""
    folders = sorted(p for p in Path(out).iterdir() if (p / "data.json").exists()) if Path(out).is_dir() else []
    if not folders:
        raise FileError(f"`{out}` holds no results of a suite: no folder in it has a data.json.")
    return [_read_task(folder, hooks) for folder in folders]


def _read_task(folder: Path, hooks: Hooks) -> dict[str, Any]:
    run = RunFolder.open(folder, "run")
    policies = [RunFolder(p) for p in sorted((folder / "policies").glob("*")) if (p / "run.toml").exists()]
    methods = {policy.path.name: _read_method(policy) | hooks.read(policy) for policy in policies}
    for method in methods.values():
        _add_gain(method, methods)
    ordered = sorted(methods.values(), key=lambda m: (*_rank(m["algo"]), m["ratio"] > 0, m["method"]))
    return {
        "dataset": folder.name,
        "data": run.read_json("data.json"),
        "methods": ordered,
        "worlds": read_worlds(folder, hooks.synthetic_results),
    }


def _rank(algo: str) -> tuple[int, str]:
    return (ORDER.index(algo) if algo in ORDER else len(ORDER), algo)


def _read_method(run: RunFolder) -> dict[str, Any]:
    method = _planner_facts(run) if run.kind == "planner" else _learner_facts(run) | _imitation_facts(run)
    provenance, scores = run.read_json("provenance.json") or {}, run.read_json("scores.json")
    method |= {key: provenance.get(key) for key in ("commit", "versions", "device")}
    method |= {"method": run.path.name, "finished": run.finished, "scored": scores is not None}
    if scores is None:
        return method
    method |= {"checkpoint": scores.get("checkpoint"), "episodes": scores["episodes"], "env": scores["env"]}
    method |= summarise(np.asarray(scores["returns"]), scores["references"])
    method["cost_rate"] = scores.get("cost_rate")
    method.setdefault("spared", scores.get("spared", False))  # a planner that left its policy alone
    others = sorted(run.path.glob("scores-*.json"))
    return method | {"also": {p.stem.removeprefix("scores-"): _other(run, p.name) for p in others}}


def _learner_facts(run: RunFolder) -> dict[str, Any]:
    stored = run.read_config()["config"]
    config = stored["policy"]
    ahead = config.get("expansion", {}).get("horizon")  # TD targets of several steps, in a world model
    added = {"futures": bool(stored.get("futures")), "thin": bool(config.get("thin")), "ahead": bool(ahead)}
    return {
        "algo": config["algo"]["kind"],
        "ratio": config.get("ratio", 0.0),
        "focus": config.get("focus", 1.0),
        "added": [name for name, there in added.items() if there],  # beside synthetic rows
        "updates": config["loop"]["steps"],
        "seeds": config["seeds"],
        "seconds": run.metrics.seconds(),
    }


def _imitation_facts(run: RunFolder) -> dict[str, Any]:
    """What is otherwise with a policy that imitated a planner: its updates are not those of its settings, which are the
    settings of what it was before.
    """
    stored = run.read_config()["config"]
    if "distil" not in stored:
        return {}
    left = (run.read_json("distil.json") or {}).get("spared_because") is not None
    before = Path(stored["before"].get("path", "")).name
    return {"added": ["distil"], "over": before, "spared": left, "updates": None, "seconds": None}


def _planner_facts(run: RunFolder) -> dict[str, Any]:
    stored = run.read_config()["config"]
    policy = stored.get("policy")
    return {
        "algo": "planner",
        "ratio": 0.0,
        "focus": 1.0,
        "updates": None,
        "seeds": stored.get("members", 1),
        "seconds": None,
        "over": policy and Path(policy["path"]).name,  # the method that warms it up
    }


def _other(run: RunFolder, name: str) -> dict[str, Any]:
    scores = run.read_json(name)
    return summarise(np.asarray(scores["returns"]), scores["references"])


def summarise(returns: np.ndarray, references: dict[str, Any] | None) -> dict[str, Any]:
    """Figures of returns (seeds, episodes); those of the score are None where no references are known."""
    scale = References(**references) if references else None
    figures = {
        "returns": returns.tolist(),
        "references": references,
        "return_mean": float(returns.mean()),
        "return_std": float(returns.std()),
    }
    unit = scale.normalise if scale else np.asarray
    values = unit(returns)
    return figures | {
        "unit": "score" if scale else "return",
        "mean": float(values.mean()),
        "std": float(values.std()),
        "seed_means": values.mean(1).tolist(),
        "iqm": iqm(values.mean(1)),
        "interval": list(nested_interval(lambda v: iqm(v.mean(1)), values)),
    }


def nested_interval(statistic: Callable[..., float], *groups: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of `statistic(*groups)`; each group (seeds, episodes) is drawn anew on both axes."""
    rng, values = np.random.default_rng(seed), np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        values[i] = statistic(*(_redraw(group, rng) for group in groups))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _redraw(group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    seeds, episodes = group.shape
    return group[rng.integers(seeds, size=(seeds, 1)), rng.integers(episodes, size=(seeds, episodes))]


def base_of(method: dict[str, Any], methods: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """What a method is compared with: the same learner on real data alone, which draws rows as the method does where
    there is such a one, and uniformly otherwise; for a planner and for what imitated it, what warms it up.

    None for such a learner itself, and where there is no such method.
    """
    if "over" in method:
        return methods.get(method["over"] or "")
    plain = [m for m in methods.values() if m["algo"] == method["algo"] and _is_plain(m)]
    draws = (1.0,) if _is_plain(method) else (method["focus"], 1.0)
    found = next((m for focus in draws for m in plain if m["focus"] == focus), None)
    return None if found is method else found


def _is_plain(method: dict[str, Any]) -> bool:
    return method["algo"] != "planner" and not method["ratio"] and not method.get("added")


def _add_gain(method: dict[str, Any], methods: dict[str, dict[str, Any]]) -> None:
    """Compare a method with what it adds something to; a planner that left its policy alone added nothing."""
    base = base_of(method, methods)
    if base is None or not (method["scored"] and base["scored"]) or method.get("spared"):
        return
    method["gain"] = {"over": base["method"]} | gain_over(method, base)


def gain_over(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """The difference of the IQMs of two methods on one task, with its interval, in the units of the table."""
    slope = _slope(ours)

    def difference(a: np.ndarray, b: np.ndarray) -> float:
        return iqm(a.mean(1)) - iqm(b.mean(1))

    returns = [np.asarray(m["returns"]) * slope for m in (ours, theirs)]
    return {"value": difference(*returns), "interval": list(nested_interval(difference, *returns))}


def _slope(method: dict[str, Any]) -> float:
    """Units of the table per unit of return: an affine map's offset cancels in a difference."""
    references = method["references"]
    return float(References(**references).scale(1.0)) if references else 1.0


# -- Markdown ----------------------------------------------------------------------------------------------------------


def _heading(tasks: list[dict[str, Any]]) -> str:
    methods = [m for task in tasks for m in task["methods"] if m["scored"]]
    unscored = [f"{t['dataset']}/{m['method']}" for t in tasks for m in t["methods"] if not m["scored"]]
    settings = {f"{m['updates']:,} updates, {m['seeds']} seeds" for m in methods if m["updates"]}
    if not any(task["methods"] for task in tasks):
        return "# World models"
    lines = [
        f"# Real data, and real with synthetic ({'; '.join(sorted(settings)) or 'nothing scored yet'})",
        "",
        "Last checkpoint of each run. Mean ± standard deviation is over all episodes of all seeds; the IQM is over the",
        "means of the seeds, with a 95 % interval from a bootstrap over seeds and, within them, episodes. The gain is",
        "over the same learner on real data alone, of a planner, or of a policy that imitated one, over the policy",
        "that warms it up. No setting was chosen per dataset.",
    ]
    if unscored:
        lines += ["", f"Not finished: {', '.join(unscored)}."]
    return "\n".join(lines)


def _section(task: dict[str, Any], hooks: Hooks) -> str:
    data, methods = task["data"], [m for m in task["methods"] if m["scored"]]
    parts = [f"## {task['dataset']}", _data_line(data)]
    if methods:
        parts.append(_policies(methods, data, hooks))
    if worlds := worlds_section(task["worlds"], hooks.facts):
        parts.append(worlds)
    return "\n\n".join(parts)


def _data_line(data: dict[str, Any]) -> str:
    returns, references = data["returns"], data["references"]
    text = (
        f"{data['steps']:,} steps in {data['episodes']:,} episodes, {data['env']}. Return of the data {_plus(returns)}"
    )
    if references:
        low, high = references["low"], references["high"]
        spread = 100 * returns["std"] / (high - low)  # scaled, never shifted
        text += f", score {_plus({'mean': data['score_mean'], 'std': spread})}"
        text += f" (0 is a return of {low:g}, 100 of {high:g}: {references['source']})"
    return " ".join([text + ".", *(f"Note: {note}" for note in data["notes"])])


def _policies(methods: list[dict[str, Any]], data: dict[str, Any], hooks: Hooks) -> str:
    unit = methods[0]["unit"]
    also = sorted({env for m in methods for env in m["also"]})
    further = hooks.columns(data, methods)
    header = ["method", "synthetic", f"{unit}, mean ± std", "IQM [95 %]", "each seed", "gain of IQM [95 %]", "episodes"]
    header += ["return, mean ± std"] if unit == "score" else []
    costly = any(m["cost_rate"] for m in methods)
    header += ["cost of 100 steps, each seed"] if costly else []
    header += [f"{env}: {unit}" for env in also]
    header += further.header
    rows = []
    for m, cells in zip(methods, further.rows, strict=True):
        gain = m.get("gain")
        row = [
            m["method"],
            f"{m['ratio']:.0%}" if m["ratio"] else "–",
            _plus(m),
            with_interval(m["iqm"], m["interval"]),
        ]
        row += [" ".join(f"{x:.1f}" for x in m["seed_means"])]
        none = "none: the policy was left alone" if m.get("spared") else "–"
        row += [with_interval(gain["value"], gain["interval"], sign=True) if gain else none]
        row += [f"{m['seeds']} × {m['episodes']}"]
        row += [_plus({"mean": m["return_mean"], "std": m["return_std"]})] if unit == "score" else []
        row += [" ".join(f"{100 * x:.2f}" for x in m["cost_rate"] or []) or "–"] if costly else []
        row += [_plus(m["also"][env]) if env in m["also"] else "–" for env in also]
        rows.append(row + cells)
    return markdown_table(header, rows) + (f"\n\n{further.below}" if further.below else "")


def _footing(tasks: list[dict[str, Any]]) -> str:
    runs = [m for task in tasks for m in task["methods"]]
    runs += [m["provenance"] for task in tasks for m in task["worlds"]["models"].values() if m["provenance"]]
    commits = sorted({m["commit"] for m in runs if m.get("commit")})
    marked = " ('+': with uncommitted changes)" if any(c.endswith("+") for c in commits) else ""
    short = ", ".join(c[:10] + "+" * c.endswith("+") for c in commits)
    return f"Commit {short or 'unknown'}{marked}. {made_with(runs)}"


def made_with(runs: list[dict[str, Any]]) -> str:
    """Versions and devices of the runs, in a sentence each."""
    devices = sorted({m["device"] for m in runs if m.get("device")})
    versions = next((m["versions"] for m in runs if m.get("versions")), {})
    named = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return f"{named}. Device: {', '.join(devices)}."


def _plus(figures: dict[str, Any]) -> str:
    return f"{figures['mean']:.1f} ± {figures['std']:.1f}"
