from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.model.template import constant_of, macros_of
from relay.rewrite.batch import Batch, MacroContext
from relay.rewrite.macros import Escape, compile_template
from relay.wire.parse import parse_all
from tests.any_messages import NETWORK, messages, origins

CONTEXT = MacroContext(b"vm", lambda: 1795222405.5)
LINES = [
    b'<34>1 2026-10-11T22:14:15.5Z web app 7 - [meta sequenceId="3"] text',
    b"<13>1 2026-10-11T22:14:16Z db - - - - $x",
]


def write(text: str, escape: Escape | None = None) -> list[bytes]:
    template = compile_template(text, CONTEXT, escape=escape)
    return template(Batch(parse_all(LINES), NETWORK, CONTEXT))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [b"", b""]),
        ("text", [b"text", b"text"]),
        ("$MSG", [b"text", b"$x"]),
        ("<$PRI>$HOST: ${MSG}\n", [b"<34>web: text\n", b"<13>db: $x\n"]),
        ("$HOST-$PROGRAM.$PID", [b"web-app.7", b"db-."]),
        ("${PROGRAM:--}/${PID:-none of them}", [b"app/7", b"-/none of them"]),
        ("${PROGRAM:-}", [b"app", b""]),
        ("$$HOST $$$HOST", [b"$HOST $web", b"$HOST $db"]),
        ("${.SDATA.meta.sequenceId}", [b"3", b""]),
        ("$ISODATE", [b"2026-10-11T22:14:15.5+00:00", b"2026-10-11T22:14:16+00:00"]),
        ("\\n%s \u00e9 $no_such", [b"\\n%s \xc3\xa9 "] * 2),
        ("${a pair: with-a:b}|$0", [b"|", b"|"]),
    ],
)
def test_templates(text: str, expected: list[bytes]) -> None:
    assert write(text) == expected


def test_values_are_escaped_and_text_is_not() -> None:
    escaped = write("/$HOST/${PROGRAM:-e}/$$", lambda value: value.replace(b"e", b"_"))
    assert escaped == [b"/w_b/app/$", b"/db/_/$"]


def test_a_mistake_is_an_error() -> None:
    with pytest.raises(ValueError, match="at character 3"):
        write("5 $")


PARTS = [
    "$HOST",
    "${MSG}",
    "${PID:-x}",
    "${.SDATA.a.b}",
    "$$",
    "$ISODATE",
    "$SDATA",
    "${",
    "$",
    "}",
]


@given(
    st.lists(messages, max_size=3),
    origins,
    st.lists(st.sampled_from(PARTS) | st.text(), max_size=5).map("".join),
)
def test_every_message_gets_its_text(batch: list[SyslogMessage], origin: Origin, text: str) -> None:
    try:
        template = compile_template(text, CONTEXT)
    except ValueError as error:
        assert "$" in text
        assert str(error).startswith("at character ")
        return
    written = template(Batch(batch, origin, CONTEXT))
    assert len(written) == len(batch)
    constant = constant_of(text)
    assert (constant is None) is bool(macros_of(text))
    assert constant is None or written == [constant] * len(batch)
