"""One function per figure: a record in, a drawing with its caption and its numbers out; None where nothing is there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from dawm.report import numerals
from dawm.report.collect import RunRecord, Stage, dig
from dawm.report.drawing import Series, densities, histogram, line_chart
from dawm.report.intervals import Row, interval_chart
from dawm.report.numerals import number, significant
from dawm.report.tables import Table, policy_name
from dawm.report.verdicts import FEW_SEEDS, score, seed_means, seed_scores

MODELS = {  # key in the files -> (name on the page, class of its colour)
    "dawm": ("DAWM", "c-dawm"),
    "one_step": ("one-step net", "c-plain"),
    "ensemble": ("ensemble", "c-ensemble"),
    "persistence": ("persistence", "c-ground"),
}
MOST_POINTS = 240  # of a learning curve, thinned evenly
MOST_MARGINALS = 15


@dataclass(frozen=True)
class Figure:
    """A drawing, what it is called, how to read it, and the numbers behind it."""

    title: str
    svg: Markup
    caption: str = ""
    table: Table | None = None


def returns(record: RunRecord) -> Figure | None:
    """Histogram of episode returns with percentiles and the mean."""
    edges, counts = (numerals.numbers(dig(record.data, "returns", k)) for k in ("edges", "counts"))
    percentiles = dig(record.data, "returns", "percentiles") or {}
    marks = [(float(v), f"{k} %") for k, v in percentiles.items() if number(v) is not None]
    words = ", ".join(f"{name} of episodes below {significant(value)}" for value, name in marks)
    svg = histogram(
        *(edges, counts),
        title="Returns of the data’s episodes",
        description=words or "Histogram.",
        x_label="return of an episode",
        y_label="episodes",
        marks=marks,
    )
    caption = "Marks: the return below which that share of episodes lies."
    table = _bins_table(edges, counts, "return", "episodes")
    return Figure("Returns", svg, caption if marks else "", table) if svg else None


def lengths(record: RunRecord) -> Figure | None:
    """Histogram of episode lengths."""
    edges, counts = (numerals.numbers(dig(record.data, "lengths", k)) for k in ("edges", "counts"))
    mean = number(dig(record.data, "lengths", "mean"))
    svg = histogram(
        *(edges, counts),
        title="Lengths of the data’s episodes",
        description="Histogram." if mean is None else f"Histogram; the mean is {significant(mean)} steps.",
        x_label="steps in an episode",
        y_label="episodes",
        marks=[] if mean is None else [(mean, "mean")],
    )
    return Figure("Episode lengths", svg, "", _bins_table(edges, counts, "steps", "episodes")) if svg else None


def _bins_table(edges: list[float], counts: list[float], what: str, unit: str) -> Table:
    rows = [
        [significant(a, 4), significant(b, 4), numerals.count(c)]
        for a, b, c in zip(edges, edges[1:], counts, strict=False)
    ]
    return Table([f"{what} from", "to", unit], rows, words=0)


def losses(stage: Stage, width: float = 400) -> list[Figure]:
    """Training losses: one figure per loss, one line per seed where there are several."""
    keys = dict.fromkeys(k for row in stage.metrics for k in row if k.endswith("loss") and not k.startswith("holdout/"))
    found = [curve(stage, [(key, "", style_of(stage))], _loss_name(key), "", width=width) for key in keys]
    return [f for f in found if f]


def _loss_name(key: str) -> str:
    """'actor/loss' -> 'Actor loss'."""
    words = key.replace("/", " ").replace("_", " ")
    return words[0].upper() + words[1:] if words != "loss" else "Training loss"


def held_out_curves(stage: Stage) -> list[Figure]:
    """Held-out error as the world model trained, beside the same networks as everywhere on the page."""
    wanted = {
        "rmse_1": "Held-out error, 1 step ahead",
        "rmse_H": "Held-out error, all steps",
        "crps_1": "Held-out CRPS, 1 step ahead",
    }
    figures = []
    for key, title in wanted.items():
        lines = [(f"holdout/{kind}/{key}", name, style) for kind, (name, style) in MODELS.items()]
        figures.append(curve(stage, lines, title, "CRPS" if "crps" in key else "RMSE", markers=True))
    return [f for f in figures if f]


def evaluations(stage: Stage, width: float = 400) -> list[Figure]:
    """What was measured in the environment while a policy trained."""
    keys = dict.fromkeys(
        k for row in stage.metrics for k in row if k.startswith("eval/") and ("score" in k or k.endswith("return_mean"))
    )
    name = lambda k: k.removeprefix("eval/").replace("_", " ").capitalize()
    found = [curve(stage, [(k, "", style_of(stage))], name(k), "", markers=True, width=width) for k in keys]
    return [f for f in found if f]


def style_of(stage: Stage) -> str:
    """The colour of a stage: blue wherever the diffusion model had a part."""
    if stage.kind != "policy" or stage.uses_synthetic:
        return "c-dawm"
    return "c-ensemble" if stage.algorithm == "bc" else "c-plain"


def curve(
    stage: Stage,
    lines: Sequence[tuple[str, str, str]],
    title: str,
    y_label: str,
    markers: bool = False,
    width: float = 400,
) -> Figure | None:
    """Metrics against the step; a metric that is a list has one line for each seed."""
    series, columns = [], []
    for key, name, style in lines:
        rows = _thin([(row["step"], row[key]) for row in stage.metrics if key in row])
        wide = max((len(v) for _, v in rows if isinstance(v, list)), default=0)
        for seed in range(max(wide, 1) if rows else 0):
            y = [_member(value, seed) for _, value in rows]
            series.append(Series("" if wide else name, [s for s, _ in rows], y, style, faint=wide > 1))
            columns.append(
                (
                    f"{name or y_label or title}{f', seed {seed}' if wide > 1 else ''}",
                    dict(zip((s for s, _ in rows), y, strict=True)),
                )
            )
    last = [f"{s.label or title} ends at {significant(s.y[-1])}" for s in series if s.y]
    svg = line_chart(
        series,
        title=title,
        description="; ".join(last),
        x_label="update",
        y_label=y_label,
        markers=markers,
        width=width,
        height=90 + 0.325 * width,
    )
    if svg is None:
        return None
    steps = sorted({step for _, values in columns for step in values})
    rows = [[numerals.count(s), *(significant(values.get(s), 4) for _, values in columns)] for s in steps]
    return Figure(title, svg, "", Table(["update", *(name for name, _ in columns)], rows, words=0))


def _thin(rows: list[Any]) -> list[Any]:
    keep = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_POINTS)).round().astype(int)) if rows else []
    return [rows[i] for i in keep]


def _member(value: Any, seed: int) -> float:
    chosen = (value[seed] if seed < len(value) else None) if isinstance(value, list) else value
    found = number(chosen)
    return math.nan if found is None else found


def horizon(stage: Stage) -> list[Figure]:
    """Error, CRPS and reward error against the number of steps ahead."""
    wanted = {
        "rmse": ("Error of a single draw", "RMSE"),
        "mean_rmse": ("Error of the mean of the draws", "RMSE"),
        "crps": ("CRPS of the predicted distribution", "CRPS"),
        "reward_rmse": ("Error of the reward", "RMSE"),
        "spread": ("Spread of the futures", "std"),
    }
    return [f for f in (_over_horizon(stage, key, *words) for key, words in wanted.items()) if f]


def _over_horizon(stage: Stage, key: str, title: str, y_label: str) -> Figure | None:
    models = stage.get("holdout", "models") or {}
    known = [k for k in MODELS if k in models] + [k for k in models if k not in MODELS]
    series = []
    for kind in known:
        name, style = MODELS.get(kind, (kind, "c-other"))
        y = numerals.numbers(models[kind].get(key))
        if any(map(math.isfinite, y)):
            series.append(Series(name, range(1, len(y) + 1), y, style))
    words = "; ".join(
        f"{s.label}: {significant(s.y[0])} at step 1, {significant(s.y[-1])} at step {len(s.y)}" for s in series
    )
    svg = line_chart(
        series,
        title=title,
        description=words,
        x_label="steps ahead",
        y_label=y_label,
        markers=True,
        zero=True,
        whole_x=True,
    )
    if svg is None:
        return None
    longest = max(len(s.y) for s in series)
    cells = lambda s: [significant(v) for v in s.y] + [numerals.MISSING] * (longest - len(s.y))
    table = Table(["steps ahead", *map(str, range(1, longest + 1))], [[s.label, *cells(s)] for s in series])
    return Figure(title, svg, "", table)


@dataclass(frozen=True)
class Marginals:
    """Small multiples of real against synthetic, the worst first, and the distances of all."""

    panels: list[tuple[str, str, Markup]]  # name, distance, drawing
    total: int
    table: Table


def marginals(stage: Stage) -> Marginals | None:
    """Real against synthetic densities of each quantity, largest Kolmogorov-Smirnov distance first."""
    found = stage.get("fidelity", "marginals") or []
    worst_first = sorted(found, key=lambda m: -(number(m.get("ks")) or 0.0))
    panels = []
    for m in worst_first[:MOST_MARGINALS]:
        name, ks = str(m.get("name", "?")), f"KS {significant(m.get('ks'), 2)}"
        sides = [
            tuple(numerals.numbers(dig(m, side, k)) for k in ("edges", "density")) for side in ("real", "synthetic")
        ]
        svg = densities(*sides, title=f"{name}, real against synthetic", description=ks)  # type: ignore[arg-type]
        if svg:
            panels.append((name, ks, svg))
    table = Table(
        ["quantity", "KS distance"], [[str(m.get("name", "?")), significant(m.get("ks"))] for m in worst_first]
    )
    return Marginals(panels, len(found), table) if found else None


def scores(record: RunRecord) -> Figure | None:
    """Each policy’s score with its interval, its seeds and its episodes; the data’s own episodes below."""
    rows = [_score_row(record, policy) for policy in record.policies]
    mean = score(record, dig(record.data, "returns", "mean"))
    if mean is not None:
        ends = [score(record, dig(record.data, "returns", "percentiles", k)) for k in ("10", "90")]
        band = None if None in ends else (ends[0], ends[1])
        rows.append(Row("The data’s own episodes", "c-ground", mean, None, [], [], band, _form(record)))  # type: ignore[arg-type]
    unit = "normalised score" if record.references else "return of an episode"
    svg = interval_chart(
        rows,
        title="Scores of the policies and of the data",
        description="; ".join(f"{r.name}: {significant(r.estimate)}" for r in rows),
        x_label=unit,
        mark=None if mean is None else (mean, "mean of the data"),
    )
    if svg is None or not any(r.estimate is not None for r in rows[: len(record.policies)]):
        return None
    cells = [
        [
            policy_name(p),
            str(s),
            str(e),
            significant(raw, 5),
            numerals.score(score(record, raw)) if record.references else numerals.MISSING,
        ]
        for p in record.policies
        for s, seed in enumerate(p.get("scores", "returns") or [])
        for e, raw in enumerate(seed)
    ]
    table = Table(["Policy", "seed", "episode", "return", "score"], cells)
    return Figure("Scores", svg, _score_caption(rows), table)


def _form(record: RunRecord) -> Callable[[float], str]:
    return numerals.score if record.references else lambda value: significant(value, 4)


def _score_caption(rows: list[Row]) -> str:
    seeds = [len(r.seeds) for r in rows if r.seeds]
    over = "seeds" if min(seeds, default=0) > 1 else "the episodes of the one seed, hence without interval"
    caption = f"Diamond: interquartile mean over {over}."
    if any(r.interval for r in rows):
        caption += " Bar: its 95 % interval (stratified bootstrap over seeds)"
        few = min(seeds) < FEW_SEEDS
        caption += "; from so few seeds it is too narrow, as it never reaches beyond them." if few else "."
    caption += " Ring: the mean of one seed. Dot: one episode."
    return caption + (
        " Grey band: the middle 80 % of the data’s episodes, diamond at their mean." if rows[-1].band else ""
    )


def _score_row(record: RunRecord, policy: Stage) -> Row:
    get = lambda key: number(policy.get("scores", key))
    means = seed_means(record, policy)
    estimate = get("score_iqm") if record.references else get("return_iqm")
    if estimate is None and means:
        estimate = float(np.mean(means))
    bounds = numerals.numbers(policy.get("scores", "score_interval" if record.references else "return_interval"))
    interval = (bounds[0], bounds[1]) if len(bounds) == 2 and len(means) > 1 else None
    return Row(
        policy_name(policy),
        style_of(policy),
        estimate,
        interval,
        means,
        seed_scores(record, policy),
        form=_form(record),
    )
