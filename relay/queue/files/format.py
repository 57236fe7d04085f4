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

from relay.model.errors import QueueFormatError
from relay.queue.files.trees import Environment, WriteTransaction

FORMAT = b"1"


@dataclass(frozen=True, slots=True)
class Migration:
    """How to get from one format to the next."""

    to: bytes
    change: Callable[[Environment, WriteTransaction], None]
    """Called with the environment and a write transaction, which it must not end."""


MIGRATIONS: Mapping[bytes, Migration] = {}
"""By the format that is found.  A format 2 would add an entry for ``b"1"``."""


def make_queue(environment: Environment) -> None:
    """Make an empty queue of a new environment."""
    # One transaction: half of a new queue would be a foreign environment.
    with environment.begin(write=True) as txn:
        _put_format(environment, txn, FORMAT)


def is_older(
    number: bytes, known: bytes = FORMAT, migrations: Mapping[bytes, Migration] = MIGRATIONS
) -> bool:
    """Whether there is a way from the format `number` to the one that is `known`."""
    seen = {known}
    while number in migrations and number not in seen:
        seen.add(number)
        number = migrations[number].to
    return number == known and len(seen) > 1


def settle_format(
    environment: Environment, path: str, found: bytes | None, *, read_only: bool
) -> None:
    """Make sure that the format of the queue in `path`, which was `found`, is ours.

    Args:
        read_only: Change nothing.

    Raises:
        QueueFormatError: It is none that is known here.
    """
    if found is None:
        raise QueueFormatError(f"queue {path}: this LMDB environment is not a queue of syslogrelay")
    if found != FORMAT:
        if read_only or not is_older(found):
            raise refuse_format(path, found, read_only=read_only)
        migrate(environment, found)


def migrate(
    environment: Environment,
    number: bytes,
    known: bytes = FORMAT,
    migrations: Mapping[bytes, Migration] = MIGRATIONS,
) -> None:
    """Bring a queue of the older format `number` to the one that is `known`, step by step."""
    while number != known:
        step = migrations[number]
        with environment.begin(write=True) as txn:
            step.change(environment, txn)
            _put_format(environment, txn, step.to)
        number = step.to


def _put_format(environment: Environment, txn: WriteTransaction, number: bytes) -> None:
    txn.put(b"format", number, db=environment.open_db(b"meta", txn=txn))


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
