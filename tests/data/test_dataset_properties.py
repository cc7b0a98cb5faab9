"""What must hold for every log whatever: splits by episode, selection, joining, and the native file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dawm.data import native
from dawm.data.dataset import Dataset, DatasetInfo


@st.composite
def logs(draw, least=1):
    lengths = draw(st.lists(st.integers(1, 6), min_size=least, max_size=8))
    ended = draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
    n, ends = sum(lengths), np.cumsum(lengths)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    obs = rng.normal(size=(n, draw(st.integers(1, 3)))).astype(np.float32)
    following = rng.normal(size=obs.shape).astype(np.float32)
    if draw(st.booleans()):
        following[:-1] = obs[1:]
        following[ends - 1] = rng.normal(size=(len(ends), obs.shape[1]))
    terminal = np.zeros(n, bool)
    terminal[ends - 1] = ended
    source = rng.integers(-1, 3, n).astype(np.int32) if draw(st.booleans()) else np.full(n, -1, np.int32)
    action, reward = rng.uniform(-1, 1, (n, 2)).astype(np.float32), rng.normal(size=n).astype(np.float32)
    bound = np.ones(2, np.float32)
    return Dataset(obs, action, reward, following, terminal, ends, source, -bound, bound, DatasetInfo())


def episodes_of(data):
    return [data.select([e]).fingerprint for e in range(data.episodes)]


@settings(max_examples=40, deadline=None)
@given(logs(least=2), st.floats(0.05, 0.95), st.integers(0, 1000))
def test_split_is_by_episode_disjoint_and_complete(data, share, seed):
    kept, held = data.split_episodes(share, seed)
    assert sorted([*kept, *held]) == list(range(data.episodes))
    assert len(kept) >= 1
    assert len(held) == min(max(1, round(share * data.episodes)), data.episodes - 1)
    train, valid = data.split(share, seed)
    every = episodes_of(data)
    assert episodes_of(train) == [every[e] for e in kept]
    assert episodes_of(valid) == [every[e] for e in held]
    again = data.split_episodes(share, seed)
    assert all(np.array_equal(a, b) for a, b in zip((kept, held), again, strict=True))


@settings(max_examples=40, deadline=None)
@given(logs(), st.data())
def test_select_takes_whole_episodes_in_the_given_order(data, draw):
    chosen = draw.draw(st.lists(st.integers(0, data.episodes - 1), min_size=1, max_size=6))
    part = data.select(chosen)
    assert part.lengths.tolist() == data.lengths[chosen].tolist()
    np.testing.assert_array_equal(part.returns, data.returns[chosen])
    np.testing.assert_array_equal(part.cut, data.cut[chosen])
    assert episodes_of(part) == [episodes_of(data)[e] for e in chosen]


@settings(max_examples=40, deadline=None)
@given(logs(), logs())
def test_concatenate_keeps_episodes_and_separates_sources(a, b):
    if a.obs.shape[1] != b.obs.shape[1]:
        return
    joined = Dataset.concatenate([a, b])
    assert joined.lengths.tolist() == a.lengths.tolist() + b.lengths.tolist()
    for name in ("obs", "action", "reward", "next_obs", "terminal"):
        np.testing.assert_array_equal(getattr(joined, name), np.concatenate([getattr(a, name), getattr(b, name)]))
    first, second = joined.source[: len(a)], joined.source[len(a) :]
    assert not set(first[first >= 0]) & set(second[second >= 0])
    assert joined.source.max() < len(joined.info.sources)


@settings(max_examples=40, deadline=None)
@given(logs())
def test_native_round_trip(data):
    with tempfile.TemporaryDirectory() as folder:
        data.save(Path(folder) / "x.h5")
        back = native.load(Path(folder) / "x.h5")
    assert back.fingerprint == data.fingerprint
    assert (back.spec, back.info) == (data.spec, data.info)


@settings(max_examples=20, deadline=None)
@given(logs())
def test_return_to_go_at_the_start_of_an_episode_is_its_return(data):
    np.testing.assert_allclose(data.return_to_go(1.0)[data.episode_starts], data.returns, rtol=1e-5, atol=1e-5)
