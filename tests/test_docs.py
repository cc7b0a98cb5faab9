"""What the documents say is true: commands parse, links lead somewhere, the README's Python runs, examples run."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dawm
from dawm.cli.main import VERBS, find, make_parser

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
README = (ROOT / "README.md").read_text()


def fences(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    """The document without its code blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def command_lines() -> list[tuple[str, str]]:
    """(document, line) of every `dawm ...` in a console block or in code within a line."""
    out = []
    for path in DOCUMENTS:
        text = path.read_text()
        blocks = [line.removeprefix("$ ") for block in fences(text, "console") for line in block.splitlines()]
        inline = re.findall(r"(?<!`)`(dawm [^`\n]+)`(?!`)", prose(text))
        out += [(path.name, line) for line in [*blocks, *inline] if line.startswith("dawm ")]
    return sorted(set(out))


@pytest.mark.parametrize(("document", "line"), command_lines())
def test_commands_parse(document, line):
    words = shlex.split(line, comments=True)[1:]
    name, rest = find(words)
    if rest and name in VERBS:  # the mere name of a command needs no arguments
        make_parser(name).parse(rest)
    else:
        assert name in VERBS or name in ("", "data")


def test_the_readme_names_every_command():
    assert {name for name in VERBS if f"`dawm {name}" not in README} == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(path):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose(path.read_text()))
    missing = [t for t in targets if "://" not in t and not (path.parent / t).exists()]
    assert not missing


def test_code_names_in_the_documents_exist():
    """Every path such as `dawm/data/registry.py` or `tests/run/test_loop.py` in code is there."""
    for path in DOCUMENTS:
        named = re.findall(r"`((?:dawm|tests|scripts|examples|docs|benchmarks)/[\w/.-]+\.\w+)`", path.read_text())
        missing = [name for name in named if "foo" not in name and "NAME" not in name and not (ROOT / name).exists()]
        assert not missing, path.name


def test_the_commands_of_make_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", " ".join(fences(README, "console"))):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def hopper_log(episodes: int = 6, length: int = 30) -> dict[str, np.ndarray]:
    """A random walk in the shapes of Hopper."""
    rng, n = np.random.default_rng(0), episodes * length
    steps = 0.1 * rng.normal(size=(n, 11))
    obs = np.concatenate([np.cumsum(part, 0) for part in np.split(steps, episodes)])
    last = np.arange(n) % length == length - 1
    return {
        "obs": obs,
        "action": rng.uniform(-1, 1, (n, 3)),
        "reward": rng.normal(size=n) + 1,
        "next_obs": obs + steps,
        "terminals": last & (np.arange(n) % (2 * length) == length - 1),
        "timeouts": last & (np.arange(n) % (2 * length) != length - 1),
        "act_low": -np.ones(3),
        "act_high": np.ones(3),
    }


def tiny_model() -> dawm.WorldModelConfig:
    loop = dawm.LoopConfig(steps=10, chunk=10, monitor_every=10, save_every=10)
    networks = dawm.WorldModelConfig().networks
    small = replace(networks.ensemble, members=2, width=16)
    networks = replace(networks, loop=loop, batch_size=32, ensemble=small)
    return dawm.WorldModelConfig(networks=networks, loop=loop, batch_size=32, measure_windows=16, measure_samples=2)


# what the README shows: what a test can afford
SMALLER = {
    'dawm.load("demo")': "dawm.load(hopper_log())",
    "dawm.WorldModelConfig()": "tiny_model()",
    "transitions=100_000": "transitions=300, shard=64",
    "steps=50_000": "steps=10, chunk=10",
    "count=10_000": "count=8, length=2, futures=4",
    "steps=5_000": "steps=10, chunk=10",
    "episodes=10": "episodes=1",
}


BEFORE = f"""from dataclasses import replace
import numpy as np
import dawm
{inspect.getsource(hopper_log)}
{inspect.getsource(tiny_model)}
"""
AFTER = """
assert actions.shape == (5, 3)
assert np.isfinite(scores["return_mean"])
assert len(synthetic) >= 300
"""


def test_the_python_of_the_readme_runs(tmp_path):
    """As a script of its own, as a reader would run it."""
    pytest.importorskip("mujoco")
    (code,) = fences(README, "python")
    for shown, smaller in SMALLER.items():
        assert shown in code, f"the README no longer says {shown}"
        code = code.replace(shown, smaller)
    (tmp_path / "readme.py").write_text(BEFORE + code + AFTER)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "readme.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def example(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow  # as the next one: run_pipeline and each stage have tests of their own
def test_example_own_arrays(tmp_path, capsys):
    example("own_arrays").main(out=str(tmp_path / "run"), quick=True)
    assert capsys.readouterr().out.strip().endswith("report.html")
    assert (tmp_path / "run" / "finished").exists()


@pytest.mark.slow
def test_example_stage_by_stage(tmp_path):
    example("stage_by_stage").main(out=str(tmp_path / "run"), quick=True)
    assert (tmp_path / "run" / "policy" / "finished").exists()


def test_example_diffusion_only():
    points = example("diffusion_only").main(quick=True)
    assert points.shape == (200, 2)
    assert np.isfinite(points).all()


def test_examples_are_short():
    long = {p.name: n for p in (ROOT / "examples").glob("*.py") if (n := len(p.read_text().splitlines())) > 80}
    assert not long
