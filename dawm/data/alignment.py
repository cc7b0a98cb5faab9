"""Is each row a true (s, a, r, s')? Proofs where the arrays allow one, statistics where they do not.

Proof: inside an episode the next observation of row t *is* the observation of row t + 1, bit for bit in an honest
log. From this equality follow four faults: rows that do not follow each other (an end was not marked), next
observations shifted by another number of rows, next observations taken from the following episode, and observations
that never change.

Statistics: whether the action of a row, and not that of its neighbour, explains the change of the observation. With
the changes regressed on the observation, let gain(k) be the share of the remaining variance that a_{t+k} explains. In
aligned data gain(0) leads; a_{t+1} may explain something as well, since the policy saw s_{t+1} when it chose it.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from dawm.data.dataset import Dataset

Severity = Literal["error", "warning", "note"]


class Finding(NamedTuple):
    """Something that a check found. An error means that training on these data gives wrong results."""

    severity: Severity
    check: str
    message: str  # field, place and remedy


def inside(data: Dataset) -> Int[np.ndarray, " m"]:
    """Rows that have a following row in their own episode."""
    mask = np.ones(len(data), bool)
    mask[data.episode_ends - 1] = False
    return np.flatnonzero(mask)


def same(a: Float[np.ndarray, "m obs"], b: Float[np.ndarray, "m obs"], unit: np.ndarray) -> Bool[np.ndarray, " m"]:
    """Rows that agree up to rounding: within 1e-5 relative and 1e-5 of each dimension's spread `unit`."""
    with np.errstate(invalid="ignore", over="ignore"):
        return (np.abs(a - b) <= 1e-5 * (unit + np.abs(b))).all(axis=1) | ((a == b) | (np.isnan(a) & np.isnan(b))).all(
            axis=1
        )


