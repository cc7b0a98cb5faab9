"""Help is immediate, fits a screen, and wrong words are answered with the right ones."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dawm.cli.main import VERBS, main

HEAVY = ("jax", "equinox", "numpy", "h5py", "gymnasium", "matplotlib", "tyro", "rich")


@pytest.mark.parametrize("words", [[], *(name.split() for name in VERBS)], ids=lambda w: " ".join(w) or "dawm")
def test_help_fits_a_screen_and_has_an_example(words, capsys):
    assert main([*words, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    assert any(line.strip().startswith("dawm ") or "start here" in line for line in lines[-3:])


def test_help_imports_nothing_heavy():
    """Every help in one fresh process: a module is only there if some help imported it."""
    code = (
        "import sys, dawm; from dawm.cli.main import VERBS, main\n"
        "main(['--help']); [main([*name.split(), '--help']) for name in VERBS]\n"
        f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_module_and_bare_command_say_what_there_is(capsys):
    assert main([]) == 0
    assert "dawm run demo" in capsys.readouterr().out
    assert main(["data"]) == 0
    assert "doctor" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["trian"], "did you mean `train`?"),
        (["data", "docter", "x"], "did you mean `doctor`?"),
        (["run", "x", "--sedd", "3"], "did you mean `--seed`?"),
        (["run", "x", "y"], "`y`, which is one argument too many"),
        (["run"], "DATASET"),
        (["train", "x"], "--out"),
        (["run", "x", "--seeds", "two"], "`two` is no number"),
        (["--fast"], "does not know `--fast`"),
        (["run", "x", "--preset", "papr"], "did you mean `paper`?"),
        (["run", "x", "--algo", "iqk"], "`policy.algo.kind` cannot be 'iqk'; did you mean `iql`?"),
        (["run", "x", "--set", "policy.lop.steps=3"], "did you mean `loop`?"),
        (["run", "x", "--set", "policy.loop.steps"], "key=value"),
        (["train", "x", "--out", "y", "--set", "model.horizn=3"], "did you mean `horizon`?"),
        (["run", "x", "--ratio", "0"], "policy.ratio"),
        (["run", "/no/such/file.npz"], "/no/such/file.npz"),
        (["policy", "x", "--out", "y", "--ratio", "0.5"], "--synthetic"),
        (["report", "/no/such/run"], "does not exist"),
        (["resume", "/no/such/run"], "does not exist"),
        (["eval", "/no/such/run"], "does not exist"),
        (["sweep", "/no/such/suite.toml", "--out", "y"], "there is no suite file `/no/such/suite.toml`"),
        (["sweep", "x.toml", "--out", "y", "--executor", "rya"], "did you mean `ray`?"),
        (["sweep", "x.toml", "--out", "y", "--address", "a:1"], "add --executor ray"),
        (["sweep", "x.toml", "--out", "y", "--workers", "0"], "`--workers` must be at least 1"),
        (["data", "convert", "x", "y.xlsx"], ".h5, .npz, .csv or .dawm"),
    ],
)
def test_a_wrong_command_is_status_2_and_one_line_that_helps(words, text, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert text in err
    assert err.startswith("dawm: ")
    assert "Traceback" not in err
