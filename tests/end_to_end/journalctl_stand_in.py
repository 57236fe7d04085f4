"""journalctl for tests: the options that the relay uses, on a journal of one text file.

The file `entries` in the directory has one line for each entry, its number and its
message as JSON.  The numbers grow; lines may be removed at the beginning.
"""

from __future__ import annotations

import json
import os
import random
import select
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

POLL_SECONDS = 0.01


def main(arguments: list[str]) -> int:
    options = dict(argument.partition("=")[::2] for argument in arguments)
    if options["--output"] != "export":
        return 2
    directory = Path(options["--directory"])
    if not directory.is_dir():
        print(f"Failed to open {directory}: No such file or directory", file=sys.stderr)
        return 1
    first = 0
    if "--cursor" in options:
        # An entry that is gone: the next one is shown.
        cursor = dict(part.partition("=")[::2] for part in options["--cursor"].split(";"))
        if set(cursor) != {"s", "i", "t"}:
            print("Failed to seek to cursor: Invalid argument", file=sys.stderr)
            return 1
        first = int(cursor["i"], 16)
    entries = lines(directory / "entries", follow="--follow" in options)
    if options.get("--lines") == "1":
        show(list(entries)[-1:], first)
        return 0
    show(entries, first)
    return 0


def lines(path: Path, *, follow: bool) -> Iterator[bytes]:
    """The lines of the file; with `follow`, until nobody reads the output."""
    reader = select.poll()
    reader.register(1, select.POLLERR | select.POLLHUP)
    half = b""
    with path.open("rb") as file:
        while True:
            line = half + file.readline()
            if line.endswith(b"\n"):
                half = b""
                yield line
                continue
            half = line
            if not follow or reader.poll(0):
                return
            time.sleep(POLL_SECONDS)


def show(entries: Iterator[bytes] | list[bytes], first: int) -> None:
    for line in entries:
        number, message = json.loads(line)
        if number >= first:
            write(exported(number, message.encode()))


def exported(number: int, message: bytes) -> bytes:
    stamp = 1_761_000_000_000_000 + number
    shown = b"MESSAGE=" + message
    if b"\n" in message:
        shown = b"MESSAGE\n" + struct.pack("<Q", len(message)) + message
    return b"__CURSOR=s=1;i=%x;t=%x\n__REALTIME_TIMESTAMP=%d\n_TRANSPORT=kernel\n%s\n\n" % (
        number,
        stamp,
        stamp,
        shown,
    )


def write(octets: bytes) -> None:
    """To standard output, at times in two halves, as a pipe may give them."""
    middle = random.randrange(len(octets)) if random.random() < 0.05 else 0
    for part in (octets[:middle], octets[middle:]):
        while part:
            part = part[os.write(1, part) :]


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:
        os._exit(1)