def spread(obs: Float[np.ndarray, "n obs"]) -> Float[np.ndarray, " obs"]:
    """Standard deviation of each dimension over its finite values; 0 where it is constant."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.std(np.where(np.isfinite(obs), obs, 0.0).astype(np.float64), axis=0)


def measure(data: Dataset) -> dict[str, Any]:
    """Facts of the proof: pairs compared, share equal, share equal up to rounding, largest gap in deviations."""
    rows, unit = inside(data), spread(data.obs)
    if len(rows) == 0:
        return {"pairs": 0, "equal": None, "close": None, "max_gap": None}
    ahead, behind = data.next_obs[rows], data.obs[rows + 1]
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(ahead - behind) / np.where(unit > 0, unit, 1.0)
    return {
        "pairs": len(rows),
        "equal": float((ahead == behind).all(axis=1).mean()),
        "close": float(same(ahead, behind, unit).mean()),
        "max_gap": float(np.nanmax(np.where(np.isfinite(gap), gap, np.nan), initial=0.0)),
    }


def continuity(data: Dataset) -> list[Finding]:
    """next_obs[t] is obs[t + 1] inside every episode."""
    rows, unit = inside(data), spread(data.obs)
    if len(rows) == 0:
        return []
    broken = rows[~same(data.next_obs[rows], data.obs[rows + 1], unit)]
    if len(broken) == 0:
        return []
    shift = shifted_by(data, unit)
    if shift is not None:
        what = "the observation of the same row" if shift == 0 else f"the observation {shift:+d} rows away"
        text = f"`next_obs` is {what} and not that of the next row: it is shifted. Build it again, inside each episode."
        return [Finding("error", "next_obs_shift", text)]
    first = int(broken[0])
    text = (
        f"`next_obs` differs from the following observation in {len(broken):,} of {len(rows):,} places inside episodes;"
        f" the first is row {first:,} (episode {int(data.episode_of[first])}). "
    )
    if len(broken) < 0.1 * len(rows):
        text += (
            "An end of an episode is probably not marked there: mark time limits and resets (`timeouts` or "
            "`truncated`)."
        )
    else:
        text += "The rows are probably shuffled or thinned: keep them in time order, or mark every break as a cut."
    return [Finding("error", "continuity", text)]


def shifted_by(data: Dataset, unit: np.ndarray) -> int | None:
    """The k other than 1 for which next_obs[t] is obs[t + k] almost everywhere, None if there is none."""
    for k in (0, 2, -1, 3, -2):
        rows = np.arange(max(0, -k), len(data) - max(0, k))
        rows = rows[data.episode_of[rows] == data.episode_of[rows + k]]
        if len(rows) > 10 and same(data.next_obs[rows], data.obs[rows + k], unit).mean() > 0.95:
            moving = ~same(data.obs[rows[:-1]], data.obs[rows[:-1] + 1], unit)
            if moving.mean() > 0.5:
                return k
    return None


def boundaries(data: Dataset) -> list[Finding]:
    """No next observation is the first observation of the next episode, unless one recording was cut into pieces."""
    ends, unit = data.episode_ends[:-1], spread(data.obs)
    if len(ends) == 0:
        return []
    last = ends - 1
    moved = ~same(data.obs[last], data.obs[ends], unit)
    crossed = last[same(data.next_obs[last], data.obs[ends], unit) & moved]
    if len(crossed) == 0:
        return []
    row = int(crossed[0])
    where = f"{len(crossed):,} of {len(last):,} ends; the first is row {row:,} (episode {int(data.episode_of[row])})"
    if not data.terminal[crossed].any() and not is_jump(data, crossed, unit):
        text = (
            f"an episode goes on where the one before ended, at {where}: one recording cut into pieces. Pieces of one"
            " recording can fall on both sides of the split; leave it whole if the pieces belong together."
        )
        return [Finding("note", "joined_episodes", text)]
    text = (
        f"`next_obs` is the first observation of the *next* episode at {where}: it was shifted across the end of the "
        "episode."
    )
    return [Finding("error", "next_obs_crosses_episodes", text + " Store the true one, or drop those rows where cut.")]


def is_jump(data: Dataset, rows: np.ndarray, unit: np.ndarray) -> bool:
    """Whether the observation changes in `rows` (their median) by more than in 99 % of steps inside episodes."""
    normal = inside(data)
    if len(normal) < 20:
        return True
    scale = np.where(unit > 0, unit, 1.0)
    size = lambda at: np.linalg.norm((data.next_obs[at] - data.obs[at]) / scale, axis=1)
    return bool(np.median(size(rows)) > np.quantile(size(normal), 0.99))


def drift(data: Dataset) -> list[Finding]:
    """Episode k is not shifted by k rows, as it is when T + 1 observations an episode were paired with T actions."""
    unit = spread(data.obs)
    scale = np.where(unit > 0, unit, 1.0)
    number = np.arange(data.episodes)
    episodes = number[(number >= 2) & (number <= 100) & (data.lengths > number + 2)]
    normal = inside(data)
    if len(episodes) < 5:
        return []
    rows = data.episode_starts[episodes] + episodes - 1  # the last row before the episode's own observations begin
    size = lambda at: np.linalg.norm((data.obs[at + 1] - data.obs[at]) / scale, axis=1)
    jump = (size(rows) > np.quantile(size(normal), 0.9)) & (size(rows) > 2 * np.maximum(size(rows - 1), size(rows + 1)))
    if jump.mean() < 0.8:
        return []
    text = (
        "the observations jump after k rows in episode k: each episode's observations begin k rows too early. A "
        "reader has"
        " paired T + 1 observations with T actions for the file as a whole. Read it again, episode by episode."
    )
    return [Finding("error", "observation_drift", text)]


def action_gains(data: Dataset, most: int = 8_000) -> dict[int, float] | None:
    """gain(k) for k = -1, 0, 1 (see the module's text), None where there are too few steps to tell."""
    rows = inside(data)
    rows = rows[np.isin(rows - 1, rows) & (data.episode_of[rows] == data.episode_of[np.maximum(rows - 1, 0)])]
    width = data.obs.shape[1] + data.action.shape[1] + 1
    if len(rows) < 20 * width:
        return None
    rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
    change = (data.next_obs[rows] - data.obs[rows]).astype(np.float64)
    moving = change.std(axis=0) > 0
    if not moving.any() or not np.isfinite(change).all() or not np.isfinite(data.action).all():
        return None
    change = (change - change.mean(axis=0))[:, moving] / change.std(axis=0)[moving]
    base = design(data.obs[rows])
    rest = change - base @ np.linalg.lstsq(base, change, rcond=1e-10)[0]
    left = (rest**2).mean(axis=0)
    useful = left > 1e-8
    if not useful.any():
        return None
    gains = {}
    for k in (-1, 0, 1):
        action = design(data.action[rows + k])
        action = action - base @ np.linalg.lstsq(base, action, rcond=1e-10)[0]
        after = rest - action @ np.linalg.lstsq(action, rest, rcond=1e-10)[0]
        gains[k] = float(1 - ((after**2).mean(axis=0)[useful] / left[useful]).min())
    return gains


def design(columns: np.ndarray) -> np.ndarray:
    """Standardised columns and a constant one."""
    columns = columns.astype(np.float64)
    deviation = columns.std(axis=0)
    return np.column_stack(
        [np.ones(len(columns)), (columns - columns.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)]
    )


def actions(data: Dataset) -> list[Finding]:
    """The action of a row explains its change of observation better than that of the neighbouring rows."""
    gains = action_gains(data)
    if gains is None:
        return []
    best = max(gains, key=lambda k: gains[k])
    if best == 0 or gains[best] < 0.1 or 1 - gains[best] > 0.5 * (1 - gains[0]):
        return []
    other = "or the policy is deterministic" if best == 1 else "or the system reacts one step late"
    text = (
        f"the change of the observation in a row is explained by the action {best:+d} row away"
        f" ({100 * gains[best]:.0f} % of what the observation leaves open) better than by its own"
        f" ({100 * gains[0]:.0f} %): actions and observations are shifted against each other, {other}."
        " Compare a few rows with the recorder."
    )
    return [Finding("warning", "action_alignment", text)]
