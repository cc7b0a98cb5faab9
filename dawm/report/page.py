"""One self-contained HTML page about a run folder: readable without scripts, in light and dark, on a desk or a phone.

Nothing is loaded from anywhere and nothing but the run folder is read. Every text that came from outside (names, notes,
messages) is escaped. The page appears whole or not at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from dawm.report import estimates, figures, numerals, sections, settings, tables, verdicts
from dawm.report.calibration import calibration_section
from dawm.report.collect import RunRecord, dig, read_run
from dawm.report.numerals import count, number, significant
from dawm.run.checkpoint import write_whole

FILE = "report.html"


def write_report(run_dir: str | Path) -> Path:
    """Write `report.html` into a run folder of any kind and return its path.

    Raises FileError where it is no run folder or a file in it is damaged.
    """
    path = Path(run_dir) / FILE
    page = render(read_run(run_dir))
    write_whole(path, lambda file: file.write(page.encode()))
    return path


def render(record: RunRecord) -> str:
    """The page as text."""
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(_content(record))


def _content(record: RunRecord) -> dict[str, Any]:
    """Everything that the template shows, as text, tables and drawings."""
    return {
        "name": record.name,
        "subtitle": _subtitle(record),
        "headline": verdicts.headline(record),
        "caveats": list(verdicts.caveats(record)),
        "scores": figures.scores(record),
        "score_table": tables.score_table(record) if record.policies else None,
        "score_notes": list(tables.score_notes(record)),
        "stages": _stage_cards(record),
        "data": sections.data_section(record),
        "model": sections.model_section(record.model),
        "calibration": calibration_section(record.model),
        "synthetic": sections.synthetic_section(record.synthetic),
        "policies": [sections.policy_section(p) for p in record.policies],
        "comparison": sections.comparison_table(record),
        "estimates": estimates.section(record),
        "settings": settings.settings_tables(record),
        "versions": settings.versions_table(record),
        "fingerprints": settings.fingerprints_table(record),
        "commands": settings.commands(record),
    }


def _subtitle(record: RunRecord) -> list[str]:
    environment = next(
        (p.get("scores", "env") for p in record.policies if p.get("scores", "env")), dig(record.data, "env")
    )
    learners = dict.fromkeys(tables.ALGORITHMS.get(p.algorithm, p.algorithm) for p in record.policies)
    versions = dig(record.provenance, "versions", "dawm") or next(
        (v for s in record.stages if (v := dig(s.provenance, "versions", "dawm"))), None
    )
    parts = [environment and f"environment {environment}", ", ".join(learners), versions and f"dawm {versions}"]
    return [str(p) for p in parts if p]


def _stage_cards(record: RunRecord) -> list[dict[str, str]]:
    """The flow, each stage with its one number; the summary's second line."""
    data, model, synthetic = verdicts.data(record), verdicts.model(record.model), verdicts.synthetic(record.synthetic)
    ratio = record.model and verdicts.first_step_ratio(record.model)
    auc = record.synthetic and number(record.synthetic.get("fidelity", "two_sample_auc"))
    cards = [
        ("data", "Dataset", count(dig(record.data, "steps")), "steps", data, ""),
        (
            "model",
            "World model",
            "" if ratio is None else f"{numerals.ratio(ratio)}×",
            "the one-step network’s error",
            model,
            sections.status(record.model),
        ),
        (
            "synthetic",
            "Synthetic data",
            "" if auc is None else significant(auc, 2),
            "AUC of telling it from real",
            synthetic,
            sections.status(record.synthetic),
        ),
    ]
    value, unit, verdict = _policy_card(record)
    cards.append(("policies", "Policy", value, unit, verdict, _policies_status(record)))
    return [
        {
            "id": i,
            "name": n,
            "value": v,
            "unit": u if v not in ("", numerals.MISSING) else "",
            "title": verdict.title,
            "tone": verdict.tone,
            "status": s,
        }
        for i, n, v, u, verdict, s in cards
    ]


def _policy_card(record: RunRecord) -> tuple[str, str, verdicts.Verdict]:
    groups, headline = verdicts.judged(record), verdicts.headline(record)
    form, unit = (numerals.score, "points of score") if record.references else (significant, "of return")
    if groups:
        size = lambda cause: max((abs(c.difference) for c in groups[cause] if c.helped is not None), default=0.0)
        cause = max(groups, key=size)  # the clearest effect
        first, *others = groups[cause]
        if others:
            helped = sum(c.helped is True for c in groups[cause])
            return f"{helped} of {len(groups[cause])}", f"learners helped by {cause}", headline
        return numerals.signed(first.difference, form), f"{unit} by {cause}", headline
    scored = [m for p in record.policies if (m := verdicts.seed_means(record, p))]
    if len(scored) == 1:
        return form(sum(scored[0]) / len(scored[0])), "mean score" if record.references else "mean return", headline
    return "", "", headline if record.policies else verdicts.Verdict("No policy", "")


def _policies_status(record: RunRecord) -> str:
    if not record.policies:
        return "not here"
    waiting = [p for p in record.policies if not p.finished]
    return f"{len(waiting)} of {len(record.policies)} unfinished" if waiting else ""
