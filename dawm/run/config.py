"""Configurations are frozen dataclasses. This module turns them into plain mappings and back, strictly.

Unknown keys and values of the wrong type are errors that name the key and suggest the nearest known one. A field that
may hold one of several configurations (a union of dataclasses) is told apart by their `kind` field.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from dawm.errors import ConfigError, FileError, suggest

C = TypeVar("C")


def to_dict(config: Any) -> Any:
    """A configuration as nested plain values (None is kept), ready for JSON."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(k): to_dict(v) for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_dict(v) for v in config]
    return str(config) if isinstance(config, Path) else config


def from_dict(cls: type[C], values: Mapping[str, Any], where: str = "") -> C:
    """The configuration `cls` with the given values; missing fields take their defaults.

    Raises ConfigError on an unknown key, a wrong type, or a value that the configuration refuses.
    """
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(f"unknown setting `{where}{key}`{suggest(key, known)}")
    given = {k: _coerce(hints[k], v, f"{where}{k}") for k, v in values.items()}
    try:
        return cls(**given)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"in `{where.rstrip('.') or cls.__name__}`: {error}") from None


def _coerce(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint`, or a ConfigError that names the setting."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(args, value, where)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_dict(hint, value, where + ".")  # type: ignore[arg-type]
    if dataclasses.is_dataclass(hint) and isinstance(value, hint):  # type: ignore[arg-type]
        return value
    if origin is Literal:
        if value in args:
            return value
        raise ConfigError(f"`{where}` cannot be {value!r}{suggest(str(value), map(str, args))}")
    if origin is tuple and isinstance(value, (list, tuple)):
        inner = args[0] if len(args) == 2 and args[1] is Ellipsis else None
        if inner is None and len(value) != len(args):
            raise ConfigError(f"`{where}` must have {len(args)} values, got {len(value)}")
        return tuple(_coerce(inner or args[i], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if hint is Any or (
        isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    ):
        return value
    raise ConfigError(f"`{where}` must be {getattr(hint, '__name__', hint)}, got {value!r}")


def _coerce_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    configs = {getattr(o, "kind", None): o for o in options if dataclasses.is_dataclass(o)}
    if configs and isinstance(value, str) and value in configs:
        return configs[value]()  # type: ignore[operator]
    if configs and isinstance(value, Mapping) and "kind" in value:
        if value["kind"] not in configs:
            raise ConfigError(
                f"`{where}.kind` cannot be {value['kind']!r}{suggest(str(value['kind']), map(str, configs))}"
            )
        return _coerce(configs[value["kind"]], value, where)
    errors = []
    for option in options:
        if option is type(None):
            continue
        try:
            return _coerce(option, value, where)
        except ConfigError as error:
            errors.append(error)
    words = [word for option in options if typing.get_origin(option) is Literal for word in typing.get_args(option)]
    if isinstance(value, str) and words:  # a number, say, or one of some words
        raise ConfigError(f"`{where}` cannot be {value!r}{suggest(value, words)}")
    raise errors[0]


def override(config: C, assignments: Mapping[str, Any] | list[str]) -> C:
    """The configuration with dotted settings replaced: `["model.steps=100"]` or `{"model.steps": 100}`.

    Changing a `kind` takes the defaults of the new kind for everything else in that part. Kinds are settled first,
    whatever the order; `algo=iql` is short for `algo.kind=iql`.
    """
    if not isinstance(assignments, Mapping):
        assignments = dict(_assignment(text) for text in assignments)
    values = to_dict(config)
    for dotted, value in sorted(_kinds_spelt_out(values, assignments), key=lambda item: not item[0].endswith(".kind")):
        *path, last = dotted.split(".")
        node = values
        for i, part in enumerate(path):
            if not isinstance(node, dict) or part not in node:
                raise ConfigError(f"unknown setting `{dotted}`{suggest(part, node if isinstance(node, dict) else ())}")
            if node[part] is None:
                node[part] = {}
            node = node[part]
            if not isinstance(node, dict):
                raise ConfigError(f"unknown setting `{dotted}`: `{'.'.join(path[: i + 1])}` has no settings of its own")
        if last not in node and "kind" not in node:
            raise ConfigError(f"unknown setting `{dotted}`{suggest(last, node)}")
        if last == "kind" and node.get("kind") != value:
            node.clear()
        node[last] = value
    return from_dict(type(config), values)


def _kinds_spelt_out(values: Any, assignments: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The assignments, with `part=name` written as `part.kind=name` where that part has kinds."""
    for dotted, value in assignments.items():
        node = values
        for part in dotted.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        has_kinds = isinstance(node, dict) and "kind" in node
        yield (f"{dotted}.kind" if has_kinds and isinstance(value, str) else dotted), value


def _assignment(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise ConfigError(f"`--set {text}` must look like key=value, for example --set model.steps=1000")
    return name.strip(), parse_value(value.strip())


def parse_value(text: str) -> Any:
    """A value as typed on a command line: numbers, true/false, none, lists, or else the text itself."""
    plain = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in plain:
        return plain[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def read_config_file(path: str | Path) -> dict[str, Any]:
    """The mapping in a TOML or JSON file."""
    path = Path(path)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise FileError(f"cannot read the configuration `{path}`: {reason}.") from None
    try:
        return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise FileError(f"`{path}` is no valid {'JSON' if path.suffix == '.json' else 'TOML'}: {error}.") from None


def without_none(value: Any) -> Any:
    """The same mapping without None entries: TOML has no null, and a missing key means the default."""
    if isinstance(value, Mapping):
        return {k: without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [without_none(v) for v in value]
    return value


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """`key: old -> new` for each leaf in which two mappings differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted(set(old) | set(new))
        return [line for k in keys for line in differences(old.get(k), new.get(k), f"{where}{k}.")]
    return [] if old == new else [f"{where.rstrip('.')}: {old!r} -> {new!r}"]
