"""Publishing numbered records to a distributed log.

A `Publisher` is what a client of Kafka or NATS looks like to the rest of the relay: the session of
a queue uses it, and so does a source that answers when the log has acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from relay.rewrite.forms.record_key import split_key, with_key
from relay.wire.headers.number_element import with_number


class Run(NamedTuple):
    """Records of one sender, in its order."""

    payloads: Sequence[bytes]
    """As queued: with the record key before each, if the destination's records have one."""
    lineage: str = ""
    """Of the numbers; empty = the records have none, and may come twice."""
    seqs: Sequence[int] = ()
    """The number of each payload, ascending."""
    prev: int = 0
    """The number before the first one in this session; 0 = this begins it."""
    sender: str = ""
    """Runs of the same sender keep their order among each other if they have no lineage."""


def with_numbers_in_text(run: Run) -> Run:
    """A run whose messages of RFC 5424 have their numbers in STRUCTURED-DATA; keys stay."""
    if not run.lineage:
        return run
    lineage = run.lineage.encode("ascii")
    payloads: list[bytes] = []
    for record, seq in zip(run.payloads, run.seqs, strict=True):
        if record[:1] != b"\0":
            payloads.append(with_number(record, lineage, seq))
            continue
        key, payload = split_key(record)
        payload = with_number(payload, lineage, seq)
        payloads.append(payload if key is None else with_key(key, payload))
    return run._replace(payloads=payloads)


class RecordRefused(Exception):
    """The log does not take one record of a run, and never will; the ones before it are stored.

    Nothing behind it in the run was sent, or all of it was given up.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index
        """Of the record in its run."""
        self.reason = reason
        """For people."""


class PublisherFailed(Exception):
    """The publisher is of no more use; another one has to send what it has not acknowledged."""


@dataclass(frozen=True, slots=True)
class PublisherEvents:
    """Calls of a publisher, in the reactor's thread."""

    on_state: Callable[[str, bool], object]
    """The state has changed: one line for people, and whether all is well."""
    on_remark: Callable[[str], object]
    """Something to warn of that does not change the state."""


class Publisher(Protocol):
    """Puts records into a log.  It lives until it fails or is closed.

    It retries by itself, however long the log is away; who watches the time ends it.
    """

    def publish(self, run: Run) -> Deferred[None]:
        """Send a run; runs of one lineage arrive in the order of the calls.

        Fires when the log has acknowledged all of it.  Fails with `RecordRefused` or
        `PublisherFailed`.
        """

    def close(self) -> Deferred[None]:
        """End it at once: what is in flight fails.  Fires when its thread has ended."""
