"""Settings of JAX for the command line, made before JAX is imported. Whatever the user has set already stands.

Compiled programs are kept between runs in the user's cache folder, one folder for each kind of processor, because a
program compiled for one may not run on another. `DAWM_CACHE` names another folder; empty, nothing is kept. A program
from the cache gives the same bits as one that was compiled afresh (a test compares them).
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from pathlib import Path


def prepare() -> None:
    """Choose the compilation cache."""
    folder = cache_folder()
    if folder is not None and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")  # the many small ones are a second
        os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(2**30))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # remarks of the compiler that no user can act on


def cache_folder() -> Path | None:
    """Where compiled programs are kept; None to keep none."""
    chosen = os.environ.get("DAWM_CACHE")
    if chosen == "":
        return None
    return (Path(chosen) if chosen else user_cache() / "dawm") / "xla" / _processor()


def user_cache() -> Path:
    """The platform's folder for caches of this user."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _processor() -> str:
    """A short name for the kind of processor: its architecture and a hash of its instruction sets, where known."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="ignore").splitlines()
        features = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    except OSError:
        features = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"
