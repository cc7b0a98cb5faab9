"""What is needed to judge and to repeat a run: every setting, versions, fingerprints, and command lines."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

from dawm.report.collect import RunRecord, Stage, dig, leaves
from dawm.report.numerals import number
from dawm.report.tables import Table


def settings_tables(record: RunRecord) -> list[tuple[str, Table]]:
    """(name of the stage, its settings) for the run and each of its stages."""
    parts: list[tuple[str, dict[str, Any]]] = [(s.name, s.config) for s in record.stages]
    if record.kind == "run":
        parts.insert(0, ("run", record.config))
    return [
        (name, Table(["Setting", "Value"], [[k, value(v)] for k, v in leaves(config)], words=2))
        for name, config in parts
    ]


def versions_table(record: RunRecord) -> Table:
    """Versions, machine and commit; where stages differ, all values."""
    rows: dict[str, list[str]] = {}
    for provenance in _provenances(record):
        shown = {"commit": provenance.get("commit"), "python": provenance.get("python")}
        shown |= {k: provenance.get(k) for k in ("platform", "device", "seed")}
        shown |= dict(dig(provenance, "versions") or {})
        for name, found in shown.items():
            if found is not None and value(found) not in rows.setdefault(name, []):
                rows[name].append(value(found))
    return Table(["What", "Value"], [[k, "; ".join(v)] for k, v in rows.items() if v], words=2)


def fingerprints_table(record: RunRecord) -> Table:
    """Fingerprints by which data and models can be told to be the same."""
    rows = [["dataset", str(found)]] if (found := dig(record.data, "fingerprint")) else []
    for stage in record.stages:
        sources = {
            "": stage.provenance,
            "generation.json ": stage.results.get("generation", {}),
            "settings ": stage.config,
        }
        for where, mapping in sources.items():
            for key, found in leaves(mapping):
                if key.split(".")[-1] in ("fingerprint", "model_hash", "model_fingerprint", "data_fingerprint"):
                    rows.append([f"{stage.name}: {where}{key}", str(found)])
    return Table(["Of", "Fingerprint"], [list(r) for r in dict.fromkeys(map(tuple, rows))], words=2)


def commands(record: RunRecord) -> list[tuple[str, str]]:
    """(what it does, command line): installing the same versions, the recorded commands, and each stage alone."""
    found = []
    versions = next((p["versions"] for p in _provenances(record) if p.get("versions")), {})
    pins = [f"{name}=={v}" for name, v in versions.items() if v]
    if pins:
        found.append(("Install the same versions", shlex.join(["pip", "install", *pins])))
    recorded = dict.fromkeys(filter(None, map(_recorded, _provenances(record))))
    found += [("As it was typed", line) for line in recorded]
    return found + [(what, shlex.join(words)) for what, words in _stage_commands(record)]


def _stage_commands(record: RunRecord) -> list[tuple[str, list[str]]]:
    out: list[tuple[str, list[str]]] = []
    origin = record.origin or record.name
    if record.model:
        out.append(("The world model alone", ["dawm", "train", origin, "--out", str(record.model.path)]))
    synthetic = record.synthetic
    if synthetic is not None:
        amount = number(synthetic.get("generation", "transitions"))
        source = (
            str(record.model.path)
            if record.model
            else str(synthetic.get("generation", "source", "model") or "MODEL_DIR")
        )
        size = [] if amount is None else ["-n", f"{amount:.0f}"]
        acting = dig(synthetic.config, "policy", "path")  # relative to its folder
        who = ["--policy", os.path.normpath(synthetic.path / acting)] if acting else []
        out.append(("Synthetic data alone", ["dawm", "generate", source, *who, "--out", str(synthetic.path), *size]))
    for policy in record.policies:
        if policy.kind == "planner":
            out.append((f"Planner {policy.name} alone", _planner_command(policy)))
            continue
        out.append((f"Policy {policy.name} alone", _policy_command(policy, record, origin)))
        if policy.get("scores", "env"):
            played = number(policy.get("scores", "episodes"))
            line = ["dawm", "eval", str(policy.path), "--env", str(policy.get("scores", "env"))]
            line += [] if played is None else ["--episodes", f"{played:.0f}"]
            out.append((f"Score of {policy.name}", line))
    return [*out, ("This page", ["dawm", "report", str(record.path)])]


def _policy_command(policy: Stage, record: RunRecord, origin: str) -> list[str]:
    if policy.config.get("distil"):
        place = lambda key: os.path.normpath(policy.path / str(dig(policy.config, key, "path")))
        return ["dawm", "distil", place("model"), "--policy", place("before"), "--out", str(policy.path)]
    words = ["dawm", "policy", origin, "--algo", policy.algorithm]
    if policy.uses_synthetic:
        path = (
            str(record.synthetic.path)
            if record.synthetic
            else str(dig(policy.config, "synthetic", "path") or "SYNTHETIC_DIR")
        )
        ratio = dig(policy.config, "policy", "ratio")
        words += ["--synthetic", path, *([] if ratio is None else ["--ratio", str(ratio)])]
    return [*words, "--out", str(policy.path)]


def _planner_command(planner: Stage) -> list[str]:
    place = lambda key: str((planner.path / str(dig(planner.config, key, "path"))).resolve())
    words = ["dawm", "plan", place("model")]
    words += ["--policy", place("policy")] if planner.plans_around else []
    return [*words, "--env", str(planner.config.get("env")), "--out", str(planner.path)]


def _provenances(record: RunRecord) -> list[dict[str, Any]]:
    return [p for p in (record.provenance, *(s.provenance for s in record.stages)) if p]


def _recorded(provenance: dict[str, Any]) -> str | None:
    words = provenance.get("command")
    if not isinstance(words, list) or not words:
        return None
    return shlex.join([Path(str(words[0])).name, *map(str, words[1:])])


def value(found: Any) -> str:
    """A setting as it would be written in a file."""
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
