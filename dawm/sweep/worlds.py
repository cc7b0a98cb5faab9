"""World models in the table of a suite: errors on held-out episodes, calibration, synthetic data, libraries of futures.

All from run folders: OUT/<dataset>/model*, synthetic*, futures*. Lists over steps are shown at the first and the last
step, or as their mean, as the header says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dawm.run.folder import RunFolder
from dawm.sweep.markdown import markdown_table

Facts = Callable[[dict[str, Any]], list[str]]


def read_worlds(folder: Path, further: tuple[str, ...] = ()) -> dict[str, Any]:
    """What is known of the world models of a dataset and of what was made with them.

    `further` names JSON results of hooks beside synthetic data.
    """
    return {
        "models": _models(folder),
        "synthetic": _each(folder, "synthetic", ("generation", "fidelity", *further)),
        "futures": _each(folder, "futures", ("library",)),
    }


def _models(folder: Path) -> dict[str, dict[str, Any]]:
    """With the cost of training the diffusion, which an ensemble does not have."""
    found = _each(folder, "model", ("holdout", "calibration", "provenance"))
    for name, model in found.items():
        last = (RunFolder(folder / name).metrics.rows() or [{}])[-1]
        model |= {"seconds": last.get("seconds"), "updates": last.get("step")}
    return found


def _each(folder: Path, stage: str, names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    runs = [RunFolder(p) for p in sorted(folder.glob(f"{stage}*")) if (p / "run.toml").exists()]
    return {run.path.name: {name: run.read_json(f"{name}.json") for name in names} for run in runs}


def worlds_section(worlds: dict[str, Any], facts: Facts = lambda made: []) -> str:
    """All of it as Markdown; empty where there is nothing. `facts` adds half-sentences about synthetic data."""
    parts = [_holdout(worlds["models"])]
    parts += [_calibration(name, m["calibration"]) for name, m in worlds["models"].items() if m["calibration"]]
    parts += [_synthetic(name, made, facts(made)) for name, made in worlds["synthetic"].items()]
    parts += [_futures(name, made["library"]) for name, made in worlds["futures"].items() if made["library"]]
    return "\n\n".join(part for part in parts if part)


# -- held-out episodes -------------------------------------------------------------------------------------------------


def _holdout(models: dict[str, Any]) -> str:
    rows, horizons = [], set()
    for name, model in models.items():
        if not (holdout := model["holdout"]):
            continue
        horizons.add(holdout["horizon"])
        base = holdout["models"]["one_step"]["mean_rmse"][0]
        for label, errors in holdout["models"].items():
            mean, one, crps = errors["mean_rmse"], errors["rmse"], errors["crps"]
            cells = [_figure(mean, 0), f"{mean[0] / base:.2f}", _figure(mean, -1), _figure(one, 0), _figure(one, -1)]
            rows.append([name, label, *cells, _figure(crps, 0), _figure(crps, -1)])
    if not rows:
        return ""
    last = "/".join(map(str, sorted(horizons)))
    header = ["trained with", "held-out error of", "mean, step 1", "over the one-step network's", f"mean, step {last}"]
    header += ["one future, step 1", f"one future, step {last}", "CRPS, step 1", f"CRPS, step {last}"]
    ends = [
        f"{name}: ends {h['ends']['real_rate']:.3%} real, {h['ends']['generated_rate']:.3%} generated"
        for name, model in models.items()
        if (h := model["holdout"]) and h.get("ends")
    ]
    return markdown_table(header, rows) + ("\n\n" + "; ".join(ends) + "." if ends else "")


def _figure(values: list[float] | None, step: int) -> str:
    return f"{values[step]:.4f}" if values else "–"


# -- calibration -------------------------------------------------------------------------------------------------------


def _calibration(name: str, found: dict[str, Any]) -> str:
    ensemble = _mean(found["baselines"]["ensemble"]["crps"])
    rows = []
    for label, part in ({name: found} | found["baselines"]).items():
        for state, values in (("as it is", part), ("recalibrated", part["recalibrated"])):
            certain = [c["most_over_least"] for c in values["error_against_spread"] if c]
            rows.append(
                [
                    label,
                    state,
                    _span(values),
                    f"{_mean(values['ece']):.3f}",
                    f"{_mean(values['crps']):.4f}",
                    f"{_mean(values['crps']) / ensemble:.2f}",
                    f"{_mean(values['energy']):.3f}",
                    f"{_mean(values['spread_skill']):.2f}",
                    f"{_mean(certain):.1f}" if certain else "–",
                ]
            )
    header = [f"calibration, steps 1 to {found['horizon']}", "", "90 % intervals hold", "calibration error", "CRPS"]
    header += ["over the ensemble's", "energy score", "spread / error", "error, least / most certain tenth"]
    return (
        markdown_table(header, rows)
        + f"\n\nJudged on {found['data']['judged_on']}, {found['windows']['judge']} windows."
    )


def calibration_summary(tasks: Mapping[str, dict[str, Any]]) -> str:
    """Every log and every forecaster in one table, before and after recalibration; `tasks` are `read_worlds` by name.

    The four simple forecasters are those of the first model of a log. Empty where fewer than two logs are calibrated.
    """
    rows = []
    for task, worlds in tasks.items():
        found = {name: model["calibration"] for name, model in worlds["models"].items() if model["calibration"]}
        if not found:
            continue
        first = next(iter(found.values()))
        ensemble = _mean(first["baselines"]["ensemble"]["recalibrated"]["crps"])
        for label, before in (found | first["baselines"]).items():
            after = before["recalibrated"]
            hold = [100 * v for v in after["coverage"]["0.9"] if v is not None]
            certain = [c["most_over_least"] for c in after["error_against_spread"] if c]
            within = sum(89 <= v <= 91 for v in hold)
            rows.append(
                [
                    f"{task} ({first['episodes']['judge']})" if label == next(iter(found)) else "",
                    label,
                    _span(before),
                    _span(after),
                    f"{within} of {len(hold)}",
                    f"{_mean(before['ece']):.3f}",
                    f"{_mean(after['ece']):.3f}",
                    f"{_mean(after['crps']):.4f}",
                    f"{_mean(after['crps']) / ensemble:.2f}",
                    f"{_mean(certain):.1f}" if certain else "–",
                ]
            )
    if len({row[0] for row in rows}) < 3:
        return ""
    header = ["log (episodes judged)", "forecaster", "90 % intervals hold", "recalibrated", "steps within 89 to 91 %"]
    header += ["calibration error", "recalibrated", "CRPS, recalibrated", "over the ensemble's"]
    return markdown_table([*header, "error, least / most certain tenth"], rows)


def _span(part: dict[str, Any]) -> str:
    hold = [100 * v for v in part["coverage"]["0.9"] if v is not None]
    return f"{min(hold):.1f} to {max(hold):.1f} %"


def _mean(values: list[float | None]) -> float:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else float("nan")


# -- what was made -----------------------------------------------------------------------------------------------------


def _synthetic(name: str, made: dict[str, Any], further: list[str]) -> str:
    facts = []
    if (fidelity := made["fidelity"]) and fidelity.get("terminal_rate"):
        rates = fidelity["terminal_rate"]
        facts.append(f"ends: {rates['real']:.3%} of real rows, {rates['synthetic']:.3%} of synthetic")
    if fidelity and fidelity.get("two_sample_auc") is not None:
        facts.append(f"two-sample AUC {fidelity['two_sample_auc']:.3f}")
    if generation := made["generation"]:
        facts.append(f"{generation['transitions']:,} transitions at {generation['transitions_per_second']:,.0f}/s")
        guards = generation.get("safeguards") or {}
        facts += [f"{key.replace('_', ' ')} {guards[key]:.3g}" for key in ACCOUNT if guards.get(key) is not None]
    facts += further
    return f"{name}: {'; '.join(facts)}." if facts else ""


ACCOUNT = ("accept_rate", "stopped_rate", "mean_penalty", "unsafe_rate")  # of safeguards, where these are on


def _futures(name: str, library: dict[str, Any]) -> str:
    count = library["rows"] * library["futures"]
    correction = library.get("correction") or "not corrected"
    return (
        f"{name}: {library['futures']} futures of {library['rows']:,} rows, {correction},"
        f" {count / library['seconds']:,.0f}/s, {library['bytes_per_million_futures'] / 1e6:.0f} MB a million."
    )
