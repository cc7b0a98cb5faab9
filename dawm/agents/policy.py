"""A trained policy: raw observations in, raw actions out, for all seeds of a run at once, for one, or their mean.

It is rebuilt from its run folder alone; the dataset is not needed, since the statistics that standardise observations
are part of the checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.agents.config import PolicyConfig
from dawm.agents.priority import UNSEEN
from dawm.agents.registry import make_agent
from dawm.agents.student import StudentState, begun, student_optimiser
from dawm.errors import ConfigError
from dawm.nets.ensemble import built
from dawm.run.config import from_dict
from dawm.run.folder import RunFolder
from dawm.run.members import Members
from dawm.types import Spec


class Standardise(eqx.Module):
    """(s − mean) / (std + 0.001), with the statistics of the real log (CORL's `compute_mean_std`)."""

    mean: Float[Array, " obs"]
    scale: Float[Array, " obs"]

    def __call__(self, obs: Any) -> Any:
        return (obs - self.mean) / self.scale


class TrainedState(eqx.Module):
    """What a checkpoint of a policy holds."""

    learner: Any
    standardise: Standardise
    mass: Float[Array, "m n"] | None = None  # of each row of the log for each seed, where priorities follow TD errors
    average: Any = None  # the policy with averaged weights, where these act (`PolicyConfig.average`)


@dataclass(frozen=True, eq=False)
class TrainedPolicy:
    """The policies of all seeds of a run. `policy.act(obs)` acts with all of them, `policy[i]` is one of them."""

    actor: Any  # a map of one standardised observation to one action in [-1, 1], with a leading seed axis on its arrays
    standardise: Standardise
    spec: Spec
    config: PolicyConfig
    step: int  # updates done
    dataset: str = "arrays"  # name of the log it was trained on
    value: Any = None  # a map of one standardised observation to its value, where the learner has one

    @property
    def members(self) -> int:
        """The number of seeds."""
        return self.config.seeds

    def act(self, obs: Float[Array | np.ndarray, "m n obs"]) -> Float[np.ndarray, "m n act"]:
        """Actions of member i at `obs[i]`, all in one compiled call; raw units."""
        return np.asarray(self._compiled(np.asarray(obs, np.float32)))

    @cached_property
    def _compiled(self) -> Callable[[np.ndarray], Array]:
        return _compiled(self.actor, self.standardise, self.spec)

    @property
    def traced(self) -> RawActors:
        """All policies as a function that JAX can trace: raw observations (m, n, obs) to raw actions (m, n, act)."""
        return RawActors(self.actor, self.standardise, _bounds(self.spec))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all arrays that decide how it acts."""
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves(eqx.filter((self.actor, self.standardise), eqx.is_array)):
            digest.update(np.asarray(leaf).tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return self.members

    def __getitem__(self, i: int) -> MemberPolicy:
        if not -self.members <= i < self.members:
            raise IndexError(f"member {i} of a policy that has {self.members}")
        return MemberPolicy(_kept(self.actor, i), self.standardise, self.spec, _kept(self.value, i))

    @property
    def mean(self) -> MeanPolicy:
        """One policy out of all seeds, to be used where one is wanted: what they do on average."""
        return MeanPolicy(self)


@dataclass(frozen=True, eq=False)
class MemberPolicy:
    """One seed of a `TrainedPolicy`; a `Policy`."""

    actor: Any
    standardise: Standardise
    spec: Spec
    value: Any = None

    def __call__(self, obs: np.ndarray, *, key: PRNGKeyArray | None = None) -> np.ndarray:
        """Actions (n, act) at observations (n, obs), or one at one; raw units. Deterministic: the key is not read."""
        del key
        rows = np.atleast_2d(np.asarray(obs, np.float32))
        action = np.asarray(self._compiled(rows[None]))[0]
        return action[0] if np.ndim(obs) == 1 else action

    @cached_property
    def _compiled(self) -> Callable[[np.ndarray], Array]:
        return _compiled(self.actor, self.standardise, self.spec)

    @property
    def traced(self) -> RawActor:
        """The policy as a function that JAX can trace: raw observations (..., obs) to raw actions (..., act)."""
        return RawActor(self.actor, self.standardise, _bounds(self.spec))

    @property
    def worth(self) -> RawValue | None:
        """Raw observations (..., obs) to discounted returns, in the units of the rewards that it was trained on."""
        return None if self.value is None else RawValue(self.value, self.standardise)


@dataclass(frozen=True, eq=False)
class MeanPolicy:
    """The mean of the actions of all seeds; a `Policy`. Errors of single seeds are averaged away; where seeds do
    different things that each work alone, their mean may not.
    """

    seeds: TrainedPolicy

    def __call__(self, obs: np.ndarray, *, key: PRNGKeyArray | None = None) -> np.ndarray:
        """Actions (n, act) at observations (n, obs), or one at one; raw units. Deterministic: the key is not read."""
        del key
        rows = np.atleast_2d(np.asarray(obs, np.float32))
        action = self.seeds.act(np.broadcast_to(rows, (self.seeds.members, *rows.shape))).mean(0)
        return action[0] if np.ndim(obs) == 1 else action

    @property
    def traced(self) -> RawActor:
        """The policy as a function that JAX can trace: raw observations (..., obs) to raw actions (..., act)."""
        seeds = self.seeds
        return RawActor(seeds.actor, seeds.standardise, _bounds(seeds.spec), seeds.members)

    @property
    def worth(self) -> RawValue | None:
        """The mean of what the critics of all seeds say; see `MemberPolicy.worth`."""
        return None if self.seeds.value is None else RawValue(self.seeds.value, self.seeds.standardise)


class RawActors(eqx.Module):
    """See `TrainedPolicy.traced`."""

    actor: Any
    standardise: Standardise
    bounds: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

    def __call__(self, obs: Float[Array, "m n obs"]) -> Float[Array, "m n act"]:
        return _act(self.actor, self.standardise, self.bounds, obs)


class RawActor(eqx.Module):
    """See `MemberPolicy.traced`; of several members it is the mean."""

    actor: Any
    standardise: Standardise
    bounds: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    members: int = eqx.field(static=True, default=1)

    def __call__(self, obs: Float[Array, "*b obs"]) -> Float[Array, "*b act"]:
        rows = obs.reshape(-1, obs.shape[-1])
        rows = jnp.broadcast_to(rows, (self.members, *rows.shape))
        return _act(self.actor, self.standardise, self.bounds, rows).mean(0).reshape(*obs.shape[:-1], -1)


class RawValue(eqx.Module):
    """See `MemberPolicy.worth`; of several members it is the mean."""

    value: Any
    standardise: Standardise

    def __call__(self, obs: Float[Array, "*b obs"]) -> Float[Array, "*b"]:
        rows = self.standardise(obs.reshape(-1, obs.shape[-1]))
        values = eqx.filter_vmap(lambda value, rows: jax.vmap(value)(rows), in_axes=(eqx.if_array(0), None))
        return values(self.value, rows).mean(0).reshape(obs.shape[:-1])


def load_policy(folder: str | Path, *, step: int | None = None) -> TrainedPolicy:
    """The policy in a run folder, at its last checkpoint or at the one of `step`.

    Raises FileError where the folder is none of a policy or holds no checkpoint, CheckpointError where that is damaged.
    """
    run = RunFolder.open(folder, "policy")
    stored = run.read_config()["config"]
    config, spec = from_dict(PolicyConfig, stored["policy"], "policy."), _spec(stored["spec"])
    nothing = np.zeros(spec.obs_dim, np.float32)  # only the shapes matter; the values are read from the checkpoint
    rows = stored["data"].get("rows", 0)  # recorded where the checkpoint has something of each row
    blank = lambda: initial_state(config, spec, nothing, nothing, rows)
    if "distil" in stored:
        like = eqx.filter_eval_shape(lambda: _student_like(policy_of(blank(), spec, config, 0, "")))
        step, student = run.load_state(like, step)
        return student_policy(student, spec, config, step, stored["data"]["name"])
    step, state = run.load_state(eqx.filter_eval_shape(blank), step)
    return policy_of(state, spec, config, step, stored["data"]["name"])


def initial_state(config: PolicyConfig, spec: Spec, mean: np.ndarray, scale: np.ndarray, rows: int = 0) -> TrainedState:
    """The state before the first update; member i starts as a run of one member with seed `config.seed + i` does.

    `rows` is the number of rows of the log, which priorities need.
    """
    learner = make_agent(config.algo, spec, config.loop.steps)

    @eqx.filter_jit
    def begun(keys):
        return eqx.tree_at(lambda s: s.step, built(learner.init, keys), jnp.zeros((), jnp.int32))

    state = begun(seeds_of(config).keys(config.seed))
    mass = jnp.full((config.seeds, rows), UNSEEN) if config.priority.kind == "td_error" else None
    average = learner.policy(state) if config.average else None
    return TrainedState(state, Standardise(jnp.asarray(mean), jnp.asarray(scale)), mass, average)


def seeds_of(config: PolicyConfig) -> Members:
    """The members of a `TrainedState`: they share the count of updates, on which a learner's branches depend and which
    must therefore not be mapped over, and the statistics of the log.
    """
    return Members(config.seeds, lambda s: [s.learner.step, s.standardise.mean, s.standardise.scale])


def policy_of(state: TrainedState, spec: Spec, config: PolicyConfig, step: int, dataset: str) -> TrainedPolicy:
    """The policy that a training state holds."""
    learner = make_agent(config.algo, spec, config.loop.steps)
    value = None if learner.value is None else learner.value(state.learner)
    actor = learner.policy(state.learner) if state.average is None else state.average
    return TrainedPolicy(actor, state.standardise, spec, config, step, dataset, value)


def student_policy(state: StudentState, spec: Spec, config: PolicyConfig, step: int, dataset: str) -> TrainedPolicy:
    """The policy that a student has become; `config` is of the policy that it was."""
    return TrainedPolicy(state.actor, state.standardise, spec, config, step, dataset, state.value)


def _student_like(policy: TrainedPolicy) -> StudentState:
    """A state of the shapes of a student that begins as `policy`."""
    rows = jnp.zeros((policy.members, 2), jnp.int32)
    return begun(policy.actor, policy.value, policy.standardise, rows, student_optimiser(1.0, 1))


def _kept(actor: Any, i: int) -> Any:
    """Member i of a map, its leading axis kept."""
    return jax.tree.map(lambda leaf: leaf[i][None] if eqx.is_array(leaf) else leaf, actor)


def _bounds(spec: Spec) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    low, high = np.asarray(spec.act_low, np.float32), np.asarray(spec.act_high, np.float32)
    return spec.act_centre, spec.act_scale, low, high


@eqx.filter_jit
def _act(actor, standardise, bounds, obs):
    centre, scale, low, high = (jnp.asarray(bound) for bound in bounds)
    action = eqx.filter_vmap(lambda actor, rows: jax.vmap(actor)(standardise(rows)))(actor, obs)
    return jnp.clip(centre + scale * action, low, high)


def _compiled(actor: Any, standardise: Standardise, spec: Spec) -> Callable[[np.ndarray], Array]:
    """`_act` as a function of observations (m, n, obs) alone, for calls of a few rows, which should not cost more.

    `eqx.filter_jit` looks at every part of the policy in every call; here that is done once. The program is compiled
    once for all policies of one build.
    """
    leaves, tree = jax.tree.flatten((actor, standardise, _bounds(spec)))
    is_array = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
    arrays = [jnp.asarray(leaf) if array else None for leaf, array in zip(leaves, is_array, strict=True)]
    rest = tuple(None if array else leaf for leaf, array in zip(leaves, is_array, strict=True))
    return partial(_program(tree, rest), arrays)


@lru_cache(maxsize=16)
def _program(tree: Any, rest: tuple) -> Callable[[list, np.ndarray], Array]:
    """Compiled `_act` for policies whose parts are `tree` and, beside their arrays, `rest`."""

    def run(arrays: list, obs: np.ndarray) -> Array:
        leaves = [other if array is None else array for array, other in zip(arrays, rest, strict=True)]
        actor, standardise, bounds = jax.tree.unflatten(tree, leaves)
        return _act(actor, standardise, bounds, obs)

    return jax.jit(run)


def _spec(stored: dict[str, Any]) -> Spec:
    try:
        low, high = tuple(stored["act_low"]), tuple(stored["act_high"])
        return Spec(stored["obs_dim"], stored["act_dim"], low, high, stored.get("horizon"))
    except KeyError as error:
        raise ConfigError(f"`spec` in run.toml has no {error}: the file was changed by hand or is damaged.") from None
