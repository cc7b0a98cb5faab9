"""dawm's own file: the same data to the last bit, or an error."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

from dawm.data import native
from dawm.data.dataset import DatasetInfo, References
from dawm.data.registry import load
from dawm.errors import FileError


def test_round_trip_keeps_every_bit_and_all_that_is_known(marker, tmp_path):
    info = DatasetInfo(
        "n", "o", "f", "E-v1", 7, References(1.0, 2.0, "s"), ("a", "b"), ("note",), {"k": [1, {"x": None}]}
    )
    data = replace(load(marker.flat | {"source": np.array([0, 1, 0, 1, 1])}), info=info)
    data.save(tmp_path / "deep" / "x.h5")
    back = native.load(tmp_path / "deep" / "x.h5")
    assert back.fingerprint == data.fingerprint
    assert back.info == info
    assert back.spec == data.spec
    with h5py.File(tmp_path / "deep" / "x.h5") as file:
        assert file["final_obs"].shape == (5, 2)  # one row an episode: the rest follows from `obs`
        assert "next_obs" not in file
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x.h5"]


@pytest.mark.parametrize("value", [5.0, np.nan, -0.0])
def test_next_observations_that_do_not_follow_are_stored_whole(marker, tmp_path, value):
    data = load(marker.flat)
    odd = data.next_obs.copy()
    odd[0, 0] = value
    data = replace(data, next_obs=odd)
    data.save(tmp_path / "x.h5")
    assert native.load(tmp_path / "x.h5").fingerprint == data.fingerprint
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["next_obs"].shape == (15, 2)


def test_load_by_path_tells_where_the_data_came_from(marker, tmp_path):
    load(marker.flat).save(tmp_path / "x.h5")
    data = load(tmp_path / "x.h5")
    marker.check(data)
    assert data.info.origin == f"native:{tmp_path / 'x.h5'}"
    assert data.info.details["converted_from"] == "arrays"


def test_a_changed_value_is_noticed(marker, tmp_path):
    load(marker.flat).save(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["reward"][3] = 9.0
    with pytest.raises(FileError, match="fingerprint"):
        native.load(tmp_path / "x.h5")


def test_a_failed_write_leaves_the_old_file(marker, tmp_path, monkeypatch):
    data = load(marker.flat)
    data.save(tmp_path / "x.h5")
    before = (tmp_path / "x.h5").read_bytes()

    def full(*_args):
        raise OSError("no space left on device")

    monkeypatch.setattr(native, "write", full)
    with pytest.raises(FileError, match=r"cannot be written .*no space"):
        data.save(tmp_path / "x.h5")
    assert (tmp_path / "x.h5").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.h5"]
