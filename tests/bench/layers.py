"""What each layer costs per message: `python -m tests.bench.layers`.

The best of several rounds over the same messages, one process, no I/O.  Not a test:
nothing here fails because a machine is slow.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC
from functools import partial
from typing import Any

from relay.model.origin import Origin
from relay.model.token import Token
from relay.queue.block import decode_block, encode_block, split
from relay.rewrite.batch import MacroContext
from relay.rewrite.ewmm import ewmm
from relay.rewrite.formats import new_format
from relay.rewrite.straight import straight_cee
from relay.rewrite.straight_ewmm import straight_ewmm
from relay.rewrite.token import Rewrite, cee
from relay.service.interpreter import set_for_batches
from relay.wire.framing import AutoDecoder
from relay.wire.parse import parse_all
from relay.wire.parse_options import ParseOptions, new_parser
from relay.wire.relp_client import RelpClientSession
from relay.wire.relp_frame import encode_answers, encode_frame
from relay.wire.relp_server import RelpServerSession

MESSAGES = 20_000
ROUNDS = 7
CHUNK_BYTES = 65536
CHUNK_RECORDS = 250
"""What is parsed and rewritten at a time, as it comes from a socket."""
BATCH_RECORDS = 1500
"""What is stored and sent at a time."""
OFFERS = b"relp_version=0\nrelp_software=bench\ncommands=syslog"
FORMATS = ("rfc5424", "rfc3164", "template", "json")
ORIGIN = Origin("in", "tcp", "192.0.2.1", 514, received_at=1e9)


def chunks(stream: bytes) -> list[bytes]:
    return [stream[at : at + CHUNK_BYTES] for at in range(0, len(stream), CHUNK_BYTES)]


def frames() -> list[bytes]:
    """RFC 5424 messages of 256 octets."""
    start = b"<165>1 2026-11-21T05:00:00.000003Z web-1 app 123 ID47 - "
    return [(start + b"%d " % number).ljust(256, b"x") for number in range(MESSAGES)]


def legacy_frames() -> list[bytes]:
    """RFC 3164 messages of 256 octets."""
    start = b"<165>Nov 21 05:00:00 web-1 app[123]: "
    return [(start + b"%d " % number).ljust(256, b"x") for number in range(MESSAGES)]


def client_with(payloads: list[bytes]) -> RelpClientSession:
    """A session that has sent `payloads`."""
    session = RelpClientSession(window_records=MESSAGES, software=b"bench")
    session.receive(encode_frame(1, b"rsp", b"200 OK\n" + OFFERS))
    session.send(payloads)
    return session


def in_chunks(rows: Sequence[Any], call: Callable[[Any], object]) -> Callable[[], None]:
    """`call` with the rows, a chunk at a time."""
    parts = [rows[at : at + CHUNK_RECORDS] for at in range(0, MESSAGES, CHUNK_RECORDS)]

    def call_all() -> None:
        for part in parts:
            call(part)

    return call_all


def encode_all(payloads: list[bytes]) -> None:
    """As commits do it, with what has come since the last one."""
    for start in range(0, MESSAGES, BATCH_RECORDS):
        for run in split(payloads[start : start + BATCH_RECORDS]):
            encode_block(run, received_at=1e9)


def decode_all(blocks: list[bytes]) -> None:
    for block in blocks:
        decode_block(block)


def send_all(payloads: list[bytes]) -> None:
    """As the drain does it, a batch at a time."""
    session = RelpClientSession(window_records=MESSAGES, software=b"bench")
    session.receive(encode_frame(1, b"rsp", b"200 OK\n" + OFFERS))
    for start in range(0, MESSAGES, BATCH_RECORDS):
        session.send(payloads[start : start + BATCH_RECORDS])
        session.data_to_send()


def receive_answers(session: RelpClientSession, answers: list[bytes]) -> None:
    for chunk in answers:
        session.receive(chunk)
    assert session.unacknowledged == 0


def serve(stream: list[bytes]) -> None:
    session = RelpServerSession(data_bytes_max=CHUNK_BYTES, software=b"bench")
    for chunk in stream:
        session.receive(chunk)
    session.answer(session.unanswered)
    session.data_to_send()


def decode_lines(stream: list[bytes]) -> None:
    decoder = AutoDecoder(frame_bytes_max=CHUNK_BYTES)
    for chunk in stream:
        decoder.feed(chunk)


def nanoseconds(call: Callable[[], object], prepare: Callable[[], None] | None = None) -> float:
    """The best time of one message, in ns."""
    best = float("inf")
    for _ in range(ROUNDS):
        if prepare is not None:
            prepare()
        began = time.process_time()
        call()
        best = min(best, time.process_time() - began)
    return best / MESSAGES * 1e9


def formats() -> dict[str, Rewrite]:
    context = MacroContext(b"relay", lambda: 1e9)
    template = "<$PRI>$ISODATE $HOST $PROGRAM $MSG"
    found = {name: new_format(name, context, template=template) for name in FORMATS}
    return {name: rewrite for name, rewrite in found.items() if rewrite is not None}


def measure() -> dict[str, float]:
    """Each layer's time for a message, in ns."""
    received = frames()
    legacy = legacy_frames()
    adapting = new_parser(ParseOptions(adapters=True), zone=UTC)
    lines = chunks(b"\n".join(received) + b"\n")
    messages = parse_all(received)
    token = Token(b"0123456789abcdef")
    as_cee = cee(token, UTC, relay_name=b"relay")
    straight = straight_cee(token, UTC, relay_name=b"relay")
    straight_envelope = straight_ewmm(b"relay", UTC)
    rewrites = {
        "rewrite cee": as_cee,
        "rewrite ewmm": ewmm(b"relay", UTC),
        **{f"format {name}": rewrite for name, rewrite in formats().items()},
    }
    payloads = as_cee(messages, ORIGIN)
    blocks = [encode_block(run, received_at=1e9) for run in split(payloads)]
    answers = chunks(encode_answers(2, MESSAGES))
    waiting: list[RelpClientSession] = []
    # Open and all messages, as the client writes them.
    sent = chunks(client_with(payloads).data_to_send())
    return {
        "decode lines": nanoseconds(lambda: decode_lines(lines)),
        "parse": nanoseconds(in_chunks(received, parse_all)),
        "parse rfc3164": nanoseconds(in_chunks(legacy, parse_all)),
        "parse with adapters": nanoseconds(in_chunks(received, partial(adapting, origin=ORIGIN))),
        "straight to cee": nanoseconds(in_chunks(received, partial(straight, origin=ORIGIN))),
        "straight to cee, rfc3164": nanoseconds(
            in_chunks(legacy, partial(straight, origin=ORIGIN))
        ),
        "straight to ewmm": nanoseconds(
            in_chunks(received, partial(straight_envelope, origin=ORIGIN))
        ),
        **{
            name: nanoseconds(in_chunks(messages, partial(rewrite, origin=ORIGIN)))
            for name, rewrite in rewrites.items()
        },
        "encode blocks": nanoseconds(lambda: encode_all(payloads)),
        "decode blocks": nanoseconds(lambda: decode_all(blocks)),
        "relp: client sends": nanoseconds(lambda: send_all(payloads)),
        "relp: client takes answers": nanoseconds(
            lambda: receive_answers(waiting.pop(), answers),
            prepare=lambda: waiting.append(client_with(payloads)),
        ),
        "relp: server receives, answers": nanoseconds(lambda: serve(sent)),
    }


def main() -> None:
    set_for_batches()  # as in the relay
    print(f"Python {sys.version.split()[0]}, {platform.machine()}, {MESSAGES:,} messages")
    for layer, cost in measure().items():
        print(f"{layer:32} {cost:8.0f} ns")


if __name__ == "__main__":
    main()
