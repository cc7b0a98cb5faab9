"""What a second of training buys: the held-out CRPS of each body after the same seconds.

The diffusion is trained from its start for as many updates as fit the seconds (its learning rate falls to nothing at
the last of them), at the rate that is measured first. One-step networks are trained before, once for each kind of
model, and not counted. The CRPS is that of states over all steps of the horizon on held-out episodes of the log inside
the package, as in `dawm.worldmodel.holdout`; the last rows are the Gaussian ensembles of one-step networks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.speed.comparison import OURS, Settings, figures, timed

SECONDS = 15, 45, 135
NETWORK_UPDATES = 2_000
TIMED = 10  # updates of a call that is timed


def bodies() -> dict[str, Any]:
    """Configurations of world models by words."""
    from dawm.nets.transformer import TransformerConfig
    from dawm.nets.unet import UNetConfig
    from dawm.worldmodel.latent import LatentConfig
    from dawm.worldmodel.trajectory import TrajectoryConfig

    return {
        "trajectory model, residual MLP": TrajectoryConfig(),
        "trajectory model, transformer": TrajectoryConfig(body=TransformerConfig()),
        "trajectory model, U-Net": TrajectoryConfig(body=UNetConfig()),
        "latent model, residual MLP": LatentConfig(),
    }


def measure(settings: Settings) -> dict[str, Any]:
    """A row of CRPS for each body and budget, and for the Gaussian ensemble of each kind of model."""
    rows, workshops = [], {}
    for words, model in list(bodies().items())[:: settings.either(1, 3)]:
        if model.kind not in workshops:
            workshops[model.kind] = Workshop(model, settings)
        workshop = workshops[model.kind]
        each = workshop.seconds_of_update(model)
        for seconds in SECONDS[: settings.either(len(SECONDS), 1)]:
            updates = settings.either(max(int(seconds / each), 1), 2)
            what = f"{words}, {seconds} s of training ({updates:,} updates)"
            rows.append(_row(what, workshop.crps(model, updates)["dawm"]))
    rows += [_row(f"Gaussian ensemble beside the {kind} model", w.last["ensemble"]) for kind, w in workshops.items()]
    return {"rows": rows}


def _row(what: str, crps: float) -> dict[str, Any]:
    name = what.replace(" ", "-").replace(",", "")
    row = {"name": name, "what": what, "unit": "CRPS (standard deviations)", "better": "less", "rounds": 1}
    return row | {"programs": {OURS: figures([crps])}, "ratios": {}}


class Workshop:
    """The log and the trained one-step networks on which bodies of one kind of model are tried."""

    def __init__(self, model: Any, settings: Settings):
        from benchmarks.speed.worlds import log
        from dawm.run.loop import LoopConfig
        from dawm.worldmodel.fit import WorldModelConfig
        from dawm.worldmodel.networks import fit_scales, train_networks
        from dawm.worldmodel.split import split_log

        steps, self.settings = settings.either(NETWORK_UPDATES, 4), settings
        config = WorldModelConfig(model=model)
        self.split, self.spec = split_log(log(), config), log().spec
        self.scales, self.last = fit_scales(self.split.train, self.spec), {}
        loop = LoopConfig(steps=steps, chunk=min(steps, 500), monitor_every=steps, save_every=steps)
        self.networks = train_networks(
            self.split.train,
            self.scales,
            replace(config.networks, loop=loop),
            members=model.members,
            seed=config.seed,
            folder=None,
        )

    def _assembled(self, model: Any, updates: int) -> tuple[Any, Any, Any]:
        """(configuration, untrained model, held-out windows)."""
        import jax.random as jr

        from dawm.run.loop import LoopConfig
        from dawm.worldmodel.fit import WorldModelConfig, assemble, windows_of

        loop = LoopConfig(steps=updates, chunk=updates, monitor_every=updates, save_every=updates)  # one program
        config = WorldModelConfig(model=model, loop=loop)
        held = windows_of(self.split.held, config, model.horizon)
        made = assemble(config, self.spec, self.scales, self.networks, self.split.train, held=held, key=jr.key(2))
        return config, made, held

    def seconds_of_update(self, model: Any) -> float:
        """The median of several calls."""
        from benchmarks.speed.chunk import chunk_of
        from dawm.run.optim import make_optimiser
        from dawm.worldmodel.fit import diffusion_inputs, diffusion_update, initial_state

        count = self.settings.either(TIMED, 1)
        config, made, _ = self._assembled(model, count)
        optimiser = make_optimiser(config.optim, count)
        inputs = diffusion_inputs(made, self.split, config)
        call = chunk_of(diffusion_update(config, optimiser), initial_state(made, optimiser), inputs, count)
        call()
        return float(np.median([timed(call).seconds for _ in range(self.settings.either(5, 1))])) / count

    def crps(self, model: Any, updates: int) -> dict[str, float]:
        """Of the model after so many updates, and of the yardsticks on the same windows: means over the horizon."""
        from dawm.worldmodel import holdout
        from dawm.worldmodel.fit import train_diffusion

        config, made, held = self._assembled(model, updates)
        windows, samples = (config.measure_windows, config.measure_samples) if not self.settings.quick else (8, 2)
        rows = holdout.choose_rows(held, windows, config.seed)
        look = lambda model: holdout.measure(model, self.networks, held, rows, samples, config.seed)
        found = look(train_diffusion(made, self.split, look, config, None))
        self.last = {name: float(np.mean(errors["crps"])) for name, errors in found["models"].items()}
        return self.last
