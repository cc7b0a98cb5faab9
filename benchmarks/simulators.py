"""Simulators that can be put into the state that an observation describes, and stepped once from there.

    step(obs, action, next_obs) -> Outcome(next_obs, reward, terminal, usable)

`next_obs` of the data is read for one purpose only: coordinates that jump at random, the targets of DMSD and Pipeline,
are copied from it (`random` names them), because no model could foresee them and the reward depends on them.

What an observation does not hold: the root x of Hopper and HalfCheetah (the dynamics do not depend on it, so 0 is
used), velocities beyond ±10 of Hopper (clipped in the observation, so such rows are not usable), the solver's warm
start (worth about 1e-6), and whether Pipeline's gate ever saturated (it never does in the recordings).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from benchmarks.neorl2 import dmsd, pipeline
from dawm.errors import ConfigError, MissingExtraError, suggest


class Outcome(NamedTuple):
    """What the simulator says, for n rows."""

    next_obs: np.ndarray  # (n, obs), float64; NaN where the simulation broke down
    reward: np.ndarray  # (n,)
    terminal: np.ndarray  # (n,)
    usable: np.ndarray  # (n,): the observation holds the whole state


class Simulator(NamedTuple):
    """One row of `SIMULATORS`."""

    step: Callable[[np.ndarray, np.ndarray, np.ndarray], Outcome]
    random: tuple[int, ...] = ()  # coordinates of next_obs that are drawn at random and copied from the data


def step_dmsd(obs: np.ndarray, action: np.ndarray, next_obs: np.ndarray) -> Outcome:
    reached = dmsd.predict(obs, action)
    reached[:, dmsd.TARGETS] = next_obs[:, dmsd.TARGETS]
    return _array_outcome(reached, dmsd.reward(reached))


def step_pipeline(obs: np.ndarray, action: np.ndarray, next_obs: np.ndarray) -> Outcome:
    reached = pipeline.predict(obs.astype(np.float64), action.astype(np.float64))
    reached[:, pipeline.TARGET] = next_obs[:, pipeline.TARGET]
    return _array_outcome(reached, pipeline.reward(reached))


def _array_outcome(reached: np.ndarray, reward: np.ndarray) -> Outcome:
    return Outcome(reached, reward, np.zeros(len(reached), bool), np.ones(len(reached), bool))


def mujoco_step(env_id: str, *, root_observed: bool = False, velocity_clip: float = np.inf) -> Callable[..., Outcome]:
    """A step function of a MuJoCo environment whose observation is (qpos without the root x, qvel), or all of both.

    Raises MissingExtraError where MuJoCo is not installed.
    """

    def step(obs: np.ndarray, action: np.ndarray, next_obs: np.ndarray) -> Outcome:
        env = _make(env_id)
        model = env.model
        hidden = 0 if root_observed else 1
        positions = model.nq - hidden
        usable = np.asarray((np.abs(obs[:, positions:]) < velocity_clip).all(1))
        out = Outcome(np.full(obs.shape, np.nan), np.full(len(obs), np.nan), np.zeros(len(obs), bool), usable)
        with _quiet():
            for i in np.flatnonzero(usable):
                row = obs[i].astype(np.float64)
                _restore(env, np.concatenate([np.zeros(hidden), row[:positions]]), row[positions:])
                out.next_obs[i], out.reward[i], out.terminal[i], *_ = env.step(action[i].astype(np.float64))
                if _broke_down(env):
                    out.next_obs[i] = np.nan  # MuJoCo has put the default state in place of an impossible one
        env.close()
        return out

    return step


def _restore(env: Any, position: np.ndarray, velocity: np.ndarray) -> None:
    """The given state, with nothing left of the row before (a broken one would poison those after it)."""
    from mujoco import mj_resetData  # type: ignore[attr-defined]  # compiled

    mj_resetData(env.model, env.data)
    env.set_state(position, velocity)


def _broke_down(env: Any) -> bool:
    """Whether MuJoCo has met a state that is not finite or beyond all bounds since the last `_restore`."""
    from mujoco import mjtWarning as kinds  # type: ignore[attr-defined]  # compiled

    fatal = (kinds.mjWARN_BADQPOS, kinds.mjWARN_BADQVEL, kinds.mjWARN_BADQACC)
    return any(env.data.warning[kind].number for kind in fatal)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without this, MuJoCo logs each impossible state (and HalfCheetah's old model file) in the working directory."""
    from mujoco import set_mju_user_warning  # type: ignore[attr-defined]  # compiled

    set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        set_mju_user_warning(None)


def _make(env_id: str) -> Any:
    try:
        import gymnasium.envs.mujoco
    except ImportError as error:
        raise MissingExtraError(error.name or "mujoco", "mujoco", f"the simulator of `{env_id}`") from None
    import gymnasium

    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore", DeprecationWarning)  # the data name v4, so v4 it is
        env = gymnasium.make(env_id, disable_env_checker=True).unwrapped
    env.reset(seed=0)
    return env


# environment: how it is stepped
SIMULATORS = {
    "DMSD-v0": Simulator(step_dmsd, random=(4, 5)),
    "Pipeline-v0": Simulator(step_pipeline, random=(1,)),
    "SafetyHalfCheetah-v0": Simulator(mujoco_step("benchmarks.neorl2:SafetyHalfCheetah-v0", root_observed=True)),
    "HalfCheetah-v4": Simulator(mujoco_step("HalfCheetah-v4")),
    "HalfCheetah-v5": Simulator(mujoco_step("HalfCheetah-v5")),
    "Hopper-v4": Simulator(mujoco_step("Hopper-v4", velocity_clip=10.0)),
    "Hopper-v5": Simulator(mujoco_step("Hopper-v5", velocity_clip=10.0)),
}


def find_simulator(env: str) -> Simulator:
    """The row of an environment id ("module:Id" or "Id"). Raises ConfigError for one that cannot be restored."""
    name = env.rpartition(":")[2]
    if name not in SIMULATORS:
        raise ConfigError(f"no simulator can be restored from observations of `{env}`{suggest(name, SIMULATORS)}")
    return SIMULATORS[name]
