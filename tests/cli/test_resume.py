"""Kill the run at any moment, resume it, and compare every file with those of a run that was never touched."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from dawm.cli.main import main
from tests.cli.conftest import linear_log

pytestmark = pytest.mark.xdist_group("one reference run")

# what to wait for before the next kill: each is written in another stage
SIGNS = (
    "model/networks/metrics.jsonl",
    "model/metrics.jsonl",
    "synthetic/shards/00000.npz",
    "policies/iql/metrics.jsonl",
)


@pytest.mark.parametrize("signs", [SIGNS[1::2], pytest.param(SIGNS, marks=pytest.mark.slow)], ids=["twice", "always"])
def test_a_run_killed_in_many_stages_ends_as_if_it_had_not_been(signs, reference, dawm, log, tiny, tmp_path):
    out, rng = tmp_path / "run", random.Random(0)
    command = ["run", log, "--config", tiny, "--env", "Pendulum-v1", "--out", out]
    for number, sign in enumerate(signs):
        process = dawm(*command, wait=False)
        wait_for(out / sign, process)
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(signal.SIGINT if number == 0 else signal.SIGKILL)
        _, err = process.communicate()
        if number == 0:
            assert process.returncode == 130
            assert f"dawm resume {out}" in err
        command = ["resume", out]
    assert not (out / "finished").exists()
    done = dawm("resume", out)
    assert done.stdout.splitlines()[-1] == str(out / "report.html")
    assert compare(reference[0], out) > 20


def wait_for(path: Path, process) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def compare(whole: Path, resumed: Path) -> int:
    """Assert that two run folders hold the same, but for times and provenance; returns the number of files compared."""
    names = lambda folder: {
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.suffix != ".part"
    }
    assert names(whole) == names(resumed)
    count = 0
    for name in sorted(names(whole)):
        a, b = whole / name, resumed / name
        if a.name in ("provenance.json", "report.html"):
            continue
        assert content(a) == content(b), name
        count += 1
    return count


def content(path: Path):
    """The bytes of a file; of records, the values without times."""
    if path.name == "metrics.jsonl":
        return [untimed(json.loads(line)) for line in path.read_text().splitlines()]
    return untimed(json.loads(path.read_text())) if path.suffix == ".json" else path.read_bytes()


def untimed(record: dict) -> dict:
    return {k: v for k, v in record.items() if k not in ("seconds", "transitions_per_second")}


def test_a_stage_of_a_run_can_be_resumed_alone(reference, dawm, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(reference[0], copy)
    last = copy / "policies" / "iql-dawm"
    for path in [last / "finished", last / "checkpoints" / "00000060.ckpt", copy / "finished"]:
        path.unlink()
    assert dawm("resume", last).stdout.strip() == str(last)
    name = "policies/iql-dawm/checkpoints/00000060.ckpt"
    assert (copy / name).read_bytes() == (reference[0] / name).read_bytes()


def test_a_planner_that_was_stopped_plays_again(reference, dawm, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(reference[0], copy)
    planner = copy / "policies" / "iql-plan"
    before = json.loads((planner / "scores.json").read_text())
    for name in ("finished", "scores.json"):
        (planner / name).unlink()
    assert dawm("resume", planner).stdout.strip() == str(planner)
    assert json.loads((planner / "scores.json").read_text()) == before


def test_a_policy_that_was_stopped_while_it_imitated_goes_on_to_the_same_weights(reference, dawm, tmp_path):
    """From the labels and the checkpoint that are there, and from nothing at all."""
    copy = tmp_path / "run"
    shutil.copytree(reference[0], copy)
    student, name = copy / "policies" / "iql-distil", "policies/iql-distil/checkpoints/00000020.ckpt"
    labels = sorted((student / "labels").iterdir())
    assert len(labels) == 4  # two shards of each seed
    for path in [student / "finished", student / "checkpoints" / "00000020.ckpt", *labels[1:]]:
        path.unlink()
    assert dawm("resume", student).stdout.strip() == str(student)
    assert (copy / name).read_bytes() == (reference[0] / name).read_bytes()
    shutil.rmtree(student)
    (copy / "finished").unlink()
    dawm("resume", copy)
    assert (copy / name).read_bytes() == (reference[0] / name).read_bytes()


def test_a_run_that_was_stopped_before_the_mean_of_the_seeds_played_goes_on_there(reference, dawm, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(reference[0], copy)
    mean = copy / "policies" / "iql-plan" / "mean.json"
    before, report = json.loads(mean.read_text()), (copy / "report.html").read_text()
    for path in (mean, copy / "finished", copy / "report.html"):
        path.unlink()
    assert json.loads(dawm("resume", copy, "--json").stdout)["mean"]["iql-plan"]["episodes"] == 1
    assert json.loads(mean.read_text()) == before
    assert "mean of the seeds" in report


def test_a_dataset_that_moved_or_changed_is_named(reference, log, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(reference[0], copy)
    settings = (copy / "run.toml").read_text()
    (copy / "run.toml").write_text(settings.replace(str(log), "/gone/linear.npz"))
    assert main(["resume", str(copy)]) == 2
    assert f"dawm resume {copy} --data PATH" in capsys.readouterr().err
    np.savez(tmp_path / "other.npz", **linear_log(seed=1))
    assert main(["resume", str(copy), "--data", str(tmp_path / "other.npz")]) == 1
    assert "does not hold the data" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["", "kind = 3", "not toml ["])
def test_a_folder_that_is_no_run_is_status_2(tmp_path, damage, capsys):
    (tmp_path / "run.toml").write_text(damage)
    assert main(["resume", str(tmp_path)]) == 2
    assert "Traceback" not in capsys.readouterr().err
