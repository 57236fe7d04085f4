"""A run: ``syslog`` frames with consecutive numbers, which is nearly all that servers get.

Strategy: write down what the headers of a usual chunk have to be, and compare.  That takes
a third of the time of decoding each frame.  Where the chunk is not usual (a message with
LF in it, for example), frames are taken one by one, and what is no message that can be
taken as it is, or not numbered so, ends the run and is left to the decoder.
"""

from __future__ import annotations

import re

from relay.wire.acceleration import IS_COMPILED, compiled

__all__ = ["TXNR_MAX", "cut_run", "plain_cut_run"]

TXNR_MAX = 999_999_999

_HEADER = re.compile(rb"([0-9]{1,9}) syslog ([0-9]{1,9}) ")
_WHOLE_BYTES_MIN = 2048  # below that, there are too few frames for it to pay


def plain_cut_run(buffer: bytes, first_txnr: int, data_bytes_max: int) -> tuple[list[bytes], int]:
    """The messages at the start of `buffer` that are numbered from `first_txnr` on.

    Returns:
        Their data, in order, and where the last of them ends: 0 = there is none.
    """
    if len(buffer) >= _WHOLE_BYTES_MIN:
        messages, stop = _cut_whole(buffer, first_txnr, data_bytes_max)
        if messages:
            return messages, stop
    return _cut_singly(buffer, first_txnr, data_bytes_max)


def _cut_whole(buffer: bytes, first_txnr: int, data_bytes_max: int) -> tuple[list[bytes], int]:
    """All lines of `buffer`, if each of them is the next message; else nothing."""
    lines = buffer.split(b"\n")
    rest = lines.pop()
    fields = tuple(zip(*[line.split(b" ", 3) for line in lines], strict=False))
    last_txnr = first_txnr + len(lines) - 1
    if len(fields) != 4 or last_txnr > TXNR_MAX:  # the shortest line says how many there are
        return [], 0
    numbers, commands, lengths, data = fields
    found_lengths = list(map(len, data))
    if (
        commands.count(b"syslog") != len(lines)
        or b" ".join(numbers) != _written(range(first_txnr, last_txnr + 1))
        or b" ".join(lengths) != _written(found_lengths)
        or max(found_lengths) > data_bytes_max
    ):
        return [], 0
    return list(data), len(buffer) - len(rest)


def _written(numbers: range | list[int]) -> bytes:
    """`numbers` as they are usually written, with a SP between them."""
    return (b"%d " * len(numbers) % tuple(numbers))[:-1]


def _cut_singly(buffer: bytes, txnr: int, data_bytes_max: int) -> tuple[list[bytes], int]:
    messages: list[bytes] = []
    start = 0
    match = _HEADER.match
    while header := match(buffer, start):  # of nine digits at most, so TXNR_MAX is the last
        number, datalen = header.groups()
        length = int(datalen)
        at = header.end()
        stop = at + length
        if int(number) != txnr or length > data_bytes_max:
            break
        if buffer[stop : stop + 1] != b"\n":  # or it is not there yet
            break
        messages.append(buffer[at:stop])
        start = stop + 1
        txnr += 1
    return messages, start


cut_run = compiled.cut_run if IS_COMPILED else plain_cut_run
