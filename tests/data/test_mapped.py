"""Logs that stay on disk: the same data to the last bit, written part by part, or an error."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from dawm.data import mapped
from dawm.data.dataset import Dataset
from dawm.data.registry import load
from dawm.errors import DatasetError, FileError


def test_one_log_is_what_it_was_and_stays_on_disk(marker, tmp_path):
    data = load(marker.flat)
    mapped.save([data], tmp_path / "x.dawm")
    back = load(tmp_path / "x.dawm")
    marker.check(back)
    assert back.mapped
    assert not data.mapped
    assert isinstance(back.obs, np.memmap)
    assert isinstance(back.reward, np.memmap)
    assert back.fingerprint == data.fingerprint
    assert back.info.origin == f"mapped:{tmp_path / 'x.dawm'}"
    assert back.info.details["converted_from"] == "arrays"
    assert not back.select([0, 2]).mapped  # what is selected is in memory
    np.testing.assert_array_equal(np.load(tmp_path / "x.dawm" / "obs.npy"), data.obs)  # ordinary files


def test_parts_join_as_logs_in_memory_do(marker, tmp_path):
    one, two = (replace(load(marker.flat), info=replace(load(marker.flat).info, name=n)) for n in ("one", "two"))
    labelled = load(marker.flat | {"source": np.array([0, 1, 0, 1, 1])})
    mapped.save(iter([one, two, labelled]), tmp_path / "x.dawm")
    back, joined = mapped.load(tmp_path / "x.dawm"), Dataset.concatenate([one, two, labelled])
    assert back.fingerprint == joined.fingerprint
    assert back.info == joined.info
    assert back.spec == joined.spec


def test_parts_of_different_tasks_leave_nothing_behind(marker, tmp_path):
    data = load(marker.flat)
    other = replace(data, obs=data.obs[:, :1], next_obs=data.next_obs[:, :1])
    with pytest.raises(DatasetError, match="1 observation"):
        mapped.save([data, other], tmp_path / "x.dawm")
    with pytest.raises(FileError, match="no log"):
        mapped.save([], tmp_path / "y.dawm")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_never_overwritten(marker, tmp_path):
    mapped.save([load(marker.flat)], tmp_path / "x.dawm")
    with pytest.raises(FileError, match="exists already"):
        mapped.save([load(marker.flat)], tmp_path / "x.dawm")


def damage_value(folder):
    with (folder / "reward.npy").open("r+b") as file:
        file.seek(mapped.HEADER + 8)
        file.write(b"\x00\x01")


def damage_length(folder):
    content = (folder / "obs.npy").read_bytes()
    (folder / "obs.npy").write_bytes(content[:-20])


def damage_header(folder):
    content = (folder / "obs.npy").read_bytes()
    (folder / "obs.npy").write_bytes(b"\x93NUMPX" + content[6:])


def damage_kind(folder):
    np.save(folder / "action.npy", np.load(folder / "action.npy").astype(np.float64))


def damage_objects(folder):
    """What a file of Python objects begins with; nothing is there that could be unpickled."""
    with (folder / "act_low.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (1,)})


def damage_words(folder):
    (folder / "dataset.json").write_text("{")


def damage_version(folder):
    facts = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(facts | {"format": "dawm-mapped 9"}))


def damage_missing(folder):
    (folder / "terminal.npy").unlink()


DAMAGE = (
    damage_value, damage_length, damage_header, damage_kind, damage_objects,
    damage_words, damage_version, damage_missing,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_sentence(marker, tmp_path, damage):
    mapped.save([load(marker.flat)], tmp_path / "x.dawm")
    damage(tmp_path / "x.dawm")
    with pytest.raises(FileError, match=r"damaged|not of the layout"):
        load(tmp_path / "x.dawm")
