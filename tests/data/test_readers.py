"""Each reader on the marker log in the exact layout of its format: no number may land in another row."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from dawm.data.arrays import next_obs_unknown
from dawm.data.registry import load
from dawm.errors import DatasetError, FileError


def without(columns, *names):
    return {key: array for key, array in columns.items() if key not in names}


def renamed(columns, names):
    return {names.get(key, key): array for key, array in columns.items()}


GYMNASIUM = {"terminals": "terminations", "timeouts": "truncations"}
NEORL2 = {
    "observations": "obs",
    "actions": "action",
    "next_observations": "next_obs",
    "rewards": "reward",
    "terminals": "done",
    "timeouts": "truncated",
}


# -- arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [{}, GYMNASIUM, NEORL2], ids=["d4rl", "gymnasium", "neorl2"])
def test_dict_npz_and_hdf5_in_every_spelling(marker, names, tmp_path, write_h5):
    columns = renamed(marker.flat, names)
    assert marker.check(load(columns))
    np.savez(tmp_path / "log.npz", **columns)
    data = load(tmp_path / "log.npz")
    assert marker.check(data)
    assert data.info.origin == f"arrays:{tmp_path / 'log.npz'}"
    assert marker.check(load(write_h5(tmp_path / "log.h5", columns)))


def test_flags_may_be_floats_and_columns(marker):
    columns = marker.flat
    columns["terminals"] = columns["terminals"].astype(np.float32)[:, None]
    columns["timeouts"] = columns["timeouts"].astype(np.int64)
    columns["rewards"] = columns["rewards"].astype(np.float64)[:, None]
    assert marker.check(load(columns))


def test_without_next_observations_nothing_crosses_an_episode(marker):
    data = load(without(marker.flat, "next_observations"))
    assert marker.check(data, shifted=True)
    assert any("the last step of 3 cut episodes was dropped" in note for note in data.info.notes)
    assert any("2 terminal steps is not recorded" in note for note in data.info.notes)
    assert next_obs_unknown(data).sum() == 2
    assert (data.terminal[next_obs_unknown(data)]).all()
    assert next_obs_unknown(data.select([0])).sum() == 1  # found from the values: it survives selection


def test_episode_ids_and_ends_mark_cuts_that_no_flag_marks(marker):
    columns = without(marker.flat, "timeouts")
    ids = np.repeat([7, 3, 9, 1, 2], marker.lengths)
    assert marker.check(load(columns | {"episode_ids": ids}))
    assert marker.check(load(columns | {"episode_ends": np.cumsum(marker.lengths)}))
    with pytest.raises(DatasetError, match="episode_ends"):
        load(columns | {"episode_ends": np.array([3, 3, 15])})


def test_a_lone_done_is_terminal_and_said_to_be_ambiguous(marker):
    columns = without(marker.flat, "terminals", "timeouts")
    columns["dones"] = marker.flat["terminals"] | marker.flat["timeouts"]
    data = load(columns)
    assert data.episodes == 5
    assert not data.cut.any()
    assert any("`done` stands alone" in note for note in data.info.notes)


def test_done_that_includes_truncation_is_taken_apart(marker):
    columns = without(marker.flat, "terminals")
    columns["done"] = marker.flat["terminals"] | marker.flat["timeouts"]
    data = load(columns)
    assert marker.check(data)
    assert any("terminal or truncated" in note for note in data.info.notes)


def test_unmarked_ends_are_found_where_the_stored_next_observation_does_not_go_on():
    step = np.arange(60.0)
    obs = np.stack([step, step % 7], axis=1)
    ends = np.array([20, 45, 60])
    obs[20:] += 100
    obs[45:] += 100
    following = np.concatenate([obs[1:], obs[-1:] + 1])
    following[ends - 1] = obs[ends - 1] + 0.5
    columns = {
        "obs": obs,
        "action": np.zeros((60, 1)),
        "reward": step,
        "next_obs": following,
        "terminals": np.zeros(60),
    }
    data = load(columns)
    assert data.episode_ends.tolist() == ends.tolist()
    assert data.info.details["ends_inferred"] == 2


def test_provenance_column_by_row_by_episode_and_by_name(marker):
    labels = np.array([1, 0, 1, 2, 0])
    by_row = load(marker.flat | {"source": np.repeat(labels, marker.lengths)})
    by_episode = load(marker.flat | {"source": labels})
    np.testing.assert_array_equal(by_row.source, np.repeat(labels, marker.lengths))
    np.testing.assert_array_equal(by_episode.source, by_row.source)
    named = load(marker.flat | {"provenance": np.array(["site b", "site a", "site b", "site c", "site a"])})
    assert named.info.sources == ("site a", "site b", "site c")
    np.testing.assert_array_equal(named.source, by_row.source)
    assert (load(marker.flat).source == -1).all()


def test_action_bounds_stored_unit_or_from_the_data(marker):
    assert load(marker.flat).spec.act_low == (-1.0,)
    wide = marker.flat | {"actions": marker.flat["actions"] * 100}
    data = load(wide)
    assert (data.act_low[0], data.act_high[0]) == (wide["actions"].min(), wide["actions"].max())
    assert any("range is not stored" in note for note in data.info.notes)
    stored = load(wide | {"act_low": np.array([-50.0]), "act_high": np.array([50.0])})
    assert stored.spec.act_low == (-50.0,)
    assert not any("range is not stored" in note for note in stored.info.notes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"observations": np.zeros((15, 8, 8, 3), np.uint8)}, "`obs` has shape .* encoded or flattened"),
        ({"observations": {"a": np.zeros(15)}}, "`observations` is a dict"),
        ({"actions": np.zeros(15, np.int64)}, "discrete actions are not supported"),
        ({"actions": np.zeros((14, 1))}, "`actions` has 14 rows where `observations` has 15"),
        ({"rewards": np.zeros(14)}, "`reward` has shape .* 15 rows"),
        ({"next_observations": np.zeros((15, 3))}, "`next_observations` has shape"),
        ({"terminals": np.full(15, 0.5)}, "`terminal` must be 0 or 1; row 0 holds 0.5"),
        ({"rewards": np.array(["a"] * 15)}, "not numbers"),
        ({"source": np.zeros(7, int)}, "`source` has 7 entries"),
    ],
)
def test_wrong_columns_are_named(marker, change, says):
    with pytest.raises(DatasetError, match=says):
        load(marker.flat | change)


def test_a_missing_column_is_named_with_its_spellings(marker):
    with pytest.raises(DatasetError, match=r"no reward column: one of `rewards`, `reward` .* hold `actions`"):
        load(without(marker.flat, "rewards"))


def test_nothing_left_is_said(marker):
    one = {"obs": np.zeros((1, 2)), "action": np.zeros((1, 1)), "reward": np.zeros(1), "truncated": np.ones(1)}
    with pytest.raises(DatasetError, match="no complete step is left"):
        load(one)


# -- D4RL ------------------------------------------------------------------------------------------------------------


def test_d4rl_new_keeps_true_next_observations(marker, tmp_path, write_h5):
    extra = {"infos/qpos": np.zeros((15, 6)), "metadata/algorithm": "sac"}
    data = load(write_h5(tmp_path / "hopper_medium-v2.hdf5", marker.flat | extra))
    assert marker.check(data)
    assert data.info.format == "d4rl"
    assert data.info.name == "hopper-medium-v2"
    assert (data.info.env, data.info.horizon) == ("Hopper-v4", 1000)
    assert data.info.references.high == 3234.3


def test_d4rl_old_has_no_next_observations(marker, tmp_path, write_h5):
    data = load(write_h5(tmp_path / "walker2d_random-v0.hdf5", without(marker.flat, "next_observations")))
    assert marker.check(data, shifted=True)


def test_d4rl_oldest_without_timeouts_is_cut_at_the_time_limit(tmp_path, write_h5):
    obs = np.arange(2600.0)[:, None]
    columns = {"observations": obs, "actions": obs * 0, "rewards": obs[:, 0], "terminals": np.zeros(2600)}
    columns["terminals"][299] = 1
    data = load(write_h5(tmp_path / "hopper_random-v0.hdf5", columns))
    assert data.lengths.tolist() == [300, 999, 999, 299]  # the last step of each cut episode has no next observation
    assert data.obs[data.episode_starts, 0].tolist() == [0, 300, 1300, 2300]
    assert any("stores no time-outs: 2 were placed" in note for note in data.info.notes)


def test_d4rl_without_timeouts_but_with_next_observations_needs_no_guess(marker, tmp_path, write_h5):
    lengths = (30, 40, 50)
    marker = type(marker)(lengths, (False, True, False))
    assert marker.check(load(write_h5(tmp_path / "hopper_medium-v0.hdf5", without(marker.flat, "timeouts"))))


def test_d4rl_metadata_gives_environment_and_provenance(marker, tmp_path, write_h5):
    behaviour = [{"agent": "a", "uniform_action_probability": 0.2}, {"agent": "b", "action_noise_std": 0.1}]
    metadata = {
        "metadata/env": "Hopper-v4",
        "metadata/name": "mine",
        "metadata/behaviour": json.dumps(behaviour),
        "metadata/episode_source": np.array([0, 1, 1, 0, 1], np.int8),
        "metadata/max_episode_steps": 500,
        "metadata/d4rl_ref_min": -1.0,
        "metadata/d4rl_ref_max": 9.0,
    }
    data = load(write_h5(tmp_path / "x.hdf5", marker.flat | metadata))
    assert marker.check(data)
    assert data.info.sources == ("a, 20 % random", "b, noise 0.1")
    assert data.source.tolist() == [0] * 3 + [1] + [1] * 4 + [0] * 2 + [1] * 5
    assert (data.info.env, data.info.horizon, data.info.references.low) == ("Hopper-v4", 500, -1.0)


# -- d3rlpy ----------------------------------------------------------------------------------------------------------


def test_d3rlpy_flat(marker, tmp_path, write_h5):
    columns = without(marker.flat, "next_observations", "timeouts")
    columns["terminals"] = columns["terminals"].astype(np.float32)
    columns["episode_terminals"] = (marker.flat["terminals"] | marker.flat["timeouts"]).astype(np.float32)
    columns |= {"discrete_action": False, "version": "1.1.0"}
    data = load(write_h5(tmp_path / "log.h5", columns))
    assert data.info.format == "d3rlpy"
    assert marker.check(data, shifted=True)
    with pytest.raises(DatasetError, match="discrete"):
        load(write_h5(tmp_path / "discrete.h5", columns | {"discrete_action": True}))


def test_d3rlpy_episodes(marker, tmp_path, write_h5):
    columns = {"columns": ["observations", "actions", "rewards", "terminated"], "num_episodes": 5, "version": "2.1"}
    for e in range(5):
        columns[f"observations_{e}"] = marker.observations(e)[:-1]
        columns[f"actions_{e}"] = marker.actions(e)
        columns[f"rewards_{e}"] = marker.rewards(e)[:, None]
        columns[f"terminated_{e}"] = marker.ended[e]
    assert marker.check(load(write_h5(tmp_path / "dump.h5", columns)), shifted=True)
    with pytest.raises(FileError, match="announces 5 episodes and lacks"):
        load(write_h5(tmp_path / "half.h5", without(columns, "rewards_3")))


# -- OGBench ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def trajectories(marker):
    """OGBench: T + 1 rows a trajectory, the last of which holds the final state and an action that leads nowhere."""
    stray = lambda e: np.concatenate([marker.actions(e), [[0.99]]])
    last = lambda e: np.append(np.zeros(marker.lengths[e]), 1.0)
    return {
        "observations": marker.join(marker.observations),
        "actions": marker.join(stray).astype(np.float32),
        "terminals": marker.join(last).astype(np.float32),
        "rewards": marker.join(lambda e: np.append(marker.rewards(e), -99.0)).astype(np.float32),
        "masks": marker.join(lambda e: np.append(1.0 - marker.terminals(e), 1.0)).astype(np.float32),
        "qpos": np.zeros((20, 9)),
    }


def test_ogbench_as_published_drops_the_final_state_rows(marker, trajectories, tmp_path):
    np.savez(tmp_path / "cube-single-play-v0.npz", **trajectories)
    data = load(tmp_path / "cube-single-play-v0.npz")
    assert data.info.format == "ogbench"
    assert marker.check(data)


def test_ogbench_terminals_are_not_ends_of_the_mdp(marker, trajectories, tmp_path):
    np.savez(tmp_path / "x.npz", **without(trajectories, "masks", "rewards"))
    data = load(tmp_path / "x.npz")
    assert data.info.format == "ogbench"
    assert data.lengths.tolist() == list(marker.lengths)
    assert not data.terminal.any()
    assert (data.reward == 0).all()
    assert any("no rewards" in note for note in data.info.notes)
    np.testing.assert_array_equal(data.next_obs, marker.flat["next_observations"])


def test_ogbench_compact(marker, trajectories, tmp_path):
    final = trajectories["terminals"]
    compact = trajectories | {"valids": 1 - final, "terminals": np.minimum(final + np.append(final[1:], 1.0), 1.0)}
    np.savez(tmp_path / "x.npz", **compact)
    assert marker.check(load(tmp_path / "x.npz"))


def test_ogbench_regular(marker, tmp_path):
    columns = without(marker.flat, "timeouts", "terminals")
    columns["terminals"] = (marker.flat["terminals"] | marker.flat["timeouts"]).astype(np.float32)
    columns["masks"] = 1.0 - marker.flat["terminals"]
    np.savez(tmp_path / "x.npz", **columns)
    assert marker.check(load(tmp_path / "x.npz"))


# -- Minari ----------------------------------------------------------------------------------------------------------


def write_minari(folder, marker, observations=None, metadata=None):
    (folder / "data").mkdir(parents=True)
    with h5py.File(folder / "data" / "main_data.hdf5", "w") as file:
        for e in reversed(range(len(marker.lengths))):  # the order in the file is not the order of episodes
            group = file.create_group(f"episode_{e}")
            for key, array in (observations or (lambda e: {"observations": marker.observations(e)}))(e).items():
                group[key] = array
            group["actions"], group["rewards"] = marker.actions(e), marker.rewards(e).astype(np.float64)
            group["terminations"], group["truncations"] = marker.terminals(e), marker.timeouts(e)
            group.create_group("infos")
    (folder / "data" / "metadata.json").write_text(json.dumps(metadata or {}))
    return folder


def test_minari_from_folder_data_folder_file_and_id(marker, tmp_path, monkeypatch):
    space = {"type": "Box", "low": [-2.0], "high": [3.0]}
    spec = {"id": "Toy-v0", "max_episode_steps": 5}
    metadata = {"dataset_id": "lab/toy/marker-v3", "action_space": json.dumps(space), "env_spec": json.dumps(spec)}
    folder = write_minari(
        tmp_path / "lab/toy/marker-v3", marker, metadata=metadata | {"ref_min_score": 1.0, "ref_max_score": 5.0}
    )
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    for source in (
        folder,
        folder / "data",
        folder / "data" / "main_data.hdf5",
        "lab/toy/marker-v3",
        "minari:lab/toy/marker-v3",
    ):
        data = load(source)
        marker.check(data)
        assert data.info.format == "minari"
    assert (data.info.name, data.info.env, data.info.horizon) == ("lab/toy/marker-v3", "Toy-v0", 5)
    assert data.info.references[:2] == (1.0, 5.0)
    assert data.spec.act_low == (-2.0,)
    assert data.spec.act_high == (3.0,)


def test_minari_episodes_are_in_the_order_of_their_numbers(marker, tmp_path):
    many = type(marker)(
        (3, 2, 1, 4, 2, 3, 1, 2, 2, 3, 4, 1), (True, False) * 6
    )  # episode_10 comes before episode_2 in a file
    assert many.check(load(write_minari(tmp_path / "x-v0", many)))


def test_minari_dict_observations_are_flattened_in_sorted_order(marker, tmp_path):
    parts = lambda e: {
        "observations/z": marker.observations(e)[:, 1],
        "observations/goal/a": marker.observations(e)[:, :1],
    }
    data = load(write_minari(tmp_path / "x-v0", marker, parts))
    assert marker.check(data)
    assert "dict observations were flattened in the order goal, z." in data.info.notes


def test_minari_episode_without_the_final_observation_is_refused(marker, tmp_path):
    short = lambda e: {"observations": marker.observations(e)[:-1]}
    with pytest.raises(DatasetError, match="hold one observation more"):
        load(write_minari(tmp_path / "x-v0", marker, short))


def test_minari_discrete_actions_are_refused(marker, tmp_path):
    with pytest.raises(DatasetError, match="Discrete"):
        load(
            write_minari(tmp_path / "x-v0", marker, metadata={"action_space": json.dumps({"type": "Discrete", "n": 3})})
        )


def test_minari_written_by_minari_itself(marker, tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    import gymnasium as gym
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    buffers = [
        EpisodeBuffer(
            id=e,
            observations=marker.observations(e),
            actions=marker.actions(e),
            rewards=marker.rewards(e),
            terminations=marker.terminals(e),
            truncations=marker.timeouts(e),
            infos={},
        )
        for e in range(5)
    ]
    boxes = [gym.spaces.Box(-np.inf, np.inf, (2,), np.float32), gym.spaces.Box(-1, 1, (1,), np.float32)]
    with pytest.warns(UserWarning, match="is set to None"):
        minari.create_dataset_from_buffers("marker-v0", buffers, observation_space=boxes[0], action_space=boxes[1])
    assert marker.check(load("minari:marker-v0"))
