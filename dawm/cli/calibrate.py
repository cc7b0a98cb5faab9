"""`dawm calibrate`: whether the spread of a world model is honest, and its correction."""

from __future__ import annotations

import argparse
from pathlib import Path

from dawm.cli.parser import Outcome, Parser, whole


def flags(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL_DIR", help="run folder of `dawm train`, or OUT/model")
    parser.flag("--data", metavar="DATASET", help="episodes to judge on (held-out ones of the training file)")
    parser.flag("--windows", metavar="N", type=whole, default=512, help="windows of each half of the episodes (512)")
    parser.flag("--samples", metavar="N", type=whole, default=64, help="futures per window (64)")
    parser.flag("--horizon", metavar="H", type=whole, default=8, help="steps ahead (8)")
    parser.flag("--method", metavar="NAME", default="isotonic", help="isotonic, temperature or conformal (isotonic)")
    parser.flag("--seed", metavar="N", type=whole, default=0, help="of the halves and the futures (0)")
    parser.common()


def execute(flags: argparse.Namespace) -> Outcome:
    from dawm.data.registry import load
    from dawm.errors import ConfigError
    from dawm.evaluate.calibrate import CalibrateConfig, calibrate_model
    from dawm.recorded import recorded_data
    from dawm.worldmodel.trained import TrainedModel

    try:
        config = CalibrateConfig(flags.windows, flags.samples, flags.horizon, flags.method, flags.seed)
    except ValueError as error:
        raise ConfigError(f"{error}.") from None
    model = TrainedModel.load(flags.model)
    given = load(flags.data) if flags.data else None
    if given is not None and given.fingerprint == model.data["fingerprint"]:
        training = given
    else:
        training = recorded_data(model.data, Path(flags.model))
    found = calibrate_model(model, training, config, data=given, folder=flags.model)
    return Outcome({"folder": flags.model} | found, table(found))


def table(found: dict) -> str:
    """The figures at the first and the last step, one line for each forecaster."""
    names = {"model": found, "recalibrated": found["recalibrated"]} | found["baselines"]
    last = found["horizon"] - 1
    lines = [
        f"judged on {found['data']['judged_on']}",
        f"{'':14} {'90 % intervals hold':>20} {'calibration error':>19} {'CRPS':>15} {'spread / error':>15}",
        f"{'step':14} {f'1 / {last + 1}':>20} {f'1 / {last + 1}':>19} {f'1 / {last + 1}':>15} {f'1 / {last + 1}':>15}",
    ]
    for name, part in names.items():
        pair = lambda values, form: " / ".join("-" if values[h] is None else form(values[h]) for h in (0, last))
        percent, plain = lambda x: f"{100 * x:.1f} %", lambda x: f"{x:.3f}"
        lines.append(
            f"{name:14} {pair(part['coverage']['0.9'], percent):>20} {pair(part['ece'], plain):>19}"
            f" {pair(part['crps'], lambda x: f'{x:.4f}'):>15} {pair(part['spread_skill'], lambda x: f'{x:.2f}'):>15}"
        )
    return "\n".join([*lines, found["verdict"]])
