"""What the policies of a run are worth in its world model, and how far that can be believed.

An estimate is no score, and of some logs it is worse than none: a policy that leaves the log meets a model that was
never told what is there. So the page says with every estimate how well such estimates ranked policies elsewhere, and,
where scores are known, how well they did here (Spearman's rank correlation over single seeds).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from dawm.evaluate.trust import TRUST
from dawm.report import numerals
from dawm.report.collect import RunRecord, Stage, dig
from dawm.report.tables import Table, interval, policy_name

DYNAMICS = {"anchor": "point prediction", "ensemble": "Gaussian ensemble", "model": "world model"}
ENOUGH = 4  # policies, counted by seeds, before a rank correlation says anything


def estimated(record: RunRecord) -> list[Stage]:
    """The policies of which there is an estimate in the world model."""
    return [p for p in record.policies if numerals.numbers(p.get("estimates", "model", "value"))]


def value(policy: Stage) -> float:
    """The mean of its seeds."""
    return float(np.mean(numerals.numbers(policy.get("estimates", "model", "value"))))


def section(record: RunRecord) -> dict[str, Any] | None:
    """The table and its notes; None where nothing was estimated."""
    policies = estimated(record)
    if not policies:
        return None
    return {"table": table(policies), "notes": list(notes(record, policies))}


def table(policies: list[Stage]) -> Table:
    """One row for each policy, the highest first, and one for the log."""
    rows = [_row(policy) for policy in sorted(policies, key=value, reverse=True)]
    log = policies[0].get("estimates", "model", "log")
    rows.append(["The data’s own episodes", numerals.significant(log, 4), *[numerals.MISSING] * 3])
    columns = [
        "Policy",
        "Discounted return",
        "lowest to highest seed",
        "95 % interval of a seed",
        "Futures left the log",
    ]
    return Table(columns, rows)


def _row(policy: Stage) -> list[str]:
    form = lambda number: numerals.significant(number, 4)
    seeds = numerals.numbers(policy.get("estimates", "model", "value"))
    bounds = [numerals.numbers(policy.get("estimates", "model", side)) for side in ("low", "high")]
    around = [min(bounds[0]), max(bounds[1])] if all(bounds) else None
    left = numerals.numbers(policy.get("estimates", "model", "left"))
    spread = interval([min(seeds), max(seeds)], form) if len(seeds) > 1 else numerals.MISSING
    return [
        policy_name(policy),
        form(value(policy)),
        spread,
        interval(around, form),
        numerals.percent(float(np.mean(left)) if left else None),
    ]


def notes(record: RunRecord, policies: list[Stage]) -> Iterator[str]:
    """What the numbers are, and how far they can be believed."""
    first = policies[0]
    asked = lambda *keys: first.get("estimates", *keys)
    discount, steps = numerals.significant(asked("discount"), 4), numerals.count(asked("settings", "model", "steps"))
    kind = str(asked("settings", "model", "dynamics"))
    covered = "" if kind == "anchor" else " and what the members of the model disagree on"
    yield (
        f"Discounted by {discount} a step over {steps} steps in the {DYNAMICS.get(kind, 'world model')}, from first"
        f" states of the log; intervals cover which first states these are{covered}, and not the errors of the model."
    )
    yield TRUST[bool(asked("model", "linear"))]
    if (found := rank_correlation(policies)) is not None:
        yield (
            f"In this run the rank correlation of estimates and measured returns is {found[0]:.2f} over"
            f" {numerals.count(found[1])} policies (seeds counted singly)."
        )


def rank_correlation(policies: list[Stage]) -> tuple[float, int] | None:
    """(Spearman's correlation of estimates and mean returns over seeds of all policies, how many these are)."""
    pairs = []
    for policy in policies:
        values, returns = policy.get("estimates", "model", "value"), policy.get("scores", "returns") or []
        pairs += [(v, float(np.mean(r))) for v, r in zip(values, returns, strict=False) if r and None not in r]
    if len(pairs) < ENOUGH:
        return None
    from scipy import stats  # where it is used: SciPy is slow to import

    values, returns = np.asarray(pairs).T
    found = float(stats.spearmanr(values, returns).statistic)  # pyright: ignore[reportAttributeAccessIssue]
    return (found, len(pairs)) if np.isfinite(found) else None


def best(record: RunRecord) -> str | None:
    """A sentence on the policy with the highest estimate, where estimates can be believed; and else on why not."""
    policies = estimated(record)
    if not policies:
        return None
    if not dig(policies[0].results, "estimates", "model", "linear"):
        return "Estimates in the world model are in section 4, with why no policy should be chosen by them."
    chosen = max(policies, key=value)
    log = numerals.significant(chosen.get("estimates", "model", "log"), 4)
    return (
        f"In the world model, whose dynamics are linear, “{policy_name(chosen)}” does best: a discounted return of"
        f" {numerals.significant(value(chosen), 4)}, where the data’s own is {log} (section 4)."
    )
