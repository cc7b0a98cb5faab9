"""What an offline RL algorithm is here: three pure functions over one state pytree.

A learner sees observations that were standardised and actions in [-1, 1] (`agents/fit.py` prepares them), and never an
environment. It is written for one seed (`run.members` trains several).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.types import Transition


class Learner(NamedTuple):
    """An algorithm. `state` is an `eqx.Module` with a field `step`, the number of updates done: an int32 scalar.

    `policy(state)` is itself an `eqx.Module`, a map of one observation to one action in [-1, 1], so that it keeps the
    seed axis of the state it comes from. So is `value(state)`, of one observation under that policy, where values are
    learnt.

    Where the rows of a batch have a `weight`, losses are averages by it, and the metrics of a learner of values have
    `critic/td_error` (b,) besides: how far each row was off before the update.
    """

    init: Callable[[PRNGKeyArray], Any]  # key -> state
    update: Callable[[Any, Transition, PRNGKeyArray], tuple[Any, dict[str, Array]]]  # (state, batch, key)
    policy: Callable[[Any], eqx.Module]  # state -> (obs -> action)
    value: Callable[[Any], eqx.Module] | None = None  # state -> (obs -> value, in scaled rewards)


def weighted(loss: Float[Array, "b *q"], batch: Transition) -> Float[Array, "b *q"]:
    """A loss of each row times the weight of the row, if any: what is averaged in place of the loss."""
    return loss if batch.weight is None else loss * batch.weight.reshape(-1, *[1] * (loss.ndim - 1))


def imitation(error: Float[Array, " b"], batch: Transition) -> Float[Array, ""]:
    """Mean over a batch of how far a policy is from the recorded actions, by the weights of the rows if any."""
    return weighted(error if batch.cloning is None else batch.cloning * error, batch).mean()


def check_updates(learning_rate: float, discount: float, target_update_rate: float) -> None:
    """What every learner with target networks asks of its settings. Raises ValueError naming the field."""
    if learning_rate <= 0:
        raise ValueError(f"learning_rate must be positive, got {learning_rate}")
    if not 0 <= discount <= 1:
        raise ValueError(f"discount must be between 0 and 1, got {discount}")
    if not 0 < target_update_rate <= 1:
        raise ValueError(f"target_update_rate must be in (0, 1], got {target_update_rate}")
