"""Fixtures of the linear world, for the tests of the world model and of what is generated from it."""

import linear_world
import pytest


@pytest.fixture(scope="session", autouse=True)
def compiled_once():
    linear_world.compile_once()


@pytest.fixture(scope="session")
def data():
    return linear_world.data()


@pytest.fixture(scope="session")
def trained():
    return linear_world.trained()
