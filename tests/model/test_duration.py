from __future__ import annotations

import pytest

from relay.model.duration import seconds_in


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("6h", 21600),
        ("6 h", 21600),
        ("7d", 604800),
        ("1h30m", 5400),
        ("1 h 30 m", 5400),
        ("1.5h", 5400),
        ("0s", 0),
    ],
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert seconds_in(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "h", "6", "-6h", "6hours", "6h or so", "1y", "1e3s", "٣h", "1h1h1h1h1h", "9" * 10]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no length of time such as"):
        seconds_in(text)
