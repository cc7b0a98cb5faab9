"""What the numbers mean, in words, with the limits said first to whoever would overread them.

Whether synthetic data or a planner helped is judged on the difference of two means over training seeds with Welch's
95 % interval,

    d +- t(0.975, nu) s,   s^2 = v1/n1 + v2/n2,   nu = s^4 / ((v1/n1)^2/(n1-1) + (v2/n2)^2/(n2-1))

(Welch 1947, Biometrika 34), where v are variances between seeds. Episodes of one seed share their policy, so counting
them as independent would make the interval far too narrow; a bootstrap over two to four seeds would be too narrow as
well (it never sees more than the values it has). One seed has no variance and gets no interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dawm.report import estimates, numerals
from dawm.report.collect import RunRecord, Stage, dig
from dawm.report.numerals import number
from dawm.report.tables import ALGORITHMS, additions_name

CLOSE, PRECISE = 1.5, 1.1  # first-step error against the one-step network's: up to here it counts as close, as equal
FEW_SEEDS, FEW_EPISODES = 5, 10
CAUSES = {  # what the headline is about: a learner (with it, without it) "reaches a mean of"
    "synthetic data": ("on real and synthetic data", "on real data alone"),
    "the planner": ("with a planner around it", "without"),
    "imitating the planner": ("after it imitated that planner", "before"),
    "planning around the imitation": ("with a planner around what imitated one", "without either"),
}
CAUSE_OF: dict[tuple[str, ...], str] = {
    ("synthetic",): "synthetic data",
    ("planning",): "the planner",
    ("imitating its planner",): "imitating the planner",
    ("imitating its planner", "planning"): "planning around the imitation",
}  # by `Stage.additions`
UNCLEAR = ("", "open")


@dataclass(frozen=True)
class Verdict:
    """One finding: a short title, the sentence behind it, and a tone ("good", "bad", "open", "none")."""

    title: str
    text: str
    tone: str = "none"


@dataclass(frozen=True)
class Comparison:
    """A learner with synthetic data, futures or a planner around it against the same learner without, in points of
    score (or of raw return).
    """

    learner: str
    what: str  # it was given
    cause: str  # one of CAUSES, where it was given that and nothing else; empty where the headline is not about it
    with_mean: float
    without_mean: float
    difference: float
    interval: tuple[float, float] | None  # 95 %, Welch; None for a single seed
    seeds: tuple[int, int]

    @property
    def helped(self) -> bool | None:
        """True or False where the interval excludes 0, None where it does not."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return None
        return self.interval[0] > 0


