"""The same suite by processes and by a Ray of this machine: the same bits, and a failure stops only what needs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dawm.cli.main import main
from tests.sweep.tiny_suite import SUITE, write_log

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_heavy_is_imported_before_the_settings_of_a_piece():
    """What a worker of Ray imports to find its task, and what a process imports before it begins."""
    code = (
        "import sys, dawm.sweep.cluster, dawm.sweep.process; print([m for m in ('jax', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow  # about a minute: a Ray is started, and every piece imports JAX
def test_ray_gives_the_bits_of_processes(tmp_path, capsys):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    write_log(tmp_path / "linear.npz")
    broken = '[datasets.gone]\npath = "gone.npz"\nenv = "Pendulum-v1"\n[methods.bc]'
    (tmp_path / "tiny.toml").write_text(SUITE.replace("[methods.bc]", broken))
    results = {}
    for executor in ("local", "ray"):
        words = ["--out", str(tmp_path / executor), "--executor", executor, "--workers", "2", "--json"]
        status = main(["sweep", str(tmp_path / "tiny.toml"), *words])
        out, err = capsys.readouterr()
        if executor == "ray" and "no Ray could be reached or started" in err:
            pytest.skip(f"Ray itself does not start here (it allows 15 seconds for its agents): {err.strip()}")
        assert status == 1
        results[executor] = json.loads(out)
        assert "gone/data: FAILED (exit status 2)" in err
        assert "there is no dataset" in err
    for result in results.values():
        assert sorted(result["done"]) == ["linear/bc", "linear/data"]
        assert (result["failed"], result["left"]) == (["gone/data"], ["gone/bc"])
    places = [tmp_path / executor / "linear" / "policies" / "bc" for executor in results]
    for name in ("checkpoints/00000020.ckpt", "scores.json"):
        one, other = ((place / name).read_bytes() for place in places)
        assert one == other
    assert main(["sweep", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "ray"), "--only", "linear/*"]) == 0
    assert "0 of 2 pieces to do" in capsys.readouterr().err  # each finds the other's work
