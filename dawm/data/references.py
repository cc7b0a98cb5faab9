"""Reference returns: what a score of 0 (random) and of 100 (expert) mean, per task, and who says so.

A normalised score is 100 (R - low) / (high - low) for the undiscounted return R of an episode. The constants below
are those of D4RL (Fu et al. 2020, `infos.py`: all qualities and versions of a task share them) and of NeoRL-2 (arXiv
2503.19267). A score is comparable only if the simulator is the same too; where it is not, the text of the source says
it.
"""

from __future__ import annotations

import re

from dawm.data.dataset import References

# D4RL task (longest match first is taken by `d4rl_task`): low, high, time limit in steps
D4RL = {
    "halfcheetah": (-280.178953, 12135.0, 1000),
    "hopper": (-20.272305, 3234.3, 1000),
    "walker2d": (1.629008, 4592.3, 1000),
    "ant": (-325.6, 3879.7, 1000),
    "maze2d-open": (0.01, 20.66, 150),
    "maze2d-umaze": (23.85, 161.86, 300),
    "maze2d-medium": (13.13, 277.39, 600),
    "maze2d-large": (6.7, 273.99, 800),
    "maze2d-open-dense": (11.17817, 27.166538620695782, 150),
    "maze2d-umaze-dense": (68.537689, 193.66285642381482, 300),
    "maze2d-medium-dense": (44.264742, 297.4552547777125, 600),
    "maze2d-large-dense": (30.569041, 303.4857382709002, 800),
    "maze2d-eval-umaze": (36.63, 141.4, 300),
    "maze2d-eval-medium": (13.07, 204.93, 600),
    "maze2d-eval-large": (16.4, 302.22, 800),
    "antmaze-umaze": (0.0, 1.0, 700),
    "antmaze-medium": (0.0, 1.0, 1000),
    "antmaze-large": (0.0, 1.0, 1000),
    "pen": (96.262799, 3076.8331017826877, 100),
    "hammer": (-274.856578, 12794.134825156867, 200),
    "door": (-56.512833, 2880.5693087298737, 200),
    "relocate": (-6.425911, 4233.877797728884, 200),
    "kitchen": (0.0, 4.0, 280),
}

# NeoRL-2 task: low, high, time limit in steps
NEORL2 = {
    "DMSD": (30.60, 849.51, 100),
    "Pipeline": (-296.0, 751.0, 1000),
    "SafetyHalfCheetah": (-283.0, 2507.0, 1000),
}

QUALITIES = (
    "random|medium|expert|medium-replay|medium-expert|full-replay|human|human-longhorizon|cloned|complete|partial|mixed"
)
D4RL_NAME = re.compile(
    rf"(?:(?:{'|'.join(D4RL)})-(?:{QUALITIES})|maze2d-[a-z]+(?:-[a-z]+)?|antmaze-[a-z]+(?:-diverse|-play)?)-v[0-9]"
)
GYMNASIUM = {"HalfCheetah": "halfcheetah", "Hopper": "hopper", "Walker2d": "walker2d", "Ant": "ant"}


def is_d4rl_name(name: str) -> bool:
    """Whether `name` is the name of a D4RL dataset, such as `hopper-medium-replay-v2` or `maze2d-umaze-v1`."""
    return D4RL_NAME.fullmatch(name) is not None


def d4rl_task(name: str) -> str | None:
    """The row of `D4RL` that a dataset name belongs to, None if it is no D4RL name."""
    if not is_d4rl_name(name):
        return None
    return max((task for task in D4RL if name == task or name.startswith(f"{task}-")), key=len, default=None)


def neorl2_task(name: str) -> str | None:
    """The row of `NEORL2` that a file name such as `DMSD-train` belongs to."""
    return next((task for task in NEORL2 if re.fullmatch(rf"{task}(-.*)?", name)), None)


def time_limit(name: str) -> int | None:
    """Steps after which the benchmark that `name` belongs to cuts an episode."""
    if (task := neorl2_task(name)) is not None:
        return NEORL2[task][2]
    task = d4rl_task(name)
    return D4RL[task][2] if task else None


def environment(name: str) -> str | None:
    """The Gymnasium environment in which policies for a D4RL locomotion dataset can be evaluated.

    v4 keeps the observation, the reward and the model files of the v2 environments that D4RL recorded, with newer
    MuJoCo bindings. D4RL's ant has 111 observation dimensions, which no registered environment gives; it has none.
    """
    return {"halfcheetah": "HalfCheetah-v4", "hopper": "Hopper-v4", "walker2d": "Walker2d-v4"}.get(
        d4rl_task(name) or ""
    )


def find(name: str, env: str | None = None) -> References | None:
    """References for a dataset name or, failing that, a Gymnasium environment id; None where nobody published any."""
    if (task := neorl2_task(name)) is not None:
        low, high, _ = NEORL2[task]
        return References(low, high, f"NeoRL-2 {task} (arXiv 2503.19267)")
    if (task := d4rl_task(name)) is not None and not re.match(r"maze2d-(umaze|medium|large)-v0", name):
        low, high, _ = D4RL[task]
        return References(low, high, f"D4RL {task} (Fu et al. 2020)")
    if env is not None and (match := re.fullmatch(r"(\w+)-v([2-5])", env)) and match[1] in GYMNASIUM:
        low, high, _ = D4RL[GYMNASIUM[match[1]]]
        text = f"D4RL {GYMNASIUM[match[1]]} (Fu et al. 2020) as a yardstick for {env}"
        return References(low, high, text + ", whose physics differ: not to be set beside published D4RL scores")
    return None
