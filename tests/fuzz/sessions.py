"""RELP sessions: whatever the other end says, our end keeps the rules."""

from __future__ import annotations

import random
from collections.abc import Iterator

from relay.codec import encode_syslog
from relay.wire.relp.blocks import RATIO_MAX, Block, Unpacker
from relay.wire.relp.client import RelpClientSession
from relay.wire.relp.frame import RelpFrame, RelpFrameDecoder, encode_answers, encode_frame
from relay.wire.relp.server import RelpServerSession
from tests.fuzz.oracles import chunks_of, held_bytes

__all__ = ["check_blocks", "check_client", "check_server"]

_LIMIT = 64
_WINDOW = 16
# Header, data and LF of a frame, a frame that is cut, one that our end has to say.
_HELD_MAX = 400
_OPENED = encode_frame(1, b"rsp", b"200 OK\nrelp_version=0\ncommands=syslog")


def _frames(output: bytes) -> list[RelpFrame]:
    """What we have said: always whole frames."""
    decoder = RelpFrameDecoder(data_bytes_max=2**20, truncate=False)
    frames = decoder.feed(output)
    assert decoder.error is None and not decoder.inside_frame, output
    return frames


def _server(truncate: bool, *, split: bool = False) -> RelpServerSession:
    return RelpServerSession(
        data_bytes_max=_LIMIT, software=b"fuzz,1,x", truncate=truncate, split=split
    )


def check_server(stream: bytes, source: random.Random) -> None:
    truncate = source.random() < 0.8
    whole = _server(truncate)
    messages = whole.receive(stream)
    whole.answer(whole.unanswered)
    pieces = _server(truncate)
    singly = [message for chunk in chunks_of(source, stream) for message in pieces.receive(chunk)]
    pieces.answer(pieces.unanswered)
    assert singly == messages, "messages depend on how the stream is cut"
    assert (pieces.error is None) == (whole.error is None)
    assert pieces.finished == whole.finished
    said = pieces.data_to_send()
    assert said == whole.data_to_send(), "answers depend on how the stream is cut"
    assert _answers(said) == len(messages)
    assert all(len(message) <= _LIMIT for message in messages)
    _check_splitting(stream, source, said if truncate else None)
    _check_life(stream, source, messages)


def _check_splitting(stream: bytes, source: random.Random, said: bytes | None) -> None:
    """Who sends something long cannot tell whether it is cut or split."""
    splitting = _server(True, split=True)
    messages = splitting.receive(stream)
    pieces = _server(True, split=True)
    singly = [message for chunk in chunks_of(source, stream) for message in pieces.receive(chunk)]
    assert singly == messages
    assert pieces.unanswered == splitting.unanswered <= len(messages)
    for session in (splitting, pieces):
        session.answer(session.unanswered)
    answers = splitting.data_to_send()
    assert answers == pieces.data_to_send()
    assert said is None or splitting.error is not None or answers == said


def _answers(output: bytes) -> int:
    return sum(frame.command == b"rsp" and frame.data == b"200 OK" for frame in _frames(output))


def _check_life(stream: bytes, source: random.Random, expected: list[bytes]) -> None:
    """Answers come at any moment, the end of the input or of the relay as well."""
    session = _server(True)
    messages: list[bytes] = []
    said = b""
    answers = 0
    for number, chunk in enumerate(chunks_of(source, stream)):
        over = session.finished
        came = session.receive(chunk)
        assert not (came and session.finished and not session.unanswered)
        messages += came
        if source.random() < 0.3:
            session.answer(source.randint(0, session.unanswered))
        if source.random() < 0.02:
            source.choice((session.shut_down, session.end_of_input, session.abandon))()
        output = session.data_to_send()
        said += output
        assert not (over and output), "something is said after the farewell"
        if number % 4 == 0:  # messages are the shell's; what the session keeps is bounded
            assert held_bytes(session) <= _HELD_MAX + len(chunk), held_bytes(session)
        answers += output.count(b" rsp 6 200 OK\n")
        assert answers <= len(messages), "more answers than messages"
    if not session.finished:
        source.choice((session.shut_down, session.end_of_input, session.abandon))()
        session.answer(source.randint(0, session.unanswered))
    said += session.data_to_send()
    frames = _frames(said)
    numbers = [frame.txnr for frame in frames if frame.txnr]
    assert numbers == sorted(set(numbers)), "answered twice, or out of order"
    assert session.finished or session.unanswered
    assert _answers(said) <= len(messages)
    refused = [frame for frame in frames if frame.data.startswith(b"500")]
    if any(frame.data.startswith(b"200 OK\n") for frame in frames):
        assert all(b"open" in frame.data or b"disabled" in frame.data for frame in refused)


