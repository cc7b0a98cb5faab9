"""A suite that takes seconds: a small linear log, scored in Pendulum."""

from __future__ import annotations

import numpy as np

SUITE = """
name = "tiny"
preset = ""
updates = 20
seeds = 2

[datasets.linear]
path = "linear.npz"
env = "Pendulum-v1"
episodes = 1

[methods.bc]
algo = { kind = "bc", width = 8 }

[world_model]
batch_size = 16
measure_windows = 8
measure_samples = 2
model = { horizon = 3, process = { step = "euler", steps = 1 }, body = { width = 8, depth = 1, embed = 8 } }
loop = { steps = 10, chunk = 10, save_every = 10, monitor_every = 10 }
[world_model.networks]
batch_size = 8
anchor = { width = 8, depth = 1 }
one_step = { width = 8, depth = 1 }
inverse = { width = 8, depth = 1 }
ends = { width = 8, depth = 1 }
ensemble = { members = 2, elites = 2, width = 8, depth = 1 }
loop = { steps = 10, chunk = 10, save_every = 10, monitor_every = 10 }

[policy]
batch_size = 16
loop = { chunk = 10, save_every = 10 }
"""

PLANNERS = """
[methods.warm]
planner.planner = { horizon = 2, candidates = 6 }
planner.dynamics = "ensemble"
planner.terminal_value = false
planner.spare = 2
planner.unknown = 2
policy = "bc"

[methods.taught]
planner = { dynamics = "ensemble", planner = { horizon = 2, candidates = 6 }, spare = 2, unknown = 2 }
policy = "bc"
distil = { labels = { count = 12, futures = 4, length = 3 }, loop = { steps = 10, chunk = 10 } }

[methods.cold]
planner = { dynamics = "ensemble", planner = { horizon = 2, candidates = 6, refinements = 1 } }
"""

ACTED = """
[synthetic.acted]
policy = "bc"
transitions = 60
shard = 32
length = 3

[methods.td3bc-acted]
algo = { kind = "td3bc", width = 8 }
ratio = 0.5
synthetic = "acted"

[methods.td3bc-ahead]
algo = { kind = "td3bc", width = 8 }
policy.expansion = { horizon = 2, dynamics = "anchor" }
"""


def write_log(path) -> None:
    """A stable linear system with Pendulum's sizes: three states, one action in [-2, 2]; 12 cut episodes."""
    rng, rows = np.random.default_rng(0), []
    dynamics, force = np.array([[0.95, 0.1, 0], [0, 0.9, 0.1], [0.05, 0, 0.92]]), np.array([0.2, -0.1, 0.15])
    for _ in range(12):
        state = rng.normal(size=3)
        for t in range(20):
            action = np.clip(rng.normal(size=1), -2, 2)
            following = dynamics @ state + force * action + 0.02 * rng.normal(size=3)
            rows.append((state, action, -float(state @ state), following, False, t == 19))
            state = following
    names = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts")
    columns = dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True))
    np.savez(path, **columns, act_low=np.array([-2.0]), act_high=np.array([2.0]))
