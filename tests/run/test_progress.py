"""Durations as people read them."""

import pytest

from dawm.run.progress import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (48, "48 s"), (200, "3 min 20 s"), (7_500, "2 h 05 min"), (172_000, "47 h 46 min"),
     (273_600, "3 days 4 h")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text
