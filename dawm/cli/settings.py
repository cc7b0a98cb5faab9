"""From flags to a configuration: preset < configuration file < flags < --set."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from dawm.presets import RunConfig, load_preset, merge
from dawm.run.config import override, read_config_file

# flag: the settings that it means
MEANING = {
    "seed": ("world_model.seed", "generate.seed", "policy.seed", "distil.seed"),
    "world_model": ("world_model.model.kind",),
    "algo": ("policy.algo.kind",),
    "seeds": ("policy.seeds",),
    "ratio": ("policy.ratio",),
    "futures_count": ("futures",),
    "transitions": ("generate.transitions",),
    "env": ("env",),
    "episodes": ("episodes",),
    "eval_every": ("eval_every",),
}


def configuration(flags: argparse.Namespace, section: str | None = None) -> RunConfig:
    """The settings that the flags of a command mean.

    `section` is the part that the command is about: its name may be left out in front of a setting.
    """
    config = load_preset(flags.preset or "default")
    if flags.config:
        config = merge(config, qualified(unwrapped(read_config_file(flags.config)), section))
    given = {name: getattr(flags, name, None) for name in MEANING}
    meant = {dotted: value for name, value in given.items() if value is not None for dotted in MEANING[name]}
    config = merge(config, meant)
    return override(config, [full_name(text, section) for text in flags.assignments])


def qualified(values: Mapping[str, Any], section: str | None) -> dict[str, Any]:
    """The same settings, those without their section's name moved into it."""
    known = {f.name for f in fields(RunConfig)}
    inside = {k: v for k, v in values.items() if section is not None and k not in known}
    outside = {k: v for k, v in values.items() if k not in inside}
    if inside and section is not None:
        outside[section] = {**outside.get(section, {}), **inside}
    return outside


def full_name(text: str, section: str | None) -> str:
    """`KEY=VALUE` with the section's name in front of a key that has none."""
    first = text.partition("=")[0].partition(".")[0].strip()
    known = {f.name for f in fields(RunConfig)}
    return text if section is None or first in known else f"{section}.{text}"


def unwrapped(values: dict[str, Any]) -> dict[str, Any]:
    """The settings in the run.toml of a run folder, or the mapping as it is."""
    if set(values) != {"kind", "config"}:
        return values
    stored = values["config"]
    return stored.get("run") or {k: v for k, v in stored.items() if k in ("world_model", "generate", "policy")}
