from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from relay.codec import encode_syslog
from relay.wire.relp.blocks import (
    BLOCK_BYTES_MAX,
    BLOCK_RECORDS_MAX,
    COMPRESS_OFFER,
    UNPACKED_BYTES_ENOUGH,
    WINDOW_BYTES_MAX,
    Block,
    Contexts,
    Packer,
    Unpacker,
    takes_zstd,
)
from relay.wire.relp.client import RelpClientSession
from relay.wire.relp.frame import encode_answers, encode_frame
from relay.wire.relp.server import RelpServerSession
from tests.any_messages import many_examples

OPEN = encode_frame(1, b"open", b"relp_version=0\ncommands=syslog\n" + COMPRESS_OFFER)
TEXTS = [b"<13>1 - host app - - - message %d of several" % number for number in range(40)]
FRAMES = encode_syslog(2, TEXTS)


BLOCK = Packer(3).encode_syslog(2, TEXTS)
CONTENT = b"".join(each + b"\n" for each in TEXTS)


def begun(*contents: bytes, window: int = WINDOW_BYTES_MAX) -> list[bytes]:
    """Parts of one zstd frame."""
    parameters = zstandard.ZstdCompressionParameters(window_log=window.bit_length() - 1)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    return [frame.compress(content) + frame.flush(flush) for content in contents]


def block_of(content: bytes, first_txnr: int = 2) -> bytes:
    """A block that begins a frame; what is compressed need not be messages."""
    return encode_frame(first_txnr, b"syslogrelayz", begun(content)[0])


def unpacked(*chunks: bytes) -> tuple[bytes, Unpacker]:
    """The stream as it would be without blocks."""
    unpacker = Unpacker()
    found = b""
    for chunk in chunks:
        while True:
            for part in unpacker.feed(chunk):
                found += encode_syslog(*part) if isinstance(part, Block) else part
            if not unpacker.has_more:
                break
            chunk = b""
    return found, unpacker


def opened(**options: Any) -> RelpServerSession:
    session = RelpServerSession(
        **{"data_bytes_max": 4096, "software": b"x", "unpacks": lambda: True, **options}
    )
    session.receive(OPEN)
    assert COMPRESS_OFFER in session.data_to_send()
    return session


def received(session: RelpServerSession, *chunks: bytes) -> list[bytes]:
    messages = []
    for chunk in chunks:
        messages += session.receive(chunk)
        while session.has_more:
            messages += session.receive(b"")
    return messages


def packed(*runs: list[bytes]) -> bytes:
    """A session's stream; each run is sent by itself."""
    packer, stream, txnr = Packer(3), b"", 2
    for run in runs:
        stream += packer.encode_syslog(txnr, run)
        txnr += len(run)
    return stream


def test_messages_become_blocks_and_come_out_at_every_cut() -> None:
    stream = packed(TEXTS, TEXTS[:20], [b"plain"], TEXTS[20:])
    frames = encode_syslog(2, [*TEXTS, *TEXTS[:20], b"plain", *TEXTS[20:]])
    assert stream.startswith(b"2 syslogrelayz ")
    assert len(stream) < len(frames) / 5
    for at in range(len(stream)):
        found, unpacker = unpacked(stream[:at], stream[at:])
        assert found == frames
        assert unpacker.error is None
        assert not unpacker.kept_bytes
    assert unpacked(*(stream[i : i + 1] for i in range(len(stream))))[0] == frames


def test_a_block_is_short_by_those_before_it() -> None:
    source = random.Random(3)
    texts = [source.randbytes(100) for _ in range(100)]
    once, twice = len(packed(texts)), len(packed(texts, texts))
    assert twice - once < once / 10


def test_another_frame_begins_where_a_block_says_so() -> None:
    stream = block_of(CONTENT) + block_of(CONTENT, 42)
    assert unpacked(stream)[0] == encode_syslog(2, TEXTS * 2)


