"""How the cost grows with the work: seconds at four or five sizes of one thing, all else as it is by default, and the
slope of a line through them on logarithmic axes.

An exponent of 1 is proportional cost, below 1 the larger work is done at a better rate, 0 costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.speed.comparison import OURS, Settings, figures, timed
from dawm.types import Spec, Transition

UPDATES, ROUNDS = 50, 3


class Growth(NamedTuple):
    """One line of the plot."""

    what: str  # whose seconds
    over: str  # what grows
    sizes: tuple[int, ...]
    build: Callable[[int, Settings], Callable[[], Any]]  # the call of one size, ready to be timed


def growths() -> dict[str, Growth]:
    """All of them, by names without spaces."""
    return {
        "log": Growth("TD3+BC updates", "steps of the log", (10_000, 100_000, 1_000_000), of_log),
        "seeds": Growth("TD3+BC updates", "seeds", (1, 2, 4, 8), of_seeds),
        "dimensions": Growth("TD3+BC updates", "dimensions of the observation", (8, 32, 128, 512), of_dimensions),
        "horizon-training": Growth("training the trajectory model", "steps of a window", (4, 8, 16, 32), training_of),
        "horizon": Growth("generating trajectories", "steps of a future", (4, 8, 16, 32), generation_of),
        "transitions": Growth("generating trajectories", "futures", (512, 1_024, 2_048, 4_096, 8_192), of_count),
        "futures": Growth("a library of the latent model", "futures of each step", (4, 8, 16, 32), of_futures),
    }


def measure(settings: Settings) -> dict[str, Any]:
    """A row for each: the exponent, and `points`, the size and the median of its seconds."""
    return {"rows": [_row(name, growth, settings) for name, growth in growths().items()]}


def _row(name: str, growth: Growth, settings: Settings) -> dict[str, Any]:
    sizes, points = growth.sizes[: settings.either(len(growth.sizes), 2)], []
    for size in sizes:
        call = growth.build(size, settings)
        call()
        seconds = [timed(call).seconds for _ in range(settings.either(ROUNDS, 1))]
        points.append((size, float(np.median(seconds))))
    what = f"{growth.what}, {growth.over} from {sizes[0]:,} to {sizes[-1]:,}"
    row = {"name": name, "what": what, "unit": "exponent", "better": "less", "rounds": settings.either(ROUNDS, 1)}
    return row | {"programs": {OURS: figures([exponent(points)])}, "ratios": {}, "points": points, "over": growth.over}


def exponent(points: list[tuple[int, float]]) -> float:
    """Slope of log seconds over log size, by least squares."""
    sizes, seconds = np.log(np.array(points)).T
    return float(np.polyfit(sizes, seconds, 1)[0])


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """The plot: seconds as multiples of those of the smallest work."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for row in rows:
        sizes, seconds = np.array(row["points"]).T
        label = f"{row['what'].split(' from ')[0]}: {row['programs'][OURS]['median']:.2f}"
        axes.loglog(sizes / sizes[0], seconds / seconds[0], marker="o", label=label)
    most = max(row["points"][-1][0] / row["points"][0][0] for row in rows)
    axes.loglog([1, most], [1, most], linestyle=":", color="grey", label="proportional: 1")
    axes.set_xlabel("times the smallest work")
    axes.set_ylabel("times its seconds")
    axes.legend(fontsize=7)
    with matplotlib.rc_context({"svg.hashsalt": "dawm", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})


# -- the calls --------------------------------------------------------------------------------------------------------


def of_log(rows: int, settings: Settings) -> Callable[[], Any]:
    return _updates(Spec(11, 3, (-1.0,) * 3, (1.0,) * 3), rows, 1, settings)


def of_seeds(seeds: int, settings: Settings) -> Callable[[], Any]:
    return _updates(Spec(11, 3, (-1.0,) * 3, (1.0,) * 3), 100_000, seeds, settings)


def of_dimensions(dims: int, settings: Settings) -> Callable[[], Any]:
    return _updates(Spec(dims, 3, (-1.0,) * 3, (1.0,) * 3), 100_000, 1, settings)


def _updates(spec: Spec, rows: int, seeds: int, settings: Settings) -> Callable[[], Any]:
    from benchmarks.speed.chunk import chunk_of
    from dawm.agents.config import PolicyConfig
    from dawm.agents.fit import policy_update
    from dawm.agents.policy import initial_state, seeds_of
    from dawm.data.sampling import make_pool

    rng, nothing = np.random.default_rng(0), np.zeros(spec.obs_dim, np.float32)
    normal = lambda *size: rng.normal(size=size).astype(np.float32)
    obs, action = normal(rows, spec.obs_dim), np.tanh(normal(rows, spec.act_dim))
    log = Transition(obs, action, normal(rows), obs, action, np.zeros(rows, bool), np.full(rows, -1))
    config = PolicyConfig(seeds=seeds)
    state = initial_state(config, spec, nothing, nothing + 1)
    count = settings.either(UPDATES, 2)
    return chunk_of(policy_update(config, spec), state, make_pool(log), count, seeds_of(config))


def training_of(horizon: int, settings: Settings) -> Callable[[], Any]:
    from benchmarks.speed.denoisers import update_of

    return update_of(_trajectory(horizon, settings), settings.either(UPDATES, 2))


def generation_of(horizon: int, settings: Settings) -> Callable[[], Any]:
    return _generation(_trajectory(horizon, settings), settings.either(2_048, 64))


def of_count(count: int, settings: Settings) -> Callable[[], Any]:
    return _generation(_trajectory(8, settings), settings.either(count, count // 16))


def _trajectory(horizon: int, settings: Settings) -> Any:
    from benchmarks.speed.worlds import hardly_trained
    from dawm.worldmodel.trajectory import TrajectoryConfig

    return hardly_trained("trajectory", settings, model=TrajectoryConfig(horizon=horizon))


def _generation(model: Any, count: int) -> Callable[[], Any]:
    import jax

    from benchmarks.speed.worlds import log
    from dawm.synth.generator import GenerateConfig
    from dawm.synth.starts import Starts

    starts = Starts(log(), model, GenerateConfig()).draw(count, np.random.default_rng(0))
    return lambda: jax.block_until_ready(model.generate(starts, jax.random.key(0)))


def of_futures(futures: int, settings: Settings) -> Callable[[], Any]:
    import jax

    from benchmarks.speed.worlds import hardly_trained, log
    from dawm.synth.futures import FuturesConfig, make_block, typical_deviation

    data, model = log(), hardly_trained("latent", settings).model
    config = FuturesConfig(futures=futures, block=settings.either(512, 32))
    unit, rows = typical_deviation(model, data, config), np.arange(config.block)
    return lambda: jax.block_until_ready(make_block(model, data, rows, unit, config, jax.random.key(0)))
