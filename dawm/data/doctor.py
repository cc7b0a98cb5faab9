"""Examine a dataset before anything is trained on it: proofs, statistics, and what to do about what was found."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dawm.data import alignment, validate
from dawm.data.alignment import Finding
from dawm.data.dataset import BLOCK, Dataset
from dawm.data.stream import in_memory
from dawm.errors import DatasetError, FileError

# check: function; the order is that of the report
CHECKS = {
    "finite": validate.finite,
    "continuity": alignment.continuity,
    "boundaries": alignment.boundaries,
    "drift": alignment.drift,
    "actions": alignment.actions,
    "endings": validate.endings,
    "last_transitions": validate.last_transitions,
    "duplicates": validate.duplicates,
    "constant": validate.constant,
    "outliers": validate.outliers,
    "action_range": validate.action_range,
    "reward_scale": validate.reward_scale,
    "episode_counts": validate.episode_counts,
    "references": validate.references_known,
}
SEVERITIES = ("error", "warning", "note")
BINS = 30


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found: `problems` sorted by severity, `facts` as JSON, and `ok` unless there is an error."""

    name: str
    problems: list[Finding]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not any(finding.severity == "error" for finding in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """JSON: name, ok, problems and facts."""
        return {"name": self.name, "ok": self.ok, "problems": [f._asdict() for f in self.problems], "facts": self.facts}

    def text(self) -> str:
        """The report for people."""
        counts = {s: sum(f.severity == s for f in self.problems) for s in SEVERITIES}
        tally = ", ".join(f"{n} {s}{'s' * (n != 1)}" for s, n in counts.items() if n) or "nothing to remark"
        lines = [f"{self.name}: {'usable' if self.ok else 'NOT usable as it is'} ({tally})", *fact_lines(self.facts)]
        lines += [f"  {finding.severity:7} {finding.check}: {finding.message}" for finding in self.problems]
        return "\n".join(lines)


def examine(data: Dataset) -> Diagnosis:
    """Run every check of `CHECKS`. Load with `check=False` to examine data that training would refuse.

    Of a log that stays on disk, whole episodes of `BLOCK` rows are examined.
    """
    whole, data = data, in_memory(data, BLOCK)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # non-finite data are reported by name, not by NumPy
        found = [finding for check in CHECKS.values() for finding in check(data)]
        facts = gather(data)
    if len(data) < len(whole):
        remark = f"checks and statistics are of {len(data):,} of the {len(whole):,} steps, drawn by episode."
        facts |= {"steps": len(whole), "episodes": whole.episodes, "notes": [*facts["notes"], remark]}
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Diagnosis(data.info.name, found, facts)


def diagnose(
    source: str | Path | Mapping[str, Any] | Dataset, *, env: str | None = None, format: str | None = None
) -> Diagnosis:
    """`load` and `examine`; a source that cannot be turned into a Dataset becomes the one finding `readable`.

    A missing file still raises FileError: there is nothing to examine.
    """
    from dawm.data.registry import load, resolve

    if isinstance(source, str | Path) and "+" not in str(source):
        resolve(str(source))
    try:
        return examine(load(source, env=env, format=format, check=False))
    except (DatasetError, FileError) as error:
        return Diagnosis(
            str(source) if isinstance(source, str | Path) else "arrays", [Finding("error", "readable", str(error))]
        )


# -- facts ------------------------------------------------------------------------------------------------------------


def gather(data: Dataset) -> dict[str, Any]:
    """Statistics of the data, as JSON: alignment, ends, lengths, returns with percentiles, actions, rewards, score."""
    known, gains = data.info.references, alignment.action_gains(data)
    finite = bool(np.isfinite(data.returns).all())
    width = data.act_high - data.act_low
    edge = np.minimum(data.action - data.act_low, data.act_high - data.action) <= 1e-3 * width
    return {
        "name": data.info.name,
        "origin": data.info.origin,
        "steps": len(data),
        "episodes": data.episodes,
        "obs_dim": data.obs.shape[1],
        "act_dim": data.action.shape[1],
        "alignment": alignment.measure(data)
        | {"action_gain": {str(k): v for k, v in gains.items()} if gains else None},
        "terminal_steps": int(data.terminal.sum()),
        "cut_episodes": int(data.cut.sum()),
        "lengths": {"min": int(data.lengths.min()), "mean": float(data.lengths.mean()), "max": int(data.lengths.max())},
        "returns": distribution(data.returns) if finite else None,
        "reward": distribution(data.reward) if np.isfinite(data.reward).all() else None,
        "action": {
            "low": floats(data.action.min(axis=0)),
            "high": floats(data.action.max(axis=0)),
            "range_low": floats(data.act_low),
            "range_high": floats(data.act_high),
            "at_edge": float(edge.mean()),
        },
        "references": known._asdict() if known else None,
        "score_mean": float(known.normalise(data.returns.mean())) if known and finite else None,
        "score_percentiles": {str(q): float(known.normalise(np.percentile(data.returns, q))) for q in (10, 50, 90)}
        if known and finite
        else None,
        "sources": {name: int((data.source == i).sum()) for i, name in enumerate(data.info.sources)},
        "notes": list(data.info.notes),
    }


def distribution(values: np.ndarray) -> dict[str, Any]:
    """Mean, standard deviation, extremes and percentiles."""
    values = values.astype(np.float64)
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "percentiles": {str(q): float(np.percentile(values, q)) for q in (10, 50, 90)},
    }


