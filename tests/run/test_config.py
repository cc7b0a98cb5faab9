"""Configurations survive the way to disk and back, and every mistake in them is named."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from dataclasses import dataclass, field
from typing import Literal

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from dawm.errors import ConfigError, FileError
from dawm.run.config import differences, from_dict, override, parse_value, read_config_file, to_dict, without_none


@dataclass(frozen=True)
class Small:
    kind: Literal["small"] = "small"
    width: int = 4


@dataclass(frozen=True)
class Large:
    kind: Literal["large"] = "large"
    width: int = 64
    dropout: float = 0.1

    def __post_init__(self):
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")


@dataclass(frozen=True)
class Whole:
    steps: int = 10
    rate: float = 1e-3
    name: str = "run"
    fast: bool = False
    bound: float | None = None
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[float, float] = (0.0, 1.0)
    body: Small | Large = field(default_factory=Small)


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
bodies = st.one_of(
    st.builds(Small, width=st.integers(1, 999)), st.builds(Large, dropout=st.floats(0, 0.99, allow_subnormal=False))
)
wholes = st.builds(
    Whole,
    steps=st.integers(-(2**40), 2**40),
    rate=finite,
    name=st.text(max_size=20),
    fast=st.booleans(),
    bound=st.none() | finite,
    sizes=st.lists(st.integers(0, 9), max_size=4).map(tuple),
    pair=st.tuples(finite, finite),
    body=bodies,
)


@given(wholes)
def test_a_configuration_survives_json_and_toml(config):
    assert from_dict(Whole, json.loads(json.dumps(to_dict(config)))) == config
    stored = tomllib.loads(tomli_w.dumps(without_none(to_dict(config))))
    assert from_dict(Whole, stored) == config  # the only None is a default


@given(wholes, wholes)
def test_overriding_every_leaf_by_another_configuration_gives_that_one(old, new):
    leaves = {k: v for k, v in to_dict(new).items() if k != "body"}
    leaves |= {f"body.{k}": v for k, v in to_dict(new.body).items()}
    assert override(old, leaves) == new


def test_a_new_kind_takes_its_own_defaults_whatever_the_order_of_the_assignments():
    old = Whole(body=Small(width=7))
    assert override(old, ["body.kind=large"]).body == Large()  # not width 7
    for order in (["body.kind=large", "body.dropout=0.5"], ["body.dropout=0.5", "body.kind=large"]):
        assert override(old, order).body == Large(dropout=0.5)
    assert override(old, ["body=large", "body.dropout=0.5"]).body == Large(dropout=0.5)
    assert override(old, ["body.kind=small"]).body == Small(width=7)  # not a change: nothing is forgotten
    assert old == Whole(body=Small(width=7))


def test_values_typed_on_a_command_line():
    config = override(Whole(), ["steps=20", "rate=1", "name=5e", "fast=true", "bound=2", "sizes=[3, 4]"])
    assert config == Whole(20, 1.0, "5e", True, 2.0, (3, 4))
    assert isinstance(config.rate, float)
    assert override(config, ["bound=none"]).bound is None
    assert [parse_value(t) for t in ("1e-3", "True", "null", "a=b")] == [1e-3, True, None, "a=b"]


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["step=3"], r"unknown setting `step`; did you mean `steps`\?"),
        (["body.widht=3"], r"unknown setting `body.widht`; did you mean `width`\?"),
        (["bodi.width=3"], r"unknown setting `bodi.width`; did you mean `body`\?"),
        (["steps.more=3"], r"unknown setting `steps.more`: `steps` has no settings of its own"),
        (["body.kind=larg"], r"`body.kind` cannot be 'larg'; did you mean `large`\?"),
        (["steps=2.5"], r"`steps` must be int, got 2.5"),
        (["steps=true"], r"`steps` must be int, got True"),
        (["fast=1"], r"`fast` must be bool, got 1"),
        (["pair=[1.0]"], r"`pair` must have 2 values, got 1"),
        (["pair=[1, 2, 3]"], r"`pair` must have 2 values, got 3"),
        (["body.kind=large", "body.dropout=1.5"], r"in `body`: dropout must be in \[0, 1\), got 1.5"),
        (["steps"], r"`--set steps` must look like key=value"),
    ],
)
def test_mistakes_are_named_with_the_nearest_known_word(assignments, message):
    with pytest.raises(ConfigError, match=message):
        override(Whole(), assignments)


def test_a_configuration_file_is_toml_or_json(tmp_path):
    (tmp_path / "a.toml").write_text("steps = 3\n[body]\nkind = 'large'\n")
    (tmp_path / "a.json").write_text('{"steps": 3, "body": {"kind": "large"}}')
    for name in ("a.toml", "a.json"):
        assert from_dict(Whole, read_config_file(tmp_path / name)) == Whole(steps=3, body=Large())
    (tmp_path / "bad.toml").write_text("steps = = 3")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for name, message in (("bad.toml", "no valid TOML"), ("none.toml", "cannot read"), ("binary.toml", "no text")):
        with pytest.raises(FileError, match=message):
            read_config_file(tmp_path / name)


def test_differences_name_every_leaf_that_changed_and_nothing_else():
    old, new = Whole(), dataclasses.replace(Whole(), steps=11, body=Large())
    lines = differences(to_dict(old), to_dict(new))
    assert lines == [
        "body.dropout: None -> 0.1",
        "body.kind: 'small' -> 'large'",
        "body.width: 4 -> 64",
        "steps: 10 -> 11",
    ]
    assert differences(to_dict(old), to_dict(old)) == []
