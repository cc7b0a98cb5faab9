"""Preset < configuration file < flags < --set."""

from __future__ import annotations

import argparse
import json

import pytest

from dawm.cli.settings import configuration
from dawm.errors import ConfigError


def flags(**given) -> argparse.Namespace:
    return argparse.Namespace(**{"preset": None, "config": None, "assignments": [], **given})


def test_each_level_wins_over_the_one_before(tmp_path):
    file = tmp_path / "my.json"
    file.write_text(json.dumps({"policy": {"seeds": 7, "loop": {"steps": 77}}, "generate": {"transitions": 777}}))
    preset = configuration(flags(preset="fast"))
    assert (preset.policy.seeds, preset.policy.loop.steps, preset.policy.loop.chunk) == (2, 3_000, 500)
    from_file = configuration(flags(preset="fast", config=file))
    assert (from_file.policy.seeds, from_file.policy.loop.steps, from_file.policy.loop.chunk) == (7, 77, 500)
    with_flag = configuration(flags(preset="fast", config=file, seeds=8))
    assert (with_flag.policy.seeds, with_flag.generate.transitions) == (8, 777)
    with_set = configuration(flags(preset="fast", config=file, seeds=8, assignments=["policy.seeds=9"]))
    assert (with_set.policy.seeds, with_set.policy.loop.steps) == (9, 77)


def test_a_setting_may_leave_out_the_name_of_its_section(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text("batch_size = 33\n[model]\nhorizon = 4\n[world_model.loop]\nsteps = 44")
    config = configuration(flags(config=file, assignments=["ema=0.5", "world_model.holdout=0.2"]), "world_model")
    model = config.world_model
    assert (model.batch_size, model.model.horizon, model.loop.steps, model.ema, model.holdout) == (33, 4, 44, 0.5, 0.2)


def test_the_learner_is_chosen_before_its_settings(tmp_path):
    config = configuration(flags(algo="iql", assignments=["policy.algo.expectile=0.9"]))
    assert (config.policy.algo.kind, config.policy.algo.expectile) == ("iql", 0.9)
    file = tmp_path / "my.toml"
    file.write_text("[policy.algo]\nexpectile = 0.8\nkind = 'iql'")
    assert configuration(flags(config=file)).policy.algo.expectile == 0.8


def test_one_seed_for_every_stage():
    config = configuration(flags(seed=5))
    assert (config.world_model.seed, config.generate.seed, config.policy.seed) == (5, 5, 5)


def test_unknown_keys_in_a_file_are_errors_with_a_suggestion(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text("[world_model.loop]\nstep = 3")
    with pytest.raises(ConfigError, match=r"world_model.loop.step`; did you mean `steps`"):
        configuration(flags(config=file))
