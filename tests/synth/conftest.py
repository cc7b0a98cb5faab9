import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "worldmodel"))

import linear_world


@pytest.fixture(scope="session", autouse=True)
def compiled_once():
    linear_world.compile_once()


@pytest.fixture(scope="session")
def data():
    return linear_world.data()


@pytest.fixture(scope="session")
def trained():
    return linear_world.trained()
