"""A dataset written for Minari opens in Minari, and comes back as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dawm.data.dataset import References
from dawm.data.registry import load
from dawm.errors import ConfigError, DatasetError, FileError

minari = pytest.importorskip("minari")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def test_round_trip_through_minari(marker, root):
    data = load(marker.flat | {"source": np.array(["a", "b", "a", "b", "b"])})
    info = replace(data.info, env="Pendulum-v1", references=References(-2.0, 8.0, "a paper"), details={"model": "abc"})
    data = replace(data, info=info)
    folder = data.to_minari("toy/dawm/synthetic-v0")
    assert folder == str(root / "toy/dawm/synthetic-v0")

    theirs = minari.load_dataset("toy/dawm/synthetic-v0")
    assert theirs.total_episodes == 5
    assert theirs.env_spec.id == "Pendulum-v1"
    assert minari.get_normalized_score(theirs, np.array([3.0])) == 0.5
    for e, episode in enumerate(theirs.iterate_episodes()):
        np.testing.assert_array_equal(episode.observations, marker.observations(e))
        np.testing.assert_array_equal(episode.actions, marker.actions(e))
        np.testing.assert_array_equal(episode.rewards, marker.rewards(e))
        np.testing.assert_array_equal(episode.terminations, marker.terminals(e))
        np.testing.assert_array_equal(episode.truncations, marker.timeouts(e))

    back = load("toy/dawm/synthetic-v0")
    assert back.fingerprint == data.fingerprint
    assert back.info.sources == ("a", "b")
    assert back.info.references == data.info.references
    lineage = back.info.details["dawm"]
    assert lineage["fingerprint"] == data.fingerprint
    assert lineage["details"] == {"model": "abc"}


def test_provenance_of_single_rows_survives(marker, root):
    data = load(marker.flat | {"source": np.arange(15) % 4 - 1})
    assert load(data.to_minari("x-v0")).fingerprint == data.fingerprint


def test_an_explicit_root_leaves_the_environment_alone(marker, tmp_path, monkeypatch):
    monkeypatch.delenv("MINARI_DATASETS_PATH", raising=False)
    folder = load(marker.flat).to_minari("x-v0", tmp_path / "here")
    marker.check(load(folder))
    import os

    assert "MINARI_DATASETS_PATH" not in os.environ
    assert [p.name for p in (tmp_path / "here").iterdir()] == ["x-v0"]  # no part is left behind


def test_refusals_name_the_remedy(marker, root):
    data = load(marker.flat)
    with pytest.raises(ConfigError, match="no Minari id"):
        data.to_minari("no version")
    data.to_minari("x-v0")
    with pytest.raises(FileError, match="exists already"):
        data.to_minari("x-v0")
    broken = replace(data, next_obs=data.next_obs + 1)
    with pytest.raises(DatasetError, match="next_obs` is not the following observation"):
        broken.to_minari("y-v0")
    assert not (root / "y-v0").exists()
