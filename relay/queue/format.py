"""The format of a queue: where it is written, and how an older one becomes the present one.

`meta` has the format under the key ``format``.  `MIGRATIONS` says for each older format
what has to be changed, and which format that makes; a queue goes through as many of them
as it needs.  Each is done in one transaction together with the new number, so after a
crash the queue has one format or the other, never half of one.  Format 1 is the first,
so the table is empty.

What such a change is for: other names, other keys, a ledger with fields that have to be
worked out.  What it is not for: values that are there in great number.  Those carry a
version of their own (`block.py`), and the reader has to know the old one for as long as
there may be some.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from relay.model.errors import QueueFormatError

__all__ = [
    "FORMAT",
    "MIGRATIONS",
    "Migration",
    "is_older",
    "migrate",
    "put_format",
    "refuse_format",
]

FORMAT = b"1"


@dataclass(frozen=True, slots=True)
class Migration:
    """How to get from one format to the next."""

    to: bytes
    change: Callable[[Any, Any], None]
    """Called with the environment and a write transaction, which it must not end."""


MIGRATIONS: Mapping[bytes, Migration] = {}
"""By the format that is there.  Whoever makes format 2 puts ``b"1"`` here."""


def put_format(environment: Any, txn: Any, number: bytes = FORMAT) -> None:
    """Say in the transaction `txn` that the environment is a queue of format `number`."""
    txn.put(b"format", number, db=environment.open_db(b"meta", txn=txn))


def is_older(
    number: bytes, known: bytes = FORMAT, migrations: Mapping[bytes, Migration] = MIGRATIONS
) -> bool:
    """Whether there is a way from the format `number` to the one that is `known`."""
    seen = {known}
    while number in migrations and number not in seen:
        seen.add(number)
        number = migrations[number].to
    return number == known and len(seen) > 1


def migrate(
    environment: Any,
    number: bytes,
    known: bytes = FORMAT,
    migrations: Mapping[bytes, Migration] = MIGRATIONS,
) -> None:
    """Bring a queue of the older format `number` to the one that is `known`, step by step."""
    while number != known:
        step = migrations[number]
        with environment.begin(write=True) as txn:
            step.change(environment, txn)
            put_format(environment, txn, step.to)
        number = step.to


def refuse_format(path: str, number: bytes, *, read_only: bool = False) -> QueueFormatError:
    """Why the queue in `path` is not opened, and what to do."""
    name = number.decode("ascii", "replace")
    known = FORMAT.decode()
    if read_only and is_older(number):
        return QueueFormatError(
            f"queue {path} has format {name!r} of an older version, this one knows format "
            f"{known!r}; start the relay once, which brings it to that"
        )
    newer = number.isdigit() and int(number) > int(FORMAT)
    whose = "of a newer version; " if newer else ""
    return QueueFormatError(
        f"queue {path} has format {name!r}, {whose}this version knows format {known!r} only; it "
        "was left as it is: use the version that made it; to go back to this one for good, let "
        "that one deliver the queue, or write it out there with `syslogrelay queue export`, then "
        "move the directory away"
    )
