"""Constraints as text: they mean what they say, refuse what they do not know, and run nothing."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from dawm.errors import ConfigError
from dawm.synth.constraints import violation

OBS, ACTION, REWARD, NEXT = jnp.array([1.0, -2.0]), jnp.array([0.5]), jnp.asarray(3.0), jnp.array([1.4, 0.0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(next_obs[0] - obs[0]) / 0.05 > 7.9", True),
        ("(next_obs[0] - obs[0]) / 0.05 > 8.1", False),
        ("obs[-1] < -1 and action[0] <= 0.5", True),
        ("not (reward >= 3)", False),
        ("-1 < obs[0] < 1", False),
        ("norm(obs) ** 2 > 4.99 or abs(action[0]) > 10", True),
        ("max(next_obs) > 1.39 and sum(obs) < 0", True),
    ],
)
def test_meaning(text, expected):
    assert bool(violation(text)(OBS, ACTION, REWARD, NEXT)) is expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("speed > 3", "speed"),
        ("obs[0] +", "no expression"),
        ("obs[0] + 1", "compares nothing"),
        ("__import__('os').system('true') > 0", "__import__"),
        ("obs.sum() > 0", "obs.sum"),
        ("obs[1.5] > 0", "whole number"),
        ("[x for x in obs] > 0", "not understood"),
        ("'a' > 'b'", "no number"),
        ("obs[0] % 2 > 0", "operator"),
        ("max(obs, 3) > 0", "functions of one value"),
        ("(lambda: 0)() > 1", "functions of one value"),
    ],
)
def test_what_is_not_understood_is_named(text, named):
    with pytest.raises(ConfigError, match=named.replace("[", r"\[")):
        violation(text)


def test_dimensions_that_are_not_there_are_named():
    for text in ("obs[2] > 0", "obs[-3] > 0", "reward[0] > 0"):
        with pytest.raises(ConfigError, match="dimensions"):
            violation(text)(OBS, ACTION, REWARD, NEXT)
