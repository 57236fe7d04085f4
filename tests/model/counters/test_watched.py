from __future__ import annotations

import pytest

from relay.model.counters.watched import Watched

SEVERITIES = [1, 0, 0, 2, 5, 10, 0, 0]  # 3 errors, 5 warnings, 10 notices


def test_without_rules_severities_decide() -> None:
    assert (Watched().warnings_of(SEVERITIES), Watched().errors_of(SEVERITIES)) == (5, 3)


@pytest.mark.parametrize(
    ("counts_as", "expected"), [("error", (4, 10)), ("warning", (12, 2)), ("ignore", (4, 2))]
)
def test_a_rule_decides_whatever_the_device_said(counts_as: str, expected: tuple[int, int]) -> None:
    watched = Watched()
    watched.note(counts_as, [0, 0, 0, 1, 1, 6, 0, 0])
    assert (watched.warnings_of(SEVERITIES), watched.errors_of(SEVERITIES)) == expected
