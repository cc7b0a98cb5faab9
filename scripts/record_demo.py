"""Record the dataset that ships with the package: the replay buffer of SAC on Hopper-v5, until its policy is medium.

A true medium-replay set in the sense of Fu et al. 2020 (D4RL): every transition that the learner saw, in order, from
its first random step to the moment when its policy reached the medium level. How, exactly:

- environment: Gymnasium's `Hopper-v5`, no wrappers but the 1000-step time limit;
- learner: SAC of SBX (stable-baselines on JAX), its default settings but for `SETTINGS` below: two hidden layers of 128
  units, batches of 128 and two gradient steps per environment step, about four times less work than the default for
  each step; layer normalisation in the critics and 5,000 random first steps; one seed;
- every 5,000 steps the deterministic policy plays 10 episodes in a second environment; the recording stops at the first
  evaluation whose mean return is at least a quarter of D4RL's expert reference for Hopper (3234.3 / 4 = 809);
- the unfinished last episode is kept and ends as a cut recording, not as a terminal.

    pip install -e '.[record]'
    python scripts/record_demo.py --out dawm/assets/hopper-medium-replay.h5

SBX and MuJoCo decide the numbers bit by bit, so other versions give a different (equally valid) file; the versions that
made the shipped file are stored in it.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
from importlib.metadata import version
from pathlib import Path

import gymnasium
import numpy as np

EXPERT_RETURN = 3234.3  # D4RL's expert reference for Hopper (infos.py)
MEDIUM_RETURN = EXPERT_RETURN / 4
EVALUATE_EVERY = 5_000
EPISODES = 10
MOST_STEPS = 110_000
SETTINGS = {
    "batch_size": 128,
    "gradient_steps": 2,
    "learning_starts": 5_000,
    "policy_kwargs": {"layer_norm": True, "net_arch": [128, 128]},
}


class Recorder(gymnasium.Wrapper):
    """Keeps every transition that passes through the environment, with the true next observation."""

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        self.rows: dict[str, list] = {k: [] for k in ("obs", "action", "next_obs", "reward", "terminal", "truncated")}
        self.current: np.ndarray | None = None

    def reset(self, **kwargs):
        self.current, info = self.env.reset(**kwargs)
        return self.current, info

    def step(self, action):
        following, reward, terminal, truncated, info = self.env.step(action)
        row = (self.current, action, following, reward, terminal, truncated)
        for column, value in zip(self.rows.values(), row, strict=True):
            column.append(np.array(value))
        self.current = following
        return following, reward, terminal, truncated, info

    def arrays(self) -> dict[str, np.ndarray]:
        floats = {k: np.asarray(self.rows[k], np.float32) for k in ("obs", "action", "next_obs", "reward")}
        flags = {k: np.asarray(self.rows[k], bool) for k in ("terminal", "truncated")}
        return floats | flags


def mean_return(model, seed: int) -> float:
    """Mean return of the deterministic policy over `EPISODES` episodes."""
    env, returns = gymnasium.make("Hopper-v5"), []
    for episode in range(EPISODES):
        obs, _ = env.reset(seed=seed + episode)
        total, over = 0.0, False
        while not over:
            obs, reward, terminal, truncated, _ = env.step(model.predict(obs, deterministic=True)[0])
            total, over = total + float(reward), terminal or truncated
        returns.append(total)
    env.close()
    return float(np.mean(returns))


def record(seed: int) -> tuple[dict[str, np.ndarray], list[dict]]:
    """Train SAC until it is medium; every transition, and the evaluations on the way."""
    from sbx import SAC

    env = Recorder(gymnasium.make("Hopper-v5"))
    model = SAC("MlpPolicy", env, seed=seed, verbose=0, **copy.deepcopy(SETTINGS))  # SAC writes into its policy_kwargs
    history: list[dict] = []
    while not history or (history[-1]["return"] < MEDIUM_RETURN and history[-1]["steps"] < MOST_STEPS):
        model.learn(EVALUATE_EVERY, reset_num_timesteps=not history)
        history.append({"steps": len(env.rows["reward"]), "return": mean_return(model, seed=10_000)})
        print(history[-1], flush=True)
    return env.arrays(), history


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--raw", type=Path, help="keep the recorded arrays here too (npz)")
    args = parser.parse_args()

    arrays, history = record(args.seed)
    facts = {
        "history": history,
        "seed": args.seed,
        "settings": SETTINGS,
        "versions": {k: version(k) for k in ("sbx-rl", "gymnasium", "mujoco", "jax", "numpy")},
        "python": platform.python_version(),
    }
    if args.raw:
        np.savez(args.raw, facts=json.dumps(facts), **arrays)
    save_dataset(arrays, facts, args.out)


def save_dataset(arrays: dict[str, np.ndarray], facts: dict, out: Path) -> None:
    """Write the recorded arrays in dawm's own file layout."""
    import dataclasses

    import dawm

    data = dawm.load(arrays, env="Hopper-v5")
    info = dataclasses.replace(
        data.info, name="hopper-medium-replay", details={"recorded_by": "scripts/record_demo.py"} | facts
    )
    data = dataclasses.replace(data, info=info)
    data.save(out)
    print(data.summary())


if __name__ == "__main__":
    main()
