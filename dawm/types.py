"""The vocabulary of the package: what flows from a log to a policy.

All values are in the environment's own units. Leaves of a record share the leading axes `*b`; a record is a pytree, so
selecting, stacking and moving to a device are `jax.tree.map`. Records hold NumPy arrays on the host and JAX arrays on
the device.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

Array = Any  # jax.Array on the device, np.ndarray on the host


class Spec(NamedTuple):
    """Static facts about the task."""

    obs_dim: int
    act_dim: int
    act_low: tuple[float, ...]
    act_high: tuple[float, ...]
    horizon: int | None = None  # the environment's time limit in steps, where known
    sources: int = 0  # provenance labels that the data use

    @property
    def act_centre(self) -> np.ndarray:
        """Middle of the action range, (act_dim,), float32."""
        return ((np.asarray(self.act_high) + np.asarray(self.act_low)) / 2).astype(np.float32)

    @property
    def act_scale(self) -> np.ndarray:
        """Half the width of the action range, (act_dim,), float32: `(action - act_centre) / act_scale` is in [-1,
        1].
        """
        return ((np.asarray(self.act_high) - np.asarray(self.act_low)) / 2).astype(np.float32)


class Prediction(NamedTuple):
    """One step of a model; an ensemble adds a leading member axis."""

    next_obs: Float[Array, "*b obs"]
    reward: Float[Array, "*b"]
    terminal_prob: Float[Array, "*b"]


class Transition(NamedTuple):
    """Steps of experience."""

    obs: Float[Array, "*b obs"]
    action: Float[Array, "*b act"]
    reward: Float[Array, "*b"]
    next_obs: Float[Array, "*b obs"]
    next_action: Float[Array, "*b act"]  # recorded at next_obs; zeros where the episode ends or was cut
    terminal: Bool[Array, "*b"]  # the MDP ended: never bootstrap through it; a cut recording is not terminal
    source: Int[Array, "*b"]  # provenance: which log, site or behaviour policy; -1 where unknown
    futures: Prediction | None = None  # m plausible outcomes of (obs, action), leaves (*b, m, ...)
    next_known: Bool[Array, "*b"] | None = None  # whether `next_action` was recorded; None: wherever not terminal
    cloning: Float[Array, "*b"] | None = None  # weight of the row where a policy imitates its action; None: 1
    weight: Float[Array, "*b"] | None = None  # weight of the row in every loss, against how it was drawn; None: 1


class Segment(NamedTuple):
    """A fixed window of an episode, or a future that a model generated; `valid` is False on padding.

    After a terminal step every later step is padding: zero reward, and the last observation repeated.
    """

    obs: Float[Array, "*b time+1 obs"]
    action: Float[Array, "*b time act"]
    reward: Float[Array, "*b time"]
    terminal: Bool[Array, "*b time"]
    valid: Bool[Array, "*b time"]
    return_to_go: Float[Array, "*b"]  # from the first step of the window
    source: Int[Array, "*b"]


class Start(NamedTuple):
    """What a world model is conditioned on."""

    obs: Float[Array, "*b obs"]
    action: Float[Array, "*b act"]
    return_to_go: Float[Array, "*b"]
    source: Int[Array, "*b"]
    near: Float[Array, "*b rows channels"] | None = None  # a recorded future, as the model diffuses it, to stay near


class Dynamics(Protocol):
    """One step of a model: world models and the yardsticks beside them; what rollouts and planning ask for.

    There is a leading axis of `count` members, so that the weights of each are read once for a whole batch.
    """

    @property
    def count(self) -> int: ...

    def advance(
        self,
        obs: Float[Array, "m n obs"],
        action: Float[Array, "m n act"],
        source: Int[Array, "m n"],
        key: PRNGKeyArray,
    ) -> Prediction:
        """A sample of the next step of every row, row (i, j) by member i; the members share their random numbers."""
        ...


class World(Protocol):
    """A trained world model as whoever trains a policy needs it (`dawm.worldmodel.trained.TrainedModel`)."""

    @property
    def spec(self) -> Spec: ...

    @property
    def record(self) -> dict[str, str]:
        """Its path and the fingerprint of its arrays, for the folders of runs that use it."""
        ...

    def dynamics(self, name: str = "model", members: int | None = None) -> Dynamics:
        """What is asked for steps: the model or its yardstick `ensemble`, the first `members` members of it."""
        ...


class Futures(Protocol):
    """Plausible outcomes of the rows of a dataset, made once (`dawm.synth.futures`)."""

    @property
    def origin(self) -> str:
        """Where they are stored."""
        ...

    @property
    def data(self) -> str:
        """Fingerprint of the dataset."""
        ...

    @property
    def members(self) -> int:
        """Members of the model; future i of a row is of member i modulo this."""
        ...

    def rows(self, index: np.ndarray) -> Prediction: ...


class Policy(Protocol):
    """Anything that acts on a batch of raw observations: learners and planners alike."""

    def __call__(self, obs: np.ndarray, *, key: PRNGKeyArray | None = None) -> np.ndarray:
        """Actions (n, act) in the environment's units for observations (n, obs)."""
        ...


def tree_rows(tree: Any, rows: Any) -> Any:
    """The same record with only the given rows of the leading axis."""
    import jax

    return jax.tree.map(lambda leaf: leaf[rows], tree)
