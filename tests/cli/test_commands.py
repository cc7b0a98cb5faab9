"""The commands as a user types them: results on standard output, exit statuses, what a run leaves behind."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

from dawm.agents.policy import load_policy
from dawm.cli.main import main
from dawm.data.registry import load
from tests.cli.conftest import linear_log

pytestmark = pytest.mark.xdist_group("one reference run")


def test_the_last_line_of_a_run_is_the_report_and_progress_goes_to_standard_error(reference, log):
    out, done = reference
    assert done.stdout.splitlines()[-1] == str(out / "report.html")
    assert (out / "report.html").is_file()
    assert (out / "finished").is_file()
    assert f"{log} is arrays:{log}" in done.stderr.splitlines()[0]
    assert {p.name for p in (out / "policies").iterdir()} == {
        *("bc", "iql", "iql-dawm", "iql-futures", "iql-plan", "iql-distil", "iql-distil-plan"),
    }
    for policy in (out / "policies").iterdir():
        scores = json.loads((policy / "scores.json").read_text())
        assert (scores["env"], scores["episodes"], np.shape(scores["returns"])) == ("Pendulum-v1", 1, (2, 1))
    for planner in ("iql-plan", "iql-distil-plan"):
        mean = json.loads((out / "policies" / planner / "mean.json").read_text())
        assert np.shape(mean["returns"]) == (1, 1)  # one controller around both seeds
    report = (out / "report.html").read_text()
    assert "IQL, planning, mean of the seeds" in report
    assert "IQL, imitating its planner" in report
    assert "IQL, imitating its planner, planning, mean of the seeds" in report
    assert "a planner around it labelled 32 states of the world model" in report
    assert "iql-distil alone" in report
    assert "Estimates without the environment" in report
    for policy in ("bc", "iql", "iql-dawm", "iql-futures", "iql-distil"):  # and of no planner
        found = json.loads((out / "policies" / policy / "estimates.json").read_text())
        assert found["settings"]["model"]["starts"] == 4
        assert len(found["model"]["value"]) == 2
        assert "fqe" not in found
    assert not (out / "policies" / "iql-plan" / "estimates.json").exists()


def test_paths_between_stages_are_relative(reference):
    out, _ = reference
    generation = tomllib.loads((out / "synthetic" / "run.toml").read_text())["config"]
    policy = tomllib.loads((out / "policies" / "iql-dawm" / "run.toml").read_text())["config"]
    assert generation["model"]["path"] == "../model"
    assert policy["synthetic"]["path"] == "synthetic:../../synthetic"
    assert (policy["policy"]["ratio"], policy["policy"]["seeds"]) == (0.5, 2)


def test_a_finished_run_moved_elsewhere_and_without_environment_still_reports(reference, dawm, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(reference[0], moved)
    settings = (moved / "run.toml").read_text()
    (moved / "run.toml").write_text(settings.replace('env = "Pendulum-v1"', 'env = "none"'))
    for path in [*moved.glob("policies/*/scores.json"), moved / "report.html"]:
        path.unlink()
    done = dawm("resume", moved, "--json")
    result = json.loads(done.stdout)
    assert Path(result["report"]).is_file()
    assert "not scored" in done.stderr
    assert "estimating" not in done.stderr  # which it has done before
    assert result["policies"]["iql"]["return_mean"] is None
    assert "In the world model, whose dynamics are linear, " in (moved / "report.html").read_text()
    assert result["synthetic"]["transitions"] >= 400


@pytest.mark.slow
def test_stage_by_stage_gives_what_run_gives(reference, dawm, log, tiny, tmp_path):
    whole = reference[0]
    dawm("train", log, "--config", tiny, "--out", tmp_path / "model")
    made = dawm("generate", tmp_path / "model", "--config", tiny, "--out", tmp_path / "synthetic", "--json")
    name = Path("policies") / "iql-dawm"
    words = ("--synthetic", tmp_path / "synthetic", "--ratio", 0.5)
    dawm("policy", log, "--config", tiny, *words, "--out", tmp_path / name)
    assert (
        json.loads(made.stdout)["fingerprint"]
        == json.loads((whole / "synthetic/generation.json").read_text())["fingerprint"]
    )
    for part in (
        "model/model.ckpt",
        "synthetic/shards/00000.npz",
        f"{name}/checkpoints/00000060.ckpt",
        f"{name}/run.toml",
    ):
        assert (whole / part).read_bytes() == (tmp_path / part).read_bytes(), part
    scored = dawm("eval", tmp_path / name, "--env", "Pendulum-v1", "--episodes", "1", "--json")
    result = json.loads(scored.stdout)
    assert {"return_mean", "return_std", "normalized_score", "episodes", "env"} <= set(result)
    assert result["returns"] == json.loads((whole / name / "scores.json").read_text())["returns"]
    scored = dawm("eval", tmp_path / name, "--env", "Pendulum-v1", "--episodes", "1", "--mean", "--json")
    result = json.loads(scored.stdout)
    assert (result["mean"], result["seeds"], len(result["returns"])) == (True, 1, 1)


def test_another_run_in_the_same_folder_is_refused(reference, log, tiny, capsys):
    words = ["run", str(log), "--config", str(tiny), "--env", "Pendulum-v1", "--out", str(reference[0])]
    assert main([*words, "--set", "policy.loop.steps=70"]) == 2
    assert "config.run.policy.loop.steps: 60 -> 70" in capsys.readouterr().err


def test_settings_can_be_taken_from_the_record_of_a_run(reference, dawm, log):
    done = dawm("run", log, "--config", reference[0] / "run.toml", "--out", reference[0], "--json")
    assert json.loads(done.stdout)["policies"]["bc"]["env"] == "Pendulum-v1"


@pytest.mark.slow
def test_dry_run_measures_and_writes_nothing(dawm, log, tiny, tmp_path):
    out = tmp_path / "never"
    env = ("--env", "Pendulum-v1", "--set", "planner.spare=0.01")  # as little as is ever drawn is as much as this
    done = dawm("run", log, "--config", tiny, *env, "--out", out, "--dry-run", "--json", "--quiet")
    result = json.loads(done.stdout)
    assert result["sizes"]["window"] == [3, 5]
    assert result["sizes"]["parameters"]["diffusion"] > 1_000
    stages = {"one-step networks", "diffusion world model", "generation", "policy bc", "policy iql-dawm"}
    stages |= {"planner, if dynamics are linear", "labels of the planner, if dynamics are linear"}
    assert set(result["seconds"]) >= stages
    assert min(result["seconds"].values()) > 0
    assert result["total_seconds"] == pytest.approx(sum(result["seconds"].values()))
    assert not out.exists()


def test_calibrate_judges_held_out_episodes_and_keeps_the_correction(reference, tmp_path, capsys):
    folder = tmp_path / "model"
    shutil.copytree(reference[0] / "model", folder)
    words = ["calibrate", str(folder), "--windows", "12", "--samples", "6", "--horizon", "2"]
    assert main([*words, "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["baselines"]) == {"persistence", "neighbours", "gaussian", "ensemble"}
    for part in (found, found["recalibrated"], *found["baselines"].values()):
        assert set(part["coverage"]) == {"0.5", "0.8", "0.9", "0.95"}
        assert all(len(part[key]) == 2 for key in ("ece", "crps", "energy", "spread_skill"))
    assert "held-out" in found["data"]["judged_on"]
    assert found["grade"] in ("well", "roughly", "not")
    assert f" {found['grade']} calibrated." in found["verdict"]
    assert (folder / "recalibration.json").exists()
    other = tmp_path / "other.npz"
    np.savez(other, **linear_log(seed=5, episodes=6))
    assert main([*words, "--data", str(other), "--method", "conformal", "--json", "--quiet"]) == 0
    assert "all 6 episodes" in json.loads(capsys.readouterr().out)["data"]["judged_on"]
    assert main([*words, "--method", "magic"]) == 2
    assert "isotonic" in capsys.readouterr().err
    assert main(["report", str(folder)]) == 0
    assert "Are its futures honest?" in (folder / "report.html").read_text()


def test_an_estimate_of_a_policy_is_printed_and_kept(reference, tmp_path, capsys):
    folder = tmp_path / "policy"
    shutil.copytree(reference[0] / "policies" / "iql", folder)
    small = [
        "fqe.loop.steps=20",
        "fqe.loop.chunk=10",
        "fqe.width=8",
        "fqe.members=2",
        "model.starts=4",
        "model.steps=5",
    ]
    words = ["estimate", folder, "--model", reference[0] / "model", *(w for s in small for w in ("--set", s))]
    assert main([*map(str, words), "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"value", "low", "high"} <= set(found["fqe"]) & set(found["model"])
    assert json.loads((folder / "estimates.json").read_text())["fqe"] == found["fqe"]
    assert main([*map(str, words[:2]), "--set", "fqe.members=1"]) == 2
    assert "members must be at least 2" in capsys.readouterr().err


def test_a_planner_with_a_policy_plays_and_is_recorded(reference, tmp_path, capsys):
    out, _ = reference
    words = ["plan", out / "model", "--policy", out / "policies/iql", "--episodes", "1", "--out", tmp_path / "plan"]
    small = ["planner.horizon=2", "planner.candidates=4", "planner.refinements=1", "dynamics=ensemble"]
    words += ["--env", "Pendulum-v1", "--json", "--quiet"] + [w for s in small for w in ("--set", s)]
    found = []
    for _ in range(2):
        assert main(list(map(str, words))) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["episodes"] == 1
    assert found[0]["return_mean"] <= 0
    assert found[0]["returns"] == found[1]["returns"]  # the second time it is read
    stored = tomllib.loads((tmp_path / "plan/run.toml").read_text())
    assert stored["kind"] == "planner"
    assert stored["config"]["play"]["planner"]["horizon"] == 2
    assert main([*map(str, words[:-2]), "planner.horizon=0"]) == 2


def test_a_planner_around_all_seeds_of_a_policy(reference, tmp_path, capsys):
    out, _ = reference
    words = ["plan", out / "model", "--mean", "--episodes", "1", "--env", "Pendulum-v1", "--json", "--quiet"]
    words += ["--set", "planner.horizon=2", "--set", "planner.candidates=4", "--set", "planner.refinements=1"]
    assert main(list(map(str, words))) == 2
    assert "name one with --policy DIR" in capsys.readouterr().err
    assert main([*map(str, words), "--policy", str(out / "policies/iql"), "--out", str(tmp_path / "plan")]) == 0
    assert np.shape(json.loads(capsys.readouterr().out)["returns"]) == (1, 1)
    assert tomllib.loads((tmp_path / "plan/run.toml").read_text())["config"]["play"]["member"] == "mean"


def test_a_policy_that_imitates_its_planner_is_a_policy_like_others(reference, tmp_path, capsys):
    out, _ = reference
    folder, before = tmp_path / "distilled", out / "policies/iql"
    words = [
        "distil",
        out / "model",
        "--policy",
        before,
        "--out",
        folder,
        "--labels",
        "16",
        "--mean",
        "--json",
        "--quiet",
    ]
    small = ("planner.horizon=2", "planner.candidates=4", "unknown=2", "labels.futures=8", "labels.length=2")
    small += ("loop.steps=10", "loop.chunk=10", "learning_rate=0.01")
    words += [w for s in small for w in ("--set", s)]
    found = []
    for _ in range(2):  # the second time it is read
        assert main(list(map(str, words))) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]
    assert found[0]["labels"] == [16]  # of one planner for both seeds
    assert np.shape(found[0]["distance"]["after"]) == (2,)
    stored = tomllib.loads((folder / "run.toml").read_text())
    assert stored["kind"] == "policy"
    assert (stored["config"]["play"]["member"], stored["config"]["before"]["step"]) == ("mean", 60)
    obs = np.zeros((4, 3), np.float32)
    policies = [load_policy(before), load_policy(folder)]
    assert not np.array_equal(*(p.mean(obs) for p in policies))
    np.testing.assert_array_equal(*(np.asarray(p[1].worth(obs)) for p in policies))  # the critic is the same
    twice, again = tmp_path / "twice", tmp_path / "again"
    swapped = lambda old, new: [str(new) if word is old else str(word) for word in words]
    assert main([*swapped(folder, twice), "--set", "rounds=2"]) == 0
    by_hand = swapped(folder, again)
    by_hand[by_hand.index(str(before))] = str(folder)
    assert main(by_hand) == 0
    last = "checkpoints/00000010.ckpt"
    assert (twice / last).read_bytes() == (again / last).read_bytes() != (folder / last).read_bytes()
    assert (twice / "before" / last).read_bytes() == (folder / last).read_bytes()
    for path in (twice / "finished", twice / last, twice / "before" / "finished", twice / "before" / last):
        path.unlink()
    assert main(["resume", str(twice), "--quiet"]) == 0  # both rounds, from the labels of both
    assert (twice / last).read_bytes() == (again / last).read_bytes()
    (twice / "before" / "finished").unlink()
    assert main(["resume", str(twice / "before"), "--quiet"]) == 0  # whose paths are one folder deeper
    capsys.readouterr()
    assert main(["eval", str(folder), "--env", "Pendulum-v1", "--episodes", "1", "--json", "--quiet"]) == 0
    assert np.shape(json.loads(capsys.readouterr().out)["returns"]) == (2, 1)
    plan = ["plan", str(out / "model"), "--policy", str(folder), "--env", "Pendulum-v1", "--episodes", "1", "--quiet"]
    assert main([*plan, "--set", "planner.horizon=2", "--set", "unknown=2"]) == 0
    capsys.readouterr()


def test_a_policy_that_its_planner_leaves_alone_stays_as_it_is(reference, tmp_path, capsys):
    out, _ = reference
    words = [
        "distil",
        out / "model",
        "--policy",
        out / "policies/iql",
        "--out",
        tmp_path / "left",
        "--set",
        "spare=0.01",
    ]
    assert main([*map(str, words), "--set", "dynamics=ensemble", "--json"]) == 0  # the anchor of this log is linear
    shown = capsys.readouterr()
    assert "the policy is left as it is: " in shown.err
    assert json.loads(shown.out)["labels"] == []
    obs = np.ones((4, 3), np.float32)
    before, after = (load_policy(folder) for folder in (out / "policies/iql", tmp_path / "left"))
    np.testing.assert_array_equal(before[0](obs), after[0](obs))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "labels.length=0"], "length must be at least 1, got 0"),
        (["--set", "rounds=0"], "rounds must be at least 1, got 0"),
        (["--set", "labels.lenght=2"], "`labels.lenght`; did you mean `length`"),
        (["--set", "planner.horizon=0"], "horizon must be at least 1"),
        (["--set", "plannr.horizon=2"], "unknown setting `plannr.horizon`; did you mean `planner`"),
    ],
)
def test_settings_of_imitation_that_cannot_be_are_named(reference, tmp_path, capsys, words, message):
    out, _ = reference
    given = ["distil", out / "model", "--policy", out / "policies/iql", "--out", tmp_path / "never"]
    assert main([*map(str, given), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "never").exists()


@pytest.mark.slow
def test_the_latent_model_from_the_log_to_transitions(log, tiny, tmp_path, capsys):
    small = ["members=2", "context=8", "body.width=16", "body.depth=1", "body.embed=8", "process.steps=2"]
    words = [w for s in small for w in ("--set", f"model.{s}")]
    folder = str(tmp_path / "model")
    assert (
        main(["train", str(log), "--config", str(tiny), "--model", "latent", *words, "--out", folder, "--quiet"]) == 0
    )
    capsys.readouterr()
    out = str(tmp_path / "synthetic")
    assert main(["generate", folder, "--out", out, "-n", "300", "--set", "generate.shard=64", "--json", "--quiet"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["transitions"] == made["futures"] >= 300  # one step each
    fidelity = json.loads((tmp_path / "synthetic/fidelity.json").read_text())
    assert fidelity["inverse_consistency"] is None or fidelity["inverse_consistency"]
    assert main(["report", folder, "--quiet"]) == 0
    assert main(["train", str(log), "--model", "latnet", "--out", str(tmp_path / "never")]) == 2
    assert "latent" in capsys.readouterr().err


# -- data -------------------------------------------------------------------------------------------------------------


def test_show_says_what_the_name_resolved_to(log, capsys):
    assert main(["data", "show", str(log)]) == 0
    assert f"arrays:{log}" in capsys.readouterr().out
    assert main(["data", "show", str(log), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["obs_dim"], shown["act_dim"], shown["episodes"]) == (3, 1, 24)


def test_the_doctor_passes_good_data_and_fails_bad_data_with_status_1(log, tmp_path, capsys):
    assert main(["data", "doctor", str(log), "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["ok"] is True
    assert isinstance(verdict["problems"], list)
    broken = linear_log()
    broken["observations"][7, 1] = np.nan
    np.savez(tmp_path / "broken.npz", **broken)
    assert main(["data", "doctor", str(tmp_path / "broken.npz"), "--json"]) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["ok"] is False
    assert any("7" in problem["message"] for problem in verdict["problems"])
    assert main(["run", str(tmp_path / "broken.npz"), "--out", str(tmp_path / "never")]) == 1
    assert not (tmp_path / "never").exists()


def test_damaged_and_missing_files_are_named(tmp_path, capsys):
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 nothing more")
    assert main(["data", "doctor", str(tmp_path / "cut.npz")]) == 1
    assert main(["data", "show", str(tmp_path / "cut.npz")]) == 2
    capsys.readouterr()
    assert main(["data", "doctor", str(tmp_path / "none.npz")]) == 2
    assert "none.npz" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".csv"])
def test_convert_keeps_every_value(log, tmp_path, suffix, capsys):
    target = tmp_path / f"copy{suffix}"
    assert main(["data", "convert", str(log), str(target)]) == 0
    assert capsys.readouterr().out.strip() == str(target)
    before, after = load(log), load(target)
    for name in ("obs", "action", "reward", "next_obs", "terminal", "episode_ends", "source"):
        assert np.array_equal(getattr(after, name), getattr(before, name)), name
    if suffix != ".csv":  # which has no place for the bounds of actions
        assert after.fingerprint == before.fingerprint
        assert np.array_equal(after.act_high, before.act_high)


def test_synthetic_data_can_be_shown_and_converted(reference, tmp_path, capsys):
    folder = str(reference[0] / "synthetic")
    assert main(["data", "show", folder, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["format"] == "synthetic"
    assert main(["data", "convert", folder, str(tmp_path / "made.h5")]) == 0
    assert load(tmp_path / "made.h5").fingerprint == shown["fingerprint"]


# -- standard output --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["data", "show", "/none.h5"], ["trian"], ["run", "x", "--sedd=3"]])
def test_with_json_an_error_is_one_json_object_too(words, capsys):
    status = main([*words, "--json"])
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == status == 2
    assert err.startswith("dawm: ")


def test_a_reader_that_closes_early_causes_no_traceback(log):
    import subprocess
    import sys

    command = f"{sys.executable} -m dawm data show {log} --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr


def test_policies_that_a_planner_would_leave_alone_are_trained_to_act_alone(reference, dawm, tmp_path):
    """The policies of a whole run, trained anew under a record whose planner leaves them alone."""
    moved, plain = shutil.copytree(reference[0], tmp_path / "moved"), reference[0] / "policies" / "iql"
    record = (moved / "run.toml").read_text()
    for old, new in (
        ('env = "Pendulum-v1"', 'env = "none"'),
        ("spare = 0.5", "spare = 0.01"),
        ('dynamics = "anchor"', 'dynamics = "ensemble"'),  # this log's anchor is linear, which is never left alone
    ):
        assert old in record
        record = record.replace(old, new)
    (moved / "run.toml").write_text(record)
    for part in (moved / "policies", moved / "finished"):
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    done = dawm("resume", moved)
    assert "policies will act alone" in done.stderr
    for name in ("bc", "iql", "iql-dawm"):
        policy = tomllib.loads((moved / "policies" / name / "run.toml").read_text())["config"]["policy"]
        assert policy["average"] == 0.9995  # of the default preset
        assert policy["algo"].get("actor_learning_rate") == (None if name == "bc" else 1e-3)
    assert not (moved / "policies" / "iql-distil").exists()  # there is no planner to imitate
    acting, usual = load_policy(moved / "policies" / "iql"), load_policy(plain)
    obs = np.zeros((2, 1, 3), np.float32)
    assert np.abs(acting.act(obs) - usual.act(obs)).max() > 1e-4
    assert acting.value.net.layers[0].weight.tolist() == usual.value.net.layers[0].weight.tolist()  # learnt alike
