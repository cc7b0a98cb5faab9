"""Names, prefixes and damaged files: what is found, what is said where nothing is, and never a foreign traceback."""

from __future__ import annotations

import os
from dataclasses import replace

import h5py
import numpy as np
import pytest

from dawm.data import references
from dawm.data.registry import SOURCES, load, resolve
from dawm.errors import DatasetError, FileError


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home and working folder, and no variable that points elsewhere."""
    for name in ("DAWM_DATA", "D4RL_DATASET_DIR", "MINARI_DATASETS_PATH", "OGBENCH_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("hopper-medium-v2", "hopper_medium-v2.hdf5"),
        ("hopper-medium-v2", "hopper-medium-v2.hdf5"),
        ("walker2d-medium-replay-v2", "walker2d_medium_replay-v2.hdf5"),
        ("d4rl:halfcheetah-medium-expert-v2", "halfcheetah_medium_expert-v2.hdf5"),
    ],
)
@pytest.mark.parametrize("place", ["DAWM_DATA", "D4RL_DATASET_DIR", "home", "here"])
def test_d4rl_names(home, marker, write_h5, monkeypatch, name, file, place):
    folder = {"home": home / ".d4rl" / "datasets", "here": home / "work"}.get(place, home / "elsewhere")
    folder.mkdir(parents=True, exist_ok=True)
    if place.isupper():
        monkeypatch.setenv(place, os.pathsep.join([str(home / "nothing"), str(folder)]))
    write_h5(folder / file, marker.flat)
    data = load(name)
    assert data.info.origin == f"d4rl:{folder / file}"
    assert data.info.references.low == references.D4RL[references.d4rl_task(name.removeprefix("d4rl:"))][0]


def test_ogbench_and_minari_names(home, marker):
    folder = home / ".ogbench" / "data"
    folder.mkdir(parents=True)
    ends = (marker.flat["terminals"] | marker.flat["timeouts"]).astype(float)
    columns = {key: marker.flat[key] for key in ("observations", "actions", "rewards", "next_observations")}
    np.savez(folder / "puzzle-3x3-play-v0.npz", terminals=ends, **columns)
    for name in ("puzzle-3x3-play-v0", "ogbench:puzzle-3x3-play-v0"):
        data = load(name)
        assert data.info.format == "ogbench"
        assert not data.terminal.any()
    load(marker.flat).to_minari("toy/b-v0")  # goes to ~/.minari/datasets
    assert load("toy/b-v0").info.origin == f"minari:{home}/.minari/datasets/toy/b-v0"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hopper-medium-v2", r"no dataset `hopper-medium-v2`. Looked in .*\.d4rl/datasets.* D4RL files are published"),
        ("minari:mujoco/hopper/medium-v0", r"Looked in .*\.minari/datasets.*`minari download mujoco/hopper/medium-v0"),
        ("cube-single-play-v0", r"\.ogbench/data.*`ogbench.download_datasets\(\['cube-single-play-v0'\]\)"),
        ("nowhere.h5", "no dataset `nowhere.h5`.* path of a file, or `demo`"),
        ("file:nowhere.h5", "no file or folder `nowhere.h5`"),
        ("demo:hoper", "no bundled dataset `hoper`; did you mean `hopper`"),
        ("", "empty"),
    ],
)
def test_what_is_not_found_says_where_it_was_sought_and_how_to_get_it(home, name, says):
    with pytest.raises(FileError, match=says):
        load(name)


def test_parts_joined_with_plus_keep_their_provenance(home, marker, write_h5):
    write_h5(home / "work" / "hopper_medium-v2.hdf5", marker.flat)
    other = write_h5(home / "b+c.hdf5", marker.flat)
    data = load(f"hopper-medium-v2+{home / 'work' / 'hopper_medium-v2.hdf5'}")
    assert data.episodes == 10
    assert data.source.tolist() == [0] * 15 + [1] * 15
    assert data.info.sources == ("hopper-medium-v2", "hopper-medium-v2")
    assert load(other).episodes == 5  # a plus sign in a file name that exists is part of the name


def test_env_override_brings_references_but_replaces_none(marker):
    data = load(marker.flat, env="Hopper-v5")
    assert data.info.env == "Hopper-v5"
    assert "physics differ" in data.info.references.source
    known = replace(data, info=replace(data.info, references=references.References(0.0, 1.0, "mine")))
    assert load(known, env="HalfCheetah-v4").info.references.source == "mine"


def test_format_may_be_forced_and_unknown_ones_are_named(home, marker, write_h5):
    file = write_h5(home / "x.h5", marker.flat)
    assert load(file, format="arrays").info.format == "arrays"
    with pytest.raises(FileError, match="no reader for the format `d4r`; did you mean `d4rl`"):
        load(file, format="d4r")


def test_unusable_data_are_refused_unless_asked_for(marker):
    columns = marker.flat
    columns["observations"][4, 1] = np.nan
    with pytest.raises(
        DatasetError, match=r"`obs` has 1 non-finite values in 30; the first is in row 4, dimension 1 \(epi"
    ):
        load(columns)
    assert np.isnan(load(columns, check=False).obs[4, 1])
    with pytest.raises(DatasetError, match="not int"):
        load(3)


@pytest.mark.parametrize("format", [None, *SOURCES])
def test_damaged_files_give_errors_of_ours(home, marker, write_h5, rng, format):
    """Random bytes, files cut short anywhere, flipped bytes, pickles, empty files, wrong layouts."""
    whole_h5 = write_h5(home / "whole.h5", marker.flat).read_bytes()
    load(marker.flat).save(home / "native.h5")
    np.savez(home / "whole.npz", **marker.flat)
    np.savez_compressed(home / "packed.npz", **marker.flat)
    np.savez(home / "pickle.npz", **(marker.flat | {"observations": np.array([{"a": 1}] * 15, dtype=object)}))
    contents = [
        b"",
        b"PK\x03\x04",
        rng.bytes(3000),
        b"\x89HDF\r\n\x1a\n" + rng.bytes(500),
        (home / "pickle.npz").read_bytes(),
    ]
    for whole in (whole_h5, *((home / name).read_bytes() for name in ("native.h5", "whole.npz", "packed.npz"))):
        contents += [whole[: int(share * len(whole))] for share in (0.05, 0.3, 0.6, 0.9, 0.99)]
        for _ in range(15):
            at = int(rng.integers(len(whole)))
            contents.append(whole[:at] + rng.bytes(64) + whole[at + 64 :])
    messages = []
    for content in contents:
        (home / "broken.h5").write_bytes(content)
        try:
            load(home / "broken.h5", format=format)
        except (FileError, DatasetError) as error:
            messages.append(str(error))
    assert len(messages) > 0.4 * len(contents)
    assert all(len(message) > 30 for message in messages)


def test_a_pickle_is_never_opened(home, marker):
    np.savez(home / "p.npz", **(marker.flat | {"observations": np.array([{"a": 1}] * 15, dtype=object)}))
    with pytest.raises(FileError, match="holds Python objects, which dawm never unpickles"):
        load(home / "p.npz")


def test_an_hdf5_of_something_else_is_named(home):
    with h5py.File(home / "other.h5", "w") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(DatasetError, match=r"no obs column.*the data hold `images`"):
        load(home / "other.h5")
    with pytest.raises(FileError, match="holds no dataset that dawm knows"):
        load(home / "work")


def test_resolve_prefers_an_existing_path(home, marker, write_h5):
    file = write_h5(home / "work" / "hopper-medium-v2", marker.flat)
    assert resolve("hopper-medium-v2").resolve() == file
    assert resolve(f"d4rl:{file}") == file


# -- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("hopper-medium-replay-v2", -20.272305, 3234.3),
        ("halfcheetah-expert-v0", -280.178953, 12135.0),
        ("maze2d-umaze-v1", 23.85, 161.86),
        ("maze2d-umaze-dense-v1", 68.537689, 193.66285642381482),
        ("antmaze-medium-diverse-v2", 0.0, 1.0),
        ("pen-human-v1", 96.262799, 3076.8331017826877),
        ("kitchen-mixed-v0", 0.0, 4.0),
        ("DMSD-train", 30.60, 849.51),
        ("Pipeline", -296.0, 751.0),
        ("SafetyHalfCheetah-val", -283.0, 2507.0),
    ],
)
def test_references_by_name(name, low, high):
    assert references.find(name)[:2] == (low, high)


def test_references_by_environment_say_that_physics_differ():
    found = references.find("my log", "Walker2d-v5")
    assert found[:2] == (1.629008, 4592.3)
    assert "physics differ" in found.source
    assert references.find("my log", "Pendulum-v1") is None
    assert references.find("mujoco/hopper/medium-v0") is None
    assert references.find("maze2d-umaze-v0") is None  # the v0 mazes have other constants
    assert references.find("hopper-medium") is None  # a file of ours is no D4RL file


def test_published_scores_of_the_benchmark_files(shared_data):
    """NeoRL-2's own table: the training sets score 56.64, 69.25 and 73.56."""
    for name, score in {"DMSD": 56.64, "Pipeline": 69.25, "SafetyHalfCheetah": 73.56}.items():
        data = load(shared_data / "neorl2" / f"{name}-train.npz")
        assert abs(float(data.info.references.normalise(data.returns.mean())) - score) < 0.011