def floats(values: np.ndarray) -> list[float | None]:
    """As JSON numbers; null where not finite."""
    return [float(x) if np.isfinite(x) else None for x in values]


def histogram(values: np.ndarray, bins: int = BINS) -> dict[str, list]:
    """Edges and counts over the finite values; one bin where they are all the same."""
    values = values[np.isfinite(values)].astype(np.float64)
    if len(values) == 0:
        return {"edges": [0.0, 1.0], "counts": [0]}
    if values.min() == values.max():
        return {"edges": [float(values[0]) - 0.5, float(values[0]) + 0.5], "counts": [len(values)]}
    counts, edges = np.histogram(values, bins=bins)
    return {"edges": [float(e) for e in edges], "counts": [int(c) for c in counts]}


def describe(
    data: Dataset, split_seed: int = 0, holdout: float = 0.1, diagnosis: Diagnosis | None = None
) -> dict[str, Any]:
    """What `data.json` of a run folder says of the dataset: statistics, histograms, the doctor's verdict, the split."""
    diagnosis = diagnosis or examine(data)
    facts, split = diagnosis.facts, None
    if data.episodes > 1:
        kept, held = data.split_episodes(holdout, split_seed)
        split = {"train_episodes": len(kept), "holdout_episodes": len(held), "seed": split_seed}
    return {
        **{key: facts[key] for key in ("name", "origin", "steps", "episodes", "obs_dim", "act_dim")},
        "format": data.info.format,
        "env": data.info.env,
        "horizon": data.info.horizon,
        "act_low": floats(data.act_low),
        "act_high": floats(data.act_high),
        "lengths": facts["lengths"] | histogram(data.lengths),
        "returns": (facts["returns"] or {}) | histogram(data.returns),
        "terminal_steps": facts["terminal_steps"],
        "cut_episodes": facts["cut_episodes"],
        "references": facts["references"],
        "score_mean": facts["score_mean"],
        "fingerprint": data.fingerprint,
        "sources": facts["sources"],
        "notes": facts["notes"],
        "doctor": {"ok": diagnosis.ok, "problems": [finding._asdict() for finding in diagnosis.problems]},
        "split": split,
    }


def fact_lines(facts: dict[str, Any]) -> list[str]:
    """The statistics of a report, in words."""
    if not facts:
        return []
    proof, length, value, action = facts["alignment"], facts["lengths"], facts["returns"], facts["action"]
    lines = [
        f"  read as   {facts['origin']}",
        f"  size      {facts['steps']:,} steps, {facts['episodes']:,} episodes of {length['min']:,} to "
        f"{length['max']:,} steps"
        f" (mean {length['mean']:.0f}), {facts['obs_dim']} observation and {facts['act_dim']} action dimensions",
        f"  ends      {facts['terminal_steps']:,} terminal steps, {facts['cut_episodes']:,} episodes cut",
    ]
    if proof["pairs"]:
        text = (
            f"  alignment next_obs[t] = obs[t+1] in {100 * proof['equal']:.4g} % of {proof['pairs']:,} pairs inside "
            "episodes"
        )
        lines.append(text + f", largest gap {proof['max_gap']:.2g} standard deviations")
    if gains := proof["action_gain"]:
        text = ", ".join(
            f"a[t{int(k):+d}] {100 * v:.0f} %" if int(k) else f"a[t] {100 * v:.0f} %" for k, v in gains.items()
        )
        lines.append(f"            change of the observation explained by {text}")
    if value:
        spots = value["percentiles"]
        text = f"  return    {value['mean']:.1f} ± {value['std']:.1f}, {value['min']:.1f} to {value['max']:.1f};"
        lines.append(text + f" 10/50/90 %: {spots['10']:.1f}, {spots['50']:.1f}, {spots['90']:.1f}")
    if facts["score_mean"] is not None:
        lines.append(f"  score     {facts['score_mean']:.1f} ({facts['references']['source']})")
    if reward := facts["reward"]:
        text = f"  reward    {reward['mean']:.3g} ± {reward['std']:.3g}, {reward['min']:.3g} to {reward['max']:.3g}"
        lines.append(text + f"; {100 * action['at_edge']:.0f} % of action values at the edge of their range")
    return lines + [f"  reader    {note}" for note in facts["notes"]]
