"""What the machine can do: single-precision matrix products at the shapes that matter, from JAX and from PyTorch.

Each call is a chain of dependent products, so that nothing can be left out or shared, in one program (JAX) or one loop
of calls (PyTorch). The best of these rates is the peak that other measurements are a share of.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from benchmarks.speed.comparison import Comparison, Program, Settings, Work, compare


class Shape(NamedTuple):
    """Products of x (batch, rows, ins) by w (batch, ins, ins); by two matrices, there and back, if `inner` is given."""

    name: str
    what: str
    rows: int
    ins: int
    batch: int = 1
    inner: int = 0  # x (rows, ins) by (ins, inner) by (inner, ins)
    transposed: bool = False  # x' w: the gradient of a layer's weights

    @property
    def flops(self) -> int:
        """Of one link of the chain."""
        return 2 * self.batch * self.rows * self.ins * (2 * self.inner or self.ins)


SHAPES = (
    Shape("square-256", "256 x 256 x 256", 256, 256),
    Shape("square-1024", "1024 x 1024 x 1024", 1024, 1024),
    Shape("inputs", "256 x 14 x 256, and back: a learner's first layer", 256, 14, inner=256),
    Shape("gradients", "x' w of 256 x 256: gradients of a layer", 256, 256, transposed=True),
    Shape("twins", "2 of 256 x 256 x 256: twin critics", 256, 256, batch=2),
    Shape("members", "5 of 256 x 128 x 128: the latent model's members", 256, 128, batch=5),
    Shape("ensemble", "7 of 256 x 200 x 200: the Gaussian ensemble", 256, 200, batch=7),
)


def comparisons(settings: Settings) -> list[Comparison]:
    """One for each shape."""
    return [
        Comparison(
            shape.name,
            f"f32 product {shape.what}",
            "GFLOP/s",
            (
                Program("JAX", lambda shape=shape: in_jax(shape, settings)),
                Program("PyTorch", lambda shape=shape: in_torch(shape, settings)),
            ),
        )
        for shape in SHAPES
    ]


def measure(settings: Settings) -> dict[str, Any]:
    """A row for each shape."""
    return {"rows": [compare(comparison, settings) for comparison in comparisons(settings)]}


def links(shape: Shape, settings: Settings) -> int:
    """Products in a call: 20 billion operations, or 0.2 where it is quick."""
    return max(1, round(settings.either(20_000, 200) * 1e6 / shape.flops))


def matrices(shape: Shape) -> list[np.ndarray]:
    """x and what it is multiplied by: orthogonal matrices, under which thousands of products neither grow nor vanish
    (numbers near zero are slow).
    """
    rng = np.random.default_rng(0)
    lead = (shape.batch,) if shape.batch > 1 else ()
    basis = np.linalg.qr(rng.normal(size=(*lead, shape.inner or shape.ins, shape.ins)))[0]
    weights = [np.swapaxes(basis, -1, -2), basis] if shape.inner else [basis]
    return [np.ascontiguousarray(m, np.float32) for m in (rng.normal(size=(*lead, shape.rows, shape.ins)), *weights)]


def in_jax(shape: Shape, settings: Settings) -> Work:
    import jax

    count, (x, *weights) = links(shape, settings), [jax.numpy.asarray(m) for m in matrices(shape)]

    @jax.jit
    def chain(x, weights):
        def link(_, x):
            for w in weights:
                x = (x.T if shape.transposed else x) @ w
            return x

        return jax.lax.fori_loop(0, count, link, x)

    return Work(lambda: chain(x, weights).block_until_ready(), count * shape.flops / 1e9)


def in_torch(shape: Shape, settings: Settings) -> Work:
    import torch

    torch.set_num_threads(settings.threads)
    count, (start, *weights) = links(shape, settings), [torch.from_numpy(m) for m in matrices(shape)]

    @torch.no_grad()
    def chain():
        x = start
        for _ in range(count):
            for w in weights:
                x = (x.T if shape.transposed else x) @ w
        return x

    return Work(chain, count * shape.flops / 1e9)
