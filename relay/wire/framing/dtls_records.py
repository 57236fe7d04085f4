"""DTLS records (RFC 6347 §4.1), and the syslog frames in their application data (RFC 6012 §5.4).

Application data is one or more ``MSG-LEN SP SYSLOG-MSG``, and no frame spans two records.
A record that does not begin with a digit is taken as one message without MSG-LEN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from relay.wire.framing.decoders import AutoDecoder

ALERT, APPLICATION_DATA = 21, 23
PLAINTEXT_BYTES_MAX = 2**14
"""Most application data of one record, in bytes."""
FRAME_BYTES_MAX = PLAINTEXT_BYTES_MAX - len(b"16384 ")
"""Longest message that fits into one record with its MSG-LEN, in bytes."""
NO_SESSION = bytes([ALERT, 0xFE, 0xFD, *bytes(8), 0, 2, 2, 20])
"""The datagram for a sender of records without a session: an alert (fatal, bad_record_mac), in
clear text, as there is no key (RFC 6347 §4.1.2.7)."""
RECORD_BYTES_MAX = PLAINTEXT_BYTES_MAX + 256 + 13
"""Longest record of DTLS 1.2 with its header that ciphers with authentication make, in bytes."""

_HEADER_BYTES = 13
_EPOCH = slice(3, 5)
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_FRAGMENT_OFFSET = slice(19, 22)
_RANDOM = slice(27, 59)


def split_records(datagram: bytes) -> list[bytes]:
    """The records of a datagram, whole; bytes that are no whole record end the list."""
    records = []
    start = 0
    while start + _HEADER_BYTES <= len(datagram):
        length = int.from_bytes(datagram[start + 11 : start + 13], "big")
        stop = start + _HEADER_BYTES + length
        if not length or stop > len(datagram) or stop - start > RECORD_BYTES_MAX:
            break
        records.append(datagram[start:stop])
        start = stop
    return records


def join_records(records: Sequence[bytes], datagram_bytes_max: int) -> list[bytes]:
    """Datagrams of as many whole records as fit; a longer record is a datagram of its own."""
    datagrams: list[bytes] = []
    for record in records:
        if datagrams and len(datagrams[-1]) + len(record) <= datagram_bytes_max:
            datagrams[-1] += record
        else:
            datagrams.append(record)
    return datagrams


def client_random(datagram: bytes) -> bytes:
    """The random of the unencrypted ClientHello that begins a datagram; empty = there is none.

    It is the same in all copies of a ClientHello, with and without a cookie.
    """
    if len(datagram) < _RANDOM.stop or datagram[0] != _HANDSHAKE or any(datagram[_EPOCH]):
        return b""
    if datagram[_HEADER_BYTES] != _CLIENT_HELLO or any(datagram[_FRAGMENT_OFFSET]):
        return b""
    return datagram[_RANDOM]


def encrypted_type(datagram: bytes) -> int:
    """The content type of the encrypted record that begins a datagram; 0 = there is none."""
    return datagram[0] if len(datagram) > _HEADER_BYTES and any(datagram[_EPOCH]) else 0


def is_clear_alert(datagram: bytes) -> bool:
    """Whether a datagram begins with an alert in clear text, which anybody may have sent."""
    is_alert = datagram[:1] == bytes([ALERT]) and len(datagram) > _HEADER_BYTES
    return is_alert and not any(datagram[_EPOCH])


class RecordFrames(NamedTuple):
    """The messages of one record."""

    frames: Sequence[bytes]
    problem: str = ""
    """How the record breaks RFC 6012, in words; its bytes are in `frames` all the same."""


def frames_of(application_data: bytes) -> RecordFrames:
    """Cut the application data of one record into messages; never raises, drops no message."""
    if not application_data[:1].isdigit():
        message = application_data.rstrip(b"\r\n")
        return RecordFrames([message] if message else [])
    decoder = AutoDecoder(frame_bytes_max=PLAINTEXT_BYTES_MAX)
    frames = [*decoder.feed(application_data), *decoder.finish()]
    if decoder.error is not None:  # looks like another protocol, which it cannot be in here
        return RecordFrames([application_data], str(decoder.error))
    return RecordFrames(frames, decoder.problem)
