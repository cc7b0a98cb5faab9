"""Checks of a dataset's values and structure, one function each: pure, from a Dataset to findings.

Whether rows are true transitions is checked in `alignment.py`; `doctor.py` runs everything and reports. Each message
names the field, the place and the remedy.
"""

from __future__ import annotations

import numpy as np

from dawm.data.alignment import Finding
from dawm.data.arrays import next_obs_unknown
from dawm.data.dataset import BLOCK, Dataset
from dawm.errors import DatasetError

FEW_EPISODES = 10  # below this, a held-out share says little
LARGE_REWARD = 1e4  # critics regress sums of about a hundred rewards in float32
FAR = 1e3  # times the interquartile range: beyond it a value is an outlier


def require_usable(data: Dataset) -> None:
    """Raise DatasetError if no training can use the data at all; `load` calls it."""
    for check in (finite, bounds):
        errors = [finding for finding in check(data) if finding.severity == "error"]
        if errors:
            raise DatasetError(f"{data.info.name}: {errors[0].message}")


# -- values -----------------------------------------------------------------------------------------------------------


def finite(data: Dataset) -> list[Finding]:
    """Every value is a finite number."""
    found = []
    for name in ("obs", "action", "reward", "next_obs"):
        array = getattr(data, name)
        if all(np.isfinite(array[first : first + BLOCK]).all() for first in range(0, len(array), BLOCK)):
            continue
        bad = ~np.isfinite(array)
        row = int(np.argmax(bad.reshape(len(array), -1).any(axis=1)))
        text = f"`{name}` has {int(bad.sum()):,} non-finite values in {array.size:,}; the first is in row {row:,}"
        if array.ndim == 2:
            text += f", dimension {int(np.argmax(bad[row]))}"
        text += f" (episode {int(data.episode_of[row])}). Remove or repair those steps at the source"
        if np.isinf(array).any():
            text += "; infinities often come from storing large numbers as float16"
        found.append(Finding("error", "finite", text + "."))
    return found


def constant(data: Dataset) -> list[Finding]:
    """Every dimension moves."""
    found = []
    for name in ("obs", "action"):
        array = getattr(data, name)
        still = np.flatnonzero((array == array[:1]).all(axis=0))
        if len(still) and len(data) > 1:
            shown = ", ".join(f"{i} (always {array[0, i]:g})" for i in still[:5])
            text = f"`{name}` never changes in {len(still)} of {array.shape[1]} dimensions: {shown}. "
            text += "A sensor or column that was not recorded? Harmless if it is meant; else repair or leave it out."
            found.append(Finding("warning", "constant", text))
    return found


def outliers(data: Dataset) -> list[Finding]:
    """No value lies a thousand interquartile ranges from the middle: a slip of a sensor, a unit or a decimal point."""
    found = []
    for name in ("obs", "action", "reward"):
        array = getattr(data, name).reshape(len(data), -1)
        if not np.isfinite(array).all():
            continue
        low, middle, high = np.quantile(array, [0.25, 0.5, 0.75], axis=0)
        wide = high > low
        far = (np.abs(array - middle) > FAR * (high - low)) & wide
        if far.any():
            row, dim = np.argwhere(far)[0]
            text = (
                f"`{name}` has {int(far.sum()):,} values more than {FAR:.0f} interquartile ranges from the median; "
                "the first is"
            )
            text += (
                f" {array[row, dim]:g} in row {row:,}, dimension {dim}. A wrong unit or a failed sensor? Check those "
                "rows."
            )
            found.append(Finding("warning", "outliers", text))
    return found


# -- actions ----------------------------------------------------------------------------------------------------------


def bounds(data: Dataset) -> list[Finding]:
    """The action range has a finite positive width."""
    bad = np.flatnonzero(~(np.isfinite(data.act_low) & np.isfinite(data.act_high) & (data.act_high > data.act_low)))
    if len(bad) == 0:
        return []
    i = int(bad[0])
    text = (
        f"the action range of dimension {i} is {data.act_low[i]:g} to {data.act_high[i]:g}: it needs a finite "
        "positive width."
    )
    return [Finding("error", "action_range", text + " Give the true bounds as `act_low` and `act_high`.")]


