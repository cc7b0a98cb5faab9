"""Results on disk: one JSON file for a commit, its settings and its machine; a section of it for each measurement."""

from __future__ import annotations

import json
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.speed.comparison import Settings
from dawm.errors import ConfigError, FileError

LAYOUT = 1  # raised where a file of before can no longer be read
PEERS = ("torch", "d3rlpy")


def file_name(settings: Settings, commit: str | None) -> str:
    """COMMIT.json; changes in the working tree, quick results and other numbers of threads are in the name."""
    name = (commit or "unknown")[:12] + ("-changed" if (commit or "").endswith("+") else "")
    name += f"-{settings.threads}threads" if settings.threads > 1 else ""
    return name + ("-quick" if settings.quick else "") + ".json"


def machine_facts() -> dict[str, Any]:
    """Processor, cores, memory, versions and commit, for the record."""
    from dawm.run.folder import environment

    facts = environment()
    facts["versions"] |= {name: _version(name) for name in PEERS}
    facts |= {"processor": _processor(), "cores": os.cpu_count()}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["memory_gib"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    return facts


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """Its name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="ignore").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def read(path: Path) -> dict[str, Any]:
    """A file of results. Raises FileError where it is none."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        raise FileError(f"there are no results in `{path}`: make them with python -m benchmarks.speed.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FileError(f"the results in `{path}` cannot be read: {error}.") from None
    if not isinstance(found, dict) or found.get("layout") != LAYOUT or "measurements" not in found:
        raise FileError(f"`{path}` holds no results of python -m benchmarks.speed.")
    return found


def store(path: Path, name: str, record: dict[str, Any], facts: dict[str, Any], settings: Settings) -> None:
    """Put the record of one measurement into the file, beside what it holds of the others. Raises ConfigError where
    these are of another machine.
    """
    from dawm.run.checkpoint import write_whole

    blank = {"layout": LAYOUT, "settings": settings._asdict(), "machine": facts, "measurements": {}}
    content = read(path) if path.exists() else blank
    same = all(content["machine"].get(key) == facts.get(key) for key in ("processor", "cores", "versions"))
    if not same:
        raise ConfigError(f"`{path}` holds results of another machine or other versions: name another --out.")
    made = {"date": time.strftime("%Y-%m-%d"), "repeats": settings.repeats, "load": os.getloadavg()[0]}
    content["measurements"][name] = made | record
    text = json.dumps(content, indent=1) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))
