"""A sampler and a denoiser as SynthER has them, in JAX, for the comparison of speed: unconditional diffusion of whole
transitions (s, a, r, s', terminal) by a residual perceptron.

    network   six residual blocks h + W silu(LN(h) + time), width 1024                        (SynthER, appendix B)
    process   EDM: 128 Heun steps, that is 255 evaluations, from sigma 80 to 0.002, rho 7      (Karras et al. 2022)

Lu et al. 2023 (arXiv 2303.06614). Departures: the time features are fixed and not learnt, which costs the same; the
churn of its stochastic sampler, which adds no evaluation, is left out; weights are random, on which speed does not
depend.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.diffusion.process import ProcessConfig, make_process
from dawm.nets.embed import fourier

WIDTH, BLOCKS, FEATURES, STEPS = 1024, 6, 128, 128


class ResidualMLP(eqx.Module):
    """The denoiser, for one transition."""

    entry: eqx.nn.Linear
    times: tuple[eqx.nn.Linear, eqx.nn.Linear]
    blocks: tuple[eqx.nn.Linear, ...]
    norms: tuple[eqx.nn.LayerNorm, ...]
    exit: eqx.nn.Linear

    def __init__(self, size: int, *, key: PRNGKeyArray):
        keys = jr.split(key, BLOCKS + 4)
        self.entry = eqx.nn.Linear(size, WIDTH, key=keys[0])
        self.exit = eqx.nn.Linear(WIDTH, size, key=keys[1])
        self.times = eqx.nn.Linear(FEATURES, FEATURES, key=keys[2]), eqx.nn.Linear(FEATURES, WIDTH, key=keys[3])
        self.blocks = tuple(eqx.nn.Linear(WIDTH, WIDTH, key=k) for k in keys[4:])
        self.norms = tuple(eqx.nn.LayerNorm(WIDTH) for _ in self.blocks)

    def __call__(self, x: Float[Array, " size"], noise: Float[Array, ""]) -> Float[Array, " size"]:
        time = self.times[1](jax.nn.silu(self.times[0](fourier(noise, FEATURES))))
        h = self.entry(x) + time
        for block, norm in zip(self.blocks, self.norms, strict=True):
            h = h + block(jax.nn.silu(norm(h)))
        return self.exit(h)


class Sampler(NamedTuple):
    """What is timed, and what it costs."""

    draw: Callable[[PRNGKeyArray], Array]  # key -> (count, size)
    evaluations: int  # of the network for a sample
    network: ResidualMLP


def make_sampler(size: int, count: int) -> Sampler:
    """`draw(key)`: `count` transitions of `size` numbers in one program."""
    settings = ProcessConfig(levels="karras", sigma_min=0.002, sigma_max=80.0, step="heun", steps=STEPS)
    process, network = make_process(settings), ResidualMLP(size, key=jr.key(0))

    @eqx.filter_jit
    def draw(network, key):
        denoise = process.wrap(lambda x, noise, _: network(x, noise))
        one = lambda key: process.sample(denoise, (size,), key)
        return jax.vmap(one)(jr.split(key, count))

    return Sampler(lambda key: draw(network, key), 2 * STEPS - 1, network)
