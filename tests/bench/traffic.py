"""Corpus files of the messages that `syslogrelay send --traffic` sends:
`python -m tests.bench.traffic mixed -n 100000 --framing counted FILE`.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

from relay.cli.traffic.generator import KINDS, lines, messages

__all__ = ["FRAMINGS", "KINDS", "framed", "lines", "messages", "write"]

FRAMINGS = ("lines", "counted")


def framed(message: bytes, framing: str) -> bytes:
    """The message in one of FRAMINGS (RFC 6587 §3.4.2 and §3.4.1)."""
    return b"%d %b" % (len(message), message) if framing == "counted" else message + b"\n"


def write(path: Path, kind: str, count: int, seed: int = 1, framing: str = "lines") -> None:
    """Make the file `path` of the first `count` messages of a kind."""
    with path.open("wb") as file:
        for line in islice(lines(kind, seed), count):
            file.write(framed(line.raw, framing))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.traffic", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("file", type=Path, help="the corpus file to write")
    parser.add_argument("-n", "--count", type=int, default=100_000, help="messages (100,000)")
    parser.add_argument("--seed", type=int, default=1, help="of the draws (1)")
    parser.add_argument(
        "--framing",
        choices=FRAMINGS,
        default="lines",
        help="LF after each message, or its length before it (lines)",
    )
    given = parser.parse_args(arguments)
    write(given.file, given.kind, given.count, given.seed, given.framing)


if __name__ == "__main__":
    main()
