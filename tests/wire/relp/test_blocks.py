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
    COMPRESS_OFFER,
    RATIO_MAX,
    UNPACKED_BYTES_ENOUGH,
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


def block_of(content: bytes, **options: Any) -> bytes:
    return encode_frame(0, b"syslogrelayz", zstandard.ZstdCompressor(**options).compress(content))


def unpacked(*chunks: bytes) -> tuple[bytes, Unpacker]:
    unpacker = Unpacker()
    found = b""
    for chunk in chunks:
        found += b"".join(part for part, _ in unpacker.feed(chunk))
        while unpacker.has_more:
            found += b"".join(part for part, _ in unpacker.feed(b""))
    return found, unpacker


def opened(**options: Any) -> RelpServerSession:
    session = RelpServerSession(
        **{"data_bytes_max": 4096, "software": b"x", "unpacks": True, **options}
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


def test_messages_become_blocks_and_come_out_at_every_cut() -> None:
    stream = Packer(3).encode_syslog(2, TEXTS) + encode_syslog(42, [b"plain"])
    assert stream.startswith(b"0 syslogrelayz ")
    assert len(stream) < len(FRAMES) / 3
    for at in range(len(stream)):
        found, unpacker = unpacked(stream[:at], stream[at:])
        assert found == FRAMES + encode_syslog(42, [b"plain"])
        assert unpacker.error is None
        assert not unpacker.kept_bytes
    assert unpacked(*(stream[i : i + 1] for i in range(len(stream))))[0] == found


@given(
    st.lists(st.binary(min_size=1, max_size=400), min_size=1),
    st.integers(1, 999_000),
    st.randoms(use_true_random=False),
)
@many_examples(500)
def test_any_messages_come_back(payloads: list[bytes], txnr: int, source: random.Random) -> None:
    stream = Packer(1).encode_syslog(txnr, payloads)
    cuts = sorted(source.randrange(len(stream) + 1) for _ in range(5))
    chunks = [stream[a:b] for a, b in itertools.pairwise([0, *cuts, len(stream)])]
    found, unpacker = unpacked(*chunks)
    assert found == encode_syslog(txnr, payloads)
    assert unpacker.error is None


@given(st.binary(max_size=600), st.randoms(use_true_random=False))
def test_any_bytes_do_not_depend_on_their_chunks(noise: bytes, source: random.Random) -> None:
    stream = block_of(FRAMES) + noise + block_of(FRAMES)
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


def test_what_compresses_too_well_goes_as_it_is() -> None:
    frames = encode_frame(2, b"syslog", b"a" * 200_000)
    packed = Packer(19).pack(frames)
    assert packed == frames or len(frames) <= RATIO_MAX * len(packed)
    assert unpacked(packed)[1].error is None


@pytest.mark.parametrize("frames", [b"2 syslog 1 a\n", random.Random(1).randbytes(500)])
def test_what_gets_no_shorter_goes_as_it_is(frames: bytes) -> None:
    assert Packer(3).pack(frames) == frames


COMPRESSED = zstandard.ZstdCompressor().compress(FRAMES)
ZEROS = zstandard.ZstdCompressor().compress(bytes(BLOCK_BYTES_MAX))


def lying(size: int) -> bytes:
    """A frame whose header says `size` instead of what is in it."""
    params = zstandard.get_frame_parameters(COMPRESSED)
    stated = (
        params.content_size.to_bytes(2 + 0, "little")
        if params.content_size < 256
        else ((params.content_size - 256).to_bytes(2, "little"))
    )
    at = COMPRESSED.index(stated, 4)
    return COMPRESSED[:at] + (size - 256).to_bytes(2, "little") + COMPRESSED[at + 2 :]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"not zstd", "cannot be decompressed"),
        (b"", "is empty"),
        (COMPRESSED[:-5], "cannot be decompressed"),
        (COMPRESSED[:3], "cannot be decompressed"),
        (COMPRESSED + b"more", "cannot be decompressed"),
        (COMPRESSED + COMPRESSED, "cannot be decompressed"),
        (lying(len(FRAMES) - 20), ""),
        (lying(len(FRAMES) + 20), ""),
        (zstandard.ZstdCompressor(write_content_size=False).compress(FRAMES), "does not say"),
        (zstandard.ZstdCompressor().compress(bytes(BLOCK_BYTES_MAX + 1)), "does not say"),
        (zstandard.ZstdCompressor().compress(b""), "does not say"),
        (ZEROS, "more than 1000 times"),
        (b"\x50\x2a\x4d\x18\x04\0\0\0abcd", ""),
    ],
    ids=range(13),
)
def test_hostile_blocks_end_the_session(data: bytes, reason: str) -> None:
    session = opened()
    good = encode_syslog(2, [b"good"])
    assert received(session, good + encode_frame(0, b"syslogrelayz", data)) == [b"good"]
    assert session.error is not None
    assert "a compressed block" in str(session.error)
    assert reason in str(session.error)
    assert session.receive(FRAMES) == []
    session.answer(1)
    assert session.finished


