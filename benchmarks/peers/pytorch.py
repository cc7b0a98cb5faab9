"""TD3+BC, IQL and ReBRAC as plain eager PyTorch loops, for the comparison of speed.

Written from the papers in the formulation of CORL's single files: separate modules for the two critics, one Adam for
both, a replay buffer of tensors indexed by NumPy's random integers, `.item()` of the losses in every update. Settings
are those of dawm's learners. The module needs PyTorch.

Departures from CORL: observations and actions are standardised already, and ReBRAC (there in JAX) is the TD3+BC loop
with three layers, LayerNorm, its two penalties and the smaller of both critics for the policy to climb.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dawm.types import Transition

DISCOUNT, RATE, NOISE, CLIP = 0.99, 0.005, 0.2, 0.5
ALPHA, ACTOR_PENALTY, CRITIC_PENALTY = 2.5, 0.05, 0.01
EXPECTILE, TEMPERATURE, LARGEST = 0.7, 3.0, 100.0


def make_update(kind: str, rows: Transition, *, batch: int, width: int, threads: int = 1) -> Callable[[], None]:
    """`update()`: one update of the learner `kind` (td3bc, iql or rebrac) on a batch that it draws itself."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    buffer = Buffer(rows, batch)
    sizes = rows.obs.shape[1], rows.action.shape[1], width
    return IQL(*sizes, buffer).update if kind == "iql" else TD3(*sizes, buffer, rebrac=kind == "rebrac").update


class Buffer:
    """All rows as tensors."""

    def __init__(self, rows: Transition, batch: int):
        columns = rows.obs, rows.action, rows.reward[:, None], rows.next_obs, rows.terminal[:, None], rows.next_action
        self.columns = [torch.as_tensor(np.asarray(column, np.float32)) for column in columns]
        self.rng, self.batch = np.random.default_rng(0), batch

    def sample(self) -> list[Tensor]:
        """(obs, action, reward, next obs, terminal, next action), each (batch, ...)."""
        index = self.rng.integers(0, len(self.columns[0]), size=self.batch)
        return [column[index] for column in self.columns]


class TD3:
    """TD3+BC (Fujimoto & Gu 2021), or ReBRAC (Tarasov et al. 2023)."""

    def __init__(self, obs: int, act: int, width: int, buffer: Buffer, *, rebrac: bool):
        self.buffer, self.rebrac, self.step = buffer, rebrac, 0
        depth, rate = (3, 1e-3) if rebrac else (2, 3e-4)
        self.actor = perceptron(obs, act, width, depth, tanh=True)
        self.critics = [perceptron(obs + act, 1, width, depth, norm=rebrac) for _ in range(2)]
        self.slow_actor, self.slow_critics = copy.deepcopy(self.actor), copy.deepcopy(self.critics)
        self.actor_optim = torch.optim.Adam(self.actor.parameters(), rate)
        self.critic_optim = torch.optim.Adam([p for critic in self.critics for p in critic.parameters()], rate)

    def update(self) -> None:
        obs, action, reward, next_obs, terminal, next_action = self.buffer.sample()
        self.step += 1
        with torch.no_grad():
            noise = (torch.randn_like(action) * NOISE).clamp(-CLIP, CLIP)
            chosen = (self.slow_actor(next_obs) + noise).clamp(-1, 1)
            pair = torch.cat([next_obs, chosen], 1)
            value = torch.min(self.slow_critics[0](pair), self.slow_critics[1](pair))
            if self.rebrac:
                value = value - CRITIC_PENALTY * (chosen - next_action).square().sum(1, keepdim=True)
            target = reward + (1 - terminal) * DISCOUNT * value
        pair = torch.cat([obs, action], 1)
        loss = sum(functional.mse_loss(critic(pair), target) for critic in self.critics)
        descend(self.critic_optim, loss)
        if self.step % 2 == 0:
            self._move_actor(obs, action)

    def _move_actor(self, obs: Tensor, action: Tensor) -> None:
        chosen = self.actor(obs)
        pair = torch.cat([obs, chosen], 1)
        value = self.critics[0](pair)
        if self.rebrac:
            value = torch.min(value, self.critics[1](pair))
            penalty = ACTOR_PENALTY * (chosen - action).square().sum(1).mean()
        else:
            penalty = functional.mse_loss(chosen, action)
        weight = (1.0 if self.rebrac else ALPHA) / value.abs().mean().detach()
        descend(self.actor_optim, penalty - weight * value.mean())
        for slow, fast in zip((self.slow_actor, *self.slow_critics), (self.actor, *self.critics), strict=True):
            follow(slow, fast)


class IQL:
    """IQL (Kostrikov et al. 2022) with a Gaussian policy of constant spread."""

    def __init__(self, obs: int, act: int, width: int, buffer: Buffer):
        self.buffer = buffer
        self.actor = perceptron(obs, act, width, 2, tanh=True)
        self.log_std = nn.Parameter(torch.zeros(act))
        self.value = perceptron(obs, 1, width, 2)
        self.critics = [perceptron(obs + act, 1, width, 2) for _ in range(2)]
        self.slow_critics = copy.deepcopy(self.critics)
        self.actor_optim = torch.optim.Adam([*self.actor.parameters(), self.log_std], 3e-4)
        self.value_optim = torch.optim.Adam(self.value.parameters(), 3e-4)
        self.critic_optim = torch.optim.Adam([p for critic in self.critics for p in critic.parameters()], 3e-4)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.actor_optim, 1_000_000)

    def update(self) -> None:
        obs, action, reward, next_obs, terminal, _ = self.buffer.sample()
        pair = torch.cat([obs, action], 1)
        with torch.no_grad():
            q = torch.min(self.slow_critics[0](pair), self.slow_critics[1](pair))
            following = self.value(next_obs)
        advantage = q - self.value(obs)
        loss = (torch.abs(EXPECTILE - (advantage < 0).float()) * advantage.square()).mean()
        descend(self.value_optim, loss)
        target = reward + (1 - terminal) * DISCOUNT * following
        descend(self.critic_optim, sum(functional.mse_loss(critic(pair), target) for critic in self.critics) / 2)
        for slow, fast in zip(self.slow_critics, self.critics, strict=True):
            follow(slow, fast)
        weight = torch.exp(TEMPERATURE * advantage.detach()).clamp(max=LARGEST).squeeze(1)
        policy = torch.distributions.Normal(self.actor(obs), self.log_std.clamp(-20, 2).exp())
        descend(self.actor_optim, -(weight * policy.log_prob(action).sum(1)).mean())
        self.schedule.step()


def perceptron(ins: int, outs: int, width: int, depth: int, *, norm: bool = False, tanh: bool = False) -> nn.Sequential:
    """`depth` hidden layers of `width` units with ReLU."""
    layers: list[nn.Module] = []
    for size in [ins, *[width] * (depth - 1)]:
        layers += [nn.Linear(size, width), *([nn.LayerNorm(width)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, outs), *([nn.Tanh()] if tanh else []))


def follow(slow: nn.Module, fast: nn.Module) -> None:
    """Move a target network towards its source."""
    for target, source in zip(slow.parameters(), fast.parameters(), strict=True):
        target.data.copy_((1 - RATE) * target.data + RATE * source.data)


def descend(optimiser: torch.optim.Optimizer, loss: Any) -> float:
    """One step of an optimiser; returns the loss, as a log of it would need."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()
