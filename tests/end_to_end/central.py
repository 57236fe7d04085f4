"""The two ends of most tests: a relay that writes what it gets to a file, and numbered messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.processes import Programs, wait_until
from tests.relay_process import RelayProcess, received

__all__ = ["Central", "ascending_sequences", "numbered", "numbers", "without_repetition"]


class Central(RelayProcess):
    """The central relay: a RELP source and a file.

    Attributes:
        port: Where it takes RELP.
        arrived: The file.
    """

    def __init__(self, programs: Programs, folder: Path, port: int) -> None:
        self.port = port
        self.arrived = folder / "received.log"
        super().__init__(
            folder,
            sources={"relays": {"listen": f"relp://127.0.0.1:{port}"}},
            destinations={"file": {"connect": f"file://{self.arrived}"}},
            name="central",
        )
        programs.add(self)

    @property
    def url(self) -> str:
        return f"relp://127.0.0.1:{self.port}"

    def wait_for(self, expected: Iterable[bytes], seconds_max: float = 60.0) -> list[bytes]:
        """Wait until every message of `expected` has arrived; return all that is there."""
        missing = set(expected)

        def is_complete() -> bool:
            missing.difference_update(received(self.arrived))
            return not missing

        try:
            wait_until(is_complete, "all messages at the central relay", seconds_max)
        except AssertionError as error:
            example = sorted(missing)[:3]
            raise AssertionError(f"{error}: {len(missing)} missing, such as {example}") from None
        return received(self.arrived)


def numbered(tag: str, count: int, *, start: int = 0) -> list[bytes]:
    """Messages from `tag` with consecutive numbers."""
    return [
        b"<13>1 2026-10-11T22:14:15.003Z web-1 %s - - - number %d" % (tag.encode(), number)
        for number in range(start, start + count)
    ]


def numbers(lines: Iterable[bytes], tag: str) -> list[int]:
    """The numbers of the messages from `tag`, in the order of `lines`."""
    return [
        int(line.rpartition(b" ")[2]) for line in lines if line.split(b" ")[3:4] == [tag.encode()]
    ]


def without_repetition(values: Iterable[int]) -> list[int]:
    """Each value where it stands first."""
    return list(dict.fromkeys(values))


def ascending_sequences(values: Sequence[int]) -> int:
    """Into how many ascending sequences `values` can be taken apart, at least."""
    ends: list[int] = []  # of the sequences so far, descending
    for value in values:
        for index, end in enumerate(ends):
            if end < value:
                ends[index] = value
                break
        else:
            ends.append(value)
    return len(ends)
