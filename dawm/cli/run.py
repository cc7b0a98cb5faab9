"""`dawm run`: from a dataset to a report."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from dawm.cli.parser import Outcome, Parser, whole

started: Path | None = None  # the folder of the run that this process is in, for the word after Ctrl-C


def flags(parser: Parser) -> None:
    parser.add_argument("dataset", metavar="DATASET", help="a path or a name; `demo` is inside the package")
    parser.flag("--out", metavar="DIR", help="run folder (runs/NAME-PRESET)")
    parser.flag("--env", metavar="ID", help="Gymnasium environment to score in (the data's own); `none` for no scores")
    kinds = "trajectory, latent, transition or ensemble (trajectory)"
    parser.flag("--model", dest="world_model", metavar="KIND", help=kinds)
    parser.flag("--algo", metavar="NAME", help="learner: bc, td3bc, iql, rebrac or quantile (iql)")
    parser.flag("--seeds", metavar="N", type=whole, help="policies trained at once, with seeds 0, 1, ...")
    parser.flag("--ratio", metavar="R", type=float, help="synthetic share of each batch (0.5)")
    parser.flag("-n", "--transitions", metavar="N", type=whole, help="synthetic transitions")
    parser.flag("--futures", dest="futures_count", metavar="M", type=whole, help="also a policy over M futures a step")
    parser.flag("--episodes", metavar="N", type=whole, help="evaluation episodes per seed (10)")
    parser.flag("--eval-every", metavar="N", type=whole, help="also score every N policy updates, for the record")
    parser.common(settings=True, dry_run=True)


def execute(flags: argparse.Namespace) -> Outcome:
    from dawm.cli.settings import configuration
    from dawm.pipeline import run_pipeline

    config = configuration(flags)
    if flags.dry_run:
        from dawm.cli.forecast import forecast_stages

        return forecast_stages(flags.dataset, config, ("world_model", "generate", "policy"))
    global started
    started = Path(flags.out or f"runs/{slug(flags.dataset)}-{flags.preset or 'default'}")
    report = run_pipeline(flags.dataset, config, out=started)
    return Outcome(summary(report.parent), str(report))


def slug(dataset: str) -> str:
    """A folder name for a dataset."""
    name = dataset.removeprefix("file:")
    stem = Path(name).name.rsplit(".", 1)[0] if Path(name).suffix in (".h5", ".hdf5", ".npz") else name
    return re.sub(r"[^A-Za-z0-9.+_-]+", "-", stem).strip("-.") or "run"


def summary(folder: Path) -> dict:
    """The numbers of a finished run, from its files."""
    from dawm.report.collect import read_run

    record = read_run(folder)
    keys = ("env", "episodes", "seeds", "return_mean", "return_std", "normalized_score", "score_std")
    model, synthetic = record.model, record.synthetic
    return {
        "folder": str(folder),
        "report": str(folder / "report.html"),
        "data": {key: (record.data or {}).get(key) for key in ("name", "origin", "steps", "episodes", "fingerprint")},
        "model": model and {"first_step_ratio": model.get("holdout", "first_step_ratio")},
        "synthetic": synthetic and {
            "transitions": synthetic.get("generation", "transitions"),
            "two_sample_auc": synthetic.get("fidelity", "two_sample_auc"),
        },
        "policies": {p.name: {key: p.get("scores", key) for key in keys} for p in record.policies},
        "mean": {p.name: {key: p.get("mean", key) for key in keys} for p in record.policies if "mean" in p.results},
    }  # fmt: skip
