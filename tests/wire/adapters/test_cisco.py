from __future__ import annotations

import pytest

from relay.wire.adapters.cisco import read_cisco

Fields = tuple[bytes | None, bytes | None, bytes]


@pytest.mark.parametrize(
    ("line", "timestamp", "hostname"),
    [
        (b"29: foo: *Apr 29 13:58:40.411: ", b"Apr 29 13:58:40.411", b"foo"),
        (b"30: 2001:db8::1: Apr 29 13:58:40: ", b"Apr 29 13:58:40", b"2001:db8::1"),
        (b"35: *Apr 29 14:00:16.059: ", b"Apr 29 14:00:16.059", None),
        (b"782431: m1: .Nov 18 21:03:22.631 GMT: ", b"Nov 18 21:03:22.631", b"m1"),
        (b"2022-02-16T15:31:53Z fw-p02 : ", b"2022-02-16T15:31:53Z", b"fw-p02"),
        (b"Aug 08 16:58:18 DEVICE123 : ", b"Aug 08 16:58:18", b"DEVICE123"),
        (b"Aug 08 16:58:18 CORE : ", b"Aug 08 16:58:18", b"CORE"),
        (b"Aug 08 16:58:18 CEST: ", b"Aug 08 16:58:18", None),
        (b"Apr 15 2007 21:28:13: ", b"Apr 15 2007 21:28:13", None),
        (b": 2025 Jun 25 11:27:28 GMT: ", b"Jun 25 2025 11:27:28", None),
        (b"Jun 14 11:57:27 PM.685 UTC: ", b"Jun 14 23:57:27.685", None),
        (b"Jun 14 12:57:27 AM UTC: ", b"Jun 14 00:57:27", None),
        (b"1: RP/0/RP0/CPU0:Dec 11 12:43:29 EST: snmpd[1]: ", b"Dec 11 12:43:29", None),
        (b"Oct 11 22:14:15 sw1 29: Oct 11 22:14:14.123: ", b"Oct 11 22:14:15", b"sw1"),
        (b"foo: ", None, b"foo"),
        (b": ", None, None),
    ],
)
def test_each_form(line: bytes, timestamp: bytes | None, hostname: bytes | None) -> None:
    line = b"<189>" + line + b"%SYS-5-CONFIG_I: text"
    message = read_cisco(line, line, (23, 5), 5)
    assert message is not None
    assert (message.timestamp, message.hostname) == (timestamp, hostname)
    assert (message.msg, message.app_name) == (b"%SYS-5-CONFIG_I: text", None)
    assert message.pairs is not None
    assert message.pairs[".cisco.mnemonic"] == b"CONFIG_I"
    assert message.pairs[".app.name"] == b"cisco"


def test_facilities_may_have_dashes_and_modules_are_told() -> None:
    line = b"3408: CLC 6/0: Dec 11 13:31:14.214 EST: %SNMP-SNMP-3-AUTH_FAIL : text"
    message = read_cisco(line, line, (23, 5), 0)
    assert message is not None
    assert message.pairs == {
        ".cisco.facility": b"SNMP-SNMP",
        ".cisco.severity": b"3",
        ".cisco.mnemonic": b"AUTH_FAIL",
        ".cisco.cpu_module": b"CLC 6/0",
        ".app.name": b"cisco",
    }


@pytest.mark.parametrize(
    "line",
    [
        b"<189>Oct 11 22:14:15 host app: load: %CPU-1-X: text",
        b"<189>foo: %d percent",
        b"<189>foo: %SYS-9-X: text",
        b"<189>foo: %SYS-5-X text",
        b"<189>%SYS-5-X: text",
    ],
)
def test_other_lines_are_left_alone(line: bytes) -> None:
    assert read_cisco(line, line, (23, 5), 5) is None


@pytest.mark.parametrize("piece", [b": %", b"a: ", b" ", b"1: ", b"f:", b": %A-", b"*"])
def test_hostile_input_comes_to_an_end(piece: bytes) -> None:
    line = piece * 20000 + b": %SYS-5-X: text"
    message = read_cisco(line, line, (23, 5), 0)
    assert message is None or message.raw == line
