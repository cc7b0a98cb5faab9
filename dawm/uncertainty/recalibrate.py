"""Recalibration: what forecasts said of some held-out episodes corrects what they say of others.

A correction has a factor on the spread and a table that maps levels to levels, one for each step and dimension:
the recalibrated quantile at p is the forecast's own quantile at table(p). Samples keep their ranks (empirical copula
coupling, Schefzik et al. 2013), so what a model knows of the dependence of dimensions and steps is kept.

`temperature`  one factor, which minimises the CRPS; the table is the identity
`isotonic`     table = quantiles of the levels of the observations (Kuleshov et al. 2018), after the temperature; with
               few observations it leans towards that of all dimensions together
`conformal`    symmetric table: the interval of level p is widened or narrowed to the one that held
               ceil((n + 1) p) of n observations (split conformal, Vovk et al. 2005; Romano et al. 2019). For n rows
               that are exchangeable with the next one it covers with at least probability p, whatever the model, for
               every p up to n / (n + 1); rows of one episode are not exchangeable with those of another, so the
               guarantee holds for one row per episode and approximately otherwise.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from dawm.errors import FileError
from dawm.run.checkpoint import write_whole
from dawm.uncertainty.quantiles import level_of, value_at

Method = Literal["temperature", "isotonic", "conformal"]
METHODS = ("temperature", "isotonic", "conformal")

KNOTS = np.concatenate([[0.0], np.linspace(0.005, 0.995, 199), [1.0]])  # levels of the table
FACTORS = np.geomspace(0.25, 8.0, 141)  # temperatures that are tried
LEAN = 200  # observations at which a dimension's own table counts as much as that of all dimensions


@dataclass(frozen=True, eq=False)
class Recalibration:
    """Factors and tables of `steps` steps and `d` dimensions."""

    method: str
    factor: Float[np.ndarray, "steps d"]
    table: Float[np.ndarray, "steps d knots"]
    observations: int  # windows that it was fitted on
    episodes: int

    def apply(self, samples: Float[np.ndarray, "m n steps d"]) -> Float[np.ndarray, "m n steps d"]:
        """Samples of the recalibrated forecast, with the ranks of the given ones; fewer steps than fitted are fine."""
        steps, m = samples.shape[2], len(samples)
        samples = tempered(samples, self.factor[:steps])
        asked = np.arange(1, m + 1) / (m + 1)  # mean levels of m ordered draws
        out = np.empty_like(samples)
        for h, d in np.ndindex(steps, samples.shape[3]):
            column = samples[:, :, h, d]
            levels = np.interp(asked, KNOTS, self.table[h, d])
            values = value_at(column, np.broadcast_to(levels[:, None], column.shape))
            ranks = np.argsort(np.argsort(column, 0, kind="stable"), 0, kind="stable")
            out[:, :, h, d] = np.take_along_axis(values, ranks, 0)
        return out

    def levels(
        self, samples: Float[np.ndarray, "m n steps d"], observed: Float[np.ndarray, "n steps d"]
    ) -> Float[np.ndarray, "n steps d"]:
        """Levels of observations under the recalibrated forecast: uniform if it is calibrated."""
        steps = samples.shape[2]
        raw = level_of(tempered(samples, self.factor[:steps]), observed)
        out = np.empty_like(raw)
        for h, d in np.ndindex(raw.shape[1:]):
            out[:, h, d] = np.interp(raw[:, h, d], strictly(self.table[h, d]), KNOTS)
        return out

    @property
    def fingerprint(self) -> str:
        """SHA-256 of factors and tables."""
        digest = hashlib.sha256(np.ascontiguousarray(self.factor, np.float64).tobytes())
        digest.update(np.ascontiguousarray(self.table, np.float64).tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        content = {
            "method": self.method,
            "observations": self.observations,
            "episodes": self.episodes,
            "factor": self.factor.tolist(),
            "table": self.table.tolist(),
        }
        write_whole(path, lambda file: file.write(json.dumps(content).encode()))

    @staticmethod
    def load(path: Path) -> Recalibration:
        """Read it back. Raises FileError where the file is damaged."""
        try:
            content: dict[str, Any] = json.loads(path.read_text())
            factor, table = np.asarray(content["factor"], float), np.asarray(content["table"], float)
            if (*factor.shape, len(KNOTS)) != table.shape:
                raise ValueError("factors and tables do not fit")
            return Recalibration(content["method"], factor, table, content["observations"], content["episodes"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FileError(
                f"`{path}` is damaged ({error}). Make it again with: dawm calibrate {path.parent}"
            ) from None


def fit_recalibration(
    method: Method,
    samples: Float[np.ndarray, "m n steps d"],
    observed: Float[np.ndarray, "n steps d"],
    valid: Bool[np.ndarray, "n steps"],
    *,
    episodes: int,
) -> Recalibration:
    """The correction that a method finds on these windows; steps that are not `valid` do not count."""
    steps, dims = observed.shape[1:]
    identity = np.broadcast_to(KNOTS, (steps, dims, len(KNOTS))).copy()
    factor = np.ones((steps, dims))
    if method in ("temperature", "isotonic"):
        for h, d in np.ndindex(steps, dims):
            rows = valid[:, h]
            if rows.any():
                factor[h, d] = best_factor(samples[:, rows, h, d], observed[rows, h, d])
    table = identity
    if method != "temperature":
        levels = level_of(tempered(samples, factor), observed)
        build = _isotonic if method == "isotonic" else _conformal
        for h in range(steps):
            if valid[:, h].any():
                table[h] = build(levels[valid[:, h], h])
    return Recalibration(method, factor, table, int(valid[:, 0].sum()), episodes)


def best_factor(samples: Float[np.ndarray, "m n"], observed: Float[np.ndarray, " n"]) -> float:
    """The factor on the spread with the smallest mean CRPS."""
    m, mean = len(samples), samples.mean(0)
    off, truth = samples - mean, observed - mean
    if m == 1 or np.abs(off).max() == 0:
        return 1.0
    weight = (2 * np.arange(m) - m + 1)[:, None]
    pairs = float((weight * np.sort(off, 0)).sum(0).mean()) / (m * (m - 1))
    scores = [np.abs(factor * off - truth).mean() - factor * pairs for factor in FACTORS]
    return float(FACTORS[int(np.argmin(scores))])


def tempered(samples: Float[np.ndarray, "m n steps d"], factor: Float[np.ndarray, "steps d"]) -> np.ndarray:
    """Samples moved away from their mean (or towards it) by a factor."""
    mean = samples.mean(0)
    return mean + factor * (samples - mean)


def strictly(table: Float[np.ndarray, " knots"]) -> Float[np.ndarray, " knots"]:
    """The same table made strictly increasing by the smallest slope, so that it can be inverted."""
    return np.maximum.accumulate(table) + 1e-9 * np.arange(len(table))


def _isotonic(levels: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d knots"]:
    inner = KNOTS[1:-1]
    together = np.quantile(levels, inner)
    own = np.quantile(levels, inner, axis=0).T
    trust = len(levels) / (len(levels) + LEAN)
    return _closed(trust * own + (1 - trust) * together)


def _conformal(levels: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d knots"]:
    n, inner = len(levels), KNOTS[1:-1]
    widths = np.sort(2 * np.abs(levels - 0.5), 0)  # level of the smallest central interval that holds the observation
    rank = np.ceil((n + 1) * np.abs(2 * inner - 1)).astype(int)
    needed = widths[np.clip(rank, 1, n) - 1]  # beyond n / (n + 1) the widest that was seen
    return _closed((0.5 + np.sign(inner - 0.5)[:, None] * needed / 2).T)


def _closed(inner: Float[np.ndarray, "d inner"]) -> Float[np.ndarray, "d knots"]:
    """The table with its ends, 0 at 0 and 1 at 1."""
    ends = np.zeros((len(inner), 1)), np.ones((len(inner), 1))
    return np.concatenate([ends[0], np.clip(inner, 1e-9, 1 - 1e-9), ends[1]], 1)
