"""Generation: provenance, shards that resume to the same bytes, and starts that come from where they should."""

from __future__ import annotations

import dataclasses
import types

import jax.random as jr
import numpy as np
import pytest
from linear_world import DISCOUNT, HORIZON, make_data

from dawm.errors import ConfigError, FileError
from dawm.synth import generator
from dawm.synth.generator import GenerateConfig, flatten, generate, load_synthetic
from dawm.synth.starts import Starts, return_to_go, start_rows
from dawm.types import Segment, Start

CONFIG = GenerateConfig(transitions=1_000, shard=110)  # about 400 transitions a shard: three shards


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("made") / "synthetic"


@pytest.fixture(scope="module")
def made(trained, data, folder):
    return generate(trained, data, CONFIG, folder=folder)


def shards(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").iterdir())}


def test_flatten_keeps_the_steps_up_to_each_end():
    segment = Segment(
        obs=np.arange(8.0).reshape(2, 4, 1),
        action=np.arange(6.0).reshape(2, 3, 1),
        reward=np.arange(6.0).reshape(2, 3),
        terminal=np.array([[False, True, False], [False, False, False]]),
        valid=np.array([[True, True, False], [True, True, True]]),
        return_to_go=np.zeros(2),
        source=np.array([7, 9]),
    )
    flat = flatten(segment)
    assert flat["obs"][:, 0].tolist() == [0, 1, 4, 5, 6]
    assert flat["next_obs"][:, 0].tolist() == [1, 2, 5, 6, 7]
    assert flat["action"][:, 0].tolist() == [0, 1, 3, 4, 5]
    assert flat["reward"].tolist() == [0, 1, 3, 4, 5]
    assert flat["terminal"].tolist() == [False, True, False, False, False]
    assert flat["source"].tolist() == [7, 7, 9, 9, 9]
    assert flat["lengths"].tolist() == [2, 3]


def test_every_future_begins_with_a_recorded_step_of_a_training_episode(made, data, trained):
    train, _ = data.split(trained.config.holdout, trained.config.seed)
    recorded = {(*s, *a, int(e)) for s, a, e in zip(train.obs, train.action, train.source, strict=True)}
    first = made.episode_starts
    for s, a, e in zip(made.obs[first], made.action[first], made.source[first], strict=True):
        assert (*s, *a, int(e)) in recorded  # provenance included
    assert len(made) >= CONFIG.transitions
    assert made.lengths.max() == HORIZON


def test_futures_are_chains_that_stop_at_an_end(made):
    inside = np.ones(len(made), bool)
    inside[made.episode_ends - 1] = False
    np.testing.assert_array_equal(made.next_obs[inside], made.obs[1:][inside[:-1]])
    assert not made.terminal[inside].any()
    assert made.terminal.any()
    assert (made.lengths[made.cut] == HORIZON).all()  # shorter ones ended


def test_the_account_says_what_was_made(made, folder, trained, data):
    facts = generator.RunFolder.open(folder).read_json("generation.json")
    assert facts["transitions"] == len(made)
    assert facts["futures"] == made.episodes == 110 * len(shards(folder))
    assert facts["terminal_rate"] == pytest.approx(made.terminal.mean())
    assert facts["fingerprint"] == made.fingerprint
    assert facts["model"] == trained.fingerprint
    assert facts["source"]["fingerprint"] == data.fingerprint


def test_loading_gives_the_same_data(made, folder, data):
    loaded = load_synthetic(folder)
    assert loaded.fingerprint == made.fingerprint
    assert loaded.spec == data.spec
    assert loaded.info.name == made.info.name == "linear/dawm-synthetic"


def test_killed_and_taken_up_again_gives_the_same_bytes(made, folder, trained, data, tmp_path, monkeypatch):
    original, calls = generator.write_whole, []

    def deadly(path, write):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(path, write)

    with monkeypatch.context() as patch:
        patch.setattr(generator, "write_whole", deadly)
        with pytest.raises(KeyboardInterrupt):
            generate(trained, data, CONFIG, folder=tmp_path / "s")
    assert list(shards(tmp_path / "s")) == ["00000.npz"]
    with pytest.raises(FileError, match=r"not finished\. Go on with: dawm resume"):
        load_synthetic(tmp_path / "s")
    monkeypatch.setattr(generator, "measure_fidelity", lambda *args: {})  # measured once, by the fixture
    resumed = generate(trained, data, CONFIG, folder=tmp_path / "s")
    assert resumed.fingerprint == made.fingerprint
    assert shards(tmp_path / "s") == shards(folder)


def test_a_model_without_a_folder_makes_the_same_data(made, trained, data):
    assert generate(trained, data, CONFIG).fingerprint == made.fingerprint
    assert generate(trained, data, dataclasses.replace(CONFIG, seed=1, transitions=1)).fingerprint != made.fingerprint


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign"])
def test_a_damaged_shard_is_named(made, folder, damage, tmp_path):
    content = bytearray((folder / "shards" / "00001.npz").read_bytes())
    content[len(content) // 3] ^= 255
    broken = {
        "truncated": bytes(content[: len(content) // 2]),
        "flipped": bytes(content),
        "empty": b"",
        "foreign": b"no archive at all",
    }[damage]
    (tmp_path / "00001.npz").write_bytes(broken)
    with pytest.raises(FileError, match=r"00001\.npz` is damaged .* Delete it"):
        generator._read_shard(tmp_path / "00001.npz")


def test_a_missing_shard_is_noticed(made, folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "s")
    (tmp_path / "s" / "shards" / "00001.npz").unlink()
    with pytest.raises(FileError, match="shards are missing"):
        load_synthetic(tmp_path / "s")


def test_a_model_of_other_data_is_refused(trained):
    with pytest.raises(ConfigError, match="was trained on `linear`"):
        generate(trained, make_data(5, seed=9), CONFIG)


# -- starts ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    return make_data(10)


def test_starts_are_all_rows_by_default(small):
    assert start_rows(small, GenerateConfig()).tolist() == list(range(len(small)))


def test_high_return_starts_come_only_from_the_best_episodes(small, trained, rng):
    config = GenerateConfig(starts="high_return", high_return=0.3)
    best = set(np.argsort(small.returns)[-3:])
    assert set(small.episode_of[start_rows(small, config)]) == best
    assert len(start_rows(small, config)) == small.lengths[list(best)].sum()
    assert set(Starts(small, trained, config).draw(500, rng).source) == best
    one = start_rows(small, GenerateConfig(starts="high_return", high_return=1e-6))  # at least one episode
    assert set(small.episode_of[one]) == {small.returns.argmax()}


def test_return_is_counted_as_the_model_counts_it(small, trained):
    def direct(row, steps):
        stop = min(row + steps, int(small.episode_ends[small.episode_of[row]]))
        return sum(DISCOUNT**h * float(r) for h, r in enumerate(small.reward[row:stop]))

    rows = range(0, len(small), 7)
    window = return_to_go(small, trained)
    np.testing.assert_allclose(window[list(rows)], [direct(r, HORIZON) for r in rows], rtol=1e-4, atol=1e-5)
    settings = dataclasses.replace(trained.config.model, returns="episode")
    other = types.SimpleNamespace(config=dataclasses.replace(trained.config, model=settings))
    episode = return_to_go(small, other)  # type: ignore[arg-type]
    np.testing.assert_allclose(episode[list(rows)], [direct(r, 10**6) for r in rows], rtol=1e-4, atol=1e-5)


def test_the_recorded_return_is_asked_for_or_a_quantile_times_a_factor(small, trained):
    to_go = return_to_go(small, trained)
    value = {(*s,): g for s, g in zip(small.obs, to_go, strict=True)}

    def asked(**settings):
        return Starts(small, trained, GenerateConfig(**settings)).draw(50, np.random.default_rng(0))

    recorded = asked()
    np.testing.assert_allclose(recorded.return_to_go, [value[(*s,)] for s in recorded.obs], rtol=1e-6)
    np.testing.assert_allclose(asked(return_factor=1.5).return_to_go, 1.5 * recorded.return_to_go, rtol=1e-6)
    np.testing.assert_allclose(asked(return_quantile=0.75).return_to_go, np.quantile(to_go, 0.75), rtol=1e-6)
    highest = asked(return_quantile=1.0, return_factor=2.0).return_to_go
    np.testing.assert_allclose(highest, 2 * to_go.max(), rtol=1e-6)


def test_shards_start_from_different_rows(trained, data):
    config = GenerateConfig(shard=20)
    a, b = (generator._shard(trained, Starts(data, trained, config), config, i, None) for i in (0, 1))
    assert not np.array_equal(a["obs"][0], b["obs"][0])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"transitions": 0}, "at least 1"),
        ({"high_return": 0.0}, "high_return"),
        ({"return_quantile": 1.1}, "return_quantile"),
    ],
)
def test_impossible_settings_are_refused(settings, text):
    with pytest.raises(ValueError, match=text):
        GenerateConfig(**settings)


