from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import SyslogMessage
from relay.rewrite.fields import getter, names_of, setter
from relay.wire.headers.structured_data import is_structured_data
from relay.wire.parse import parse

LEGACY = parse(b"<13>Oct 11 22:14:15 web su[230]: hello")
MODERN = parse(
    b'<165>1 2003-10-11T22:14:15Z web evntslog 7 ID47 [a@1.2 iut="3" x.y="z"][b q="1"] hi'
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, b"web") for name in ("HOST", "FULLHOST", "hostname")],
        *[(name, b"su") for name in ("PROGRAM", "app_name")],
        *[(name, b"230") for name in ("PID", "procid")],
        *[(name, b"hello") for name in ("MESSAGE", "MSG", "MSGONLY", "msg")],
        *[(name, None) for name in ("MSGID", "msgid", "nothing", ".SDATA.a.b")],
        ("LEGACY_MSGHDR", b"su[230]: "),
    ],
)
def test_values_of_a_legacy_message(name: str, value: bytes | None) -> None:
    assert getter(name)(LEGACY) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (".SDATA.a@1.2.iut", b"3"),
        (".SDATA.a@1.2.x.y", b"z"),
        (".SDATA.b.q", b"1"),
        (".SDATA.a@1.2", None),
        (".SDATA.b.q.r", None),
    ],
)
def test_parameters_are_found_whatever_dots_they_have(name: str, value: bytes | None) -> None:
    assert getter(name)(MODERN) == value


def test_parameters_are_set_in_their_element_or_in_a_new_one() -> None:
    message = setter(".SDATA.a@1.2.x.y")(MODERN, b'"]\\')
    message = setter(".SDATA.b.q")(message, None)
    message = setter(".SDATA.new@3.n")(message, b"v")
    assert message.structured_data == b'[a@1.2 iut="3" x.y="\\"\\]\\\\"][new@3 n="v"]'
    assert setter(".SDATA.new@3.n")(LEGACY, None).structured_data is None


def test_a_changed_program_leaves_no_header_that_says_otherwise() -> None:
    for name in ("PROGRAM", "PID"):
        changed = setter(name)(LEGACY, b"x")
        assert getter(name)(changed) == b"x"
        assert getter("LEGACY_MSGHDR")(changed) is None
    assert getter("LEGACY_MSGHDR")(setter("HOST")(LEGACY, b"x")) == b"su[230]: "


def test_msg_is_never_missing() -> None:
    assert setter("MESSAGE")(LEGACY, None).msg == b""


def test_names_are_those_that_have_values() -> None:
    assert names_of(LEGACY) == ["HOST", "PROGRAM", "PID", "MESSAGE", "LEGACY_MSGHDR"]
    assert names_of(MODERN) == [
        *("HOST", "PROGRAM", "PID", "MSGID", "MESSAGE"),
        *(".SDATA.a@1.2.iut", ".SDATA.a@1.2.x.y", ".SDATA.b.q"),
    ]


def test_names_without_a_name_make_valid_elements_all_the_same() -> None:
    for name in (".SDATA.", ".SDATA.x", ".SDATA.x.", ".SDATA..y"):
        changed = setter(name)(LEGACY, b"v")
        assert changed.structured_data is not None
        assert is_structured_data(changed.structured_data)


NAMES = st.sampled_from(["HOST", "PROGRAM", "PID", "MSGID", "MESSAGE", ".a.b", ".SDATA.x@1.y"])


@given(name=NAMES | st.text(min_size=1), value=st.binary(max_size=30), legacy=st.booleans())
def test_what_is_set_is_there_and_what_is_unset_is_not(
    name: str, value: bytes, legacy: bool
) -> None:
    message: SyslogMessage = setter(name)(LEGACY if legacy else MODERN, value)
    if not name.startswith(".SDATA."):
        assert getter(name)(message) == value
    assert message.structured_data is None or is_structured_data(message.structured_data)
    if name.startswith(".SDATA.") and getter(name)(message) is None:
        return  # a name that structured data cannot have was written in another way
    unset = setter(name)(message, None)
    assert getter(name)(unset) == (b"" if getter(name)(MODERN) == b"hi" else None)