def action_range(data: Dataset) -> list[Finding]:
    """Actions stay inside their bounds and use them; bounds taken from the data are said to be so."""
    found, action = bounds(data), np.where(np.isfinite(data.action), data.action, 0.0)
    width = data.act_high - data.act_low
    if found:
        return found
    beyond = np.maximum(data.act_low - action, action - data.act_high) / width
    if (outside := beyond > 1e-4).any():
        row, dim = np.argwhere(outside)[0]
        text = (
            f"`action` leaves its range in {int(outside.any(axis=1).sum()):,} of {len(data):,} rows; the first is "
            f"{action[row, dim]:g} in row"
            f" {row:,}, dimension {dim}, whose range is {data.act_low[dim]:g} to {data.act_high[dim]:g}."
            " Store the action that was executed (clipped), or correct the bounds."
        )
        found.append(Finding("error", "action_range", text))
    used = (action.max(axis=0) - action.min(axis=0)) / width
    if (used < 0.05).all():
        text = (
            f"`action` uses at most {100 * used.max():.1f} % of its range in every dimension: other units than the "
            "bounds have?"
        )
        found.append(Finding("warning", "action_range", text + " Check the scale of actions and of their bounds."))
    if any("action range is not stored" in note for note in data.info.notes) and np.abs(action).max() > 10:
        text = (
            f"`action` goes from {action.min():g} to {action.max():g} and no range is stored: it was taken from the "
            "data, and a policy"
            " cannot act beyond what was tried. Give the true bounds (`act_low`, `act_high`), or rescale actions to "
            "[-1, 1]."
        )
        found.append(Finding("warning", "action_range", text))
    share = float((np.minimum(action - data.act_low, data.act_high - action) <= 1e-3 * width).mean())
    if share > 0.2:
        text = (
            f"{100 * share:.0f} % of action values sit at the edge of their range (saturated): densities there are "
            "hard to model."
        )
        found.append(Finding("note", "action_saturation", text))
    return found


# -- rewards ----------------------------------------------------------------------------------------------------------


def reward_scale(data: Dataset) -> list[Finding]:
    """Rewards differ between rows and have a size that critics can learn in float32."""
    reward = data.reward[np.isfinite(data.reward)].astype(np.float64)
    if len(reward) == 0:
        return []
    if (reward == reward[0]).all():
        if reward[0] != 0 and data.terminal.any():
            return [
                Finding(
                    "note", "reward", f"`reward` is {reward[0]:g} in every row: only the length of an episode counts."
                )
            ]
        text = (
            f"`reward` is {reward[0]:g} in every row: no policy can be told from another. Was it recorded, or must "
            "it be relabelled?"
        )
        return [Finding("error", "reward", text)]
    largest = float(np.abs(reward).max())
    if largest > LARGE_REWARD:
        row = int(np.argmax(np.abs(np.where(np.isfinite(data.reward), data.reward, 0.0))))
        severity = "error" if largest > 1e3 * LARGE_REWARD else "warning"
        text = (
            f"`reward` reaches {data.reward[row]:g} in row {row:,}: critics learn badly on such a scale. Divide "
            "rewards by a constant,"
        )
        return [Finding(severity, "reward", text + " or repair that row if it stands alone.")]
    if reward.std() < 1e-4:
        text = (
            f"`reward` has a standard deviation of {reward.std():.1e}: too small against the errors of a critic. "
            "Multiply it by a constant."
        )
        return [Finding("warning", "reward", text)]
    return []


# -- episodes ---------------------------------------------------------------------------------------------------------


def endings(data: Dataset) -> list[Finding]:
    """Terminals are the ends of the MDP: never inside an episode, and not what a time limit leaves behind."""
    found = []
    within = data.terminal.copy()
    within[data.episode_ends - 1] = False
    if within.any():
        row = int(np.argmax(within))
        text = (
            f"`terminal` is true in {int(within.sum()):,} rows before the end of their episode; the first is row "
            f"{row:,} (episode"
        )
        text += f" {int(data.episode_of[row])}). Let an episode end at its terminal row, or correct the flag."
        found.append(Finding("error", "terminal_inside", text))
    longest = int(data.lengths.max())
    at_limit = data.lengths == longest
    ended = ~data.cut
    tied = at_limit.sum() >= 3 and (longest >= 50 or at_limit.all())  # short episodes tie by chance
    if longest > 1 and (tied or longest == data.info.horizon) and ended[at_limit].all():
        text = (
            f"all {int(at_limit.sum()):,} episodes of the greatest length, {longest:,} steps, end as terminal: time "
            "limits seem to be marked as"
            " terminals, and values will be too low there. Mark them as `timeouts` (or `truncated`) and not as "
            "`terminals`."
        )
        sure = longest == data.info.horizon or longest % 10 == 0
        found.append(Finding("error" if sure else "warning", "time_limit_as_terminal", text))
    if inferred := data.info.details.get("ends_inferred"):
        text = (
            f"{inferred:,} ends of episodes are not marked in the data (no time-outs) and were placed where the next "
            "observation is not"
            " the observation that follows. Store time-outs (`timeouts` or `truncated`) to be sure."
        )
        found.append(Finding("warning", "missing_timeouts", text))
    elif data.episodes == 1 and not data.terminal.any():
        text = (
            "no row is marked as the end of an episode, neither terminal nor cut. Mark resets with `timeouts` or "
            "`truncated`."
        )
        found.append(Finding("warning", "missing_timeouts", text))
    return found


