"""Least squares from sums over blocks of rows, in double precision: for what is solved for and not trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

ROWS = 100_000  # no more are needed for a few hundred weights
BLOCK = 8_192


@dataclass(frozen=True)
class Sums:
    """What least squares need of rows: F'F, F'Y and their number."""

    gram: Float[np.ndarray, "f f"]
    product: Float[np.ndarray, "f out"]
    rows: int

    @staticmethod
    def over(blocks: Iterable[tuple[np.ndarray, np.ndarray]]) -> Sums:
        """The sums of blocks of (features, outputs), at least one."""
        first, *rest = (Sums(f.T @ f, f.T @ y, len(f)) for f, y in blocks)
        return sum(rest, first)

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.gram + other.gram, self.product + other.product, self.rows + other.rows)

    def solve(self, ridge: Float[np.ndarray, " f"]) -> Float[np.ndarray, "f out"]:
        """Weights under a ridge per row; a feature whose ridge is infinite has none."""
        used = np.isfinite(ridge)
        out = np.zeros_like(self.product)
        penalised = self.gram[np.ix_(used, used)] + self.rows * np.diag(ridge[used])
        out[used] = np.linalg.solve(penalised, self.product[used])
        return out


def thin(mask: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " k"]:
    """The rows of a mask, evenly thinned to at most ROWS."""
    rows = np.flatnonzero(mask)
    return rows[np.linspace(0, len(rows) - 1, ROWS).astype(int)] if len(rows) > ROWS else rows


def blocks(rows: Int[np.ndarray, " k"]) -> list[Int[np.ndarray, " b"]]:
    """The rows in blocks of at most BLOCK."""
    return np.array_split(rows, -(-len(rows) // BLOCK))
