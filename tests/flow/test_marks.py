from __future__ import annotations

from relay.flow.marks import NO_MARKS, ORIGINAL_BYTES, SPLIT_TAG, TRUNCATED_TAG, Marks
from relay.wire.parse import parse_all


def test_marks_go_with_their_frames() -> None:
    marks = Marks({0: 70, 3: 80}, {2: 1, 3: 2})
    assert marks.picked([1, 2, 3]) == Marks({2: 80}, {1: 1, 2: 2})
    assert marks.picked([]) == NO_MARKS
    assert NO_MARKS.picked([5]) is NO_MARKS


def test_messages_show_their_marks() -> None:
    messages = parse_all([b"<13>a", b"<13>b", b"<13>c"])
    untouched = messages[2]
    Marks({0: 70}, {0: 2, 1: 3}).put_on(messages)
    assert [message.tags for message in messages] == [(SPLIT_TAG, TRUNCATED_TAG), (SPLIT_TAG,), ()]
    assert messages[0].pairs is not None
    assert messages[0].pairs[ORIGINAL_BYTES] == b"70"
    assert messages[2] is untouched


def test_messages_before_the_first_frame_have_no_marks() -> None:
    messages = parse_all([b"<13>a", b"<13>b", b"<13>c"])
    before = messages[:1]
    Marks({0: 70}, {1: 2}).put_on(messages, 1)
    assert messages[:1] == before
    assert [message.tags for message in messages[1:]] == [(TRUNCATED_TAG,), (SPLIT_TAG,)]
