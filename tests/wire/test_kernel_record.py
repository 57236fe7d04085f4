from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.kernel_record import KernelRecord, format_record, parse_record

MOMENT = 1_760_220_855.003


def written(data: bytes) -> bytes:
    record = parse_record(data)
    assert record is not None
    return format_record(record, MOMENT, b"web-1")


def test_a_record_has_a_priority_a_number_a_time_and_fields() -> None:
    data = b"3,339,5140900,-,caller=T12;usb 1-1: reset\n SUBSYSTEM=usb\n DEVICE=+usb:1-1\n"
    fields = ((b"SUBSYSTEM", b"usb"), (b"DEVICE", b"+usb:1-1"))
    assert parse_record(data) == KernelRecord(3, 339, 5140900, b"usb 1-1: reset", fields)


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"hello", b"6,1;x", b"6,1,2;x", b"x,1,2,-;t", b"6,-1,2,-;t", b"6,1,2,-"]
)
def test_anything_else_is_no_record(data: bytes) -> None:
    assert parse_record(data) is None


def test_lines_that_are_no_fields_are_left_out() -> None:
    record = parse_record(b"6,1,2,-;text\nSUBSYSTEM=a\n lower=b\n A\n OK=\n")
    assert record is not None and record.fields == ((b"OK", b""),)


def test_escaped_bytes_come_back() -> None:
    record = parse_record(rb"6,1,2,-;caf\xc3\xa9 C:\x5cnew \x zz" + b"\n A=\\x22\n")
    assert record is not None
    assert record.text == "café ".encode() + rb"C:\new \x zz"
    assert record.fields == ((b"A", b'"'),)


def test_the_kernel_is_the_program_of_its_own_records() -> None:
    assert written(b"6,1,2,-;eth0: link up\n") == (
        b"<6>1 2025-10-11T22:14:15.003000Z web-1 kernel - - - eth0: link up"
    )


def test_fields_become_an_element() -> None:
    assert written(b'6,1,2,-;up\n SUBSYSTEM=net\n DEVICE=n3]"\xff\n').endswith(
        b'kernel - - [kernel@32473 SUBSYSTEM="net" DEVICE="n3\\]\\"\xef\xbf\xbd"] up'
    )


@pytest.mark.parametrize(
    ("text", "header"),
    [
        (b"udevd[212]: started", b"<30>1 - web-1 udevd 212 - - started"),
        (b"init: ready", b"<30>1 - web-1 init - - - ready"),
        (b"no name here", b"<30>1 - web-1 kernel - - - no name here"),
        (b"udevd[x]: odd", b"<30>1 - web-1 kernel - - - udevd[x]: odd"),
        (b"init: ", b"<30>1 - web-1 init - - - init: "),
    ],
)
def test_programs_that_write_there_are_named(text: bytes, header: bytes) -> None:
    found = written(b"30,7,2,-;" + text + b"\n")
    assert found.replace(b"2025-10-11T22:14:15.003000Z", b"-") == header


def test_a_facility_that_syslog_lacks_becomes_user() -> None:
    assert written(b"195,7,2,-;x\n").startswith(b"<11>1 ")


def test_nothing_is_written_of_a_record_without_text() -> None:
    assert written(b"6,1,2,-;\n A=b\n") == b""


@given(st.binary(max_size=300), st.floats(allow_nan=False))
def test_whatever_comes_nothing_is_raised(rest: bytes, moment: float) -> None:
    for data in (rest, b"6,1,2,-;" + rest):
        if (record := parse_record(data)) is not None:
            format_record(record, moment, b"h")
