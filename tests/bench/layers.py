"""What each layer costs for a message: `python -m tests.bench.layers --kinds mixed --batches 8`.

Each layer handles messages of each kind of traffic (`tests.bench.traffic`) in batches of each size;
the best of several rounds, one process, no I/O.  Each round and each size has messages that no
other one has: what a layer remembers of them is of no use to it in the next round.  Not a test:
nothing here fails because a machine is slow.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Sequence, Sized
from datetime import UTC
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, NamedTuple

from relay.codec import Lines, runs
from relay.model.message import SEVERITY_NAMES, SyslogMessage
from relay.model.origin import Arrival, Origin, Transport
from relay.model.parse_options import ParseOptions
from relay.model.token import Token
from relay.queue.block import BLOCK_BYTES_TARGET, decode_block, encode_block
from relay.rewrite.batch import MacroContext
from relay.rewrite.conditions import Condition, chosen, field_in
from relay.rewrite.drops import Drops
from relay.rewrite.forms.ewmm import ewmm
from relay.rewrite.forms.form import Form, form_of, format_program
from relay.rewrite.forms.formats import new_format
from relay.rewrite.forms.token import cee
from relay.rewrite.steps.changes import add_tags, set_values
from relay.rewrite.steps.pipeline import Constant, Pipeline, stage_of
from relay.service.process.settings import set_for_batches
from relay.service.routes.rewriting import token_form
from relay.wire.framing.decoders import AutoDecoder
from relay.wire.parse import parse_all, read_lines
from relay.wire.parse_options import new_parser
from relay.wire.relp.client import RelpClientSession
from relay.wire.relp.frame import encode_answers, encode_frame
from relay.wire.relp.server import RelpServerSession
from tests.bench import traffic

__all__ = ["BATCHES", "Corpus", "KINDS", "LAYERS", "Row", "Timed", "corpora", "measure", "table"]

MESSAGES = 5000
ROUNDS = 5
BATCHES = (1, 8, 128, 1000)
FRAME_BYTES_MAX = 65536
OFFERS = b"relp_version=0\nrelp_software=bench\ncommands=syslog"
TOKEN_FORMS = ("cee", "tag", "app-name")
FORMATS = ("rfc5424", "rfc3164", "template", "json")
TEMPLATE = "<$PRI>$ISODATE $HOST $PROGRAM $MSG"
ORIGIN = Origin("in", Transport.TCP, "192.0.2.1", 514, received_at=1e9)
TOKEN = Token(b"0123456789abcdef")
UNIFORM_RFC3164 = "uniform3164"
KINDS = (*traffic.KINDS, UNIFORM_RFC3164)
"""Those of `tests.bench.traffic`, and what is uniform for RFC 3164."""


def legacy_frames(count: int) -> list[bytes]:
    """RFC 3164 messages of 256 octets."""
    start = b"<165>Nov 21 05:00:00 web-1 app[123]: "
    return [(start + b"%d " % number).ljust(256, b"x") for number in range(count)]


class Timed(NamedTuple):
    """One layer with the messages of one corpus."""

    call: Callable[[], object]
    """Handles all messages once."""
    prepare: Callable[[], object] = lambda: None
    """Called before each `call`, not measured."""


class Row(NamedTuple):
    layer: str
    kind: str
    microseconds: list[float]
    """Of a message, for each size of batches."""


class Corpus:
    """Messages, and what becomes of them layer by layer."""

    def __init__(self, frames: list[bytes]) -> None:
        self.frames = frames

    @cached_property
    def messages(self) -> list[SyslogMessage]:
        return parse_all(self.frames)

    @cached_property
    def payloads(self) -> list[bytes]:
        return list(cee(TOKEN, UTC, relay_name=b"relay")(self.messages, ORIGIN))


def corpora(kind: str, number: int, count: int, seed: int = 1) -> list[Corpus]:
    """So many of `count` messages each, which follow each other in the traffic of `kind`."""
    make = legacy_frames if kind == UNIFORM_RFC3164 else partial(traffic.messages, kind, seed=seed)
    return [Corpus(list(part)) for part in batches(make(number * count), count)]


Layer = Callable[[Corpus, int], Timed]


def batches(rows: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [rows[at : at + size] for at in range(0, len(rows), size)]


def call_each(call: Callable[[Any], object], parts: Sequence[Any]) -> None:
    for part in parts:
        call(part)


def received(call: Callable[..., object]) -> Callable[[Any], object]:
    """`call` with the origin of all messages."""
    return partial(call, origin=ORIGIN)


def of_frames(call: Callable[[Any], object]) -> Layer:
    """A layer that `call` is with what was received."""
    return lambda corpus, size: Timed(partial(call_each, call, batches(corpus.frames, size)))


def with_lines(call: Callable[[Lines, Arrival], object]) -> Layer:
    """A layer that `call` is with what was read."""

    def layer(corpus: Corpus, size: int) -> Timed:
        parts = [read_lines(part) for part in batches(corpus.frames, size)]
        return Timed(partial(call_each, lambda part: call(part, arrival_of(part)), parts))

    return layer


def of_lines(form: Form, condition: Condition | None = None) -> Layer:
    """A layer that writes what was read, or what of it `condition` chooses."""

    def write(lines: Lines, arrival: Arrival) -> object:
        indexes = None if condition is None else chosen(condition, lines, None, arrival)
        return form.write(lines, indexes, arrival)

    return with_lines(write)


def arrival_of(part: Sized) -> Arrival:
    return Arrival.of_one(len(part), ORIGIN)


def of_messages(call: Callable[[Any], object]) -> Layer:
    """A layer that `call` is with what was parsed."""
    return lambda corpus, size: Timed(partial(call_each, call, batches(corpus.messages, size)))


def decode_lines(corpus: Corpus, size: int) -> Timed:
    parts = [b"".join(b"%b\n" % frame for frame in part) for part in batches(corpus.frames, size)]
    return Timed(lambda: call_each(AutoDecoder(frame_bytes_max=FRAME_BYTES_MAX).feed, parts))


def encode(payloads: list[bytes]) -> list[bytes]:
    """As commits do it, with what has come since the last one."""
    ends = [0, *runs(payloads, BLOCK_BYTES_TARGET)]
    return [encode_block(payloads[start:stop], received_at=1e9) for start, stop in pairwise(ends)]


def encode_blocks(corpus: Corpus, size: int) -> Timed:
    return Timed(partial(call_each, encode, batches(corpus.payloads, size)))


def decode_blocks(corpus: Corpus, size: int) -> Timed:
    blocks = [block for part in batches(corpus.payloads, size) for block in encode(list(part))]
    return Timed(partial(call_each, decode_block, blocks))


def open_session(window_records: int) -> RelpClientSession:
    session = RelpClientSession(window_records=window_records, software=b"bench")
    session.receive(encode_frame(1, b"rsp", b"200 OK\n" + OFFERS))
    return session


def sent(parts: Sequence[Any], window_records: int) -> list[bytes]:
    """What the client writes, a batch at a time; it opens with the first one."""
    session = open_session(window_records)
    written = []
    for part in parts:
        session.send(part)
        written.append(session.data_to_send())
    return written


def client_sends(corpus: Corpus, size: int) -> Timed:
    return Timed(partial(sent, batches(corpus.payloads, size), len(corpus.payloads)))


def client_takes_answers(corpus: Corpus, size: int) -> Timed:
    count = len(corpus.payloads)
    answers = [
        encode_answers(2 + at, min(size, count - at)) for at in range(0, count, size)
    ]  # 1 is the answer to the open
    waiting: list[RelpClientSession] = []

    def prepare() -> None:
        session = open_session(count)
        session.send(corpus.payloads)
        waiting.append(session)

    def receive() -> None:
        session = waiting.pop()
        call_each(session.receive, answers)
        assert len(session.inflight) == 0

    return Timed(receive, prepare)


def server_receives(corpus: Corpus, size: int) -> Timed:
    parts = sent(batches(corpus.payloads, size), len(corpus.payloads))

    def serve() -> None:
        session = RelpServerSession(data_bytes_max=FRAME_BYTES_MAX, software=b"bench")
        for part in parts:
            session.receive(part)
            session.answer(session.unanswered)
            session.data_to_send()

    return Timed(serve)


def formats() -> dict[str, Layer]:
    context = MacroContext(b"relay", lambda: 1e9)
    found = {name: new_format(name, context, template=TEMPLATE) for name in FORMATS}
    return {
        f"format {name}": of_messages(received(rewrite))
        for name, rewrite in found.items()
        if rewrite is not None
    }


def forms() -> dict[str, Layer]:
    """What is written of lines, in compiled code where that is there."""
    context = MacroContext(b"relay", lambda: 1e9)
    found: dict[str, Form] = {
        mode: token_form(mode, TOKEN, relay_name=b"relay", zone=UTC) for mode in TOKEN_FORMS
    }
    for name in ("ewmm", "rfc5424", "rfc3164"):
        writer = new_format(name, context)
        assert writer is not None
        found[name] = form_of(writer, format_program(name, context))
    return {f"lines to {name}": of_lines(form) for name, form in found.items()}


def filtered() -> dict[str, Layer]:
    """What lines cost a destination that has filters or steps."""
    urgent = field_in("severity", range(SEVERITY_NAMES.index("warning") + 1))
    as_cee = token_form("cee", TOKEN, relay_name=b"relay", zone=UTC)
    steps = [
        stage_of(set_values({"PROGRAM": Constant(b"app")})),
        stage_of(add_tags([b"bench"])),
    ]
    return {
        "chosen by severity": with_lines(
            lambda lines, arrival: chosen(urgent, lines, None, arrival)
        ),
        "lines to cee, by severity": of_lines(as_cee, urgent),
        "lines to cee, set, add_tags": of_lines(Pipeline(steps, as_cee, Drops())),
    }


def layers() -> dict[str, Layer]:
    adapting = new_parser(ParseOptions(adapters=True), zone=UTC)
    as_cee = cee(TOKEN, UTC, relay_name=b"relay")
    return {
        "decode lines": decode_lines,
        "read lines": of_frames(read_lines),
        "parse": of_frames(parse_all),
        "parse with adapters": of_frames(lambda part: adapting(part, arrival_of(part)).messages()),
        **forms(),
        **filtered(),
        "rewrite cee": of_messages(received(as_cee)),
        "rewrite ewmm": of_messages(received(ewmm(b"relay", UTC))),
        **formats(),
        "encode blocks": encode_blocks,
        "decode blocks": decode_blocks,
        "relp: client sends": client_sends,
        "relp: client takes answers": client_takes_answers,
        "relp: server receives, answers": server_receives,
    }


LAYERS = layers()


def seconds(layer: Layer, rounds: Sequence[Corpus], size: int) -> float:
    """The best time of the `rounds`."""
    best = float("inf")
    for corpus in rounds:
        timed = layer(corpus, size)
        timed.prepare()
        began = time.process_time()
        timed.call()
        best = min(best, time.process_time() - began)
    return best


def measure(
    kinds: Sequence[str],
    sizes: Sequence[int],
    count: int,
    rounds: int,
    names: Sequence[str] = tuple(LAYERS),
    seed: int = 1,
) -> list[Row]:
    """Each layer with each kind, the costliest first (by its worst batch size)."""
    rows = []
    for kind in kinds:
        made = corpora(kind, rounds * len(sizes), count, seed)
        parts = batches(made, rounds)
        for name in names:
            taken = [
                seconds(LAYERS[name], part, size) for part, size in zip(parts, sizes, strict=True)
            ]
            rows.append(Row(name, kind, [each / count * 1e6 for each in taken]))
    return sorted(rows, key=lambda row: -max(row.microseconds))


def table(rows: Sequence[Row], sizes: Sequence[int]) -> str:
    heads = "".join(f"{f'by {size:,}':>10}" for size in sizes)
    lines = [f"{'µs a message, in batches':32}{'traffic':12}{heads}"]
    for row in rows:
        cells = "".join(f"{cost:10.3f}" for cost in row.microseconds)
        lines.append(f"{row.layer:32}{row.kind:12}{cells}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.layers", description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, metavar="KIND")
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES, metavar="MESSAGES")
    parser.add_argument("--layers", default="", help="only those with this in their name")
    parser.add_argument(
        "-n", "--count", type=int, default=MESSAGES, help="messages of a round (%(default)s)"
    )
    parser.add_argument("-r", "--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seed", type=int, default=1, help="of the traffic")
    given = parser.parse_args()
    if min(*given.batches, given.count, given.rounds) < 1:
        parser.error("batches, count and rounds: allowed 1 or more")
    names = [name for name in LAYERS if given.layers in name]
    if not names:
        parser.error(f"layers: found {given.layers!r}, allowed a part of {', '.join(LAYERS)}")
    set_for_batches()  # as in the relay
    rows = measure(given.kinds, given.batches, given.count, given.rounds, names, given.seed)
    print(
        f"Python {sys.version.split()[0]}, {platform.machine()}, {given.count:,} messages a round"
    )
    print(table(rows, given.batches))


if __name__ == "__main__":
    main()