def last_transitions(data: Dataset) -> list[Finding]:
    """The last step of each episode is there, with the next observation that it led to."""
    found = []
    unknown = int(next_obs_unknown(data).sum())
    if unknown:
        text = (
            f"the next observation of {unknown:,} of {int(data.terminal.sum()):,} terminal steps was not recorded "
            "(it repeats the"
        )
        text += (
            " observation). Policies are not affected; a world model does not see how episodes end. Record "
            "`next_observations`."
        )
        found.append(Finding("warning", "last_transition", text))
    horizon = data.info.horizon
    if horizon and data.cut.any() and (data.lengths[data.cut] == horizon - 1).all():
        text = (
            f"every cut episode has {horizon - 1:,} steps where the time limit is {horizon:,}: the last transition "
            "of each is missing."
        )
        found.append(Finding("note", "last_transition", text + " Nothing is wrong in the others."))
    return found


def duplicates(data: Dataset) -> list[Finding]:
    """No episode is there twice (the held-out share would know the training share), and few rows are."""
    found = []
    table = np.column_stack([data.obs, data.action, data.reward, data.next_obs]).astype(np.float32)
    seen: dict[bytes, int] = {}
    twins = []
    for i, (start, end) in enumerate(zip(data.episode_starts, data.episode_ends, strict=True)):
        key = table[start:end].tobytes()
        if key in seen:
            twins.append((seen[key], i))
        seen.setdefault(key, i)
    if twins:
        text = (
            f"{len(twins):,} of {data.episodes:,} episodes are there more than once; the first pair is {twins[0][0]} "
            f"and {twins[0][1]}."
        )
        text += " Copies on both sides of the split make every held-out number too good. Remove them."
        found.append(Finding("error", "duplicate_episodes", text))
    rows = np.ascontiguousarray(table).view([("", np.void, table.dtype.itemsize * table.shape[1])]).ravel()
    repeated = len(rows) - len(np.unique(rows))
    if repeated and not twins:
        severity = "warning" if repeated > 0.01 * len(data) else "note"
        text = (
            f"{repeated:,} of {len(data):,} rows are exact copies of others (obs, action, reward and next_obs). Was "
            "a log appended twice, or does the system stand still?"
        )
        found.append(Finding(severity, "duplicate_rows", text))
    return found


def episode_counts(data: Dataset) -> list[Finding]:
    """There are enough episodes to hold some out, and their lengths agree with the time limit."""
    found = []
    if data.episodes == 1:
        text = (
            "there is one episode only, so none can be held out. Record more, or mark where one ends and the next "
            "begins."
        )
        found.append(Finding("error", "few_episodes", text))
    elif data.episodes < FEW_EPISODES:
        text = (
            f"there are {data.episodes} episodes only: numbers on held-out data rest on one or two of them. Treat "
            "them as rough."
        )
        found.append(Finding("warning", "few_episodes", text))
    short = int((data.lengths == 1).sum())
    if short > 0.5 * data.episodes and data.episodes > 1:
        text = (
            f"{short:,} of {data.episodes:,} episodes hold one step: windows and returns mean nothing there. Are the "
            "flags right?"
        )
        found.append(Finding("warning", "episode_length", text))
    if data.info.horizon and data.lengths.max() > data.info.horizon:
        text = (
            f"the longest episode has {data.lengths.max():,} steps where the time limit of the environment is "
            f"{data.info.horizon:,}."
        )
        found.append(
            Finding("note", "episode_length", text + " Returns of evaluations are over fewer steps than these.")
        )
    return found


def references_known(data: Dataset) -> list[Finding]:
    """Whether returns can be turned into scores."""
    if data.info.references is not None:
        return []
    text = "no reference returns are known: raw returns and percentiles of the data are reported in place of scores."
    return [Finding("note", "references", text)]
