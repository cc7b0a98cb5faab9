"""A small diffusion transformer over time: DiT with adaLN-Zero (Peebles & Xie 2023), one token per step of the window.

    c     = MLP([fourier(noise), conditions])
    h     = Linear(x) + positions + Linear(conditions)
    h     = h + gate_1(c) * Attention((1 + scale_1(c)) * LN(h) + shift_1(c))       per block; gates start at zero
    h     = h + gate_2(c) * MLP((1 + scale_2(c)) * LN(h) + shift_2(c))
    out   = Linear((1 + scale(c)) * LN(h) + shift(c)),        zero at the start of training.

Attention is over the whole window, both ways. Positions are fixed sinusoids, so one body serves any length. All shifts,
scales and gates are one matrix product of c per evaluation.

With `conditioning = "cross_attention"` c is of the noise alone, each condition is a token of its own, and between the
two branches of a block the window attends to these (as latent diffusion does: Rombach et al. 2022, arXiv 2112.10752):

    h     = h + Attention(query LN(h), keys and values of Linear_k(condition_k), k = 1, 2, ...)

Departure: in the adaptive kind conditions are also added to every token, so that exact numbers (the state, the action)
reach the first block without passing through the embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.nets.embed import fourier, sinusoidal
from dawm.nets.linear import Linear
from dawm.nets.mlp import MLP, standardise


@dataclass(frozen=True)
class TransformerConfig:
    """Diffusion transformer, for windows longer than about ten steps."""

    kind: Literal["transformer"] = "transformer"
    width: int = 256  # of a token; a multiple of 2 and of heads
    depth: int = 4  # blocks
    heads: int = 4
    expansion: int = 4  # hidden units of a block's MLP, in units of width
    embed: int = 128  # size of the embedding of noise and conditions; even
    conditioning: Literal["adaptive", "cross_attention"] = "adaptive"

    def __post_init__(self):
        for name in ("width", "depth", "heads", "expansion", "embed"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads or self.width % 2 or self.embed % 2:
            raise ValueError(
                f"width must be a multiple of 2 and of heads, and embed even; got width {self.width}, "
                f"heads {self.heads}, embed {self.embed}"
            )


def attention(
    query: Float[Array, "q width"], key: Float[Array, "k width"], value: Float[Array, "k width"], heads: int
) -> Float[Array, "q width"]:
    """Scaled dot-product attention of `heads` heads (Vaswani et al. 2017, eq. 1)."""
    width = query.shape[-1]
    split = lambda x: x.reshape(len(x), heads, width // heads)
    scores = jnp.einsum("qhd,khd->hqk", split(query), split(key)) / jnp.sqrt(width // heads)
    return jnp.einsum("hqk,khd->qhd", jax.nn.softmax(scores, axis=-1), split(value)).reshape(query.shape)


class CrossAttention(eqx.Module):
    """What a window takes from the tokens of its conditions; nothing at the start of training."""

    query: Linear
    key_value: Linear
    merge: Linear
    heads: int = eqx.field(static=True)

    def __init__(self, config: TransformerConfig, *, key: PRNGKeyArray):
        key_query, key_told, key_out = jr.split(key, 3)
        self.query = Linear(config.width, config.width, key=key_query)
        self.key_value = Linear(config.width, 2 * config.width, key=key_told)
        self.merge = Linear(config.width, config.width, zero=True, key=key_out)
        self.heads = config.heads

    def __call__(self, h: Float[Array, "time width"], told: Float[Array, "n width"]) -> Float[Array, "time width"]:
        key, value = jnp.split(jax.vmap(self.key_value)(told), 2, -1)
        return jax.vmap(self.merge)(attention(jax.vmap(self.query)(standardise(h)), key, value, self.heads))


class Block(eqx.Module):
    """Attention and MLP of one block, modulated by six vectors; between them a look at the conditions, if tokens."""

    query_key_value: Linear
    merge: Linear
    mlp: MLP
    cross: CrossAttention | None
    heads: int = eqx.field(static=True)

    def __init__(self, config: TransformerConfig, cross: bool, *, key: PRNGKeyArray):
        key_in, key_out, key_mlp = jr.split(key, 3)
        width, hidden = config.width, config.expansion * config.width
        self.query_key_value = Linear(width, 3 * width, key=key_in)
        self.merge = Linear(width, width, key=key_out)
        self.mlp = MLP(width, width, width=hidden, depth=1, activation="gelu", key=key_mlp)
        self.cross = CrossAttention(config, key=jr.fold_in(key, 1)) if cross else None
        self.heads = config.heads

    def attend(self, h: Float[Array, "time width"]) -> Float[Array, "time width"]:
        query, key, value = jnp.split(jax.vmap(self.query_key_value)(h), 3, -1)
        return jax.vmap(self.merge)(attention(query, key, value, self.heads))

    def __call__(
        self, h: Float[Array, "time width"], modulation: Float[Array, "6 width"], told: Float[Array, "n width"] | None
    ) -> Float[Array, "time width"]:
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation
        h = h + gate_1 * self.attend((1 + scale_1) * standardise(h) + shift_1)
        if self.cross is not None:
            assert told is not None
            h = h + self.cross(h, told)
        return h + gate_2 * jax.vmap(self.mlp)((1 + scale_2) * standardise(h) + shift_2)


class Transformer(eqx.Module):
    """The transformer of the module docstring, for one window."""

    embedding: MLP
    modulation: Linear
    entry: Linear
    direct: Linear | None  # of the adaptive kind
    tokens: tuple[Linear, ...]  # of the other: one for each condition
    blocks: tuple[Block, ...]
    exit: Linear
    embed: int = eqx.field(static=True)

    def __call__(
        self, x: Float[Array, "time channels"], noise: Float[Array, ""], conditions: tuple[Array, ...]
    ) -> Float[Array, "time channels"]:
        told = None
        if self.tokens:
            told = jnp.stack([token(given) for token, given in zip(self.tokens, conditions, strict=True)])
        at = fourier(noise, self.embed)
        c = self.embedding(at if self.tokens else jnp.concatenate([at, *conditions]))
        h = jax.vmap(self.entry)(x)
        h = h + sinusoidal(jnp.arange(x.shape[0], dtype=x.dtype), h.shape[-1])
        if self.direct is not None:
            h = h + self.direct(jnp.concatenate(conditions))
        vectors = self.modulation(jax.nn.silu(c)).reshape(-1, h.shape[-1])
        for i, block in enumerate(self.blocks):
            h = block(h, vectors[6 * i : 6 * i + 6], told)
        shift, scale = vectors[-2:]
        return jax.vmap(self.exit)((1 + scale) * standardise(h) + shift)


def make_transformer(
    config: TransformerConfig, time: int, channels: int, cond_dims: Sequence[int], *, key: PRNGKeyArray
) -> Transformer:
    """A body for windows (time, channels) under conditions of the given sizes."""
    del time  # any length: positions are sinusoids
    key_embedding, key_modulation, key_entry, key_direct, key_exit, *key_blocks = jr.split(key, 5 + config.depth)
    cross = config.conditioning == "cross_attention" and bool(cond_dims)
    width, embed, conditions = config.width, config.embed, 0 if cross else sum(cond_dims)
    key_tokens = jr.split(jr.fold_in(key, 1), len(cond_dims)) if cross else ()
    return Transformer(
        embedding=MLP(embed + conditions, embed, width=embed, depth=1, activation="silu", key=key_embedding),
        modulation=Linear(embed, (6 * config.depth + 2) * width, zero=True, key=key_modulation),
        entry=Linear(channels, width, key=key_entry),
        direct=Linear(conditions, width, key=key_direct) if conditions else None,
        tokens=tuple(Linear(n, width, key=k) for n, k in zip(cond_dims if cross else (), key_tokens, strict=True)),
        blocks=tuple(Block(config, cross, key=k) for k in key_blocks),
        exit=Linear(width, channels, zero=True, key=key_exit),
        embed=embed,
    )