def check_blocks(stream: bytes, source: random.Random) -> None:
    """What comes out of blocks does not depend on how the stream is cut, and is bounded."""
    outcomes = []
    for chunks in ([stream], chunks_of(source, stream)):
        unpacker, found, content = Unpacker(), b"", 0
        for chunk in chunks:
            for part in _parts(unpacker, chunk):
                if isinstance(part, Block):
                    content += sum(map(len, part.messages))
                    assert all(part.messages)
                    found += encode_syslog(*part)
                else:
                    found += part
        assert content <= RATIO_MAX * len(stream)
        outcomes.append((found, str(unpacker.error)))
    assert outcomes[0] == outcomes[1]


def _parts(unpacker: Unpacker, chunk: bytes) -> Iterator[bytes | Block]:
    yield from unpacker.feed(chunk)
    while unpacker.has_more:
        yield from unpacker.feed(b"")


def check_client(stream: bytes, source: random.Random) -> None:
    outcomes = []
    for chunks in ([stream], chunks_of(source, stream)):
        session = _client()
        acknowledged = sum(session.receive(chunk) for chunk in chunks)
        outcomes.append((acknowledged, session.over, session.ready, session.inflight.refusal))
        assert acknowledged + len(session.inflight) == 0, "answers to what was never sent"
    assert outcomes[0] == outcomes[1]
    _check_sending(stream, source)
    _check_any_order(source)


def _check_any_order(source: random.Random) -> None:
    """Answers to all messages, in any order, acknowledge all of them."""
    session = _client()
    session.receive(_OPENED)
    count = source.randint(1, _WINDOW)
    session.send([b"message"] * count)
    answers = [encode_answers(txnr, 1) for txnr in range(2, 2 + count)]
    source.shuffle(answers)
    assert sum(map(session.receive, answers)) == count
    assert not session.over and len(session.inflight) == 0


def _client() -> RelpClientSession:
    return RelpClientSession(window_records=_WINDOW, software=b"fuzz,1,x")


def _check_sending(stream: bytes, source: random.Random) -> None:
    session = _client()
    sent = acknowledged = skipped = 0
    said = session.data_to_send()
    for chunk in chunks_of(source, stream):
        if session.room and source.random() < 0.7:
            count = source.randint(1, session.room)
            session.send([b"message"] * count)
            sent += count
        acknowledged += session.receive(chunk)
        if session.inflight.refusal is not None and source.random() < 0.5:
            acknowledged += session.skip_refused()
            skipped += 1
        if source.random() < 0.01:
            session.close()
        said += session.data_to_send()
        assert acknowledged + skipped + len(session.inflight) == sent
        assert 0 <= session.room <= _WINDOW - len(session.inflight)
        # The whole answer that the window may still bring, and nothing else.
        assert held_bytes(session) <= len(stream) + _HELD_MAX
        if session.over:
            assert session.room == 0
            assert session.receive(b"2 rsp 6 200 OK\n") == 0
            break
    frames = _frames(said)
    assert [frame.txnr for frame in frames] == [*range(1, len(frames) + 1)]
    assert sum(frame.command == b"syslog" for frame in frames) == sent
