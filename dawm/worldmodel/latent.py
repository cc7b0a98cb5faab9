"""The latent transition model: p(s', r, end | s, a, provenance), one step, many futures.

    encode     c = MLP(s, a, e[provenance])
    diffuse    z ~ diffusion(. | c, s, a)
    decode     y ~ N(m(z, c, s, a), s(z, c, s, a)^2)    or y = z where the residual itself is diffused
    outcome    s' = s + change, (change, r) = f(s, a) + std * y,    end ~ Bernoulli(p(end | s, a, s'))

f is a one-step anchor, y its whitened residual: the diffusion has only to learn what a point prediction leaves open.
A network's errors on the rows that it was trained on are smaller than on others, and a residual model that learns from
them is too sure of itself. So anchors are cross-fitted: the episodes are split into as many folds as there are
members, anchor k never sees fold k, and the residual of a row is that of the anchor that did not see it (as in
cross-conformal prediction, Vovk 2015; Barber et al. 2021).

Members are whole models (anchor, encoder, diffusion, autoencoder). Given the same random numbers, their differences
are what the data left undecided (epistemic); the spread of one member is the environment's (aleatoric).

Source: the design described for dawm (encoding with provenance, latent diffusion, decoding into a distribution); no
published code exists. Departures: the latent is the residual of an anchor, not of the raw next state, because blur of
the next state is poison in nearly deterministic tasks; the end is a classifier of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dawm.data.windows import Windows
from dawm.diffusion.process import ProcessConfig
from dawm.nets import ensemble
from dawm.nets.mlp import MLP, MLPBodyConfig
from dawm.nets.registry import BodyConfig, make_body
from dawm.run.mesh import device_count, spread
from dawm.types import Prediction, Start, tree_rows
from dawm.worldmodel.autoencoder import Autoencoder, AutoencoderConfig
from dawm.worldmodel.base import AbstractDiffusionModel, Parts, single_step
from dawm.worldmodel.ends import EndNetwork
from dawm.worldmodel.onestep import Scales, StepNetwork

LEAST_SHOWN = 0.3  # residual spread below which the anchor's prediction is shown to the body in larger units


@dataclass(frozen=True)
class LatentConfig:
    """What is diffused, how, and what steers it."""

    kind: Literal["latent"] = "latent"
    latent: Literal["residual", "autoencoder"] = "residual"  # "residual" diffuses the outcome itself
    horizon: int = 8  # steps at which it is measured, under recorded actions; it generates one
    members: int = 5  # and folds of the cross-fitted anchors; 1 fits one anchor on all rows
    context: int = 64  # size of the encoding of (s, a, provenance)
    provenance: int = 8  # size of the embedding of a provenance
    label_dropout: float = 0.1  # share of labelled rows that train the null provenance
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    body: BodyConfig = field(default_factory=lambda: MLPBodyConfig(width=128, depth=2, embed=64))

    window: ClassVar[int] = 1
    dynamics: ClassVar[bool] = True
    returns: ClassVar[Literal["episode", "window"]] = "episode"
    discount: ClassVar[float] = 0.99

    def __post_init__(self):
        for name in ("horizon", "members", "context", "provenance"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.label_dropout < 1:
            raise ValueError(f"label_dropout must be in [0, 1), got {self.label_dropout}")


class Member(eqx.Module):
    """What one member trains in the second phase."""

    provenance: Float[Array, "labels+1 k"]  # the last row is the learned null
    encoder: MLP
    body: Callable[..., Array]
    codec: Autoencoder | None

    def encode(self, scales: Scales, start: Start, shown: Float[Array, " out"]) -> tuple[Array, ...]:
        """The conditions of the body: the encoding, and beside it the exact (s, a) and what the anchor predicts."""
        known = (start.source >= 0) & (start.source < len(self.provenance) - 1)
        label = jnp.where(known, start.source, len(self.provenance) - 1)
        obs, action = scales.obs.apply(start.obs), scales.action(start.action)
        return self.encoder(jnp.concatenate([obs, action, self.provenance[label]])), obs, action, shown


def codec_context(conditions: tuple[Array, ...]) -> Float[Array, " c"]:
    """What the codec sees of the conditions of the body: the encoding and the exact (s, a).

    From the encoding alone it learns how spreads follow the state in many more updates.
    """
    encoding, obs, action, _ = conditions
    return jnp.concatenate([encoding, obs, action])


class LatentModel(AbstractDiffusionModel):
    """An ensemble of latent one-step models; anchors and members have a leading member axis."""

    anchors: StepNetwork
    members: Member
    ends: EndNetwork
    scales: Scales
    spread: Float[Array, " obs+1"]  # standard deviation of the anchors' residuals on rows that they did not see
    config: LatentConfig = eqx.field(static=True)

    @property
    def trained(self) -> Member:
        return self.members

    def with_trained(self, part: Member) -> LatentModel:
        return eqx.tree_at(lambda m: m.members, self, part)

    @property
    def count(self) -> int:
        return self.config.members

    @property
    def steps(self) -> int:
        return 1

    @property
    def shape(self) -> tuple[int, int]:
        outcome = len(self.spread)
        return 1, (self.config.autoencoder.dim or outcome) if self.config.latent == "autoencoder" else outcome

    # -- training -----------------------------------------------------------------------------------------------------

    def annotate(self, windows: Windows, fold: Int[Array, " n"]) -> Float[Array, "n 2*out"]:
        """Prediction of the anchor that did not see the row, as the body sees it, and its whitened residual."""
        predicted, errors = residuals(self.anchors, self.scales, windows, fold)
        return jnp.concatenate([self._shown(predicted), errors / self.spread], 1)

    def _shown(self, predicted: Float[Array, "*b out"]) -> Float[Array, "*b out"]:
        """The anchor's prediction in units of its residual, where these are not so small that it would be huge.

        With it, an outcome (residual plus prediction) is linear in what the body sees: modes that lie at fixed outcomes
        would otherwise move with (s, a), and their discovery took many times the updates.
        """
        return predicted / jnp.maximum(self.spread, LEAST_SHOWN)

    def batch_loss(self, windows, notes, key, batch):
        """Sum over members of their mean losses, each on rows of its own."""
        key_rows, key_loss = jr.split(key)
        rows = jr.randint(key_rows, (self.count, batch), 0, len(windows))
        rows, keys = spread((rows, jr.split(key_loss, (self.count, batch))), axis=1)
        starts, counted = jax.vmap(jax.vmap(windows.start))(rows), windows.recorded[rows] * 1.0

        def one(member, starts, notes, counted, keys, key):
            loss = lambda *row: self._loss(member, *row)
            losses, parts = self.process.at_levels(loss, key, starts, notes, counted, keys)
            total = jnp.maximum(counted.sum(), 1)
            return losses.sum() / total, jax.tree.map(lambda leaf: leaf.sum() / total, parts)

        loss, parts = eqx.filter_vmap(one)(
            self.members, starts, notes[rows], counted, keys, jr.split(jr.fold_in(key, 2), self.count)
        )
        return loss.sum(), jax.tree.map(lambda leaf: leaf.mean(), parts)

    def _loss(
        self, member: Member, start: Start, notes: Array, counted: Array, key, sigma
    ) -> tuple[Array, dict[str, Array]]:
        shown, y = jnp.split(notes, 2)
        key_drop, key_code, key_noise = jr.split(key, 3)
        dropped = jr.bernoulli(key_drop, self.config.label_dropout)
        conditions = member.encode(self.scales, start._replace(source=jnp.where(dropped, -1, start.source)), shown)
        loss, parts, x = 0.0, {}, y
        if member.codec is not None:
            loss, z, parts = member.codec.loss(y, counted, codec_context(conditions), key_code)
            x = jax.lax.stop_gradient(z)
        denoise = self.process.wrap(lambda x, noise, _: member.body(x, noise, conditions))
        error = counted * self.process.error(denoise, x[None], key_noise, sigma=sigma).mean()
        return loss + error, parts | {"denoising": error}

    def diffused(self, windows, notes, rows):
        return jnp.split(notes[rows], 2, axis=1)[1][:, None]  # the whitened residual, which each member's codec encodes

    # -- use ----------------------------------------------------------------------------------------------------------

    def advance(self, obs, action, source, key):
        key_sample, key_decode = jr.split(key)
        n = source.shape[1]
        keys = jr.split(key_sample, n), jr.split(key_decode, n)  # common random numbers: the same for every member
        starts = Start(obs, action, jnp.zeros(source.shape), source)

        def one(anchor, member, starts):
            return jax.vmap(lambda *row: self._step(anchor, member, *row))(starts, *keys)

        return eqx.filter_vmap(one)(self.anchors, self.members, starts)

    def first(self, members):
        """The same model with at most so many members."""
        keep = lambda tree: jax.tree.map(lambda leaf: leaf[:members] if eqx.is_array(leaf) else leaf, tree)
        config = dataclasses.replace(self.config, members=min(members, self.count))
        return dataclasses.replace(self, anchors=keep(self.anchors), members=keep(self.members), config=config)

    def generate(self, start, key, skip=0):
        """One future by the first member; `generate_many` spreads futures over all of them."""
        one = jax.tree.map(lambda x: x[None], start)
        return jax.tree.map(lambda leaf: leaf[0], self.generate_many(one, key[None], skip))

    def generate_many(self, starts, keys, skip=0):
        """Future i by member i mod m."""
        n = len(starts.return_to_go)
        rows = spread(ensemble.shares(n, self.count, device_count(n)), axis=1)
        split = jax.vmap(lambda key: jr.split(key, 3))(keys)

        def one(anchor, member, rows):
            step = lambda start, keys: self._step(anchor, member, start, keys[0], keys[1], skip)
            return jax.vmap(step)(tree_rows(starts, rows), split[rows])

        out = eqx.filter_vmap(one)(self.anchors, self.members, rows)
        return single_step(starts, ensemble.joined(out, n), jax.vmap(lambda keys: jr.uniform(keys[2]))(split))

    def _step(
        self, anchor: StepNetwork, member: Member, start: Start, key_sample, key_decode, skip: int = 0
    ) -> Prediction:
        """A sample of one step of one member."""
        mean, scale = self._distribution(anchor, member, start, key_sample, skip)
        out = mean + scale * jr.normal(key_decode, mean.shape)
        following, reward = self.scales.outcome(start.obs, out)
        return Prediction(following, reward, self.end_probability(start.obs, start.action, following))

    def _distribution(
        self, anchor: StepNetwork, member: Member, start: Start, key, skip: int = 0
    ) -> tuple[Array, Array]:
        """Mean and standard deviation of (change, reward), in standardised units, given one diffused latent."""
        predicted = anchor(self.scales.inputs(start.obs, start.action))
        conditions = member.encode(self.scales, start, self._shown(predicted))
        denoise = self.process.wrap(lambda x, noise, _: member.body(x, noise, conditions))
        near = start.near
        if near is not None and member.codec is not None:
            near = member.codec.encode(near[0], codec_context(conditions))[0][None]
        z = self.process.sample(denoise, self.shape, key, around=near, skip=skip)[0]
        mean, scale = (
            (z, jnp.zeros_like(z)) if member.codec is None else member.codec.decode(z, codec_context(conditions))
        )
        return predicted + self.spread * mean, self.spread * scale


def make_latent(config: LatentConfig, parts: Parts, *, key: PRNGKeyArray) -> LatentModel:
    """The untrained model around trained anchors."""
    spec, scales = parts.spec, parts.scales
    outcome, condition = spec.obs_dim + 1, spec.obs_dim + spec.act_dim
    coded = config.latent == "autoencoder"
    channels = (config.autoencoder.dim or outcome) if coded else outcome

    def member(key):
        keys = jr.split(key, 4)
        size, sizes = condition + config.provenance, (config.context, spec.obs_dim, spec.act_dim, outcome)
        return Member(
            provenance=0.1 * jr.normal(keys[0], (spec.sources + 1, config.provenance)),
            encoder=MLP(size, config.context, width=2 * config.context, depth=1, activation="silu", key=keys[1]),
            body=make_body(config.body, 1, channels, sizes, key=keys[2]),
            codec=Autoencoder(config.autoencoder, outcome, config.context + condition, key=keys[3]) if coded else None,
        )

    members = eqx.filter_jit(lambda key: ensemble.stack(member, config.members, key))(key)
    anchors = parts.networks.folds
    assert anchors is not None
    spread = jnp.ones(outcome)
    if parts.windows is not None:
        fold = jnp.asarray(parts.fold)
        _, errors = residuals(anchors, scales, parts.windows, fold)
        weight = parts.windows.recorded / parts.windows.recorded.sum()
        spread = jnp.maximum(jnp.sqrt(weight @ jnp.square(errors)), 1e-5)
    return LatentModel(
        anchors=anchors,
        members=members,
        ends=parts.networks.ends,
        scales=scales,
        spread=spread,
        config=config,
    )


@eqx.filter_jit
def residuals(
    anchors: StepNetwork, scales: Scales, windows: Windows, fold: Int[Array, " n"]
) -> tuple[Float[Array, "n out"], Float[Array, "n out"]]:
    """What the anchor whose fold a row is in predicts, and how far the standardised outcome is off; 0 where that is
    unknown.
    """

    def row(columns):
        obs, action, reward, next_obs, fold = columns
        x, y = scales.inputs(obs, action), scales.targets(obs, reward, next_obs)
        own = ensemble.apply(anchors, x)[fold]
        return own, y - own

    columns = (windows.obs, windows.action, windows.reward, windows.next_obs, fold)
    predicted, errors = jax.lax.map(row, columns, batch_size=4096)
    return predicted, jnp.where(windows.recorded[:, None], errors, 0.0)
