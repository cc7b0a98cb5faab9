"""The doctor: healthy data pass, and each of many faults is named by its own check with a sentence that helps."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from dawm.data import alignment, doctor
from dawm.data.dataset import Dataset, DatasetInfo, References
from dawm.data.registry import load
from dawm.errors import FileError


def spring(episodes=24, limit=60, seed=0) -> Dataset:
    """A noisy oscillator under noisy feedback; every third episode ends the MDP early, the others are cut."""
    rng = np.random.default_rng(seed)
    rows = {name: [] for name in ("obs", "action", "reward", "next_obs", "terminal")}
    lengths = []
    for e in range(episodes):
        state = rng.normal(size=2)
        length = limit - 7 - e if e % 3 == 0 else limit
        for t in range(length):
            action = np.clip(-0.3 * state[:1] + 0.5 * rng.normal(size=1), -1, 1)
            velocity = 0.98 * state[1] - 0.1 * state[0] + 0.3 * action[0] + 0.02 * rng.normal()
            following = np.array([state[0] + 0.1 * velocity, velocity])
            values = (
                state,
                action,
                1 - state[0] ** 2 - 0.1 * action[0] ** 2,
                following,
                e % 3 == 0 and t == length - 1,
            )
            for name, value in zip(rows, values, strict=True):
                rows[name].append(value)
            state = following.astype(np.float32).astype(float)
        lengths.append(length)
    columns = {name: np.array(rows[name], np.float32) for name in ("obs", "action", "reward", "next_obs")}
    bound = np.ones(1, np.float32)
    info = DatasetInfo(name="spring", horizon=limit, references=References(-10.0, 60.0, "made up"))
    return Dataset(
        **columns,
        terminal=np.array(rows["terminal"], bool),
        episode_ends=np.cumsum(lengths),
        source=np.full(sum(lengths), -1, np.int32),
        act_low=-bound,
        act_high=bound,
        info=info,
    )


@pytest.fixture(scope="module")
def healthy() -> Dataset:
    return spring()


def changed(data, name, change):
    array = getattr(data, name).copy()
    result = change(array)
    return replace(data, **{name: array if result is None else result})


def test_healthy_data_pass_without_a_word(healthy):
    found = doctor.examine(healthy)
    assert found.ok
    assert found.problems == []
    assert found.facts["alignment"]["equal"] == 1.0
    assert found.facts["alignment"]["action_gain"]["0"] > 0.9
    assert "usable (nothing to remark)" in found.text()
    json.dumps(found.to_dict(), allow_nan=False)


# -- faults: each is one change of the healthy log ------------------------------------------------------------------


def put(row, value):
    return lambda array: array.__setitem__(row, value)


def shift_next(data, k):
    rows = np.clip(
        np.arange(len(data)) + k, data.episode_starts[data.episode_of], data.episode_ends[data.episode_of] - 1
    )
    return replace(data, next_obs=data.obs[rows])


def cross(data):
    """What a shift of the whole array does: the last next observation of an episode is the first of the next one."""
    return replace(data, next_obs=np.concatenate([data.obs[1:], data.next_obs[-1:]]))


def all_terminal(data):
    terminal = data.terminal.copy()
    terminal[data.episode_ends - 1] = True
    return replace(data, terminal=terminal)


def without_timeouts(data):
    """The flags of cut episodes lost: episodes end at terminals only."""
    ends = np.union1d(data.episode_ends[~data.cut], [len(data)])
    return replace(data, episode_ends=ends)


def doubled(data):
    return Dataset.concatenate([data, data.select([3])])


def drifting(data):
    """Episode k paired with observations that begin k rows too early (T + 1 observations against T actions)."""
    stream = [np.concatenate([p.obs, p.next_obs[-1:]]) for p in (data.select([e]) for e in range(data.episodes))]
    stream = np.concatenate(stream)
    obs = stream[: len(data)]
    following = np.concatenate([obs[1:], stream[len(data) : len(data) + 1]])
    return replace(data, obs=obs, next_obs=following)


def repeating(data):
    """Every ninth row replaced by row 5."""
    rows = np.where(np.arange(len(data)) % 9 == 5, 5, np.arange(len(data)))
    return replace(data, **{name: getattr(data, name)[rows] for name in ("obs", "action", "reward", "next_obs")})


FAULTS = {
    "nan": (
        lambda d: changed(d, "obs", put((70, 1), np.nan)),
        "error",
        "finite",
        "`obs` has 1 non-finite .* row 70, dim",
    ),
    "float16 overflow": (
        lambda d: changed(d, "reward", lambda a: (a * 1e5).astype(np.float16).astype(np.float32)),
        "error",
        "finite",
        "float16",
    ),
    "next_obs is obs": (lambda d: shift_next(d, 0), "error", "next_obs_shift", "the observation of the same row"),
    "next_obs two ahead": (lambda d: shift_next(d, 2), "error", "next_obs_shift", r"\+2 rows away"),
    "next_obs one behind": (lambda d: shift_next(d, -1), "error", "next_obs_shift", "-1 rows away"),
    "across the boundary": (cross, "error", "next_obs_crosses_episodes", "23 of 23 ends; the first is row 52"),
    "lost time-outs": (without_timeouts, "error", "continuity", "An end of an episode is probably not marked"),
    "shuffled rows": (
        lambda d: replace(
            d, **{k: getattr(d, k)[np.random.default_rng(1).permutation(len(d))] for k in ("obs", "next_obs")}
        ),
        "error",
        "continuity",
        "shuffled or thinned",
    ),
    "time limits as terminals": (all_terminal, "error", "time_limit_as_terminal", "all 16 episodes .* 60 steps"),
    "terminal inside": (lambda d: changed(d, "terminal", put(20, True)), "error", "terminal_inside", "row 20"),
    "duplicated episode": (doubled, "error", "duplicate_episodes", "first pair is 3 and 24"),
    "duplicated rows": (repeating, "warning", "duplicate_rows", "exact copies"),
    "constant dimension": (
        lambda d: changed(d, "obs", put((slice(None), 1), 3.0)),
        "warning",
        "constant",
        r"1 \(always 3\)",
    ),
    "constant action": (lambda d: changed(d, "action", put(slice(None), 0.0)), "warning", "constant", "`action` never"),
    "actions outside": (lambda d: changed(d, "action", put((9, 0), 1.7)), "error", "action_range", "1 of .* row 9"),
    "actions unused": (lambda d: changed(d, "action", lambda a: a * 0.01), "warning", "action_range", "% of its range"),
    "no width": (lambda d: replace(d, act_high=d.act_low), "error", "action_range", "positive width"),
    "saturated": (lambda d: changed(d, "action", np.sign), "note", "action_saturation", "edge"),
    "actions one late": (
        lambda d: changed(d, "action", lambda a: np.roll(a, 1, 0)),
        "warning",
        "action_alignment",
        r"\+1 row",
    ),
    "actions one early": (
        lambda d: changed(d, "action", lambda a: np.roll(a, -1, 0)),
        "warning",
        "action_alignment",
        "-1 row",
    ),
    "drifting observations": (drifting, "error", "observation_drift", "jump after k rows in episode k"),
    "zero reward": (lambda d: changed(d, "reward", np.zeros_like), "error", "reward", "is 0 in every row"),
    "extreme reward": (lambda d: changed(d, "reward", put(4, 1e9)), "error", "reward", "reaches 1e"),
    "large reward": (lambda d: changed(d, "reward", lambda a: a * 3e5), "warning", "reward", "scale"),
    "tiny reward": (lambda d: changed(d, "reward", lambda a: a * 1e-7), "warning", "reward", "too small"),
    "outlier": (lambda d: changed(d, "obs", put((11, 0), 5e3)), "warning", "outliers", "5000 in row 11, dimension 0"),
    "one episode": (lambda d: d.select([1]), "error", "few_episodes", "one episode only"),
    "few episodes": (lambda d: d.select([0, 1, 2]), "warning", "few_episodes", "3 episodes only"),
    "longer than the limit": (
        lambda d: replace(d, info=replace(d.info, horizon=40)),
        "note",
        "episode_length",
        "60 steps",
    ),
    "no references": (lambda d: replace(d, info=replace(d.info, references=None)), "note", "references", "raw returns"),
    "last step missing": (lambda d: replace(d, info=replace(d.info, horizon=61)), "note", "last_transition", "61"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named(healthy, fault):
    change, severity, check, says = FAULTS[fault]
    found = doctor.examine(change(healthy))
    matching = [f for f in found.problems if f.check == check]
    assert matching, f"`{fault}` was not found; found {[f.check for f in found.problems]}"
    assert matching[0].severity == severity
    assert re.search(says, matching[0].message), matching[0].message
    assert found.ok == (not any(f.severity == "error" for f in found.problems))
    assert severity != "error" or not found.ok
    assert check in found.text()
    json.dumps(found.to_dict(), allow_nan=False)
    json.dumps(doctor.describe(change(healthy)), allow_nan=False)


def test_one_recording_in_pieces_is_no_crossing(healthy):
    """Next observations that equal the following row across a marked end, without a jump: pieces of one recording."""
    single = healthy.select([1])
    pieces = replace(single, episode_ends=np.array([20, 40, 60]))
    checks = {f.check: f.severity for f in doctor.examine(pieces).problems}
    assert checks["joined_episodes"] == "note"
    assert "next_obs_crosses_episodes" not in checks


def test_unmarked_time_outs_in_arrays_are_repaired_and_said(healthy):
    names = {
        "observations": "obs",
        "actions": "action",
        "rewards": "reward",
        "next_observations": "next_obs",
        "terminals": "terminal",
    }
    data = load({theirs: getattr(healthy, ours) for theirs, ours in names.items()})
    assert data.episode_ends.tolist() == healthy.episode_ends.tolist()
    found = {f.check: f for f in doctor.examine(data).problems}
    assert found["missing_timeouts"].severity == "warning"
    assert found["missing_timeouts"].message.startswith("15 ends of episodes are not marked")


def test_actions_between_0_and_100_without_bounds(healthy):
    data = load(
        {
            "obs": healthy.obs,
            "action": 50 + 50 * healthy.action,
            "reward": healthy.reward,
            "next_obs": healthy.next_obs,
            "terminals": healthy.terminal,
            "episode_ends": healthy.episode_ends,
        }
    )
    found = {f.check: f for f in doctor.examine(data).problems}
    assert "no range is stored" in found["action_range"].message


def test_a_terminal_step_without_its_next_observation(healthy):
    columns = {"obs": healthy.obs, "action": healthy.action, "reward": healthy.reward, "terminals": healthy.terminal}
    found = {f.check: f for f in doctor.examine(load(columns | {"episode_ends": healthy.episode_ends})).problems}
    assert found["last_transition"].message.startswith("the next observation of 8 of 8 terminal steps was not recorded")


def test_what_cannot_be_read_is_a_finding_and_what_is_absent_an_error(healthy, tmp_path):
    found = doctor.diagnose({"obs": healthy.obs, "action": healthy.action[:-5], "reward": healthy.reward})
    assert [(f.severity, f.check) for f in found.problems] == [("error", "readable")]
    assert "`actions` has" in found.problems[0].message
    healthy.save(tmp_path / "x.h5")
    whole = (tmp_path / "x.h5").read_bytes()
    (tmp_path / "x.h5").write_bytes(whole[: len(whole) // 2])
    found = doctor.diagnose(tmp_path / "x.h5")
    assert not found.ok
    assert "damaged or cut short" in found.text()
    with pytest.raises(FileError, match="no dataset"):
        doctor.diagnose(tmp_path / "absent.h5")


def test_describe_has_the_whole_schema(healthy):
    told = doctor.describe(healthy, split_seed=3, holdout=0.25)
    wanted = "name origin format env steps episodes obs_dim act_dim act_low act_high lengths returns terminal_steps"
    wanted = {*wanted.split(), *["cut_episodes", "references", "score_mean", "fingerprint", "notes", "doctor", "split"]}
    assert wanted <= told.keys()
    assert told["split"] == {"train_episodes": 18, "holdout_episodes": 6, "seed": 3}
    assert {"min", "mean", "max", "edges", "counts"} <= told["lengths"].keys()
    assert {"mean", "std", "min", "max", "percentiles", "edges", "counts"} <= told["returns"].keys()
    assert sum(told["returns"]["counts"]) == healthy.episodes == sum(told["lengths"]["counts"])
    assert told["returns"]["percentiles"]["50"] == pytest.approx(np.median(healthy.returns))
    assert told["score_mean"] == pytest.approx((healthy.returns.mean() + 10) / 70 * 100)
    assert told["terminal_steps"] + told["cut_episodes"] == healthy.episodes
    assert told["doctor"] == {"ok": True, "problems": []}


def test_action_gain_is_exact_in_a_linear_system():
    """s' = s + a: given s, the action explains all of the change and its neighbours nothing (they are independent)."""
    rng = np.random.default_rng(0)
    action = rng.uniform(-1, 1, (4000, 1)).astype(np.float32)
    path = np.concatenate([[[0.0]], np.cumsum(action.astype(np.float64), axis=0)])
    ends = np.arange(100, 4001, 100)
    data = load(
        {"obs": path[:-1], "next_obs": path[1:], "action": action, "reward": action[:, 0], "episode_ends": ends}
    )
    gains = alignment.action_gains(data)
    assert gains[0] == pytest.approx(1.0, abs=1e-6)
    assert abs(gains[1]) < 0.01
    assert abs(gains[-1]) < 0.01


