"""What a latent model knows of where its data came from: steps of each provenance, asked for with every label.

    python -m benchmarks.provenance OUT/hopper-medium-expert/model-latent --data DATASET

On held-out steps, beside each other: the CRPS of the outcome (change of state and reward, in standard deviations), the
mean reward of the futures against the recorded one, and their spread. A label can only tell what (s, a) does not: where
the environment is the same for all, its asking should change next to nothing, and where it is not, the step's own
label should win.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from benchmarks.command import finish
from dawm.data.dataset import Dataset
from dawm.data.registry import load
from dawm.sweep.markdown import markdown_table
from dawm.uncertainty.scores import fair_crps, split_spread
from dawm.worldmodel.rollout import outcomes
from dawm.worldmodel.trained import TrainedModel

NONE = -1  # the label of no provenance


def ask(
    trained: TrainedModel, data: Dataset, *, rows: int = 1_000, samples: int = 64, seed: int = 0
) -> list[dict[str, Any]]:
    """One record for each provenance of the held-out steps and each label that is asked for, -1 being none."""
    _, held = data.split(trained.config.holdout, trained.config.seed)
    labels = range(trained.spec.sources)
    names = {label: name for label, name in enumerate(data.info.sources)} | {NONE: "none"}
    found = []
    for label in labels:
        own = np.flatnonzero((held.source == label) & ~held.terminal)
        chosen = np.random.default_rng([seed, label]).permutation(own)[:rows]
        for asked in (*labels, NONE) if len(chosen) else ():
            crps, reward, spread = _measure(trained.model, held, chosen, asked, samples, jr.key(seed))
            found.append(
                {
                    "provenance": names.get(label, str(label)),
                    "asked": "own" if asked == label else names.get(asked, str(asked)),
                    "rows": len(chosen),
                    "crps": crps,
                    "spread": spread,
                    "reward": reward,
                    "recorded_reward": float(held.reward[chosen].mean()),
                }
            )
    return found


def _measure(model, held: Dataset, rows: np.ndarray, asked: int, samples: int, key) -> tuple[float, float, float]:
    """(CRPS, mean reward, spread) of the futures of some steps under one label; the same random numbers for all."""
    each = -(-samples // model.count)
    found = _outcomes(model, held.obs[rows], held.action[rows], np.full(len(rows), asked), each, key)
    scale = jnp.concatenate([model.scales.change.scale, model.scales.reward.scale])
    join = lambda next_obs, reward: jnp.concatenate([next_obs - held.obs[rows], reward[..., None]], -1) / scale
    drawn = join(found.next_obs, found.reward)  # (members, each, rows, out)
    crps = fair_crps(drawn.reshape(-1, *drawn.shape[2:]), join(held.next_obs[rows], held.reward[rows])).mean()
    spread = jnp.hypot(*split_spread(drawn)).mean()
    return float(crps), float(found.reward.mean()), float(spread)


@eqx.filter_jit
def _outcomes(model, obs, action, source, samples: int, key):
    one = lambda row: outcomes(model, row[0][None], row[1][None], row[2][None], samples, row[3])
    keys = jr.split(key, len(source))
    found = jax.lax.map(one, (obs, action, source, keys), batch_size=128)  # memory does not grow with the rows
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf[:, :, :, 0], 0, 2), found)


def table(found: list[dict[str, Any]]) -> str:
    """The records as Markdown."""
    header = ["steps of", "asked with", "steps", "CRPS", "spread", "mean reward of the futures", "recorded"]
    rows = [
        [
            r["provenance"], r["asked"], f"{r['rows']:,}", f"{r['crps']:.4f}", f"{r['spread']:.4f}",
            f"{r['reward']:.4f}", f"{r['recorded_reward']:.4f}",
        ]
        for r in found
    ]  # fmt: skip
    return markdown_table(header, rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.provenance", description="Ask a world model for futures with each provenance."
    )
    parser.add_argument("model", help="folder of a trained latent model")
    parser.add_argument("--data", required=True, help="the dataset that it was trained on")
    parser.add_argument("--env", help="its environment, where the file does not say")
    parser.add_argument("--rows", type=int, default=1_000, help="held-out steps of each provenance")
    parser.add_argument("--samples", type=int, default=64, help="futures of each step")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)

    def make() -> list[dict[str, Any]]:
        data = load(given.data, env=given.env)
        return ask(TrainedModel.load(given.model), data, rows=given.rows, samples=given.samples)

    return finish(make, table, given.json)


if __name__ == "__main__":
    sys.exit(main())
