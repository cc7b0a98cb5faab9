"""Shared fixtures. Shapes and dtypes written in annotations are checked in every test (jaxtyping with beartype)."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

# The tests spend most of their time compiling: programs that one of them compiled are read back by the others, in every
# process of this run. Nothing is kept from one run to the next.
COMPILED = Path(tempfile.gettempdir()) / f"dawm-tests-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(COMPILED))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(2**32))  # a limit makes JAX lock the files that it writes

from jaxtyping import install_import_hook  # noqa: E402

hook = install_import_hook(
    ["dawm.diffusion", "dawm.nets", "dawm.uncertainty", "dawm.data.sampling"], "beartype.beartype"
)

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests of a file run in one process, which makes once what they share; files that share more name a group."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):  # the process that started the others
        shutil.rmtree(COMPILED, ignore_errors=True)


MAPS = Path("/proc/self/maps")
MANY = 20_000  # memory maps; Linux allows a process 65,530, every compiled program takes some, and XLA dies of one more


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Forget what is compiled once it is much: between files, which share few programs."""
    yield
    if MAPS.exists() and len(MAPS.read_bytes().splitlines()) > MANY:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real datasets beside the checkout; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("DAWM_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(
            f"the real datasets are not here ({folder.name} folder absent; set DAWM_SHARED_DATA to use your copy)"
        )
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
