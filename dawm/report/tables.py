"""Tables of text: on the page as HTML, in a terminal or a README as Markdown.

A normalised score is 100 (R - low) / (high - low). A standard deviation is only scaled by it, never shifted; the scores
file holds it scaled already, and the data’s own is scaled here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dawm.report import numerals
from dawm.report.collect import RunRecord, Stage, dig, read_run

ALGORITHMS = {"bc": "BC", "td3bc": "TD3+BC", "iql": "IQL", "rebrac": "ReBRAC", "quantile": "TD3+BC, quantile critics"}


@dataclass(frozen=True)
class Table:
    """Cells are text already; the first `words` columns are aligned left, the others, numbers, right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    strong: Sequence[int] = field(default=())  # rows to stress

    def markdown(self) -> str:
        """As a Markdown table whose columns line up in plain text too; ends with a line feed."""
        cells = [[c.replace("|", "\\|").replace("\n", " ") for c in row] for row in (self.columns, *self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        rule = ["-" * w if i < self.words else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
        lines = [cells[0], rule, *cells[1:]]
        return "".join(_markdown_line(row, widths, self.words) for row in lines)


def _markdown_line(row: Sequence[str], widths: Sequence[int], words: int) -> str:
    padded = (c.ljust(w) if i < words else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
    return f"| {' | '.join(padded)} |\n"


def policy_name(policy: Stage) -> str:
    """'TD3+BC, real + synthetic', 'TD3+BC, planning', 'TD3+BC, real data only', or 'BC'; a planner in a folder that is
    not called after its policy says which.
    """
    if policy.kind == "planner" and not policy.plans_around:
        return f"planner {policy.name}"
    own = f" ({policy.name})" if policy.kind == "planner" and policy.name != f"{policy.plans_around}-plan" else ""
    name = ALGORITHMS.get(policy.algorithm, policy.algorithm)
    if policy.additions:
        return f"{name}, {additions_name(policy)}{own}"
    return name if policy.algorithm == "bc" else f"{name}, real data only"


def additions_name(policy: Stage) -> str:
    """'real + synthetic', 'cvar 0.25 over futures', or both; and where synthetic actions are not imitated, that."""
    recorded = ", recorded actions imitated only" if dig(policy.config, "policy", "clone") == "log" else ""
    return ", ".join(f"real + synthetic{recorded}" if a == "synthetic" else a for a in policy.additions)


def score_table(record: RunRecord) -> Table:
    """One row for each policy and one for the data; normalised columns only where references are known."""
    normalised = record.references is not None
    columns = ["Policy", "Seeds × episodes", "Return", "std of episodes"]
    columns += ["Score", "std of episodes", "IQM", "95 % interval"] if normalised else ["IQM of returns"]
    shown = [(policy, key) for policy in record.policies for key in ("scores", "mean") if _has_row(policy, key)]
    rows = [_policy_row(policy, key, normalised) for policy, key in shown]
    rows += _data_row(record, normalised)
    columns += ["Worst tenth", "Ended early"]
    if costly := any(numerals.number(policy.get(key, "cost_mean")) is not None for policy, key in shown):
        columns += ["Cost of an episode"]
    rows = [row + cost for row, cost in zip(rows, _costs(shown, len(rows)), strict=True)] if costly else rows
    return Table(columns, rows, strong=[i for i, (policy, _) in enumerate(shown) if policy.additions])


def _has_row(policy: Stage, key: str) -> bool:
    """Every policy has one; the mean of its seeds has one beside it where it was played."""
    return key == "scores" or key in policy.results


def _policy_row(policy: Stage, key: str, normalised: bool) -> list[str]:
    scores = policy.results.get(key, {})
    returns = scores.get("returns") or []
    shape = f"{len(returns)} × {max(map(len, returns))}" if returns else numerals.MISSING
    name = policy_name(policy) + (", mean of the seeds" if key == "mean" else "")
    row = [name, shape, *(numerals.significant(scores.get(k), 4) for k in ("return_mean", "return_std"))]
    tail = [numerals.significant(scores.get("return_cvar"), 4), numerals.percent(scores.get("failure_rate"))]
    if not normalised:
        return [*row, numerals.significant(scores.get("return_iqm"), 4), *tail]
    row += [numerals.score(scores.get(k)) for k in ("normalized_score", "score_std", "score_iqm")]
    return [*row, interval(scores.get("score_interval")) if len(returns) > 1 else numerals.MISSING, *tail]


def _costs(shown: Sequence[tuple[Stage, str]], rows: int) -> list[list[str]]:
    """The last cell of each row, where an environment reports what constraints cost; the log does not say."""
    said = [[numerals.significant(policy.get(key, "cost_mean"), 3)] for policy, key in shown]
    return said + [[numerals.MISSING]] * (rows - len(said))


def _data_row(record: RunRecord, normalised: bool) -> list[list[str]]:
    mean, std = dig(record.data, "returns", "mean"), dig(record.data, "returns", "std")
    if numerals.number(mean) is None:
        return []
    row = ["The data’s own episodes", numerals.count(dig(record.data, "episodes"))]
    row += [numerals.significant(mean, 4), numerals.significant(std, 4)]
    nothing = [numerals.MISSING] * 2
    if not normalised:
        return [[*row, numerals.MISSING, *nothing]]
    low, high = record.references["low"], record.references["high"]  # type: ignore[index]
    scaled = 100 * std / (high - low) if numerals.number(std) is not None else None
    row += [numerals.score(100 * (mean - low) / (high - low)), numerals.score(scaled)]
    return [[*row, numerals.MISSING, numerals.MISSING, *nothing]]


def interval(bounds: Any, form=numerals.score) -> str:
    """'36.0 to 46.4'."""
    found = numerals.numbers(bounds)
    return f"{form(found[0])} to {form(found[1])}" if len(found) == 2 else numerals.MISSING


def markdown_scores(run: RunRecord | Path | str) -> str:
    """The scores of a run folder as a Markdown table, with a line that says what the numbers are."""
    record = run if isinstance(run, RunRecord) else read_run(run)
    return score_table(record).markdown() + "\n" + " ".join(score_notes(record)) + "\n"


def score_notes(record: RunRecord) -> Iterator[str]:
    """What must be known to read the scores: environment, checkpoint, references, statistics."""
    scored = [p for p in record.policies if "scores" in p.results]
    environments = sorted({str(p.get("scores", "env")) for p in scored if p.get("scores", "env")})
    if environments:
        yield f"Environment: {', '.join(environments)}."
    checkpoints = sorted({_checkpoint(p.get("scores", "checkpoint")) for p in scored if p.kind == "policy"})
    if checkpoints:
        yield f"Every policy is the one of its last checkpoint ({', '.join(checkpoints)}), never the best of several."
    yield from dict.fromkeys(filter(None, map(_draws, scored)))
    yield from dict.fromkeys(filter(None, map(_averages, scored)))
    yield from dict.fromkeys(filter(None, map(_spared, scored)))
    yield from filter(None, (_imitated(policy) for policy in record.policies))
    if any("mean" in p.results for p in record.policies):
        yield (
            "The mean of the seeds is one controller for whoever wants one: a planner around the mean of what they do,"
            " with the mean of what their critics say. Being only one, it has no interval and is compared with nothing."
        )
    if record.references:
        low, high = (numerals.significant(record.references[k], 6) for k in ("low", "high"))
        source = record.references.get("source")
        named = f" ({source})" if source else ""
        yield f"A return of {low} counts as 0 and {high} as 100{named}; scores are not clipped."
    elif scored:
        yield "No reference returns are known for this task, so returns are not normalised."


def _spared(policy: Stage) -> str | None:
    """Why a planner left its policy alone, where it did."""
    if not policy.get("scores", "spared"):
        return None
    why = policy.get("scores", "spared_because")
    return f"The planner left its policy alone: {why}." if why else "The planner left its policy alone."


def _imitated(policy: Stage) -> str | None:
    """What a policy that imitated its planner has learnt of it, in futures that it did not learn from."""
    labels = numerals.numbers(policy.get("distil", "labels"))
    gaps = [numerals.numbers(policy.get("distil", "distance", when)) for when in ("before", "after")]
    if not labels or not all(gaps):
        return None
    before, after = (numerals.significant(sum(gap) / len(gap)) for gap in gaps)
    rounds = numerals.number(dig(policy.config, "distil", "rounds")) or 1
    last = f"in the last of {numerals.count(rounds)} rounds " if rounds > 1 else ""
    states = numerals.count(round(sum(labels) / len(labels)))
    return (
        f"{policy_name(policy)}: {last}a planner around it labelled {states} states"
        " of the world model with what it does there, and the policy went on by imitating them. In futures kept apart"
        f" it differs from the planner by {after} halves of the action range (root mean square), before by {before};"
        " much of that is chance in what the planner finds."
    )


def _draws(policy: Stage) -> str | None:
    """Which rows a policy was trained on, where that was not all alike because nobody asked for anything else."""
    asked = dig(policy.config, "policy", "focus")
    share = numerals.number(dig(policy.config, "focus") if asked == "auto" else asked)
    if share is None or (share == 1 and asked != "auto"):
        return None
    if share == 1:
        return (
            "Rows of all episodes were drawn alike (policy.focus auto): fewer rows of better episodes gain too little."
        )
    said = f"auto, which came to {share:g}" if asked == "auto" else f"{share:g}"
    return f"Rows of better episodes were drawn more often (policy.focus {said})."


def _averages(policy: Stage) -> str | None:
    """Of which weights a policy acts, where it is not the last."""
    memory = numerals.number(dig(policy.config, "policy", "average"))
    return (
        f"Policies act with an average of their weights over the updates (policy.average {memory:g})."
        if memory
        else None
    )


def _checkpoint(value: Any) -> str:
    if numerals.number(value) is not None:
        return f"step {numerals.count(value)}"
    return value if isinstance(value, str) else "step not recorded"
