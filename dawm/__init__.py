"""dawm: from a log of interactions to a policy to a report, with a diffusion world model in between.

    data = dawm.load("demo")
    model = dawm.train_world_model(data, folder="runs/model")
    synthetic = dawm.generate(model, data, folder="runs/synthetic")
    policy = dawm.train_policy(data, dawm.PolicyConfig(ratio=0.5), synthetic=synthetic, folder="runs/policy")
    scores = dawm.score_policy(policy, "Hopper-v5")

or all of it, with its comparisons and a report: `dawm.run_pipeline("demo", dawm.load_preset("fast"), out="runs/demo")`.

Names are loaded when they are first used (PEP 562), so that `import dawm` is quick and imports no JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# public name: the module that defines it, in the order of the flow
_HOME = {
    # data
    "load": "dawm.data.registry",
    "examine": "dawm.data.doctor",
    "Dataset": "dawm.data.dataset",
    "DatasetInfo": "dawm.data.dataset",
    "References": "dawm.data.dataset",
    # world model
    "train_world_model": "dawm.worldmodel.fit",
    "WorldModelConfig": "dawm.worldmodel.fit",
    "TrajectoryConfig": "dawm.worldmodel.trajectory",
    "ProcessConfig": "dawm.diffusion.process",
    "TrainedModel": "dawm.worldmodel.trained",
    # synthetic data
    "generate": "dawm.synth.generator",
    "load_synthetic": "dawm.synth.generator",
    "GenerateConfig": "dawm.synth.generator",
    # policies
    "train_policy": "dawm.agents.fit",
    "load_policy": "dawm.agents.policy",
    "PolicyConfig": "dawm.agents.config",
    "BCConfig": "dawm.agents.bc",
    "TD3BCConfig": "dawm.agents.td3bc",
    "IQLConfig": "dawm.agents.iql",
    "TrainedPolicy": "dawm.agents.policy",
    # planning
    "make_planner": "dawm.planning.play",
    "score_planner": "dawm.planning.play",
    "PlayConfig": "dawm.planning.play",
    "distil_planner": "dawm.planning.distil",
    "DistilConfig": "dawm.planning.distil",
    "LabelConfig": "dawm.planning.labels",
    # evidence
    "score_policy": "dawm.evaluate.score",
    "estimate_policy": "dawm.evaluate.estimate",
    "write_report": "dawm.report.page",
    # all of it
    "run_pipeline": "dawm.pipeline",
    "resume": "dawm.pipeline",
    "load_preset": "dawm.presets",
    "RunConfig": "dawm.presets",
    # settings, records and errors
    "LoopConfig": "dawm.run.loop",
    "OptimConfig": "dawm.run.optim",
    "Transition": "dawm.types",
    "Spec": "dawm.types",
    "DawmError": "dawm.errors",
    "DatasetError": "dawm.errors",
    "ConfigError": "dawm.errors",
    "FileError": "dawm.errors",
    "CheckpointError": "dawm.errors",
    "NumericalError": "dawm.errors",
    "MissingExtraError": "dawm.errors",
}

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from dawm.agents.bc import BCConfig as BCConfig
    from dawm.agents.config import PolicyConfig as PolicyConfig
    from dawm.agents.fit import train_policy as train_policy
    from dawm.agents.iql import IQLConfig as IQLConfig
    from dawm.agents.policy import TrainedPolicy as TrainedPolicy
    from dawm.agents.policy import load_policy as load_policy
    from dawm.agents.td3bc import TD3BCConfig as TD3BCConfig
    from dawm.data.dataset import Dataset as Dataset
    from dawm.data.dataset import DatasetInfo as DatasetInfo
    from dawm.data.dataset import References as References
    from dawm.data.doctor import examine as examine
    from dawm.data.registry import load as load
    from dawm.diffusion.process import ProcessConfig as ProcessConfig
    from dawm.errors import CheckpointError as CheckpointError
    from dawm.errors import ConfigError as ConfigError
    from dawm.errors import DatasetError as DatasetError
    from dawm.errors import DawmError as DawmError
    from dawm.errors import FileError as FileError
    from dawm.errors import MissingExtraError as MissingExtraError
    from dawm.errors import NumericalError as NumericalError
    from dawm.evaluate.estimate import estimate_policy as estimate_policy
    from dawm.evaluate.score import score_policy as score_policy
    from dawm.pipeline import resume as resume
    from dawm.pipeline import run_pipeline as run_pipeline
    from dawm.planning.distil import DistilConfig as DistilConfig
    from dawm.planning.distil import distil_planner as distil_planner
    from dawm.planning.labels import LabelConfig as LabelConfig
    from dawm.planning.play import PlayConfig as PlayConfig
    from dawm.planning.play import make_planner as make_planner
    from dawm.planning.play import score_planner as score_planner
    from dawm.presets import RunConfig as RunConfig
    from dawm.presets import load_preset as load_preset
    from dawm.report.page import write_report as write_report
    from dawm.run.loop import LoopConfig as LoopConfig
    from dawm.run.optim import OptimConfig as OptimConfig
    from dawm.synth.generator import GenerateConfig as GenerateConfig
    from dawm.synth.generator import generate as generate
    from dawm.synth.generator import load_synthetic as load_synthetic
    from dawm.types import Spec as Spec
    from dawm.types import Transition as Transition
    from dawm.worldmodel.fit import WorldModelConfig as WorldModelConfig
    from dawm.worldmodel.fit import train_world_model as train_world_model
    from dawm.worldmodel.trained import TrainedModel as TrainedModel
    from dawm.worldmodel.trajectory import TrajectoryConfig as TrajectoryConfig


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("dawm")
        except PackageNotFoundError:
            return "unknown"
    if name not in _HOME:
        raise AttributeError(f"module `dawm` has no attribute `{name}`")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, "__version__"])
