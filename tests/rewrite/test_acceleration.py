"""That there is compiled code, and what it must not trip over; what it makes of usual frames is
tested where the same is done in Python, in both ways."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from datetime import UTC
from typing import Any

import pytest

from relay.model.origin import Origin
from relay.model.token import Token
from relay.rewrite import acceleration
from relay.rewrite.straight import straight_cee
from relay.rewrite.straight_ewmm import straight_ewmm

pytestmark = pytest.mark.skipif(
    not acceleration.IS_COMPILED, reason="the package was installed without a C compiler"
)

ORIGIN = Origin("in", "tcp", "192.0.2.1", 514, received_at=1_795_222_400.0)
FRAME = b'<165>1 2026-11-21T05:00:00.000003Z web-1 app 123 ID47 [a b="c"] hello'
LEGACY = b"<165>Nov 21 05:00:00 192.0.2.7 app[123]: hello"
STARTS = {b" web-1 app 123": b" modern: ", b"192.0.2.7 app[123]: ": b" legacy: "}
STAMPS = {b"Nov 21 05:00:00": b"STAMP"}
BOTH_WAYS = [
    [straight_cee(Token(b"t"), UTC, relay_name=b"vm", pure=pure) for pure in (False, True)],
    [straight_ewmm(b"vm", UTC, pure=pure) for pure in (False, True)],
]


def string(text: bytes) -> bytes:
    return b"(%b)" % text


def own_object(msg: bytes) -> bytes | None:
    return b"<%b>" % msg if msg.endswith(b"}") else None


def write(*frames: Any) -> tuple[list[bytes], list[int]]:
    return acceleration.compiled.write_cee(
        list(frames), True, STARTS, STAMPS, string, own_object, 2
    )


def test_usual_frames_are_written_by_compiled_code_alone() -> None:
    assert write(FRAME, LEGACY, FRAME + b"\r\n\0", FRAME.replace(b"hello", b"\xef\xbb\xbf")) == (
        [
            b'<165>2026-11-21T05:00:00.000003Z modern: "hello"}',
            b'<165>STAMP legacy: "hello"}',
            b'<165>2026-11-21T05:00:00.000003Z modern: "hello"}',
            b'<165>2026-11-21T05:00:00.000003Z modern: ""}',
        ],
        [],
    )


def test_a_text_that_is_more_than_printable_ascii_is_written_by_python() -> None:
    payloads, left = write(FRAME + b"\t", FRAME + b'"\\', FRAME + b"\xc3\xa9", FRAME)
    assert [payload.partition(b"modern: ")[2] for payload in payloads] == [
        b"(hello\t)}",
        b'"hello\\"\\\\"}',
        b"(hello\xc3\xa9)}",
        b'"hello"}',
    ]
    assert left == []


@pytest.mark.parametrize("frame", [b"", b"\n", b"hello", FRAME.replace(b"[a", b"[a "), None])
def test_other_frames_are_left_alone(frame: Any) -> None:
    assert write(frame, FRAME, frame)[1] == [0, 2]


@pytest.mark.parametrize("frame", ["<13>hello", 5, bytearray(FRAME), memoryview(FRAME)])
def test_what_is_not_bytes_is_a_type_error(frame: Any) -> None:
    with pytest.raises(TypeError):
        write(FRAME, frame)
    with pytest.raises(TypeError):
        acceleration.compiled.write_cee((FRAME,), True, STARTS, STAMPS, string, own_object, 2)  # type: ignore[arg-type]


def test_an_object_is_written_without_what_begins_that_of_a_text() -> None:
    payloads, left = write(FRAME + b"{", FRAME + b"{}", LEGACY + b"{}", LEGACY)
    assert [payload.partition(b"Z")[2] or payload for payload in payloads] == [
        b' modern: "hello{"}',
        b" modern<hello{}>",
        b"<165>STAMP legacy<hello{}>",
        b'<165>STAMP legacy: "hello"}',
    ]
    assert left == []


def test_an_error_in_a_table_is_passed_on() -> None:
    with pytest.raises(KeyError, match="other"):
        write(FRAME, FRAME.replace(b"app", b"other"))


@pytest.mark.parametrize("ways", BOTH_WAYS, ids=["cee", "ewmm"])
@pytest.mark.parametrize("frame", [FRAME, LEGACY, FRAME.replace(b" hello", b"[d]")])
def test_a_frame_may_be_cut_or_changed_anywhere(ways: list[Any], frame: bytes) -> None:
    compiled, plain = ways
    frames = [frame[:size] for size in range(len(frame))]
    for at in range(len(frame)):
        frames += [
            frame[:at] + octet + frame[at + 1 :] for octet in (b" ", b"]", b'"', b"9", b"\\")
        ]
    assert compiled(frames, ORIGIN) == plain(frames, ORIGIN)


@pytest.mark.parametrize("ways", BOTH_WAYS, ids=["cee", "ewmm"])
def test_nothing_is_kept_of_what_went_through(ways: list[Callable[..., Any]]) -> None:
    frames = [FRAME, LEGACY, FRAME + b"\t", b"hello"] * 100

    def blocks_after() -> int:
        ways[0](list(frames), ORIGIN)
        gc.collect()
        return sys.getallocatedblocks()

    before = [blocks_after() for _ in range(3)][-1]
    assert [blocks_after() for _ in range(20)][-1] - before < len(frames)