# -- real data ------------------------------------------------------------------------------------------------------

REAL = [
    *(f"neorl2/{task}.npz" for task in ("DMSD-train", "DMSD-val", "Pipeline-train")),
    *(f"neorl2/SafetyHalfCheetah-{part}.npz" for part in ("train", "val")),
    *(f"rollouts/{task}-{kind}.hdf5" for task in ("hopper", "halfcheetah") for kind in ("medium", "mixed", "expert")),
    "d3rlpy/pendulum_v1.1.0.h5",
    "d3rlpy/pendulum_random_v1.1.0.h5",
    "minari/D4RL/door/human-v2",
    "minari/rollouts/hopper/medium-v0",
]


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_real_data_are_usable_and_proved_aligned(shared_data, name):
    found = doctor.diagnose(shared_data / name)
    assert found.ok, found.text()
    assert found.facts["alignment"]["equal"] == 1.0
    gains = found.facts["alignment"]["action_gain"]
    assert max(gains, key=gains.get) == "0"


@pytest.mark.data
def test_the_same_rollouts_in_two_formats_are_the_same_data(shared_data):
    flat = load(shared_data / "rollouts" / "hopper-medium.hdf5")
    minari = load(shared_data / "minari" / "rollouts" / "hopper" / "medium-v0")
    for name in ("obs", "action", "reward", "next_obs", "terminal", "episode_ends"):
        np.testing.assert_array_equal(getattr(flat, name), getattr(minari, name))
