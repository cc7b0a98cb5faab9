"""Temporal 1-D U-Net of Diffuser (Janner et al. 2022), conditioned as in Decision Diffuser and Diffusion World Model.

A window (time, channels) goes through levels of width dim * dim_mults[i], halving time between them, and back up with
skips. A residual block is two temporal convolutions (kernel 5), each followed by GroupNorm (8 groups) and Mish; the
noise level (sinusoids, then a 2-layer MLP) and each condition (a 3-layer MLP) are embedded in `dim` numbers,
concatenated, and added through Mish and a linear layer after the first convolution of each block.

    down  [block, block, halve] per level (the last level is not halved)       mid  block, block
    up    [skip, block, block, double] per level but the first                 out  conv, GroupNorm, Mish, 1x1 conv

Convolutions are matrix products of shifted copies (im2col): XLA's 1-D convolution is 35 to 60 times slower on a CPU.
The projections of the embedding into all blocks are one matrix product.

Sources: `temporal.py` of the Diffuser and Decision Diffuser code; Diffusion World Model (arXiv 2402.03570).
Departures: the step enters as 4 * noise = log sigma instead of its index; the initial weights are those of PyTorch.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.errors import ConfigError
from dawm.nets.embed import sinusoidal
from dawm.nets.linear import Linear
from dawm.nets.mlp import MLP

GROUPS = 8


class WindowLengthError(ConfigError, ValueError):
    """The window cannot be halved as often as the body needs."""


@dataclass(frozen=True)
class UNetConfig:
    """Temporal U-Net; the defaults are those of Decision Diffuser's code (about 61 million parameters)."""

    kind: Literal["unet"] = "unet"
    dim: int = 128  # channels of the first level; a multiple of 8
    dim_mults: tuple[int, ...] = (1, 4, 8)  # channels of each level, in units of dim
    kernel: int = 5  # steps that a convolution sees; odd

    def __post_init__(self):
        if self.dim < GROUPS or self.dim % GROUPS:
            raise ValueError(f"dim must be a multiple of {GROUPS}, the groups of its normalisation, got {self.dim}")
        if len(self.dim_mults) < 1 or min(self.dim_mults) < 1:
            raise ValueError(f"dim_mults must be one or more positive numbers, got {self.dim_mults}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")


