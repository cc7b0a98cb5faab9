"""The measurements. To add one: a module with `measure(settings) -> {"rows": [...]}`, and a row here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.speed import (
    bodies,
    denoisers,
    evaluation,
    learners,
    machine,
    memory,
    scaling,
    startup,
    synthetic,
    together,
    whole,
)
from benchmarks.speed.comparison import Settings


class Measurement(NamedTuple):
    """One section of the page."""

    measure: Callable[[Settings], dict[str, Any]]
    title: str
    about: str  # a sentence or two, above its table


MEASUREMENTS = {
    "machine": Measurement(
        machine.measure,
        "The limit",
        "Single-precision matrix products at the shapes that matter. The best rate of JAX here is the peak that the"
        " other sections are a share of.",
    ),
    "learners": Measurement(
        learners.measure,
        "Policy updates",
        "Batch 256, hidden layers of 256 units (two; ReBRAC three), sizes of Hopper, one seed. Each program draws its"
        " own batches. Useful operations are counted alike for all.",
    ),
    "together": Measurement(
        together.measure,
        "Two runs at once",
        "Two processes, each on a core of its own, their rates added, beside one process alone on the machine.",
    ),
    "denoisers": Measurement(
        denoisers.measure,
        "Training the diffusion",
        "The default bodies of both world models, and SynthER's network. Different networks on different problems: only"
        " the share of the peak can be compared.",
    ),
    "synthetic": Measurement(
        synthetic.measure,
        "Synthetic data",
        "From the default models, beside a sampler as SynthER has it (residual perceptron 1024 x 6, 128 Heun steps),"
        " in JAX as well. Speed alone: how good the data are is another question.",
    ),
    "bodies": Measurement(
        bodies.measure,
        "What training seconds buy",
        "Held-out CRPS over eight steps, after the same seconds of training on one and the same log, for the bodies"
        " that a diffusion can have; less is better.",
    ),
    "evaluation": Measurement(
        evaluation.measure,
        "Evaluation",
        "Ten episodes of 1,000 steps of Hopper-v5. The last two programs ask no policy and are bounds.",
    ),
    "startup": Measurement(
        startup.measure,
        "Start",
        "Seconds of new processes. What is compiled stays in a cache, so the second time is shorter.",
    ),
    "whole": Measurement(
        whole.measure,
        "The whole job",
        "From the log inside the package to the report, with the fast preset, by stages.",
    ),
    "scaling": Measurement(
        scaling.measure,
        "How the cost grows",
        "Slopes of seconds over work on logarithmic axes: 1 is proportional, 0 costs nothing.",
    ),
    "memory": Measurement(
        memory.measure,
        "Memory",
        "Peak resident memory of processes that run one program alone.",
    ),
}
