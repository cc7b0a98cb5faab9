"""The benchmarks are no installed package: make the root of the repository importable. MuJoCo's logs go to scratch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """MuJoCo writes MUJOCO_LOG.TXT into the working directory when it meets an old model file."""
    monkeypatch.chdir(tmp_path)
