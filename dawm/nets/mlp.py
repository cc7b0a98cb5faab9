"""Perceptrons: the plain one of actors, critics and inverse dynamics, and the residual denoiser body on flat windows.

The body follows the residual MLP denoisers of SynthER and PolyGRAD, with noise and conditions entering each block as a
shift and a scale of its normalised input, as in DiT (Peebles & Xie 2023):

    c   = MLP([fourier(noise), conditions])
    h_0 = Linear(x) + Linear(conditions)
    h_i = h_{i-1} + Linear(silu(Linear((1 + scale_i(c)) * LN(h_{i-1}) + shift_i(c))))
    out = Linear((1 + scale(c)) * LN(h_n) + shift(c)),        zero at the start of training.

The two parts of h_0 are layers of their own, each scaled by its own number of inputs: in one layer many conditions
drown few channels, the blocks see x nearly linearly, and two modes are not found (a test holds us to it).

All shifts and scales are one matrix product of c per evaluation. With `conditioning = "noise"` c = MLP(fourier(noise)):
samples that are drawn side by side then share c, and rows of a batch that share a level do (`ProcessConfig.shared`),
which saves a third of a sample's operations. With "concatenation" nothing is shifted or scaled: h_0 alone sees the
conditions and the embedded noise, as in the denoisers of SynthER's kind. Positions are told apart by place, so a body
serves one window length.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.nets.embed import fourier
from dawm.nets.linear import Linear, linears

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "gelu": jax.nn.gelu,
    "elu": jax.nn.elu,
    "mish": jax.nn.mish,
    "tanh": jnp.tanh,
}


class MLP(eqx.Module):
    """`depth` hidden layers of `width` units between in_dim inputs and out_dim outputs.

    Weights and biases start uniform in +-1/sqrt(fan_in), PyTorch's default for Linear, on which CORL's settings rely.
    With `layer_norm` each hidden layer is Linear, LayerNorm, activation. `final` names the activation of the output.
    """

    layers: tuple[Linear, ...]
    norms: tuple[eqx.nn.LayerNorm, ...]
    activation: str = eqx.field(static=True)
    final: str | None = eqx.field(static=True)

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        width: int,
        depth: int,
        activation: str = "relu",
        final: str | None = None,
        layer_norm: bool = False,
        key: PRNGKeyArray,
    ):
        ins, outs = [in_dim] + [width] * depth, [width] * depth + [out_dim]
        self.layers = linears(list(zip(ins, outs, strict=True)), key=key)
        self.norms = tuple(eqx.nn.LayerNorm(width) for _ in range(depth)) if layer_norm else ()
        self.activation = activation
        self.final = final

    def hidden(self, x: Float[Array, " in"]) -> Float[Array, " width"]:
        """The last hidden layer; `x` itself where there is none."""
        for i, layer in enumerate(self.layers[:-1]):
            x = layer(x)
            x = ACTIVATIONS[self.activation](self.norms[i](x) if self.norms else x)
        return x

    def __call__(self, x: Float[Array, " in"]) -> Float[Array, " out"]:
        x = self.layers[-1](self.hidden(x))
        return ACTIVATIONS[self.final](x) if self.final else x


def standardise(x: Float[Array, "*b features"], eps: float = 1e-6) -> Float[Array, "*b features"]:
    """LayerNorm without parameters over the last axis: adaptive layers bring their own shift and scale."""
    return jax.nn.standardize(x, axis=-1, epsilon=eps)


@dataclass(frozen=True)
class MLPBodyConfig:
    """Residual MLP on the flattened window: the fastest body, and the default for windows of up to ten steps."""

    kind: Literal["mlp"] = "mlp"
    width: int = 256  # of the residual stream
    depth: int = 3  # residual blocks of two layers each
    embed: int = 128  # size of the embedding of noise and conditions; even
    conditioning: Literal["adaptive", "noise", "concatenation"] = "adaptive"  # what shifts and scales: see the module

    def __post_init__(self):
        for name in ("width", "depth", "embed"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.embed % 2:
            raise ValueError(f"embed must be even, got {self.embed}")


class Block(eqx.Module):
    """One residual branch, without its modulation."""

    inner: Linear
    outer: Linear

    def __init__(self, inner: Linear, outer: Linear):
        self.inner, self.outer = inner, outer

    def __call__(self, x: Float[Array, " width"]) -> Float[Array, " width"]:
        return self.outer(jax.nn.silu(self.inner(x)))


class MLPBody(eqx.Module):
    """The residual MLP of the module docstring, for one window."""

    embedding: MLP
    modulation: Linear | None  # None where conditions are concatenated
    entry: Linear
    given: Linear | None  # None without conditions
    blocks: tuple[Block, ...]
    exit: Linear
    embed: int = eqx.field(static=True)
    modulated_by_noise: bool = eqx.field(static=True)  # alone

    def __call__(
        self, x: Float[Array, "time channels"], noise: Float[Array, ""], conditions: tuple[Array, ...]
    ) -> Float[Array, "time channels"]:
        h, at = self.entry(x.ravel()), fourier(noise, self.embed)
        if self.modulation is None:
            assert self.given is not None
            h = h + self.given(jnp.concatenate([self.embedding(at), *conditions]))
            for block in self.blocks:
                h = h + block(standardise(h))
            return self.exit(standardise(h)).reshape(x.shape)
        c = self.embedding(at if self.modulated_by_noise else jnp.concatenate([at, *conditions]))
        shifts, scales = self.modulation(jax.nn.silu(c)).reshape(2, len(self.blocks) + 1, -1)
        if self.given is not None:
            h = h + self.given(jnp.concatenate(conditions))
        for i, block in enumerate(self.blocks):
            h = h + block((1 + scales[i]) * standardise(h) + shifts[i])
        return self.exit((1 + scales[-1]) * standardise(h) + shifts[-1]).reshape(x.shape)


def make_mlp_body(
    config: MLPBodyConfig, time: int, channels: int, cond_dims: Sequence[int], *, key: PRNGKeyArray
) -> MLPBody:
    """A body for windows (time, channels) under conditions of the given sizes."""
    key_embedding, key_rest = jr.split(key)
    width, embed, conditions = config.width, config.embed, sum(cond_dims)
    embedded = embed + conditions if config.conditioning == "adaptive" else embed
    modulated, given = 2 * (config.depth + 1) * width, conditions
    if config.conditioning == "concatenation":
        modulated, given = 0, embed + conditions
    sizes = [(time * channels, width), (embed, modulated), (given, width), *[(width, width)] * (2 * config.depth)]
    entry, modulation, told, *inside = linears(sizes, key=key_rest)
    return MLPBody(
        embedding=MLP(embedded, embed, width=embed, depth=1, activation="silu", key=key_embedding),
        modulation=modulation if modulated else None,
        entry=entry,
        given=told if given else None,
        blocks=tuple(Block(*pair) for pair in zip(inside[::2], inside[1::2], strict=True)),
        exit=Linear(width, time * channels, zero=True),
        embed=embed,
        modulated_by_noise=config.conditioning == "noise",
    )
