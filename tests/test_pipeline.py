"""Settings of a whole run, and the public names."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

import dawm
from dawm.errors import ConfigError
from dawm.presets import PRESETS, RunConfig, acting_alone, load_preset, merge, policies_of
from dawm.run.config import from_dict, to_dict, without_none


def test_import_is_light_and_every_public_name_exists():
    code = "import sys, dawm; print('jax' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    for name in dawm.__all__:
        assert getattr(dawm, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute `lode`"):
        dawm.lode  # noqa: B018


def test_no_public_name_hides_a_module():
    from importlib.util import find_spec

    assert [name for name in dawm.__all__ if find_spec(f"dawm.{name}") is not None] == []


@pytest.mark.parametrize("name", PRESETS)
def test_presets_load_and_survive_the_record(name):
    config = load_preset(name)
    assert from_dict(RunConfig, without_none(to_dict(config))) == config


def test_the_paper_preset_is_the_papers():
    model = load_preset("paper").world_model.model
    process = model.process
    assert (model.horizon, model.coordinates, model.normaliser, model.label_dropout) == (8, "states", "cdf", 0.25)
    assert (process.train_levels, process.steps, process.step, process.parameterisation) == (
        5,
        3,
        "ancestral",
        "epsilon",
    )
    assert (process.temperature, process.levels, process.noise_law) == (0.5, "cosine", "grid")
    assert load_preset("paper").world_model.loop.steps == 2_000_000


def test_merge_keeps_what_is_not_named():
    base = RunConfig()
    assert base.world_model.networks.one_step.linear_skip is False  # unlike the default of its class
    changed = merge(base, {"world_model": {"networks": {"one_step": {"width": 7}}}})
    expected = dataclasses.replace(base.world_model.networks.one_step, width=7)
    assert changed.world_model.networks.one_step == expected
    assert dataclasses.replace(changed.world_model.networks, one_step=base.world_model.networks.one_step) == (
        base.world_model.networks
    )


def test_the_policies_of_a_run():
    names = [(p.name, p.config.algo.kind, p.config.ratio, p.synthetic) for p in policies_of(RunConfig())]
    assert names == [("bc", "bc", 0.0, False), ("iql", "iql", 0.0, False), ("iql-dawm", "iql", 0.5, True)]
    only = policies_of(merge(RunConfig(), {"bc": False, "real_only": False, "policy": {"algo": {"kind": "iql"}}}))
    assert [p.name for p in only] == ["iql-dawm"]
    cloned = policies_of(merge(RunConfig(), {"policy": {"algo": {"kind": "bc"}}}))
    assert [p.name for p in cloned] == ["bc", "bc-dawm"]
    careful = merge(RunConfig(), {"futures": 8, "policy": {"thin": 2.0, "risk": {"measure": "cvar"}}})
    plans = {p.name: p for p in policies_of(careful)}
    assert list(plans) == ["bc", "iql", "iql-thin", "iql-futures", "iql-dawm"]
    told = {n: (p.config.thin, p.config.risk.measure, p.futures, p.synthetic) for n, p in plans.items()}
    assert told["iql"] == told["bc"] == (0.0, "mean", False, False)  # each addition against the plain learner
    assert told["iql-thin"] == (2.0, "mean", False, False)
    assert told["iql-futures"] == (0.0, "cvar", True, False)
    assert told["iql-dawm"] == (0.0, "mean", False, True)


def test_a_run_without_synthetic_rows_is_refused():
    with pytest.raises(ConfigError, match=r"policy.ratio is the synthetic share"):
        merge(RunConfig(), {"policy": {"ratio": 0.0}})


def test_what_acts_alone_is_trained_otherwise_where_a_run_says_so():
    assert acting_alone(RunConfig()) == RunConfig()
    config = merge(RunConfig(), {"alone": {"average": 0.9, "actor_learning_rate": 1e-3}})
    policy, other = acting_alone(config).policy, config.policy
    assert (policy.average, policy.algo.actor_learning_rate, policy.algo.actor_schedule) == (0.9, 1e-3, "constant")
    assert dataclasses.replace(policy, average=0.0, algo=other.algo) == other
    asked = merge(config, {"policy": {"average": 0.5, "algo": {"actor_learning_rate": 2e-3}}})
    assert acting_alone(asked) == asked  # what somebody asked for stays
    cloned = merge(config, {"policy": {"algo": {"kind": "bc"}}})
    assert acting_alone(cloned).policy == dataclasses.replace(cloned.policy, average=0.9)
    for bad in ({"average": 1.0}, {"actor_learning_rate": 0.0}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            merge(RunConfig(), {"alone": bad})