class Conv(eqx.Module):
    """Convolution over time, zero padding of kernel // 2 on both sides, as one matrix product."""

    weight: Float[Array, "kernel in out"]
    bias: Float[Array, " out"]
    stride: int = eqx.field(static=True)

    def __init__(self, in_dim: int, out_dim: int, kernel: int, *, stride: int = 1, key: PRNGKeyArray):
        self.weight, self.bias = _torch_uniform((kernel, in_dim, out_dim), kernel * in_dim, key)
        self.stride = stride

    def __call__(self, x: Float[Array, "time in"]) -> Float[Array, "new_time out"]:
        time, kernel = x.shape[0], self.weight.shape[0]
        # taps that would only ever meet the padding are left out: two of five where two steps remain
        reach = min(kernel // 2, time - 1)
        taps = self.weight[kernel // 2 - reach : kernel // 2 + reach + 1]
        padded = jnp.pad(x, ((reach, reach), (0, 0)))
        columns = [padded[i : i + time : self.stride] for i in range(2 * reach + 1)]
        return jnp.concatenate(columns, axis=-1) @ taps.reshape(-1, taps.shape[-1]) + self.bias


class Double(eqx.Module):
    """Transposed convolution of kernel 4, stride 2, padding 1: (time, dim) to (2 * time, dim).

    Even outputs 2i see x[i] and x[i-1] (taps 1 and 3), odd outputs 2i+1 see x[i+1] and x[i] (taps 0 and 2).
    """

    weight: Float[Array, "4 dim dim"]
    bias: Float[Array, " dim"]

    def __init__(self, dim: int, *, key: PRNGKeyArray):
        self.weight, self.bias = _torch_uniform((4, dim, dim), 4 * dim, key)

    def __call__(self, x: Float[Array, "time dim"]) -> Float[Array, "2*time dim"]:
        before = jnp.pad(x[:-1], ((1, 0), (0, 0)))
        after = jnp.pad(x[1:], ((0, 1), (0, 0)))
        even = jnp.concatenate([x, before], axis=-1) @ jnp.concatenate([self.weight[1], self.weight[3]])
        odd = jnp.concatenate([after, x], axis=-1) @ jnp.concatenate([self.weight[0], self.weight[2]])
        return jnp.stack([even, odd], axis=1).reshape(2 * x.shape[0], -1) + self.bias


class ConvBlock(eqx.Module):
    """Convolution, GroupNorm over time and the channels of each group, Mish."""

    conv: Conv
    scale: Float[Array, " out"]
    shift: Float[Array, " out"]

    def __init__(self, in_dim: int, out_dim: int, kernel: int, *, key: PRNGKeyArray):
        self.conv = Conv(in_dim, out_dim, kernel, key=key)
        self.scale, self.shift = jnp.ones(out_dim), jnp.zeros(out_dim)

    def __call__(self, x: Float[Array, "time in"]) -> Float[Array, "time out"]:
        h = self.conv(x)
        grouped = jax.nn.standardize(h.reshape(h.shape[0], GROUPS, -1), axis=(0, 2), epsilon=1e-5)
        return jax.nn.mish(grouped.reshape(h.shape) * self.scale + self.shift)


class ResidualBlock(eqx.Module):
    """Two ConvBlocks around the injected embedding, and a 1x1 convolution where the width changes."""

    first: ConvBlock
    second: ConvBlock
    shortcut: Conv | None

    def __init__(self, in_dim: int, out_dim: int, kernel: int, *, key: PRNGKeyArray):
        key_first, key_second, key_shortcut = jr.split(key, 3)
        self.first = ConvBlock(in_dim, out_dim, kernel, key=key_first)
        self.second = ConvBlock(out_dim, out_dim, kernel, key=key_second)
        self.shortcut = Conv(in_dim, out_dim, 1, key=key_shortcut) if in_dim != out_dim else None

    def __call__(self, x: Float[Array, "time in"], injected: Float[Array, " out"]) -> Float[Array, "time out"]:
        h = self.second(self.first(x) + injected)
        return h + (x if self.shortcut is None else self.shortcut(x))


class ConditionEmbedding(eqx.Module):
    """A condition through three layers, in_dim to dim to 4 dim to dim, with Mish between them."""

    entry: Linear
    rest: MLP

    def __init__(self, in_dim: int, dim: int, *, key: PRNGKeyArray):
        key_entry, key_rest = jr.split(key)
        self.entry = Linear(in_dim, dim, key=key_entry)
        self.rest = MLP(dim, dim, width=4 * dim, depth=1, activation="mish", key=key_rest)

    def __call__(self, condition: Float[Array, " in"]) -> Float[Array, " dim"]:
        return self.rest(jax.nn.mish(self.entry(condition)))


class UNet(eqx.Module):
    """The U-Net of the module docstring, for one window. `blocks` are in the order of use."""

    step: MLP
    conditions: tuple[ConditionEmbedding, ...]
    injection: Linear
    blocks: tuple[ResidualBlock, ...]
    halves: tuple[Conv, ...]
    doubles: tuple[Double, ...]
    exit: ConvBlock
    project: Conv
    dim: int = eqx.field(static=True)

    def __call__(
        self, x: Float[Array, "time channels"], noise: Float[Array, ""], conditions: tuple[Array, ...]
    ) -> Float[Array, "time channels"]:
        embedded = [embed(condition) for embed, condition in zip(self.conditions, conditions, strict=True)]
        embedding = jnp.concatenate([self.step(sinusoidal(4 * noise, self.dim)), *embedded])
        widths = [block.second.scale.shape[0] for block in self.blocks]
        ends = [sum(widths[: i + 1]) for i in range(len(widths) - 1)]
        steps = iter(zip(self.blocks, jnp.split(self.injection(jax.nn.mish(embedding)), ends), strict=True))

        def two_blocks(h):
            for _ in range(2):
                block, injected = next(steps)
                h = block(h, injected)
            return h

        skips = []
        for i in range(len(self.halves) + 1):
            x = two_blocks(x)
            skips.append(x)
            x = self.halves[i](x) if i < len(self.halves) else x
        x = two_blocks(x)
        for double in self.doubles:
            x = double(two_blocks(jnp.concatenate([x, skips.pop()], axis=-1)))
        return self.project(self.exit(x))


def make_unet(config: UNetConfig, time: int, channels: int, cond_dims: Sequence[int], *, key: PRNGKeyArray) -> UNet:
    """A U-Net for windows (time, channels). Raises WindowLengthError where `time` cannot be halved often enough."""
    halvings = len(config.dim_mults) - 1
    if time % 2**halvings:
        raise WindowLengthError(
            f"a U-Net of {halvings + 1} levels needs a window whose length is a multiple of {2**halvings}, got {time}: "
            f"change the window, or the number of entries of `dim_mults` {config.dim_mults}"
        )
    widths = [channels] + [config.dim * m for m in config.dim_mults]
    down = [pair for a, b in itertools.pairwise(widths) for pair in ((a, b), (b, b))]
    up = [pair for a, b in zip(widths[-2:0:-1], widths[:1:-1], strict=True) for pair in ((2 * b, a), (a, a))]
    shapes = [*down, *[(widths[-1], widths[-1])] * 2, *up]
    keys = iter(jr.split(key, len(shapes) + len(cond_dims) + 2 * halvings + 4))
    return UNet(
        step=MLP(config.dim, config.dim, width=4 * config.dim, depth=1, activation="mish", key=next(keys)),
        conditions=tuple(ConditionEmbedding(c, config.dim, key=next(keys)) for c in cond_dims),
        injection=Linear(config.dim * (1 + len(cond_dims)), sum(out for _, out in shapes), key=next(keys)),
        blocks=tuple(ResidualBlock(a, b, config.kernel, key=next(keys)) for a, b in shapes),
        halves=tuple(Conv(w, w, 3, stride=2, key=next(keys)) for w in widths[1:-1]),
        doubles=tuple(Double(w, key=next(keys)) for w in widths[-2:0:-1]),
        exit=ConvBlock(widths[1], widths[1], config.kernel, key=next(keys)),
        project=Conv(widths[1], channels, 1, key=next(keys)),
        dim=config.dim,
    )


def _torch_uniform(shape: tuple[int, ...], fan_in: int, key: PRNGKeyArray) -> tuple[Array, Array]:
    """A weight of the given shape and a bias, uniform in +-1/sqrt(fan_in)."""
    bound = 1 / math.sqrt(fan_in)
    key_weight, key_bias = jr.split(key)
    weight = jr.uniform(key_weight, shape, minval=-bound, maxval=bound)
    return weight, jr.uniform(key_bias, shape[-1:], minval=-bound, maxval=bound)
