"""The diffusion part by itself, without reinforcement learning: two Gaussians in the plane.

    python examples/diffusion_only.py
    python examples/diffusion_only.py --tiny     # hardly any training, and a poor fit: only to see that it works

`dawm.diffusion` knows a function denoise(x, sigma) and nothing else; `dawm.nets` gives the network inside it.
"""

from __future__ import annotations

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from dawm.diffusion.process import ProcessConfig, make_process
from dawm.nets.mlp import MLPBodyConfig
from dawm.nets.registry import make_body

MODES = jnp.array([[-1.0, 0.5], [1.0, -0.5]])


def draw(key, count):
    """Half of the points around each mode, with a standard deviation of 0.2; each a window of one step, (1, 2)."""
    key_mode, key_noise = jr.split(key)
    return (MODES[jr.randint(key_mode, (count,), 0, 2)] + 0.2 * jr.normal(key_noise, (count, 2)))[:, None]


def main(quick: bool = False) -> np.ndarray:
    process = make_process(ProcessConfig(parameterisation="edm", step="heun", steps=8, sigma_max=10.0))
    body = make_body(MLPBodyConfig(width=64, depth=2, embed=32), time=1, channels=2, cond_dims=(), key=jr.key(0))
    optimiser = optax.adam(1e-3)

    def loss(body, key):
        key_data, key_loss = jr.split(key)
        one = lambda x, key: process.loss(process.wrap(body), x, key)
        return jax.vmap(one)(draw(key_data, 256), jr.split(key_loss, 256)).mean()

    @eqx.filter_jit
    def update(body, opt, key):
        value, grads = eqx.filter_value_and_grad(loss)(body, key)
        change, opt = optimiser.update(grads, opt)
        return eqx.apply_updates(body, change), opt, value

    opt = optimiser.init(eqx.filter(body, eqx.is_inexact_array))
    for k in range(50 if quick else 3_000):
        body, opt, value = update(body, opt, jr.fold_in(jr.key(1), k))

    keys = jr.split(jr.key(2), 200 if quick else 5_000)
    points = np.asarray(eqx.filter_jit(jax.vmap(lambda key: process.sample(process.wrap(body), (1, 2), key)))(keys))[
        :, 0
    ]
    right = points[:, 0] > 0
    print(f"loss {float(value):.3f}; share of the right mode {right.mean():.2f} (0.5 in the data)")
    print("standard deviation within the right mode", points[right].std(0), "(0.2 in the data)")
    return points


if __name__ == "__main__":
    main(quick="--tiny" in sys.argv)
