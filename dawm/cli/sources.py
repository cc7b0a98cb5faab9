"""DATASET of the data commands: anything that `load` takes, or the run folder of a generation."""

from __future__ import annotations

from pathlib import Path

from dawm.data.dataset import Dataset
from dawm.data.registry import load
from dawm.run.folder import RunFolder
from dawm.run.progress import say
from dawm.synth.generator import load_synthetic


def is_synthetic(source: str) -> bool:
    """Whether `source` is the run folder of a generation."""
    return (Path(source) / "run.toml").is_file() and RunFolder(source).kind == "synthetic"


def read(source: str, *, check: bool = True, announce: bool = True) -> Dataset:
    """The dataset, after a line that says what its name resolved to."""
    data = load_synthetic(source) if is_synthetic(source) else load(source, check=check)
    if announce:
        say(f"data  {source} is {data.info.origin}: {len(data):,} steps in {data.episodes:,} episodes")
    return data