def test_a_large_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=24)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(FRAMES) + compressor.flush()  # says no size, and needs the window
    session = opened()
    assert received(session, encode_frame(0, b"syslogrelayz", data)) == []
    assert session.error is not None


def test_a_block_that_is_too_long_is_refused_before_it_has_come() -> None:
    _, unpacker = unpacked(b"0 syslogrelayz %d x" % (BLOCK_BYTES_MAX + 1))
    assert "at most" in str(unpacker.error)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (FRAMES[:-3], "ends inside a frame"),
        (block_of(FRAMES), "'syslogrelayz'"),
        (encode_syslog(3, [b"x" * 300]), "where 2 is due"),
        (b"rubbish\n" * 50, "no RELP header"),
    ],
)
def test_a_block_holds_whole_frames_and_nothing_else(content: bytes, reason: str) -> None:
    session = opened()
    received(session, block_of(content))
    assert reason in str(session.error)


@pytest.mark.parametrize("unpacks", [True, False])
def test_a_block_needs_an_agreement(unpacks: bool) -> None:
    session = RelpServerSession(data_bytes_max=4096, software=b"x", unpacks=unpacks)
    opening = OPEN if not unpacks else encode_frame(1, b"open", b"commands=syslog")
    session.receive(opening)
    assert COMPRESS_OFFER not in session.data_to_send()
    session.receive(block_of(FRAMES))
    assert session.error is not None


def test_much_in_little_is_taken_in_steps() -> None:
    texts = [random.Random(n).randbytes(100).hex().encode() * 300 for n in range(100)]
    stream = Packer(3).encode_syslog(2, texts)
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


@pytest.mark.parametrize("split", [True, False])
def test_long_messages_in_blocks_are_marked_by_message(split: bool) -> None:
    payloads = [b"short", b"l" * 100, b"m", b"n" * 130]
    stream = block_of(encode_syslog(2, payloads)) + block_of(encode_syslog(6, payloads))
    session, plain = opened(data_bytes_max=64, split=split), opened(data_bytes_max=64, split=split)
    messages = session.receive(stream)
    assert messages == plain.receive(encode_syslog(2, payloads) + encode_syslog(6, payloads))
    assert (session.cut, session.pieces) == (plain.cut, plain.pieces)
    assert session.unanswered == plain.unanswered == 8


def test_a_client_packs_when_it_is_told_to() -> None:
    client = RelpClientSession(window_records=100, software=b"x", packer=Packer(3))
    server = RelpServerSession(data_bytes_max=4096, software=b"x", unpacks=True)
    assert not client.begin_packing()
    server.receive(client.data_to_send())
    client.receive(server.data_to_send())
    client.send(TEXTS)
    assert client.data_to_send() == FRAMES
    assert client.begin_packing()
    client.send(TEXTS)
    packed = client.data_to_send()
    assert len(packed) < len(FRAMES) / 3
    assert server.receive(FRAMES + packed) == TEXTS * 2
    server.answer(80)
    assert client.receive(server.data_to_send()) == 80


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
    session.receive(block_of(FRAMES)[:-10])
    assert session.unfinished_bytes
    session.end_of_input()
    assert "inside a frame" in str(session.error)
