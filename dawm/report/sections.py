"""The sections of the page as text, tables and drawings, ready for the template; what is missing is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dawm.report import figures, numerals, tables, verdicts
from dawm.report.collect import RunRecord, Stage, dig, leaves
from dawm.report.numerals import count, percent, significant


def status(stage: Stage | None) -> str:
    if stage is None:
        return "not here"
    if stage.finished:
        return ""
    done, planned = stage.steps_done, stage.steps_planned
    return f"unfinished: {count(done)} of {count(planned)} updates" if done and planned else "unfinished"


def _facts(mapping: Any, *rows: tuple[str, str, Any]) -> list[tuple[str, str]]:
    """(label, text) of those `dotted.key`s that are there."""
    found = [(label, dig(mapping, *key.split(".")), form) for label, key, form in rows]
    return [(label, form(value)) for label, value, form in found if value is not None]


def data_section(record: RunRecord) -> dict[str, Any]:
    data = record.data
    facts = _facts(
        data,
        ("Format", "format", str),
        ("Environment", "env", str),
        ("Steps", "steps", count),
        ("Episodes", "episodes", count),
        ("Observation", "obs_dim", lambda n: f"{count(n)} numbers"),
        ("Action", "act_dim", lambda n: f"{count(n)} numbers"),
        ("Episodes that ended", "terminal_steps", count),
        ("Recordings cut", "cut_episodes", count),
        ("Episode length, mean", "lengths.mean", lambda n: f"{significant(n)} steps"),
        ("Training episodes", "split.train_episodes", count),
        ("Held-out episodes", "split.holdout_episodes", count),
    )
    low, high = dig(data, "act_low"), dig(data, "act_high")
    if numerals.numbers(low) and numerals.numbers(high):
        facts.insert(
            6,
            (
                "Action range",
                f"{significant(min(numerals.numbers(low)))} to {significant(max(numerals.numbers(high)))}",
            ),
        )
    returns = _facts(
        data,
        ("Mean", "returns.mean", lambda v: significant(v, 4)),
        ("std", "returns.std", lambda v: significant(v, 4)),
        ("Lowest", "returns.min", lambda v: significant(v, 4)),
        ("10 % below", "returns.percentiles.10", lambda v: significant(v, 4)),
        ("Median", "returns.percentiles.50", lambda v: significant(v, 4)),
        ("90 % below", "returns.percentiles.90", lambda v: significant(v, 4)),
        ("Highest", "returns.max", lambda v: significant(v, 4)),
        ("Mean as normalised score", "score_mean", numerals.score),
    )
    return {
        "verdict": verdicts.data(record),
        "origin": record.origin,
        "facts": facts,
        "returns": tables.Table([label for label, _ in returns], [[text for _, text in returns]], words=0)
        if returns
        else None,
        "figures": [f for f in (figures.returns(record), figures.lengths(record)) if f],
        "problems": [
            {k: str(p.get(k) or "") for k in ("severity", "check", "message")}
            for p in dig(data, "doctor", "problems") or []
        ],
        "notes": [str(n) for n in dig(data, "notes") or []],
        "examined": dig(data, "doctor") is not None,
    }


def model_section(stage: Stage | None) -> dict[str, Any] | None:
    if stage is None:
        return None
    holdout = stage.results.get("holdout")
    inverse = _facts(
        holdout,
        ("Head", "inverse.head", str),
        ("Action error, RMSE", "inverse.rmse", significant),
        ("R²", "inverse.r2", significant),
        ("Negative log-likelihood", "inverse.nll", significant),
        ("Cycle error, RMSE", "inverse.cycle_rmse", significant),
        ("… with the recorded action", "inverse.recorded_action_rmse", significant),
    )
    ends = _facts(
        holdout,
        ("Recorded, per step", "ends.real_rate", percent),
        ("Generated, per step", "ends.generated_rate", percent),
        ("Brier score", "ends.brier", significant),
    )
    generated = numerals.numbers(dig(holdout, "consistency", "generated"))
    consistency = _facts(holdout, ("Recorded steps", "consistency.recorded", significant))
    if generated:
        consistency += [
            ("Generated, first step", significant(generated[0])),
            ("Generated, last step", significant(generated[-1])),
        ]
    return {
        "verdict": verdicts.model(stage),
        "status": status(stage),
        "curves": figures.losses(stage)[:1] + figures.held_out_curves(stage)[:1],
        "more_curves": figures.losses(stage)[1:] + figures.held_out_curves(stage)[1:],
        "horizon": figures.horizon(stage)[:4],
        "more_horizon": figures.horizon(stage)[4:],
        "first_table": _first_and_last(stage),
        "setting": _facts(
            holdout,
            ("Windows", "windows", count),
            ("Steps ahead", "horizon", count),
            ("Futures per start", "samples_per_start", count),
        ),
        "unit": str(dig(holdout, "unit") or ""),
        "note": str(dig(holdout, "members_note") or ""),
        "inverse": inverse,
        "ends": ends,
        "consistency": consistency,
        "parameters": [(str(k).replace("_", " "), count(v)) for k, v in (dig(holdout, "parameters") or {}).items()],
        "measured": holdout is not None,
    }


def _first_and_last(stage: Stage) -> tables.Table | None:
    """One row per model: error and CRPS after the first step and after the last."""
    models = stage.get("holdout", "models") or {}
    rows = []
    for kind in [k for k in figures.MODELS if k in models] + [k for k in models if k not in figures.MODELS]:
        found = [numerals.numbers(models[kind].get(k)) for k in ("rmse", "crps", "reward_rmse")]
        rows.append(
            [
                figures.MODELS.get(kind, (kind,))[0],
                *(significant(v[i]) if v else numerals.MISSING for v in found for i in (0, -1)),
            ]
        )
    columns = ["Model", "RMSE, 1 step", "all steps", "CRPS, 1 step", "all steps", "reward RMSE, 1 step", "all steps"]
    strong = [i for i, row in enumerate(rows) if row[0] == figures.MODELS["dawm"][0]]
    return tables.Table(columns, rows, strong=strong) if rows else None


def synthetic_section(stage: Stage | None) -> dict[str, Any] | None:
    if stage is None:
        return None
    facts = _facts(
        stage.results,
        ("Transitions", "generation.transitions", count),
        ("Futures", "generation.futures", count),
        ("Transitions per second", "generation.transitions_per_second", count),
        ("Two-sample AUC (0.5 is best)", "fidelity.two_sample_auc", significant),
        ("Nearest training row, from synthetic", "fidelity.nearest_neighbour.synthetic_to_train", significant),
        ("Nearest training row, from held-out", "fidelity.nearest_neighbour.holdout_to_train", significant),
        ("Ratio of the two", "fidelity.nearest_neighbour.ratio", significant),
        ("Ends per step, real", "fidelity.terminal_rate.real", percent),
        ("Ends per step, synthetic", "fidelity.terminal_rate.synthetic", percent),
    )
    if stage.get("fidelity", "terminal_rate") is None:
        facts += _facts(stage.results, ("Ends per step, synthetic", "generation.terminal_rate", percent))
    checks = [
        (key.replace(".", ", ").replace("_", " ").capitalize(), numerals.anything(found))
        for part in ("inverse_consistency", "one_step_consistency", "reward")
        for key, found in leaves(stage.get("fidelity", part), part)
        if found is not None
    ]
    return {
        "verdict": verdicts.synthetic(stage),
        "status": status(stage),
        "facts": facts,
        "checks": checks,
        "marginals": figures.marginals(stage),
        "measured": "fidelity" in stage.results,
    }


def policy_section(stage: Stage) -> dict[str, Any]:
    return {
        "name": tables.policy_name(stage),
        "folder": stage.name,
        "status": status(stage),
        "scored": "scores" in stage.results,
        "trained": stage.kind == "policy",  # a planner has learnt nothing
        "figures": figures.evaluations(stage, 280) + figures.losses(stage, 280),
    }


def _signed_interval(c: verdicts.Comparison, form: Callable[[Any], str]) -> str:
    return numerals.MISSING if c.interval is None else " to ".join(numerals.signed(v, form) for v in c.interval)


def comparison_table(record: RunRecord) -> tables.Table | None:
    form = numerals.score if record.references else significant
    rows = [
        [
            c.learner,
            c.what,
            form(c.with_mean),
            form(c.without_mean),
            numerals.signed(c.difference, form),
            _signed_interval(c, form),
        ]
        for c in verdicts.comparisons(record)
    ]
    return (
        tables.Table(["Learner", "given", "with it", "real only", "difference", "95 % interval"], rows, words=2)
        if rows
        else None
    )
