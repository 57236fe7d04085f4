"""The promises of a stream."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.transport.nats.stream import Demands, StreamInfo, read_stream
from relay.wire.nats.answers import StreamError

DEMANDS = Demands(("logs.*",), 2, True, True)


def stream(**config: object) -> StreamInfo:
    full = {"subjects": ["logs.>"], "num_replicas": 3, "allow_atomic": True, **config}
    return read_stream("LOGS", json.dumps({"config": full, "state": {"last_seq": 7}}).encode())


def test_a_good_stream() -> None:
    assert DEMANDS.problem(stream()) == ""
    assert DEMANDS.warnings(stream()) == []
    assert stream().text == "stream LOGS: 3 replicas, file, atomic batches, discards old"
    assert stream().last_seq == 7


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"num_replicas": 1}, "has 1 replica and replicas_min is 2"),
        ({"subjects": ["other.>"]}, "does not take the subject logs.*, its subjects are other.>"),
        ({"allow_atomic": False}, "set allow_atomic in the stream (nats-server 2.12 or later)"),
    ],
)
def test_a_stream_that_will_not_do(config: dict[str, object], text: str) -> None:
    assert text in DEMANDS.problem(stream(**config), "2.10.1")


def test_without_batches_none_are_needed() -> None:
    assert replace(DEMANDS, is_atomic=False).problem(stream(allow_atomic=False)) == ""


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"storage": "memory"}, "in memory"),
        ({"max_bytes": 1000}, "discard new"),
        ({"max_msg_size": 1024}, "messages of 1 KiB at most"),
    ],
)
def test_what_is_worth_a_warning(config: dict[str, object], text: str) -> None:
    (warning,) = DEMANDS.warnings(stream(**config))
    assert text in warning


def test_a_bounded_stream_that_refuses_when_full_needs_none() -> None:
    assert DEMANDS.warnings(stream(max_bytes=1000, discard="new")) == []


@given(st.binary(max_size=100))
def test_anything_else_is_an_error(answer: bytes) -> None:
    with pytest.raises(StreamError):
        read_stream("LOGS", answer)
