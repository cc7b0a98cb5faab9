"""Your own log, as arrays, to a policy and a report, with every setting in one place.

    python examples/own_arrays.py            # the settings of the preset `fast`
    python examples/own_arrays.py --tiny     # hardly any training: only to see that it works

The log here comes from a small linear system, so that the script needs no file. Put your own arrays in its place.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

import dawm


def record_log(episodes: int = 60, seed: int = 0) -> dict[str, np.ndarray]:
    """A cart that is pushed towards the origin: it falls off at |position| > 2 (terminal) or is cut after 50 steps."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list] = {k: [] for k in ("obs", "action", "reward", "next_obs", "terminals", "timeouts")}
    for _ in range(episodes):
        state = rng.uniform([-1.5, -0.5], [1.5, 0.5])
        for step in range(50):
            action = np.clip(-1.5 * state[:1] - state[1:] + 0.4 * rng.normal(size=1), -1, 1)
            following = np.array([state[0] + 0.1 * state[1], state[1] + 0.2 * action[0]]) + 0.01 * rng.normal(size=2)
            fell, cut = bool(abs(following[0]) > 2), step == 49
            values = (state, action, -float(state @ state), following, fell, cut and not fell)
            for column, value in zip(rows.values(), values, strict=True):
                column.append(value)
            state = following
            if fell:
                break
    return {name: np.asarray(column) for name, column in rows.items()}


def tiny(config: dawm.RunConfig) -> dawm.RunConfig:
    """The same run with hardly any training."""
    loop = dawm.LoopConfig(steps=40, chunk=20, monitor_every=40, save_every=20)
    model = replace(config.world_model, loop=loop, measure_windows=16, measure_samples=2)
    small = replace(model.networks.ensemble, members=2, width=16)
    model = replace(model, networks=replace(model.networks, loop=loop, batch_size=32, ensemble=small))
    policy = replace(config.policy, loop=loop)
    generate = replace(config.generate, transitions=500, shard=64)
    return replace(config, world_model=model, policy=policy, generate=generate, bc=False, real_only=False)


def main(out: str = "runs/own-arrays", quick: bool = False) -> None:
    arrays = record_log() | {"act_low": np.array([-1.0]), "act_high": np.array([1.0])}
    data = dawm.load(arrays)
    print(data.summary())
    for finding in dawm.examine(data).problems:
        print(f"{finding.severity}: {finding.message}")

    config = dawm.load_preset("fast")
    report = dawm.run_pipeline(data, tiny(config) if quick else config, out=out)  # no environment: nothing is scored
    policy = dawm.load_policy(f"{out}/policies/iql-dawm")
    print("action at the origin:", policy[0](np.zeros((1, 2), np.float32)))
    print(report)


if __name__ == "__main__":
    main(quick="--tiny" in sys.argv)
