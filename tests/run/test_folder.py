"""A run folder is taken up again only by the same run; whatever else is named field by field."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from dawm.errors import ConfigError, FileError
from dawm.run.folder import RunFolder
from dawm.run.metrics import MetricsFile

CONFIG = {"policy": {"algo": {"kind": "iql", "rate": 3e-4}, "seed": 0, "bound": None, "sizes": (1, 2)}}


def changed(**policy):
    return {"policy": CONFIG["policy"] | policy}


def test_the_same_run_is_taken_up_again(tmp_path):
    first = RunFolder.start(tmp_path / "r", "policy", CONFIG, {"seed": 0})
    first.write_json("scores.json", {"mean": jnp.asarray(1.5)})
    again = RunFolder.start(tmp_path / "r", "policy", CONFIG, {"seed": 99})  # provenance does not decide
    assert again.read_json("scores.json") == {"mean": 1.5}
    assert again.read_json("provenance.json")["seed"] == 0
    assert again.kind == "policy"
    assert again.read_config()["config"]["policy"]["algo"] == {"kind": "iql", "rate": 3e-4}


def test_another_run_is_refused_field_by_field(tmp_path):
    RunFolder.start(tmp_path / "r", "policy", CONFIG, {})
    other = changed(seed=1, algo={"kind": "bc", "rate": 3e-4})
    with pytest.raises(ConfigError) as error:
        RunFolder.start(tmp_path / "r", "policy", other, {})
    lines = str(error.value).splitlines()
    assert "holds another run" in lines[0]
    assert [line.strip() for line in lines[1:]] == [
        "config.policy.algo.kind: 'iql' -> 'bc'",
        "config.policy.seed: 0 -> 1",
    ]
    with pytest.raises(ConfigError, match="kind: 'policy' -> 'synthetic'"):
        RunFolder.start(tmp_path / "r", "synthetic", CONFIG, {})


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("all my work")
    with pytest.raises(ConfigError, match=r"not empty and no run folder \(it holds thesis.tex\)"):
        RunFolder.start(tmp_path, "policy", CONFIG, {})
    (tmp_path / "crashed").mkdir()
    (tmp_path / "crashed" / "run.toml.part").write_text("[conf")
    assert RunFolder.start(tmp_path / "crashed", "policy", CONFIG, {}).kind == "policy"


def test_opening_names_what_is_wrong(tmp_path):
    with pytest.raises(FileError, match="does not exist"):
        RunFolder.open(tmp_path / "none")
    (tmp_path / "plain").mkdir()
    with pytest.raises(FileError, match=r"has no run\.toml"):
        RunFolder.open(tmp_path / "plain")
    folder = RunFolder.start(tmp_path / "r", "policy", CONFIG, {})
    with pytest.raises(FileError, match="holds a policy, where a world_model is needed"):
        RunFolder.open(tmp_path / "r", "world_model")
    (folder.path / "run.toml").write_bytes(b"kind = \xff")
    with pytest.raises(FileError, match=r"run\.toml` cannot be read"):
        RunFolder.open(tmp_path / "r", "policy")
    (folder.path / "scores.json").write_text('{"mean": 1.')
    with pytest.raises(FileError, match=r"scores\.json` is damaged"):
        folder.read_json("scores.json")


def test_only_the_last_checkpoints_are_kept(tmp_path):
    folder = RunFolder.start(tmp_path / "r", "policy", CONFIG, {})
    with pytest.raises(FileError, match="no checkpoint"):
        folder.load_state(jnp.asarray(0))
    for step in (5, 10, 100, 1000):
        folder.save_state(step, jnp.asarray(step))
    assert folder.checkpoints() == [100, 1000]
    assert folder.load_state(jnp.asarray(0)) == (1000, 1000)
    assert folder.load_state(jnp.asarray(0), 100) == (100, 100)


def test_metrics_forget_what_comes_after_a_step_and_a_line_cut_short(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    assert file.rows() == []
    for step in (10, 20, 30):
        file.append({"step": step, "loss": jnp.asarray([step * 0.1])})
    with file.path.open("a") as raw:
        raw.write('{"step": 40, "los')  # killed while writing
    assert [row["step"] for row in file.rows()] == [10, 20, 30]
    file.truncate(20)
    file.append({"step": 30, "loss": [9.0]})
    assert file.rows()[1:] == [{"step": 20, "loss": [2.0]}, {"step": 30, "loss": [9.0]}]