@given(
    st.lists(st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=20), min_size=1),
    st.randoms(use_true_random=False),
)
@many_examples(500)
def test_any_messages_come_back(runs: list[list[bytes]], source: random.Random) -> None:
    stream = packed(*runs)
    cuts = sorted(source.randrange(len(stream) + 1) for _ in range(5))
    chunks = [stream[a:b] for a, b in itertools.pairwise([0, *cuts, len(stream)])]
    found, unpacker = unpacked(*chunks)
    assert found == encode_syslog(2, list(itertools.chain(*runs)))
    assert unpacker.error is None


@given(st.lists(st.text("\n\xff\1\2a", min_size=1).map(lambda text: text.encode("latin-1"))))
@many_examples(500)
def test_escapes_come_back(payloads: list[bytes]) -> None:
    payloads += TEXTS
    assert unpacked(packed(payloads))[0] == encode_syslog(2, payloads)


@given(st.binary(max_size=600), st.randoms(use_true_random=False))
def test_any_bytes_do_not_depend_on_their_chunks(noise: bytes, source: random.Random) -> None:
    stream = packed(TEXTS, TEXTS) + noise + BLOCK
    whole, one = unpacked(stream)
    cut = source.randrange(len(stream))
    parts, other = unpacked(stream[:cut], stream[cut:])
    assert (whole, str(one.error)) == (parts, str(other.error))


def test_long_runs_and_long_messages_fit() -> None:
    source = random.Random(7)
    payloads = [source.randbytes(source.choice((1, 50, 5000))).hex().encode() for _ in range(3000)]
    payloads += [b"x"] * 9000 + [source.randbytes(100_000).hex().encode() * 2]
    found, unpacker = unpacked(Packer(1).encode_syslog(2, payloads))
    assert found == encode_syslog(2, payloads)
    assert unpacker.error is None


def test_what_compresses_too_well_goes_as_it_is_and_others_begin_anew() -> None:
    runs = [TEXTS, [b"a" * 190_000], TEXTS, TEXTS]
    stream = packed(*runs)
    assert len(stream) > 190_000
    assert stream.count(zstandard.FRAME_HEADER) == 2
    assert unpacked(stream)[0] == encode_syslog(2, list(itertools.chain(*runs)))


@pytest.mark.parametrize("texts", [[b"a"], [b"a" * (BLOCK_BYTES_MAX + 1)]])
def test_what_fits_no_block_goes_as_it_is(texts: list[bytes]) -> None:
    assert packed(texts) == encode_syslog(2, texts)


BEGINNING = begun(CONTENT)[0]
WHOLE = zstandard.ZstdCompressor().compress(CONTENT)


def with_dictionary() -> bytes:
    texts = [b"sample %d of what is in a dictionary, %d" % (n, n * n) for n in range(2000)]
    dictionary = zstandard.train_dictionary(4096, texts)
    return zstandard.ZstdCompressor(dict_data=dictionary).compress(CONTENT)


LARGE_WINDOW = begun(CONTENT, window=2 * WINDOW_BYTES_MAX)[0]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"not zstd", "goes on where none has begun"),
        (b"", "is empty"),
        (BEGINNING[:-5], "ends inside a message"),
        (BEGINNING[:6], "ends inside a message"),
        (BEGINNING + b"more", "cannot be decompressed"),
        (bytes([*BEGINNING[:40], BEGINNING[40] ^ 255, *BEGINNING[41:]]), ""),
        (WHOLE + WHOLE[4:], "cannot be decompressed"),
        (LARGE_WINDOW, "cannot be decompressed"),
        (WHOLE + LARGE_WINDOW, "cannot be decompressed"),
        (with_dictionary(), "cannot be decompressed"),
        (zstandard.ZstdCompressor().compress(b"a" * 40_000 + b"\n"), "1000 times its length"),
        (zstandard.ZstdCompressor().compress(bytes(BLOCK_BYTES_MAX + 1)), "more than 262144"),
        (zstandard.ZstdCompressor().compress(bytes(1 << 30)), "cannot be decompressed"),
        (zstandard.ZstdCompressor().compress(b""), "ends inside a message"),
        (b"\x50\x2a\x4d\x18\x04\0\0\0abcd", "goes on where none has begun"),
        (WHOLE + b"\x50\x2a\x4d\x18\x04\0\0\0", ""),
    ],
    ids=range(16),
)
def test_hostile_blocks_end_the_session(data: bytes, words: str) -> None:
    session = opened()
    good = encode_syslog(2, [b"good"])
    stream = good + encode_frame(3, b"syslogrelayz", data)
    if data.endswith(b"\x04\0\0\0"):  # what is skipped is no harm; half of it waits
        stream += encode_frame(43, b"syslogrelayz", b"abcd")
    taken = received(session, stream)
    assert taken[0] == b"good"
    assert session.error is not None
    assert "compressed block" in str(session.error)
    assert words in str(session.error)
    assert session.receive(FRAMES) == []
    session.answer(session.unanswered)
    assert session.finished


