"""What Gymnasium's MuJoCo tasks say of a step (observation, reward, end), for n environments at once.

    r = w_v (x' - x) / dt + h - w_c sum_j a_j^2        HalfCheetah: no h, and it never ends

with h the healthy reward, zero where the robot is unhealthy. Every weight and range is read from the environment, so a
task that was registered with other ones has them here too.

Source: the step functions of `gymnasium.envs.mujoco`, versions v4 and v5 (Gymnasium 1.x). The arithmetic keeps their
order of operations and their precision (the action's cost is float32, as the action is), so that results are equal to
the bit. In v4 an unhealthy robot keeps h in the step that ends its episode; in v5 it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float


class Move(NamedTuple):
    """One step of n environments. A state is (positions, velocities), in metres, radians and seconds."""

    before: Float[np.ndarray, "n state"]
    after: Float[np.ndarray, "n state"]
    action: Float[np.ndarray, "n act"]  # in the precision of the action space


class Outcome(NamedTuple):
    """What n environments say of the step."""

    obs: Float[np.ndarray, "n obs"]
    reward: Float[np.ndarray, " n"]
    terminated: Bool[np.ndarray, " n"]
    cost: Float[np.ndarray, " n"] | None = None  # what the environment reports as `info["cost"]`, if it does


Law = Callable[[Move], Outcome]
Test = Callable[[np.ndarray], np.ndarray]  # states (n, state) to n truths


def half_cheetah(env: Any) -> Law:
    """HalfCheetah, v4 and v5."""
    velocity, cost, weight, first = x_velocity(env), _control_cost(env), env._forward_reward_weight, _first(env)

    def law(move: Move) -> Outcome:
        reward = weight * velocity(move) - cost(move)
        return Outcome(move.after[:, first:], reward, np.zeros(len(reward), bool))

    return law


def hopper(env: Any) -> Law:
    """Hopper-v5."""
    return _legged(env, _hopper_healthy(env))


def hopper_v4(env: Any) -> Law:
    """Hopper-v4."""
    return _legged(env, _hopper_healthy(env), last_step_paid=True)


def walker2d(env: Any) -> Law:
    """Walker2d-v5."""
    return _legged(env, _walker2d_healthy(env))


def walker2d_v4(env: Any) -> Law:
    """Walker2d-v4."""
    return _legged(env, _walker2d_healthy(env), last_step_paid=True)


OUTCOMES: dict[str, Callable[[Any], Law]] = {
    "gymnasium.envs.mujoco.half_cheetah_v4:HalfCheetahEnv": half_cheetah,
    "gymnasium.envs.mujoco.half_cheetah_v5:HalfCheetahEnv": half_cheetah,
    "gymnasium.envs.mujoco.hopper_v4:HopperEnv": hopper_v4,
    "gymnasium.envs.mujoco.hopper_v5:HopperEnv": hopper,
    "gymnasium.envs.mujoco.walker2d_v4:Walker2dEnv": walker2d_v4,
    "gymnasium.envs.mujoco.walker2d_v5:Walker2dEnv": walker2d,
}


def find_outcome(env_class: type) -> Callable[[Any], Law] | None:
    """What makes the law of an environment of exactly this class, or None.

    A class elsewhere has one if it defines a method `batched_outcome(self) -> Law` itself; an inherited one does not
    count, because a subclass may step otherwise.
    """
    known = OUTCOMES.get(f"{env_class.__module__}:{env_class.__qualname__}")
    return vars(env_class).get("batched_outcome", known)


def x_velocity(env: Any) -> Callable[[Move], Float[np.ndarray, " n"]]:
    """Mean velocity of the root over the step, in metres a second."""
    seconds = env.dt
    return lambda move: (move.after[:, 0] - move.before[:, 0]) / seconds


def _control_cost(env: Any) -> Callable[[Move], Float[np.ndarray, " n"]]:
    weight = env._ctrl_cost_weight
    return lambda move: weight * np.add.reduce(np.square(move.action), 1)


def _first(env: Any) -> int:
    """The first coordinate that is observed."""
    return 1 if env._exclude_current_positions_from_observation else 0


def _legged(env: Any, healthy: Test, *, last_step_paid: bool = False) -> Law:
    """Hopper and Walker2d. `last_step_paid`: the unhealthy step that ends an episode has the healthy reward, too."""
    velocity, cost, first = x_velocity(env), _control_cost(env), _first(env)
    weight, alive, ends = env._forward_reward_weight, env._healthy_reward, env._terminate_when_unhealthy
    most = np.repeat([np.inf, 10.0], [env.model.nq - first, env.model.nv])  # velocities are clipped, positions are not

    def law(move: Move) -> Outcome:
        fine = healthy(move.after)
        paid = alive if last_step_paid and ends else fine * alive
        obs = np.minimum(np.maximum(move.after[:, first:], -most), most)
        return Outcome(obs, weight * velocity(move) + paid - cost(move), ~fine if ends else np.zeros(len(fine), bool))

    return law


def _walker2d_healthy(env: Any) -> Test:
    """Height and angle of the trunk are within their ranges."""
    low, high = zip(env._healthy_z_range, env._healthy_angle_range, strict=True)
    return _within(low, high)


def _hopper_healthy(env: Any) -> Test:
    """Also every coordinate but x and z is within its range."""
    (low_z, high_z), (low_angle, high_angle), (low, high) = (
        env._healthy_z_range,
        env._healthy_angle_range,
        env._healthy_state_range,
    )
    others = env.model.nq + env.model.nv - 3
    return _within([low_z, max(low, low_angle), *[low] * others], [high_z, min(high, high_angle), *[high] * others])


def _within(low: Sequence[float], high: Sequence[float]) -> Test:
    """The coordinates after x are between these, which are exclusive; a NaN is not."""
    least, most, last = np.array(low, np.float64), np.array(high, np.float64), 1 + len(low)

    def test(state: np.ndarray) -> np.ndarray:
        part = state[:, 1:last]
        return np.logical_and.reduce((least < part) & (part < most), 1)

    return test
