"""Record a medium-replay log: the replay buffer of SAC until its policy is medium. The dataset that ships is one.

A true medium-replay set in the sense of Fu et al. 2020 (D4RL): every transition that the learner saw, in order, from
its first random step to the moment when its policy reached the medium level. How, exactly:

- environment: Gymnasium's (`Hopper-v5`), no wrappers but its time limit;
- learner: SAC of SBX (stable-baselines on JAX), its default settings but for `SETTINGS` below: two hidden layers of 128
  units, batches of 128 and two gradient steps per environment step, about four times less work than the default for
  each step; layer normalisation in the critics and 5,000 random first steps; one seed;
- every 5,000 steps the deterministic policy plays 10 episodes in a second environment; the recording stops at the first
  evaluation whose mean return is at least a share of D4RL's expert reference (a quarter; 3234.3 / 4 = 809 for Hopper);
- the unfinished last episode is kept and ends as a cut recording, not as a terminal.

    pip install -e '.[record]'
    python scripts/record_log.py --out dawm/assets/hopper-medium-replay.h5
    python scripts/record_log.py --env Walker2d-v5 --share 0.333 --most 200000 --out walker2d-medium-replay.h5

The file that ships names this script `record_demo.py`, as it was called then.

SBX and MuJoCo decide the numbers bit by bit, so other versions give a different (equally valid) file; the versions that
made the shipped file are stored in it.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import platform
from importlib.metadata import version
from pathlib import Path

import gymnasium
import numpy as np

import dawm
from dawm.data import references

EVALUATE_EVERY = 5_000
EPISODES = 10
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


def mean_return(model, env_id: str, seed: int) -> float:
    """Mean return of the deterministic policy over `EPISODES` episodes."""
    env, returns = gymnasium.make(env_id), []
    for episode in range(EPISODES):
        obs, _ = env.reset(seed=seed + episode)
        total, over = 0.0, False
        while not over:
            obs, reward, terminal, truncated, _ = env.step(model.predict(obs, deterministic=True)[0])
            total, over = total + float(reward), terminal or truncated
        returns.append(total)
    env.close()
    return float(np.mean(returns))


def record(env_id: str, medium: float, most: int, seed: int) -> tuple[dict[str, np.ndarray], list[dict]]:
    """Train SAC until its return is `medium`, or for `most` steps; every transition, and the evaluations on the way."""
    from sbx import SAC

    env = Recorder(gymnasium.make(env_id))
    model = SAC("MlpPolicy", env, seed=seed, verbose=0, **copy.deepcopy(SETTINGS))  # SAC writes into its policy_kwargs
    history: list[dict] = []
    while not history or (history[-1]["return"] < medium and history[-1]["steps"] < most):
        model.learn(EVALUATE_EVERY, reset_num_timesteps=not history)
        history.append({"steps": len(env.rows["reward"]), "return": mean_return(model, env_id, seed=10_000)})
        print(history[-1], flush=True)
    return env.arrays(), history


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="Hopper-v5", help="one that D4RL has references for (Hopper-v5)")
    parser.add_argument("--share", type=float, default=0.25, help="of the expert's return, which is medium (0.25)")
    parser.add_argument("--most", type=int, default=110_000, help="steps, at most (110000)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--raw", type=Path, help="keep the recorded arrays here too (npz)")
    args = parser.parse_args()

    known = references.find("", args.env)
    if known is None:
        parser.error(f"no expert's return is known for {args.env}")
    arrays, history = record(args.env, args.share * known.high, args.most, args.seed)
    facts = {
        "history": history,
        "seed": args.seed,
        "settings": SETTINGS,
        "versions": {k: version(k) for k in ("sbx-rl", "gymnasium", "mujoco", "jax", "numpy")},
        "python": platform.python_version(),
    }
    if args.raw:
        np.savez(args.raw, facts=json.dumps(facts), **arrays)
    save_dataset(arrays, args.env, facts, args.out)


def save_dataset(arrays: dict[str, np.ndarray], env_id: str, facts: dict, out: Path) -> None:
    """Write the recorded arrays in dawm's own file layout."""
    data = dawm.load(arrays, env=env_id)
    name = f"{env_id.partition('-')[0].lower()}-medium-replay"
    info = dataclasses.replace(data.info, name=name, details={"recorded_by": "scripts/record_log.py"} | facts)
    data = dataclasses.replace(data, info=info)
    data.save(out)
    print(data.summary())


if __name__ == "__main__":
    main()