def test_keys_of_shards_differ(trained, data):
    start = Starts(data, trained, GenerateConfig()).draw(4, np.random.default_rng(0))
    a, b = (trained.generate(start, jr.fold_in(jr.key(0), i)) for i in (0, 1))
    assert not np.array_equal(a.obs[:, 1], b.obs[:, 1])


def test_futures_from_a_little_noise_stay_near_what_was_recorded(trained, data):
    """The error of futures to the recorded ones that they began from: smaller the fewer levels of noise."""
    steps, horizon = trained.model.process.config.steps, trained.config.model.horizon
    off = {}
    for kept in (1, steps - 1, steps):
        starts = Starts(data, trained, GenerateConfig(noising=min(kept / steps, 0.999)))
        assert starts.skip == steps - kept
        rows = starts.rows[:: max(1, len(starts.rows) // 200)][:200]
        start = Start(data.obs[rows], data.action[rows], starts.return_to_go[rows], data.source[rows])
        start = start._replace(near=starts.near(rows)) if kept < steps else start
        made = trained.generate(start, jr.key(0), starts.skip)
        later = np.minimum(rows + horizon - 1, data.episode_ends[data.episode_of[rows]] - 1)
        both = made.valid[:, -1] & (later == rows + horizon - 1)
        off[kept] = np.abs(made.obs[both, -1] - data.next_obs[later[both]]).mean()
    assert off[1] < 0.6 * off[steps]
    assert off[1] < off[steps - 1] < off[steps]


def test_noising_is_checked(trained, data):
    with pytest.raises(ValueError, match="share of the sampler's steps"):
        GenerateConfig(noising=0.0)
    with pytest.raises(ValueError, match="action_noise starts from another"):
        GenerateConfig(noising=0.5, action_noise=0.1)