def test_a_bomb_behind_a_good_block_is_not_decompressed() -> None:
    first, bomb = begun(CONTENT, bytes(1 << 26))
    stream = encode_frame(2, b"syslogrelayz", first) + encode_frame(42, b"syslogrelayz", bomb)
    session = opened()
    assert received(session, stream) == TEXTS
    assert "more than 262144" in str(session.error)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (CONTENT[:-3], "ends inside a message"),
        (CONTENT + b"\n", "has an empty message in it"),
        (b"a\xff\n" * 50, "has FF before something else"),
        (b"a\xff\3\n" * 50, "has FF before something else"),
        (b"a\n" * (BLOCK_RECORDS_MAX + 1), "has 8193 messages"),
    ],
)
def test_a_block_holds_whole_messages_and_nothing_else(content: bytes, words: str) -> None:
    session = opened()
    assert received(session, block_of(content)) == []
    assert words in str(session.error)


@pytest.mark.parametrize("txnr", [0, 1, 3, 999_999_999])
def test_a_block_has_the_number_that_is_due(txnr: int) -> None:
    session = opened()
    assert received(session, block_of(CONTENT, txnr)) == []
    assert "where 2 is due" in str(session.error)


@pytest.mark.parametrize("unpacks", [True, False])
def test_a_block_needs_an_agreement(unpacks: bool) -> None:
    session = RelpServerSession(data_bytes_max=4096, software=b"x", unpacks=lambda: unpacks)
    opening = OPEN if not unpacks else encode_frame(1, b"open", b"commands=syslog")
    session.receive(opening)
    assert COMPRESS_OFFER not in session.data_to_send()
    session.receive(BLOCK)
    assert session.error is not None


def test_much_in_little_is_taken_in_steps() -> None:
    texts = [random.Random(n).randbytes(100).hex().encode() * 300 for n in range(100)]
    stream = packed(*([text] for text in texts))
    assert len(stream) < 60_000 < len(b"".join(texts)) / 90
    session = opened(data_bytes_max=100_000)
    sizes = []
    messages = []
    part = session.receive(stream)
    while part:
        messages += part
        sizes.append(sum(map(len, part)))
        part = session.receive(b"") if session.has_more else []
    assert messages == texts
    assert len(sizes) > 4
    assert max(sizes) <= UNPACKED_BYTES_ENOUGH + BLOCK_BYTES_MAX


def test_many_short_messages_are_taken_in_steps() -> None:
    texts = [b"%d" % (n % 7) for n in range(8 * BLOCK_RECORDS_MAX)]
    session = opened()
    part = session.receive(packed(texts))
    assert 0 < len(part) < len(texts)
    assert part + received(session, b"") == texts


