"""The library of futures: what is read is what the model said, from a file that resumes and from memory maps."""

from __future__ import annotations

import dataclasses

import jax
import jax.random as jr
import numpy as np
import pytest

from dawm.errors import ConfigError, FileError
from dawm.synth.futures import FuturesConfig, _futures, build_library, open_library
from dawm.uncertainty.recalibrate import KNOTS, Recalibration

CONFIG = FuturesConfig(futures=6, block=64)


@pytest.fixture(scope="module")
def few(data):
    return data.select(np.arange(20))


@pytest.fixture(scope="module")
def library(trained, few, tmp_path_factory):
    folder = tmp_path_factory.mktemp("library") / "futures"
    return build_library(trained, few, CONFIG, folder=folder), folder


def test_what_is_read_is_what_the_model_said(library, trained, few):
    found = library[0].rows(np.arange(64))
    block = (leaf[:64] for leaf in (few.obs, few.action, few.source))
    said = jax.device_get(_futures(trained.model, *block, 6, jr.fold_in(jr.key(0), 0)))
    spread = said.next_obs.std((0, 1))
    np.testing.assert_allclose(found.next_obs / spread, said.next_obs / spread, atol=5e-3)
    np.testing.assert_allclose(found.reward, said.reward, atol=5e-3)
    np.testing.assert_allclose(found.terminal_prob, said.terminal_prob, atol=1e-3)
    assert library[0].futures == 6
    assert len(library[0]) == len(few)


def test_rows_in_any_order_and_twice(library):
    index = np.array([130, 3, 64, 3, 63])
    found = library[0].rows(index)
    for place, row in enumerate(index):
        one = library[0].rows(np.array([row]))
        jax.tree.map(lambda a, b, place=place: np.testing.assert_array_equal(a[place], b[0]), found, one)
    with pytest.raises(ConfigError, match="rows 0 to"):
        library[0].rows(np.array([len(library[0])]))


def test_futures_spread_around_what_was_recorded(library, few):
    found = library[0].rows(np.arange(len(few)))
    error = np.abs(found.next_obs.mean(1) - few.next_obs)[:, :2]
    assert error.mean() < 2 * found.next_obs.std(1)[:, :2].mean()


def test_a_correction_moves_what_is_stored_and_not_its_order(library, trained, few, tmp_path):
    dims = few.obs.shape[1] + 1
    table = np.broadcast_to(KNOTS, (2, dims, len(KNOTS)))
    correction = Recalibration("temperature", np.full((2, dims), 3.0), table, 100, 10)
    folder = tmp_path / "model"
    folder.mkdir()
    correction.save(folder / "recalibration.json")
    model = dataclasses.replace(trained, folder=folder, fresh=trained.networks)
    found = build_library(model, few, CONFIG, folder=tmp_path / "futures").rows(np.arange(len(few)))
    raw = library[0].rows(np.arange(len(few)))
    centre = raw.next_obs.mean(1, keepdims=True)
    unit = raw.next_obs.std((0, 1))
    np.testing.assert_allclose(found.next_obs / unit, (centre + 3 * (raw.next_obs - centre)) / unit, atol=0.05)
    np.testing.assert_array_equal(found.terminal_prob, raw.terminal_prob)
    off = dataclasses.replace(CONFIG, recalibrated=False)
    same = build_library(model, few, off, folder=tmp_path / "off").rows(np.arange(len(few)))
    np.testing.assert_array_equal(same.next_obs, raw.next_obs)
    dataclasses.replace(correction, factor=2 * correction.factor).save(folder / "recalibration.json")
    with pytest.raises(ConfigError, match="correction"):  # the model was calibrated anew: no half of each
        build_library(dataclasses.replace(model), few, CONFIG, folder=tmp_path / "futures")


def test_blocks_that_are_missing_are_made_again_to_the_same_bytes(library, trained, few, tmp_path):
    _, folder = library
    blocks = sorted((folder / "blocks").glob("*.npy"))
    before = [p.read_bytes() for p in blocks]
    blocks[1].unlink()
    with pytest.raises(FileError, match="missing"):
        open_library(folder)
    (folder / "finished").unlink()
    with pytest.raises(FileError, match="not finished"):
        open_library(folder)
    build_library(trained, few, CONFIG, folder=folder)
    assert [p.read_bytes() for p in blocks] == before
    with pytest.raises(ConfigError, match="futures"):
        build_library(trained, few, dataclasses.replace(CONFIG, futures=7), folder=folder)


def test_a_damaged_block_is_named(library, trained, few):
    _, folder = library
    path = folder / "blocks/00000.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(FileError, match=r"00000\.npy"):
        open_library(folder)
    path.write_bytes(whole)