def welch(a: Sequence[float], b: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """(mean a - mean b, its 95 % interval); no interval where a side has one value or neither varies."""
    difference = float(np.mean(a) - np.mean(b))
    if min(len(a), len(b)) < 2:
        return difference, None
    parts = [float(np.var(x, ddof=1)) / len(x) for x in (a, b)]
    error = math.sqrt(sum(parts))
    if error == 0:
        return difference, None
    from scipy import stats  # where it is used: SciPy is slow to import

    freedom = sum(parts) ** 2 / sum(p**2 / (len(x) - 1) for p, x in zip(parts, (a, b), strict=True))
    reach = float(stats.t.ppf(0.975, freedom)) * error
    return difference, (difference - reach, difference + reach)


def score(record: RunRecord, value: Any) -> float | None:
    """A return as shown: normalised where references are known, else raw; None for what is no number."""
    found = number(value)
    if found is None or record.references is None:
        return found
    low, high = record.references["low"], record.references["high"]
    return 100 * (found - low) / (high - low)


def seed_scores(record: RunRecord, policy: Stage) -> list[list[float]]:
    """Finite episode scores of each seed: normalised where references are known, else raw returns."""
    rows = policy.get("scores", "returns") or []
    return [[v for v in (score(record, raw) for raw in row) if v is not None] for row in rows]


def seed_means(record: RunRecord, policy: Stage) -> list[float]:
    """The mean score of each seed that has an episode."""
    return [float(np.mean(seed)) for seed in seed_scores(record, policy) if seed]


def comparisons(record: RunRecord) -> list[Comparison]:
    """Each learner that was scored with something beside the recorded transitions and also without; of a planner that
    left its policy alone there is nothing to compare.
    """
    found = []
    for policy in (p for p in record.policies if p.additions and not p.get("scores", "spared")):
        plain = [p for p in record.policies if not p.additions and p.algorithm == policy.algorithm]
        a, b = seed_means(record, policy), seed_means(record, plain[0]) if plain else []
        if a and b:
            difference, interval = welch(a, b)
            name = ALGORITHMS.get(policy.algorithm, policy.algorithm)
            means = float(np.mean(a)), float(np.mean(b))
            given = additions_name(policy), CAUSE_OF.get(policy.additions, "")
            found.append(Comparison(name, *given, *means, difference, interval, (len(a), len(b))))
    return found


def judged(record: RunRecord) -> dict[str, list[Comparison]]:
    """The comparisons that the headline is about, by what each learner was given."""
    found = comparisons(record)
    groups = {cause: [c for c in found if c.cause == cause] for cause in CAUSES}
    return {cause: group for cause, group in groups.items() if group}


def headline(record: RunRecord) -> Verdict:
    """The ten-second answer: what synthetic data did, and what the planner did."""
    groups = judged(record)
    if not groups:
        return _without_comparison(record)
    found = [c for group in groups.values() for c in group]
    text = " ".join([*(_sentence(c, record) for c in found), *_yardsticks(record)])
    if all(c.interval is None for c in found):
        return Verdict(f"One seed cannot tell whether {_listed(groups, 'or')} helped", text, "open")
    effects: dict[tuple[str, str], list[str]] = {}  # what caused the same effect is named together
    for cause, group in groups.items():
        effects.setdefault(_effect(group), []).append(cause)
    unclear = effects.pop(UNCLEAR, [])
    parts = [f"{_listed(causes, 'and')} {words}" for (words, _), causes in effects.items()]
    if unclear:
        many = max(len(groups[cause]) for cause in unclear)
        on = f" on {_plural(many, 'learner')}" if many > 1 else ""
        parts.append(f"no clear effect of {_listed(unclear, 'or')}{on}")
    title, tones = _sentence_case("; ".join(parts)), {tone for _, tone in effects}
    cloned, helped = _cloned(record), [c.with_mean for c in found if c.helped]
    if helped and cloned is not None and cloned > max(helped):
        return Verdict(f"{title}, but behaviour cloning is better", text, "open")
    return Verdict(title, text, tones.pop() if len(tones) == 1 else "open")


def _effect(group: list[Comparison]) -> tuple[str, str]:
    """(what was done to the learners, its tone)."""
    won, lost = (sum(c.helped is wanted for c in group) for wanted in (True, False))
    if not won and not lost:
        return UNCLEAR
    if len(group) == 1:
        return ("helped", "good") if won else ("hurt", "bad")
    words = f"helped {won} of {len(group)} learners" + (f" and hurt {lost}" if lost else "")
    return words, "good" if won == len(group) else "bad" if lost and not won else "open"


def _listed(words: Iterable[str], last: str) -> str:
    """'a, b and c'."""
    *others, end = words
    return f"{', '.join(others)} {last} {end}" if others else end


def _sentence_case(text: str) -> str:
    return text[0].upper() + text[1:]


def _sentence(c: Comparison, record: RunRecord) -> str:
    form = numerals.score if record.references else numerals.significant
    unit = "points of normalised score" if record.references else "of return"
    with_it, without = CAUSES[c.cause]
    text = (
        f"{c.learner} {with_it} reaches a mean of {form(c.with_mean)}; {without} it reaches"
        f" {form(c.without_mean)}: a difference of {numerals.signed(c.difference, form)} {unit}"
    )
    if c.interval is None:
        return text + f" ({_plural(min(c.seeds), 'seed')}, so no interval)."
    low, high = (numerals.signed(v, form) for v in c.interval)
    seeds = f"{_plural(c.seeds[0], 'seed')} {'each' if c.seeds[0] == c.seeds[1] else f'against {c.seeds[1]}'}"
    return text + f", 95 % interval {low} to {high} ({seeds})."


def _yardsticks(record: RunRecord) -> Iterator[str]:
    """What cloning the data reaches, and what the data themselves do, in the same units."""
    form, found = (numerals.score if record.references else numerals.significant), []
    cloned = _cloned(record)
    if cloned is not None:
        found.append(f"behaviour cloning reaches {form(cloned)}")
    mean = score(record, dig(record.data, "returns", "mean"))
    if mean is not None:
        found.append(f"the data’s own episodes average {form(mean)}")
    if found:
        yield _sentence_case(", and ".join(found)) + "."


def _cloned(record: RunRecord) -> float | None:
    """The mean over seeds of behaviour cloning; None where none was scored."""
    cloned = [m for p in record.policies if p.algorithm == "bc" and not p.additions and (m := seed_means(record, p))]
    return float(np.mean(cloned[0])) if cloned else None


def _without_comparison(record: RunRecord) -> Verdict:
    scored = [p for p in record.policies if seed_means(record, p)]
    if scored:
        return Verdict("No comparison with and without synthetic data", _no_pair(record, scored))
    if record.policies:
        known = estimates.best(record) or "Nothing here says how well these policies act."
        remedy = "With an environment: dawm eval POLICY_DIR --env ID."
        return Verdict("Policies without a score", f"No environment was given. {known} {remedy}", "open")
    if record.synthetic is not None:
        return Verdict(
            "Synthetic data, no policy yet",
            str(record.synthetic.get("fidelity", "verdict") or "Its fidelity was not measured."),
        )
    if record.model is not None:
        return Verdict("A world model, no policy yet", model(record.model).text)
    return Verdict(
        "Nothing has been trained yet",
        "This folder holds settings" + (" and a look at the data." if record.data else "."),
    )


def _no_pair(record: RunRecord, scored: list[Stage]) -> str:
    form = numerals.score if record.references else numerals.significant
    means = [
        f"{ALGORITHMS.get(p.algorithm, p.algorithm)} {form(float(np.mean(seed_means(record, p))))}" for p in scored
    ]
    what = "normalised score" if record.references else "return"
    return f"Mean {what}: {', '.join(means)}. Only one side of the comparison is here."


def first_step_ratio(model: Stage) -> float | None:
    """First-step error of the world model against the one-step network's.

    Of the mean of its draws where that was measured: a network that answers with a mean is compared with a mean. One
    draw of a calibrated model has about 1.41 times the error of the mean, whatever its quality.
    """
    for key in ("first_step_mean_ratio", "first_step_ratio"):
        stored = number(model.get("holdout", key))
        if stored is not None:
            return stored
    own, plain = (first_error(model, name) for name in ("dawm", "one_step"))
    return own / plain if own is not None and plain else None


def first_error(model: Stage, name: str) -> float | None:
    """Held-out error of the mean of the draws (or, failing that, of one draw) after one step."""
    for key in ("mean_rmse", "rmse"):
        values = model.get("holdout", "models", name, key)
        if values and number(values[0]) is not None:
            return float(values[0])
    return None


def model(stage: Stage | None) -> Verdict:
    """Whether the world model is precise, beside the one-step network."""
    if stage is None:
        return Verdict("No world model", "No world model is in this folder.")
    ratio = first_step_ratio(stage)
    if ratio is None:
        return Verdict(
            "Precision not measured",
            "Its error on held-out episodes was not measured beside a one-step network.",
            "open",
        )
    errors = [first_error(stage, name) for name in ("dawm", "one_step")]
    detail = (
        f" ({numerals.significant(errors[0])} against {numerals.significant(errors[1])})" if None not in errors else ""
    )
    times = numerals.ratio(ratio)
    text = f"Its error one step ahead, on held-out episodes, is {times} times the one-step network’s{detail}."
    draw_ratio = number(stage.get("holdout", "first_step_ratio"))
    if draw_ratio is not None and number(stage.get("holdout", "first_step_mean_ratio")) is not None:
        text += f" One draw has {numerals.ratio(draw_ratio)} times that error; a calibrated draw has about 1.41 times."
    if ratio <= PRECISE:
        return Verdict(
            "As precise as a one-step network" if ratio > 0.95 else "More precise than a one-step network", text, "good"
        )
    if ratio <= CLOSE:
        return Verdict("Nearly as precise as a one-step network", text, "good")
    return Verdict(
        "Less precise than a one-step network", text + " Read what its data do to a policy with care.", "bad"
    )


def caveats(record: RunRecord) -> Iterator[str]:
    """The limits of what this page shows, the weightiest first."""
    means = [seed_means(record, p) for p in record.policies]
    seeds = [len(m) for m in means if m]
    if seeds and min(seeds) < FEW_SEEDS:
        yield (
            f"{_plural(min(seeds), 'seed').capitalize()} for each policy {'is' if min(seeds) == 1 else 'are'} few:"
            " another seed alone can move a score by more than the differences shown."
            f" Five or more are usual (--seeds {FEW_SEEDS})."
        )
    cloned = _cloned(record)
    learners = [m for p, m in zip(record.policies, means, strict=True) if p.algorithm != "bc" and m]
    if cloned is not None and learners and cloned > max(float(np.mean(m)) for m in learners):
        yield (
            "Behaviour cloning is above every learner here. If their updates were few, give them more"
            " (--set policy.loop.steps=N) before you take any of them."
        )
    unfinished = [s.name for s in record.stages if not s.finished]
    if unfinished:
        yield f"Not finished: {', '.join(unfinished)}. Numbers may still change; go on with dawm resume {record.path}."
    ratio = first_step_ratio(record.model) if record.model else None
    if ratio is not None and ratio > CLOSE:
        yield "The world model is less precise than a plain one-step network; its synthetic data carry that error."
    episodes = [len(e) for p in record.policies for e in (p.get("scores", "returns") or [])]
    if episodes and min(episodes) < FEW_EPISODES:
        yield f"Only {_plural(min(episodes), 'episode')} per seed: a mean over so few moves with luck."
    yield from _data_caveats(record)


def _data_caveats(record: RunRecord) -> Iterator[str]:
    problems = [p for p in dig(record.data, "doctor", "problems") or [] if p.get("severity") in ("error", "warning")]
    if problems:
        yield f"The doctor found {_plural(len(problems), 'problem')} in the data (section 1)."
    environments = [p.get("scores", "env") for p in record.policies if p.get("scores", "env")]
    if environments and dig(record.data, "format") == "d4rl":
        yield f"D4RL recorded its data in an older physics than that of {environments[0]}, where policies are scored."
    if record.policies and not environments:
        yield "Without an environment, no return was measured; losses do not say how well a policy acts."
    elif environments and record.references is None:
        yield "No reference returns are known for this task: compare raw returns, and only within this page."


def _plural(n: int, word: str) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return f"{words[n] if n < len(words) else numerals.count(n)} {word}{'' if n == 1 else 's'}"


def synthetic(stage: Stage | None) -> Verdict:
    """How far the synthetic data can be told from real data, and whether they copy it."""
    if stage is None:
        return Verdict("No synthetic data", "No synthetic data are in this folder.")
    stored = stage.get("fidelity", "verdict")
    parts = [str(stored).strip()] if stored else []
    auc, ratio = (
        number(stage.get("fidelity", "two_sample_auc")),
        number(stage.get("fidelity", "nearest_neighbour", "ratio")),
    )
    title, tone = "Fidelity not measured", "open"
    if auc is not None:
        far = abs(auc - 0.5)
        title = (
            "Hard to tell from real data"
            if far < 0.1
            else "Can be told from real data"
            if far < 0.3
            else "Easily told from real data"
        )
        tone = "good" if far < 0.1 else "open" if far < 0.3 else "bad"
        parts.append(
            "Shown one real and one synthetic transition, a classifier picks the right one in"
            f" {numerals.percent(auc)} of pairs (50 % is chance)."
        )
    if ratio is not None:
        near = "much closer, so some may be copies" if ratio < 0.5 else "no sign of copying"
        parts.append(
            f"The training data are {numerals.ratio(ratio)} times as far from them as from held-out data: {near}."
        )
    return Verdict(title, " ".join(parts) or "Nothing was measured on these data.", tone)


def data(record: RunRecord) -> Verdict:
    """Whether the doctor passed the data."""
    if record.data is None:
        return Verdict("Not described here", "This folder holds no description of the data (data.json).")
    problems = [p for p in dig(record.data, "doctor", "problems") or [] if p.get("severity") in ("error", "warning")]
    steps, episodes = (numerals.count(record.data.get(k)) for k in ("steps", "episodes"))
    text = f"{steps} steps in {episodes} episodes."
    if dig(record.data, "doctor") is None:
        return Verdict("Not examined", text + " The doctor was not asked.", "open")
    if any(p["severity"] == "error" for p in problems):
        return Verdict(
            "The doctor found errors", text + f" {_plural(len(problems), 'problem').capitalize()}, listed below.", "bad"
        )
    if problems:
        return Verdict(
            "Usable, with warnings",
            text + f" The doctor found {_plural(len(problems), 'problem')}, listed below.",
            "open",
        )
    return Verdict("No problems found", text + " The doctor found nothing wrong with them.", "good")
