from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.rewrite.forms.record_key import with_key
from relay.transport.kafka.records import Placing


def test_a_fixed_topic_needs_no_record_keys() -> None:
    assert Placing("logs").is_simple
    assert not Placing("logs", has_topics=True).is_simple
    assert not Placing("logs", has_keys=True).is_simple
    assert not Placing("logs", header_names=("a",)).is_simple


def test_the_parts_of_a_record() -> None:
    placing = Placing(
        "other",
        has_topics=True,
        has_keys=True,
        fixed_headers=(("site", b"a"),),
        header_names=("host", "app"),
    )
    record = with_key(b"web\x1fkey\x1fh1\x1fsu", b"payload")
    place = placing.read(record, {"web"}.__contains__)
    assert place == ("web", b"key", [("site", b"a"), ("host", b"h1"), ("app", b"su")], b"payload")
    assert placing.read(record, {"x"}.__contains__).topic == "other"


def test_headers_that_were_cut_off_are_left_out() -> None:
    placing = Placing("logs", header_names=("host", "app"))
    place = placing.read(with_key(b"\x1f\x1fh1", b"p"), lambda topic: False)
    assert place == ("logs", None, [("host", b"h1")], b"p")


@given(st.binary())
def test_any_record_of_another_kind_goes_to_the_topic(record: bytes) -> None:
    placing = Placing("logs", has_topics=True, header_names=("host",))
    assert placing.read(record, lambda topic: False).topic == "logs"
