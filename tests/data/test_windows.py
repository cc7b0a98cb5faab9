"""Windows of a marker log, in which every number names its episode and its step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawm.data.dataset import Dataset
from dawm.data.windows import ended, make_windows

HORIZON, DISCOUNT = 4, 0.9


def marker_log(episodes):
    """obs = (episode, step), next_obs = (episode, step + 1), action = 100 episode + step, reward = step + 1."""
    rows = [(e, t) for e, (length, _) in enumerate(episodes) for t in range(length)]
    episode, step = np.array(rows, np.float32).T
    ends = np.cumsum([length for length, _ in episodes])
    terminal = np.zeros(len(rows), bool)
    terminal[[end - 1 for end, (_, dies) in zip(ends, episodes, strict=True) if dies]] = True
    return Dataset(
        obs=np.stack([episode, step], 1),
        next_obs=np.stack([episode, step + 1], 1),
        action=(100 * episode + step)[:, None],
        reward=step + 1,
        terminal=terminal,
        episode_ends=ends,
        source=episode.astype(np.int32),
        act_low=np.array([-1.0], np.float32),
        act_high=np.array([1.0], np.float32),
    )


def all_segments(data, horizon=HORIZON, **settings):
    windows = make_windows(data, horizon, discount=DISCOUNT, **settings)
    return jax.device_get(jax.vmap(windows.segment)(jnp.arange(len(data))))


EPISODES = [(6, True), (1, False), (3, False), (1, True), (9, True)]


@pytest.fixture(scope="module")
def data():
    return marker_log(EPISODES)


@pytest.fixture(scope="module")
def segments(data):
    return all_segments(data)


def test_recorded_steps_are_those_of_one_episode_in_order(data, segments):
    for row in range(len(data)):
        episode, step = data.obs[row]
        left = data.episode_ends[int(episode)] - row
        valid = segments.valid[row]
        assert valid.tolist() == [h < left for h in range(HORIZON)]
        for h in np.flatnonzero(valid):
            assert segments.obs[row, h].tolist() == [episode, step + h]
            assert segments.obs[row, h + 1].tolist() == [episode, step + h + 1]
            assert segments.action[row, h, 0] == 100 * episode + step + h
            assert segments.reward[row, h] == step + h + 1
        assert segments.source[row] == episode
        assert (segments.obs[row, :, 0] == episode).all()  # padding too: no window crosses an episode


def test_padding_repeats_the_last_observation_and_earns_nothing(data, segments):
    for row in range(len(data)):
        padding, count = ~segments.valid[row], int(segments.valid[row].sum())
        assert (segments.obs[row, 1:][padding] == segments.obs[row, count]).all()
        assert (segments.reward[row][padding] == 0).all()
        assert (segments.action[row][padding] == 0).all()
        assert not segments.terminal[row][padding].any()


def test_padding_after_an_end_is_known_and_after_a_cut_it_is_not(data, segments):
    known = np.asarray(ended(segments))
    for row in range(len(data)):
        dies = EPISODES[int(data.obs[row, 0])][1]
        assert (known[row] == (~segments.valid[row] & dies)).all()
        in_reach = data.episode_ends[int(data.obs[row, 0])] - row <= HORIZON
        assert segments.terminal[row].sum() == (dies and in_reach)


def test_a_terminal_inside_a_stored_episode_ends_its_windows(data):
    """A log may go on after a terminal by mistake; a window never does."""
    data.terminal[2] = True
    try:
        segment = jax.tree.map(lambda leaf: leaf[0], all_segments(data))
    finally:
        data.terminal[2] = False
    assert segment.valid.tolist() == [True, True, True, False]
    assert segment.obs[4].tolist() == [0.0, 3.0]
    assert np.asarray(ended(segment)).tolist() == [False, False, False, True]


lists = st.lists(st.tuples(st.integers(1, 7), st.booleans()), min_size=1, max_size=5)


@settings(max_examples=30, deadline=None)
@given(episodes=lists, horizon=st.integers(2, 6), discount=st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_the_return_to_go_is_the_discounted_sum_of_what_is_left(episodes, horizon, discount):
    data = marker_log(episodes)
    for kind in ("episode", "window"):
        windows = make_windows(data, horizon, discount=discount, returns=kind)
        for row in range(len(data)):
            end = data.episode_ends[data.episode_of[row]]
            last = end if kind == "episode" else min(end, row + horizon)
            brute = sum(discount**h * float(r) for h, r in enumerate(data.reward[row:last]))
            assert float(windows.return_to_go[row]) == pytest.approx(brute, rel=1e-6)


def test_a_start_is_the_first_step_of_its_window(data, segments):
    windows = make_windows(data, HORIZON, discount=DISCOUNT)
    start = jax.vmap(windows.start)(jnp.arange(len(data)))
    np.testing.assert_array_equal(start.obs, segments.obs[:, 0])
    np.testing.assert_array_equal(start.action, segments.action[:, 0])
    np.testing.assert_array_equal(start.return_to_go, segments.return_to_go)


def test_windows_are_drawn_from_every_row_alike(data):
    windows = make_windows(data, HORIZON, discount=DISCOUNT)
    counts = np.bincount(np.asarray(windows.draw(jax.random.key(0), 40_000)), minlength=len(data))
    assert len(counts) == len(data)
    expected = 40_000 / len(data)
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)
