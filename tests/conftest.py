"""Shared fixtures. Shapes and dtypes written in annotations are checked in every test (jaxtyping with beartype)."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

hook = install_import_hook(
    ["dawm.diffusion", "dawm.nets", "dawm.uncertainty", "dawm.data.sampling"], "beartype.beartype"
)

import numpy as np  # noqa: E402
import pytest  # noqa: E402


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
