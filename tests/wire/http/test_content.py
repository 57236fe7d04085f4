from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.http.content import PARTS_MAX, ContentError, decoded


def _raw_deflate(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(body) + deflater.flush()


COMPRESS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("GZip ", lambda body: gzip.compress(body[:3]) + gzip.compress(body[3:])),
    ("deflate", zlib.compress),
    ("deflate", _raw_deflate),
    ("zstd", zstandard.compress),
    ("zstd", lambda body: zstandard.compress(body[:3]) + zstandard.compress(body[3:])),
    ("identity", bytes),
    ("", bytes),
]


@pytest.mark.parametrize(("encoding", "compress"), COMPRESS)
def test_bodies_come_out_as_they_were(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    for body in (b"", b"hello", b"log line\n" * 100_000):
        assert decoded(compress(body), encoding, 10**6) == body


@pytest.mark.parametrize(("encoding", "compress"), COMPRESS[:-2])
def test_a_body_that_was_cut_off_is_damaged(
    encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(ContentError) as caught:
        decoded(compress(b"hello" * 10)[:-1], encoding, 1000)
    assert caught.value.status == 400


@pytest.mark.parametrize(("encoding", "compress"), COMPRESS[:-2])
def test_bombs(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ContentError) as caught:
        decoded(compress(bytes(10**7)), encoding, 10**6)
    assert caught.value.status == 413


def test_a_window_of_zstd_is_bounded() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = compressor.compress(b"x" * 1000) + compressor.flush()
    with pytest.raises(ContentError, match="no valid zstd"):
        decoded(body, "zstd", 10**6)


def test_encodings_that_nobody_knows() -> None:
    with pytest.raises(ContentError, match="'br', expected gzip, zstd, deflate") as caught:
        decoded(b"x", "br", 100)
    assert caught.value.status == 415


@given(st.sampled_from(["gzip", "deflate", "zstd"]), st.binary(max_size=100))
def test_anything_is_decoded_or_refused(encoding: str, body: bytes) -> None:
    try:
        assert len(decoded(body, encoding, 1000)) <= 1000
    except ContentError as error:
        assert error.status in (400, 413)


@pytest.mark.parametrize(
    ("encoding", "part"),
    [
        ("gzip", gzip.compress(b"", mtime=0)),
        ("zstd", zstandard.compress(b"")),
        ("zstd", b"\x50\x2a\x4d\x18\0\0\0\0"),  # a skippable frame
    ],
)
def test_parts_are_bounded_since_each_costs_a_copy_of_the_rest(encoding: str, part: bytes) -> None:
    assert decoded(part * PARTS_MAX, encoding, 1000) == b""
    with pytest.raises(ContentError, match=f"more than {PARTS_MAX} parts") as caught:
        decoded(part * (PARTS_MAX + 1), encoding, 1000)
    assert caught.value.status == 413
