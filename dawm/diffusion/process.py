"""A whole diffusion process from one configuration: what is predicted, at which levels, trained and sampled how.

The defaults are EDM for data of unit variance. Others of note:

    DDPM of Diffusion World Model   parameterisation="epsilon", levels="cosine", train_levels=5, noise_law="grid",
                                    step="ancestral", steps=3, temperature=0.5, clip=1.0
    flow matching                   parameterisation="flow", levels="flow", noise_law="uniform_time", step="euler"
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dawm.diffusion.denoiser import Denoise, Preconditioned
from dawm.diffusion.guidance import clipped, fixed
from dawm.diffusion.levels import LEVELS, cosine_training_levels
from dawm.diffusion.objective import NOISE_LAWS, denoising_error, masked_mean
from dawm.diffusion.parameterisation import PARAMETERISATIONS, Coefficients
from dawm.diffusion.sampler import sample
from dawm.diffusion.steps import STEPS

T = TypeVar("T")


@dataclass(frozen=True)
class ProcessConfig:
    """Settings of a diffusion process. `sigma` is always the standard deviation of the noise in x = x0 + sigma * n."""

    parameterisation: Literal["edm", "epsilon", "x0", "v", "flow"] = "edm"
    sigma_data: float = 1.0  # standard deviation of the data
    levels: Literal["karras", "cosine", "vp", "flow", "angular"] = "angular"
    sigma_min: float = 0.01  # smallest level before 0 (karras, vp), and of training (uniform_time)
    sigma_max: float = 20.0  # largest level; EDM's 80 was for images of standard deviation 0.5
    rho: float = 7.0  # karras: larger puts more levels at low noise
    train_levels: int = 5  # cosine: the K of DDPM
    noise_law: Literal["lognormal", "grid", "uniform_time", "logit_normal"] = "lognormal"
    noise_mean: float = -0.5  # of log sigma: EDM's -1.2 for data of standard deviation 0.5, moved to 1
    noise_std: float = 1.2
    shared: int = 1  # rows of a training batch at one level: what a network does with the level alone it does once
    step: Literal["euler", "ancestral", "heun", "angular_heun", "angular_adams", "churned_heun"] = "angular_adams"
    steps: int = 5  # sampler steps; the Heun rows evaluate the network 2 * steps - 1 times, the others `steps` times
    temperature: float = 1.0  # ancestral: factor on the standard deviation of each step's noise
    churn: float = 0.0  # churned_heun: relative rise of the level before each step, at most sqrt(2) - 1
    initial_scale: float = 1.0  # factor on the initial noise
    clip: float | None = None  # bound on |x0| while sampling

    def __post_init__(self):
        for name in ("sigma_data", "sigma_min", "sigma_max", "rho", "noise_std", "initial_scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("train_levels", "steps", "shared"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, table in (("parameterisation", PARAMETERISATIONS), ("levels", LEVELS), ("noise_law", NOISE_LAWS)):
            _check_known(name, getattr(self, name), table)
        _check_known("step", self.step, STEPS)
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min ({self.sigma_min}) must be below sigma_max ({self.sigma_max})")
        if self.levels == "cosine" and self.steps > self.train_levels:
            raise ValueError(
                f"steps ({self.steps}) cannot exceed train_levels ({self.train_levels}) on the cosine grid"
            )
        if self.temperature < 0 or (self.temperature != 1 and self.step != "ancestral"):
            raise ValueError(
                f"temperature {self.temperature} needs step='ancestral' and a value >= 0, step is {self.step!r}"
            )
        if (self.churn != 0) != (self.step == "churned_heun") or not 0 <= self.churn <= np.sqrt(2) - 1:
            raise ValueError(f"churn must be in (0, 0.414] for step='churned_heun' and 0 otherwise, got {self.churn}")
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"clip must be positive or absent, got {self.clip}")

    @property
    def grid(self) -> tuple[float, ...]:
        """The levels that `noise_law="grid"` draws from: all K of the cosine schedule, else those of the sampler."""
        if self.levels == "cosine":
            return tuple(map(float, cosine_training_levels(self.train_levels)))
        return tuple(map(float, _call(LEVELS[self.levels].build, self, LEVELS[self.levels].settings)(self.steps)[:-1]))


@dataclass(frozen=True)
class Process:
    """The functions of one process. Hashable and free of arrays: use it as a static field or close over it."""

    config: ProcessConfig

    @property
    def sigmas(self) -> Float[np.ndarray, " levels"]:
        """The sampler's levels: `steps` of them, decreasing, then 0."""
        row = LEVELS[self.config.levels]
        return _call(row.build, self.config, row.settings)(self.config.steps)

    @property
    def step(self) -> Callable[..., Any]:
        """The step of `steps.STEPS` with its settings filled in."""
        row = STEPS[self.config.step]
        return _call(row.step, self.config, row.settings)

    @property
    def evaluations(self) -> int:
        """How often the network is evaluated for one sample."""
        return STEPS[self.config.step].evaluations * (self.config.steps - 1) + 1

    def coefficients(self, sigma: Float[Array, ""]) -> Coefficients:
        """D = skip * x + out * F(scale_in * x, noise) at this level."""
        return PARAMETERISATIONS[self.config.parameterisation](jnp.asarray(sigma), self.config.sigma_data)

    def draw_sigma(self, key: PRNGKeyArray) -> Float[Array, ""]:
        """A level to train at."""
        row = NOISE_LAWS[self.config.noise_law]
        return _call(row.draw, self.config, row.settings)(key)

    def weight(self, sigma: Float[Array, ""]) -> Float[Array, ""]:
        """1 / out^2: the loss on x0 becomes the plain squared error of what the network predicts."""
        return 1 / self.coefficients(sigma).out ** 2

    def wrap(self, body: Callable) -> Preconditioned:
        """denoise(x, sigma, *conditions) around body(x, noise, conditions)."""
        return Preconditioned(body, self.config.parameterisation, self.config.sigma_data)

    def fix(self, denoise: Denoise, mask: Array, value: Float[Array, "..."]) -> Denoise:
        """Coordinates under `mask` held at `value`; the network sees `value` unscaled (see `guidance.fixed`)."""
        return fixed(denoise, mask, value, lambda sigma: self.coefficients(sigma).scale_in)

    def at_levels(self, one: Callable[..., T], key: PRNGKeyArray, *columns: Any) -> T:
        """`one(*row, sigma)` of every row of the columns, each at a random level that it has in common with `shared`
        neighbours (fewer where so many do not divide the rows); sigma is None for a row that draws one of its own.
        """
        count = len(jax.tree.leaves(columns)[0])
        size = math.gcd(count, self.config.shared)
        if size == 1:
            return jax.vmap(lambda *row: one(*row, None))(*columns)
        sigmas = jax.vmap(self.draw_sigma)(jr.split(key, count // size))
        grouped = jax.tree.map(lambda leaf: leaf.reshape(-1, size, *leaf.shape[1:]), columns)
        found = jax.vmap(jax.vmap(one, (*(0 for _ in columns), None)))(*grouped, sigmas)
        return jax.tree.map(lambda leaf: leaf.reshape(count, *leaf.shape[2:]), found)

    def error(
        self,
        denoise: Denoise,
        x0: Float[Array, "*shape"],
        key: PRNGKeyArray,
        *,
        sigma: Float[Array, ""] | None = None,
        known: Array | None = None,
    ) -> Float[Array, "*shape"]:
        """The weighted squared error of every entry of one example with random noise, at a level or at a random one.

        Entries under the mask `known` are shown clean to the network and have no error, as in `sample`.
        """
        key_level, key_noise = jr.split(key)
        sigma = self.draw_sigma(key_level) if sigma is None else sigma
        if known is not None:
            denoise = self.fix(denoise, known, x0)
        return denoising_error(denoise, x0, sigma, jr.normal(key_noise, x0.shape, x0.dtype), self.weight(sigma))

    def loss(
        self,
        denoise: Denoise,
        x0: Float[Array, "*shape"],
        key: PRNGKeyArray,
        *,
        known: Array | None = None,
        mask: Array | None = None,
    ) -> Float[Array, ""]:
        """Mean of `error` over the entries that are not `known` and, where given, under `mask`."""
        counted = jnp.ones(()) if mask is None else mask
        if known is not None:
            counted = jnp.where(known, 0.0, counted)
        return masked_mean(self.error(denoise, x0, key, known=known), counted)

    def sample(
        self,
        denoise: Denoise,
        shape: tuple[int, ...],
        key: PRNGKeyArray,
        *,
        known: Array | None = None,
        value: Float[Array, "..."] | None = None,
        around: Float[Array, "..."] | None = None,
        skip: int = 0,
    ) -> Float[Array, "..."]:
        """One sample of the given shape; entries under the mask `known` come out as exactly `value` (never clipped).

        With `around` it starts from that array with noise of the level after the first `skip` ones.
        """
        config = self.config
        if config.clip is not None:
            denoise = clipped(denoise, -config.clip, config.clip)
        if known is not None:
            assert value is not None
            denoise = self.fix(denoise, known, value)
        settings = {
            "sigma_data": config.sigma_data,
            "initial_scale": config.initial_scale,
            "remembers": STEPS[config.step].remembers,
        }
        return sample(self.step, denoise, shape, self.sigmas[skip:], key=key, around=around, **settings)


def make_process(config: ProcessConfig) -> Process:
    """The process that a configuration describes."""
    return Process(config)


def _call(function: Callable, config: ProcessConfig, settings: tuple[str, ...]) -> Callable[..., Any]:
    return partial(function, **{name: getattr(config, name) for name in settings})


def _check_known(name: str, value: str, table: dict[str, Any]) -> None:
    if value not in table:
        raise ValueError(f"{name} cannot be {value!r}; known: {', '.join(table)}")
