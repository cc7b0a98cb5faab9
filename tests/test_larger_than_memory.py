"""Training on a log that stays on disk: as good as in memory, the same after an interruption, and never whole in
memory.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.random as jr
import numpy as np
import pytest

from dawm.agents.bc import BCConfig
from dawm.agents.config import PolicyConfig
from dawm.agents.fit import train_policy
from dawm.agents.priority import PriorityConfig
from dawm.cli.main import main
from dawm.data import focus, mapped
from dawm.data.dataset import Dataset
from dawm.data.doctor import examine
from dawm.data.registry import load
from dawm.data.stream import Stream
from dawm.errors import ConfigError
from dawm.nets.mlp import MLPBodyConfig
from dawm.pipeline import run_pipeline
from dawm.presets import load_preset
from dawm.run.feed import Feed, fed
from dawm.run.folder import RunFolder
from dawm.run.loop import LoopConfig
from dawm.synth.generator import GenerateConfig, generate
from dawm.worldmodel.base import AbstractDiffusionModel
from dawm.worldmodel.fit import WorldModelConfig, assemble, diffusion_inputs, train_world_model
from dawm.worldmodel.latent import LatentConfig
from dawm.worldmodel.networks import Networks, NetworksConfig, fit_scales, fold_of
from dawm.worldmodel.onestep import EnsembleConfig, StepConfig
from dawm.worldmodel.split import split_log
from dawm.worldmodel.trajectory import TrajectoryConfig

LOOP = LoopConfig(steps=40, chunk=10, monitor_every=20, save_every=10)
SMALL = StepConfig(width=8, depth=1)


class Killed(BaseException):
    """What a SIGKILL would do, at a place of our choosing."""


def kill_at_save(monkeypatch, count):
    original, calls = RunFolder.save_state, [0]

    def deadly(*args, **kwargs):
        calls[0] += 1
        if calls[0] == count:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(RunFolder, "save_state", deadly)


def log(episodes: int = 60, length: int = 20, seed: int = 0) -> Dataset:
    """s' = 0.9 s + a / 2, r = -s², a = -s / 2 + noise: a policy that is easy to clone."""
    rng = np.random.default_rng(seed)
    s = rng.normal(size=(episodes, 1))
    rows = []
    for _ in range(length):
        a = np.clip(-0.5 * s + 0.1 * rng.normal(size=s.shape), -1, 1)
        following = 0.9 * s + 0.5 * a
        rows.append((s, a, -np.square(s)[:, 0], following))
        s = following
    obs, action, reward, next_obs = (np.stack(c, 1).reshape(episodes * length, -1) for c in zip(*rows, strict=True))
    n = episodes * length
    return Dataset(
        obs=obs.astype(np.float32), action=action.astype(np.float32), reward=reward[:, 0].astype(np.float32),
        next_obs=next_obs.astype(np.float32), terminal=np.zeros(n, bool), source=np.full(n, -1, np.int32),
        episode_ends=np.arange(1, episodes + 1) * length,
        act_low=-np.ones(1, np.float32), act_high=np.ones(1, np.float32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory) -> Dataset:
    path = tmp_path_factory.mktemp("log") / "x.dawm"
    mapped.save([log()], path)
    return load(path)


def model_config(**changes) -> WorldModelConfig:
    networks = NetworksConfig(
        anchor=SMALL, one_step=SMALL, ensemble=EnsembleConfig(members=2, width=8, depth=1), batch_size=32, loop=LOOP
    )
    settings = {
        "model": TrajectoryConfig(horizon=3, coordinates="residual", body=MLPBodyConfig(width=8, depth=1, embed=8)),
        "networks": networks, "batch_size": 32, "loop": LOOP, "measure_windows": 16, "measure_samples": 2,
        "block": 200,
    }  # fmt: skip
    return WorldModelConfig(**(settings | changes))


def test_cloning_from_blocks_finds_the_same_rule(on_disk):
    """By the mean of four seeds: the last update of one is off by 0.06 at the ends now and then."""
    loop = LoopConfig(steps=1_500, chunk=100)
    config = PolicyConfig(algo=BCConfig(width=32, learning_rate=3e-3), seeds=4, loop=loop, block=200)
    states = np.linspace(-0.5, 0.5, 9, dtype=np.float32)[:, None]
    for data in (on_disk, log()):
        action = train_policy(data, config).act(np.stack([states] * 4)).mean(0)
        np.testing.assert_allclose(action, -0.5 * states, atol=0.06)


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_a_policy_is_taken_up_again_with_the_same_blocks(on_disk, tmp_path, monkeypatch, share):
    monkeypatch.setattr(focus, "LEAST_ROWS", 1)
    config = PolicyConfig(algo=BCConfig(width=8), loop=LOOP, block=200, ratio=0.25, focus=share)
    made = log(10, seed=1)
    with monkeypatch.context() as patch:
        kill_at_save(patch, 3)
        with pytest.raises(Killed):
            train_policy(on_disk, config, synthetic=made, folder=tmp_path / "p")
    assert RunFolder(tmp_path / "p").checkpoints() == [10, 20]
    again = train_policy(on_disk, config, synthetic=made, folder=tmp_path / "p")
    whole = train_policy(on_disk, config, synthetic=made)
    assert again.fingerprint == whole.fingerprint
    other = train_policy(on_disk, replace(config, block=300), synthetic=made)
    assert other.fingerprint != whole.fingerprint


def test_a_small_log_on_disk_is_trained_on_as_if_in_memory(on_disk):
    for share in (1.0, 0.3):
        config = PolicyConfig(algo=BCConfig(width=8), loop=LOOP, focus=share)
        assert train_policy(on_disk, config).fingerprint == train_policy(log(), config).fingerprint


def test_rows_of_better_episodes_are_drawn_more_often_from_blocks_too(tmp_path, monkeypatch):
    """Each tenth episode does 0.6 and is rewarded, the others do -0.6; blocks end inside episodes."""
    monkeypatch.setattr(focus, "LEAST_ROWS", 1)
    n, rng = 2_000, np.random.default_rng(0)
    good = np.repeat(np.arange(100) % 10 == 0, 20)
    columns = {"observations": rng.normal(size=(n, 1)), "actions": np.where(good, 0.6, -0.6)[:, None]}
    columns |= {"rewards": good * 1.0, "terminals": np.zeros(n), "timeouts": np.arange(n) % 20 == 19}
    np.savez(tmp_path / "two.npz", **columns)
    assert main(["data", "convert", str(tmp_path / "two.npz"), str(tmp_path / "two.dawm"), "--quiet"]) == 0
    data, loop = load(tmp_path / "two.dawm"), LoopConfig(steps=600, chunk=20)
    for share, expected in ((1.0, -0.48), (0.1, 0.6)):
        config = PolicyConfig(BCConfig(width=16, learning_rate=3e-3), 64, focus=share, block=330, loop=loop)
        assert train_policy(data, config)[0](np.zeros((1, 1)))[0, 0] == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("setting", [{"thin": 1.0}, {"priority": PriorityConfig(kind="novelty")}])
def test_settings_that_need_all_rows_say_so(on_disk, setting):
    with pytest.raises(ConfigError, match=f"`{next(iter(setting))}` needs all rows of the log at once"):
        train_policy(on_disk, PolicyConfig(loop=LOOP, block=200, **setting))


def test_a_world_model_is_taken_up_again_and_generates(on_disk, tmp_path, monkeypatch):
    config, folder = model_config(), tmp_path / "model"
    with monkeypatch.context() as patch:
        kill_at_save(patch, 7)  # the networks are trained, the diffusion has two checkpoints
        with pytest.raises(Killed):
            train_world_model(on_disk, config, folder=folder)
    assert RunFolder(folder).checkpoints() == [10, 20]
    again, whole = train_world_model(on_disk, config, folder=folder), train_world_model(on_disk, config)
    assert again.fingerprint == whole.fingerprint
    assert again.data["training_rows"] == 54 * 20  # of all training episodes, not of a block
    drawn = generate(again, on_disk, GenerateConfig(transitions=50, shard=16))
    assert np.isfinite(drawn.obs).all()
    assert not drawn.mapped
    assert again.data["fingerprint"] == log().fingerprint


def test_blocks_know_returns_and_folds_of_whole_episodes(on_disk):
    """The windows of a block ask for the return to the end of the episode, also where the block cuts it."""
    config = model_config()
    split = split_log(on_disk, config)
    feed = diffusion_inputs(untrained(), split, config)
    rows = Stream(on_disk, 200, 0, on_disk.split_episodes(0.1, 0)[0]).block(1).rows
    _, windows, _ = feed.make(1)
    np.testing.assert_array_equal(windows.return_to_go, log().return_to_go(config.model.discount)[rows])
    np.testing.assert_array_equal(windows.obs, log().obs[rows])
    blocks = split_log(on_disk, model_config(model=LatentConfig(members=3))).blocks
    assert blocks is not None
    episodes = log().split_episodes(0.1, 0)[0]
    fold = blocks.fold[np.isin(log().episode_of, episodes)]
    np.testing.assert_array_equal(fold, fold_of(log().select(episodes), 3, 0))
    assert set(fold) == {0, 1, 2}


def test_a_run_refuses_what_blocks_cannot_do_before_it_trains(on_disk, tmp_path):
    preset = load_preset("fast")
    config = replace(preset, futures=4, env="none", policy=replace(preset.policy, block=200))
    with pytest.raises(ConfigError, match="`futures` needs all rows of the log at once"):
        run_pipeline(on_disk, config, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_chunk_is_made_that_nobody_asks_for():
    made = []
    with fed(Feed(lambda chunk: made.append(chunk) or chunk), 3) as inputs:
        assert [inputs(chunk) for chunk in range(1, 3)] == [1, 2]  # taken up again at the second of three
    assert made == [1, 2]


def untrained() -> AbstractDiffusionModel:
    """A model of which only the notes are asked."""
    config, data = model_config(), log()
    scales = fit_scales(data, data.spec)
    networks = Networks(config.networks, 1, 1, False, 0, key=jr.key(0))
    model = assemble(config, data.spec, scales, networks, data, key=jr.key(1))
    assert isinstance(model, AbstractDiffusionModel)
    return model


def test_the_doctor_looks_at_a_part_and_says_so(on_disk, monkeypatch):
    monkeypatch.setattr("dawm.data.doctor.BLOCK", 300)
    facts = examine(on_disk).facts
    assert (facts["steps"], facts["episodes"]) == (1_200, 60)
    assert "300 of the 1,200 steps" in facts["notes"][-1]


def test_from_the_command_line(tmp_path, capsys):
    log().save(tmp_path / "a.h5")
    log(seed=1).save(tmp_path / "b.h5")
    target = tmp_path / "all.dawm"
    assert main(["data", "convert", f"{tmp_path / 'a.h5'}+{tmp_path / 'b.h5'}", str(target)]) == 0
    assert len(load(target)) == 2_400
    assert load(target).fingerprint == load(f"{tmp_path / 'a.h5'}+{tmp_path / 'b.h5'}").fingerprint
    settings = ("algo.width=8", "loop.steps=20", "loop.chunk=10", "block=500")
    words = [word for setting in settings for word in ("--set", f"policy.{setting}")]
    assert main(["policy", str(target), "--algo", "bc", *words, "--out", str(tmp_path / "policy")]) == 0
    assert RunFolder(tmp_path / "policy").finished
    assert jax.tree.leaves(RunFolder(tmp_path / "policy").metrics.rows())
