"""What every world model is: the interface that training, generation, planning and calibration see.

A model generates futures of starts, and advances states by one step under given actions where it has dynamics. Its
futures are split over `count` members (1 where it has none): `advance` takes and returns a leading member axis, so that
each member's weights are read once for a whole batch and never gathered per sample.

A diffusion model is one that is trained in the second phase, by `batch_loss` on the subtree `trained`. It is an
interface of its own because a model can also be made of the networks of the first phase alone.
"""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dawm.data.dataset import Dataset
from dawm.data.normalise import Standard
from dawm.data.windows import Windows
from dawm.diffusion.process import Process, make_process
from dawm.errors import ConfigError
from dawm.run.mesh import spread
from dawm.types import Prediction, Segment, Spec, Start
from dawm.worldmodel.ends import EndNetwork, end_inputs
from dawm.worldmodel.networks import Networks
from dawm.worldmodel.onestep import Scales


class Parts(NamedTuple):
    """What a world model is built around. `train` and `windows` are None for a blank that a checkpoint fills."""

    spec: Spec
    scales: Scales
    networks: Networks
    train: Dataset | None
    windows: Windows | None
    fold: np.ndarray | None  # the fold of every row of `train`
    held: Windows | None = None  # of held-out episodes, for a model that chooses by them
    elites: int = 1  # members of the Gaussian ensemble that forecast

    @property
    def returns(self) -> Standard:
        """Units of the return-to-go."""
        blank = np.array([[0.0], [1.0]], np.float32)  # NumPy: blanks are also built under `eval_shape`
        return Standard.fit(blank if self.windows is None else jax.device_get(self.windows.return_to_go[:, None]))


class AbstractWorldModel(eqx.Module):
    """A model of the environment, in raw units."""

    scales: eqx.AbstractVar[Scales]
    ends: eqx.AbstractVar[EndNetwork]
    config: eqx.AbstractVar[Any]  # a configuration of the registry

    @property
    @abc.abstractmethod
    def count(self) -> int:
        """Members."""

    @property
    @abc.abstractmethod
    def steps(self) -> int:
        """Transitions in a generated future."""

    @abc.abstractmethod
    def generate(self, start: Start, key: PRNGKeyArray, skip: int = 0) -> Segment:
        """One future of one start; near `start.near` if it has one, noised as after the first `skip` levels."""

    def generate_many(self, starts: Start, keys: PRNGKeyArray, skip: int = 0) -> Segment:
        """One future for each of n starts; row i depends on its key and on i only."""
        return jax.vmap(lambda start, key: self.generate(start, key, skip))(*spread((starts, keys)))

    @abc.abstractmethod
    def advance(self, obs: Array, action: Array, source: Array, key: PRNGKeyArray) -> Prediction:
        """See `types.Dynamics`. Raises ConfigError where the model has no dynamics."""

    @abc.abstractmethod
    def first(self, members: int) -> AbstractWorldModel:
        """The same model with at most so many members, at least one."""

    def end_probability(
        self, obs: Float[Array, " obs"], action: Float[Array, " act"], next_obs: Float[Array, " obs"]
    ) -> Float[Array, ""]:
        """Probability that the step (s, a, s') ends the MDP."""
        parts = (self.scales.obs.apply(obs), self.scales.action(action), self.scales.change.apply(next_obs - obs))
        return self.ends.probability(end_inputs(*parts, self.scales.obs.apply(next_obs)))


class AbstractDiffusionModel(AbstractWorldModel):
    """A world model that is trained, or trainable, in the second phase."""

    @property
    @abc.abstractmethod
    def trained(self) -> Any:
        """The subtree that `batch_loss` trains."""

    @abc.abstractmethod
    def with_trained(self, part: Any) -> AbstractDiffusionModel:
        """The same model with another trained subtree."""

    @abc.abstractmethod
    def annotate(self, windows: Windows, fold: Int[Array, " n"]) -> Float[Array, "n k"]:
        """What the loss needs of every row and is worth computing once; `fold` is the fold of each row."""

    @abc.abstractmethod
    def batch_loss(
        self, windows: Windows, notes: Array, key: PRNGKeyArray, batch: int
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """(loss, metrics) on a batch that it draws from `windows` itself."""

    @abc.abstractmethod
    def diffused(self, windows: Windows, notes: Array, rows: Int[Array, " n"]) -> Float[Array, "n rows channels"]:
        """The windows that start at `rows` as they are diffused, with the notes of `annotate`."""

    @property
    def process(self) -> Process:
        """The diffusion."""
        return make_process(self.config.process)

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """(rows, channels) of what is diffused."""


def require_dynamics(config: Any, purpose: str) -> None:
    """Raise ConfigError where a model of this configuration cannot say what a given action leads to."""
    if not config.dynamics:
        raise ConfigError(
            f"a world model of kind `{config.kind}` draws whole transitions and does not say what a given action leads"
            f" to, which {purpose} needs: train another kind, for example --model latent."
        )


def single_step(starts: Start, out: Prediction, uniform: Float[Array, " n"]) -> Segment:
    """Futures of one step; (n,) numbers in [0, 1) decide which of them end."""
    terminal = (uniform < out.terminal_prob)[:, None]
    return Segment(
        obs=jnp.stack([starts.obs, out.next_obs], 1),
        action=starts.action[:, None],
        reward=out.reward[:, None],
        terminal=terminal,
        valid=jnp.ones_like(terminal),
        return_to_go=starts.return_to_go,
        source=starts.source,
    )
