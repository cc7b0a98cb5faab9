"""CSV files as people export them, on the marker log; and what is wrong with a file, by column and place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dawm.cli.convert import save_table
from dawm.data.registry import load
from dawm.errors import DatasetError, FileError


@pytest.fixture
def rows(marker):
    """The marker log as a list of rows by column names."""
    flat = marker.flat
    episode = np.repeat(np.arange(len(marker.lengths)), marker.lengths)
    return [
        {
            "episode": f"e{episode[i]}",
            "obs_x": repr(float(flat["observations"][i, 0])),
            "obs_y": repr(float(flat["observations"][i, 1])),
            "action": repr(float(flat["actions"][i, 0])),
            "reward": repr(float(flat["rewards"][i])),
            "next_obs_x": repr(float(flat["next_observations"][i, 0])),
            "next_obs_y": repr(float(flat["next_observations"][i, 1])),
            "terminal": str(int(flat["terminals"][i])),
            "timeout": str(int(flat["timeouts"][i])),
        }
        for i in range(len(episode))
    ]


@pytest.fixture
def written(rows, tmp_path):
    """Write the rows, with other names or other columns where they are given."""

    def write(*names, separator=",", encoding="utf-8", end="\n", **renamed):
        names = names or tuple(rows[0])
        lines = [separator.join(renamed.get(name, name) for name in names)]
        lines += [separator.join(row.get(name, "") for name in names) for row in rows]
        path = tmp_path / "log.csv"
        path.write_bytes(end.join([*lines, ""]).encode(encoding))
        return path

    return write


@pytest.mark.parametrize(
    "how", [{}, {"separator": ";"}, {"separator": "\t"}, {"encoding": "utf-8-sig", "end": "\r\n"}], ids=str
)
def test_every_row_is_in_its_place(marker, written, how):
    path = written(**how)
    data = load(path)
    assert marker.check(data)
    assert data.info.origin == f"csv:{path}"
    assert data.info.notes == ()


def test_names_in_other_spellings_and_orders(marker, written):
    names = ("next_obs_y", "timeout", "reward", "obs_x", "action", "terminal", "next_obs_x", "obs_y", "episode")
    spelt = {"timeout": "Truncated", "terminal": "terminated", "obs_x": "State[x]", "obs_y": "states.y"}
    spelt |= {"next_obs_x": "next_state/x", "next_obs_y": "next_observations:y", "episode": "Episode_ID"}
    assert marker.check(load(written(*names, **spelt)))


def test_without_next_observations_an_episode_column_is_enough_to_keep_episodes_apart(marker, written):
    data = load(written("episode", "obs_x", "obs_y", "action", "reward", "terminal"))
    assert marker.check(data, shifted=True)
    assert any("the last step of 3 cut episodes was dropped" in note for note in data.info.notes)


def test_what_is_left_out_is_named(rows, written):
    for row in rows:
        row |= {"operator": "a name", "action_low": "0"}
    data = load(written())
    assert data.info.notes == ("columns that dawm does not know were left out: `operator`, `action_low`.",)


def test_flags_sources_and_quotes(marker, rows, written):
    for i, row in enumerate(rows):
        row |= {"terminal": " TRUE" if row["terminal"] == "1" else "False", "source": f'"ward {i % 2}, east"'}
    data = load(written())
    assert marker.check(data)
    assert data.info.sources == ("ward 0, east", "ward 1, east")
    assert data.source.tolist() == [i % 2 for i in range(len(rows))]


def test_a_lone_done_is_said_to_be_ambiguous(written):
    data = load(written("episode", "obs_x", "action", "reward", "next_obs_x", "terminal", terminal="done"))
    assert any("`done` stands alone" in note for note in data.info.notes)


def test_whole_actions_are_said_to_be_amounts(rows, written):
    for i, row in enumerate(rows):
        row["action"] = str(i % 3)
    assert any("taken for amounts" in note for note in load(written()).info.notes)


@pytest.mark.parametrize(
    ("row", "change", "says"),
    [
        (3, {"obs_y": ""}, r"`obs_y` is empty in line 5: fill it in"),
        (3, {"reward": "n/a"}, r"`reward` must be a number; line 5 has `n/a`"),
        (2, {"reward": "1,5"}, r"line 4 has 10 cells where the first line has 9"),
        (2, {"terminal": "maybe"}, r"`terminal` must be 0, 1, true or false; row 2 holds `maybe`"),
        (14, {"episode": "e0"}, r"episode `e0` comes back in row 14: sort the rows by episode and by time"),
        (4, {"obs_x": "nan"}, r"`obs` has 1 non-finite values in 30; the first is in row 4"),
    ],
)
def test_a_wrong_cell_is_named(rows, written, row, change, says):
    rows[row] |= change
    with pytest.raises(DatasetError, match=says):
        load(written())


@pytest.mark.parametrize(
    ("names", "renamed", "says"),
    [
        (("obs_x", "reward"), {}, r"there is no column `action_...`; the file has `obs_x`, `reward`"),
        (("obs_x", "action", "terminal"), {}, r"there is no column `reward`"),
        (("obs_x", "obs_y", "action", "reward"), {"obs_y": "state_x"}, r"`obs_x` and `state_x` mean the same"),
        (("obs_x", "action", "reward", "terminal", "timeout"), {"timeout": "done"}, r"`terminal` and `done` mean"),
        (("obs_x", "obs_y", "action", "reward", "next_obs_x"), {}, r"`obs_y` has no `next_obs_y` beside it"),
    ],
)
def test_a_wrong_column_is_named(written, names, renamed, says):
    with pytest.raises(DatasetError, match=says):
        load(written(*names, **renamed))


def test_a_table_without_rows_and_a_file_that_is_no_table(tmp_path):
    (tmp_path / "empty.csv").write_text("obs_x,action,reward\n")
    with pytest.raises(DatasetError, match="has column names and no rows"):
        load(tmp_path / "empty.csv")
    (tmp_path / "text.csv").write_text("only words\n")
    with pytest.raises(FileError, match="neither an HDF5, an npz nor a CSV file in UTF-8"):
        load(tmp_path / "text.csv")
    with pytest.raises(FileError, match="does not begin with a line of column names"):
        load(tmp_path / "text.csv", format="csv")


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.tuples(FLOATS, FLOATS, FLOATS, st.booleans()), min_size=2, max_size=8))
def test_what_is_written_is_read_back_to_the_last_bit(tmp_path, values):
    obs, action, reward, cut = map(np.asarray, zip(*values, strict=True))
    columns = {"observations": obs, "actions": action, "rewards": reward, "next_observations": obs[::-1]}
    ends = np.append(np.flatnonzero(cut[:-1]) + 1, len(obs))
    data = load(columns | {"episode_ends": ends, "source": np.arange(len(obs))}, check=False)
    save_table(data, tmp_path / "copy.csv")
    after = load(tmp_path / "copy.csv", check=False)
    for name in ("obs", "action", "reward", "next_obs"):
        np.testing.assert_array_equal(getattr(after, name).view(np.uint32), getattr(data, name).view(np.uint32))
    for name in ("terminal", "episode_ends", "source"):
        np.testing.assert_array_equal(getattr(after, name), getattr(data, name))
