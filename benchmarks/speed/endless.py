"""Hopper-v5 that goes on when the robot has fallen, so that every episode has 1,000 steps whoever acts."""

import gymnasium

gymnasium.register(
    id="EndlessHopper-v0",
    entry_point="gymnasium.envs.mujoco.hopper_v5:HopperEnv",
    kwargs={"terminate_when_unhealthy": False},
    max_episode_steps=1_000,
)
