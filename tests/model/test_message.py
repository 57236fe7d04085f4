from __future__ import annotations

import pytest

from relay.model.message import (
    DEFAULT_FACILITY,
    DEFAULT_SEVERITY,
    FACILITY_NAMES,
    SEVERITY_NAMES,
    SyslogMessage,
)

MESSAGE = SyslogMessage(
    facility=23,
    severity=7,
    version=1,
    timestamp=None,
    hostname=b"host",
    app_name=None,
    procid=None,
    msgid=None,
    structured_data=None,
    msg=b"hello",
    raw=b"<191>1 - host - - - - hello",
)


@pytest.mark.parametrize(
    ("facility", "severity", "pri"),
    [(0, 0, 0), (DEFAULT_FACILITY, DEFAULT_SEVERITY, 13), (20, 5, 165), (23, 7, 191)],
)
def test_the_priority_is_made_of_facility_and_severity(
    facility: int, severity: int, pri: int
) -> None:
    assert MESSAGE._replace(facility=facility, severity=severity).pri == pri


def test_facilities_have_the_names_of_rfc_5424() -> None:
    numbers = {0: "kern", 1: "user", 4: "auth", 10: "authpriv", 16: "local0", 23: "local7"}
    assert {number: FACILITY_NAMES[number] for number in numbers} == numbers
    assert len(set(FACILITY_NAMES)) == 24


def test_severities_have_the_names_of_rfc_5424() -> None:
    numbers = {0: "emerg", 3: "err", 4: "warning", 7: "debug"}
    assert {number: SEVERITY_NAMES[number] for number in numbers} == numbers
    assert len(set(SEVERITY_NAMES)) == 8


def test_a_message_has_no_pairs_unless_told() -> None:
    assert MESSAGE.pairs is None