@pytest.mark.parametrize("split", [True, False])
def test_long_messages_in_blocks_are_marked_by_message(split: bool) -> None:
    payloads = [b"short", b"l" * 100, b"m", b"n" * 130]
    stream = packed(payloads, payloads)
    assert stream.count(b"syslogrelayz") == 2
    session, plain = opened(data_bytes_max=64, split=split), opened(data_bytes_max=64, split=split)
    messages = session.receive(stream)
    assert messages == plain.receive(encode_syslog(2, payloads) + encode_syslog(6, payloads))
    assert (session.cut, session.pieces) == (plain.cut, plain.pieces)
    assert session.unanswered == plain.unanswered == 8


def test_a_client_packs_when_it_is_told_to() -> None:
    client = RelpClientSession(window_records=100, software=b"x", packer=Packer(3))
    server = RelpServerSession(data_bytes_max=4096, software=b"x", unpacks=lambda: True)
    assert not client.begin_packing()
    server.receive(client.data_to_send())
    client.receive(server.data_to_send())
    client.send(TEXTS)
    assert client.data_to_send() == FRAMES
    assert client.begin_packing()
    client.send(TEXTS)
    stream = client.data_to_send()
    assert len(stream) < len(FRAMES) / 3
    assert server.receive(FRAMES + stream) == TEXTS * 2
    server.answer(79)
    assert server.data_to_send() == encode_answers(80, 1)  # for all before it
    server.answer(0)
    assert server.data_to_send() == b""
    assert client.receive(encode_answers(80, 1)) == 79
    assert len(client.inflight) == 1
    assert client.receive(encode_answers(80, 1)) == 0
    assert "txnr 80, which is not waiting" in str(client.error)


def test_an_answer_stands_for_those_before_it_that_have_none() -> None:
    client = RelpClientSession(window_records=100, software=b"x", packer=Packer(3))
    client.receive(encode_frame(1, b"rsp", b"200 OK\ncommands=syslog\n" + COMPRESS_OFFER))
    client.send(TEXTS)
    assert client.receive(encode_frame(5, b"rsp", b"500 no") + encode_answers(4, 1)) == 3
    assert client.receive(encode_answers(9, 1)) == 0
    assert client.inflight.refusal == "500 no"
    assert client.inflight.took_others
    assert client.skip_refused() == 4
    assert client.receive(encode_answers(41, 1)) == 32
    assert not client.over and not client.inflight


@pytest.mark.parametrize("txnr", [1, 42, 999_999_999])
def test_an_answer_to_nothing_ends_the_session(txnr: int) -> None:
    client = RelpClientSession(window_records=100, software=b"x", packer=Packer(3))
    client.receive(encode_frame(1, b"rsp", b"200 OK\ncommands=syslog\n" + COMPRESS_OFFER))
    client.send(TEXTS)
    assert client.receive(encode_answers(txnr, 1)) == 0
    assert client.over


def test_a_server_that_offers_nothing_gets_frames() -> None:
    client = RelpClientSession(window_records=100, software=b"x", packer=Packer(3))
    client.data_to_send()
    client.receive(encode_frame(1, b"rsp", b"200 OK\nrelp_version=0\ncommands=syslog"))
    assert not client.begin_packing()
    client.send(TEXTS)
    assert client.data_to_send() == FRAMES
    assert client.receive(encode_answers(2, 40)) == 40


@pytest.mark.parametrize(
    ("values", "takes"), [([b"zstd"], True), ([b"lz4", b"zstd"], True), ([b""], False), ([], False)]
)
def test_the_offer_names_what_it_takes(values: list[bytes], takes: bool) -> None:
    assert takes_zstd({b"syslogrelay_compress": values}) is takes


def test_a_stream_that_ends_in_a_block_has_ended_in_a_frame() -> None:
    session = opened()
    session.receive(BLOCK[:-10])
    assert session.unfinished_bytes
    session.end_of_input()
    assert "inside a frame" in str(session.error)


def test_so_many_connections_may_send_blocks() -> None:
    contexts = Contexts(2)
    assert [contexts.take() for _ in range(3)] == [True, True, False]
    contexts.give_back()
    assert [contexts.take() for _ in range(2)] == [True, False]
