"""Related messages become one.

Members of a group that is not complete are in memory, and on disk as `positions` of the queue: the
transaction that would have stored a message stores it as a member, and the one that stores the
group forgets its members.  So senders are answered as always, and a crash loses no member.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import msgspec

from relay.codec.messages import Messages
from relay.model.hops import longer_hops
from relay.model.message import JsonText, SyslogMessage
from relay.model.origin import Origin
from relay.rewrite.conditions import Condition, fitting
from relay.rewrite.drops import Drops
from relay.rewrite.steps.changes import Template
from relay.rewrite.steps.sampling import short_key
from relay.wire.hops import HOPS_NAME, hops_of

RECORDS_NAME = ".group.records"
"""The pair that says how many messages one stands for."""
GROUPED = "grouped"
"""The reason under which a group counts its members but one."""
_GROUP_BYTES_MAX = 256 * 1024
_BYTES_MAX = 16 * 2**20
_GROUPS_MAX = 10_000
_MESSAGE_BYTES = 200  # what one takes beside its texts

_Pairs = dict[str, tuple[bool, bytes]]
"""Pairs of a member as they are stored: whether a value is a `JsonText`, and the value."""


@dataclass(slots=True, eq=False)
class _Group:
    """A group that is not complete."""

    number: int
    since: float
    members: list[SyslogMessage] = field(default_factory=list)
    bytes: int = 0
    blobs: int = 0
    """Positions that hold members."""
    unsaved: int = 0
    """Members at the end that no position holds."""

    def add(self, message: SyslogMessage) -> int:
        """Add a member; return the memory that it takes."""
        self.members.append(message)
        pairs = message.pairs or {}
        texts = (message.msg, message.raw, message.structured_data or b"", *pairs.values())
        size = _MESSAGE_BYTES + sum(map(len, texts)) + sum(map(len, pairs))
        self.bytes += size
        return size

    def merged(self) -> SyslogMessage:
        """One message: the first, with the MSG of all, joined with LF, the pairs and tags of all,
        and the highest severity."""
        members = self.members
        pairs = {name: value for each in members for name, value in (each.pairs or {}).items()}
        pairs[HOPS_NAME] = reduce(
            longer_hops, [(each.pairs or {}).get(HOPS_NAME, b"") for each in members]
        )
        return members[0]._replace(
            severity=min(each.severity for each in members),
            msg=b"\n".join([each.msg for each in members]),
            pairs={**pairs, RECORDS_NAME: JsonText(b"%d" % len(members))},
            tags=tuple(dict.fromkeys(tag for each in members for tag in each.tags)),
        )


class GroupBy:
    """A stage that makes one message of those with the same key.

    A group is complete with a message that fits `end`, with `records_max` messages, `seconds_max`
    after its first one, and at 256 KiB; and the oldest one when more than 10,000 groups or 16 MiB
    wait.

    Args:
        number: Which one this is among those of its pipeline.
        condition: Which messages this groups; others pass.
        end: None = no message ends a group.
    """

    def __init__(
        self,
        number: int,
        condition: Condition,
        key: Template,
        *,
        end: Condition | None,
        seconds_max: float,
        records_max: int,
        drops: Drops,
    ) -> None:
        self._number = number
        self._condition = condition
        self._key = key
        self._end = end
        self._seconds_max = seconds_max
        self._records_max = records_max
        self._drops = drops
        self._groups: dict[bytes, _Group] = {}  # the oldest first
        self._bytes = 0
        self._next = 0  # number of the next group
        self._touched: dict[_Group, None] = {}  # with members that no position holds
        self._ended: list[_Group] = []

    def __call__(
        self, messages: Sequence[SyslogMessage], origin: Origin
    ) -> Sequence[SyslogMessage]:
        """The stage."""
        fits = fitting(self._condition(origin), Messages(messages))
        if not fits:
            return messages
        own = [messages[index] for index in fits]
        keys = dict(zip(fits, self._key(own, origin), strict=True))
        ends = frozenset(
            () if self._end is None else fitting(self._end(origin), Messages(messages))
        )
        passed: list[SyslogMessage] = self.flush(origin.monotonic_at)
        for index, message in enumerate(messages):
            if index in keys:
                message = _with_hops(message, hops_of(message, origin))
                passed += self._add(keys[index], message, origin.monotonic_at, index in ends)
            else:
                passed.append(message)
        return passed

    def flush(self, now: float) -> list[SyslogMessage]:
        """The groups whose time is over."""
        due = []
        while self._groups:
            key, group = next(iter(self._groups.items()))
            if now < group.since + self._seconds_max and now != math.inf:
                break
            due.append(self._complete(key))
        return due

    def _add(
        self, key: bytes, message: SyslogMessage, now: float, is_end: bool
    ) -> list[SyslogMessage]:
        """Add a message to its group; return the groups that are complete thereby."""
        key = short_key(key)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(self._next, now)
            self._next += 1
        self._bytes += group.add(message)
        group.unsaved += 1
        self._touched[group] = None
        complete = []
        if is_end or len(group.members) >= self._records_max or group.bytes > _GROUP_BYTES_MAX:
            complete.append(self._complete(key))
        while len(self._groups) > _GROUPS_MAX or self._bytes > _BYTES_MAX:
            complete.append(self._complete(next(iter(self._groups))))
        return complete

    def _complete(self, key: bytes) -> SyslogMessage:
        group = self._groups.pop(key)
        self._bytes -= group.bytes
        self._touched.pop(group, None)
        self._ended.append(group)
        self._drops[GROUPED] += len(group.members) - 1
        return group.merged()

    @property
    def waiting(self) -> int:
        """Members of all groups that are not complete."""
        return sum(len(group.members) for group in self._groups.values())

    def take_positions(self) -> dict[str, bytes]:
        """What the transaction that stores the results has to store of members since the last
        call: a name and the members, or nothing if they are to be forgotten."""
        positions: dict[str, bytes] = {}
        for group in self._ended:
            for blob in range(group.blobs):
                positions[f"{self._number}/{group.number}/{blob}"] = b""
        for group in self._touched:
            name = f"{self._number}/{group.number}/{group.blobs}"
            positions[name] = encode_members(group.members[-group.unsaved :])
            group.blobs += 1
            group.unsaved = 0
        self._ended.clear()
        self._touched.clear()
        return positions

    def restore(self, positions: Mapping[str, bytes], origin: Origin) -> list[str]:
        """Go on with the groups that a run before has left; their time begins anew.

        Args:
            positions: By name, also those of others.

        Returns:
            The names of those that are taken.
        """
        found: dict[int, dict[int, str]] = defaultdict(dict)
        for name in positions:
            number, at, blob = map(int, name.split("/"))
            if number == self._number:
                found[at][blob] = name
        for at, blobs in sorted(found.items()):
            group = _Group(at, origin.monotonic_at, blobs=max(blobs) + 1)
            for _, name in sorted(blobs.items()):
                for message in decode_members(positions[name]):
                    self._bytes += group.add(message)
            self._next = max(self._next, at + 1)
            if not group.members:  # all of it is damaged
                self._ended.append(group)
                continue
            key = short_key(self._key(group.members[:1], origin)[0])
            while key in self._groups:  # two groups that a new template does not tell apart
                key += b"\0"
            self._groups[key] = group
        return [name for blobs in found.values() for name in blobs.values()]


def _with_hops(message: SyslogMessage, hops: bytes) -> SyslogMessage:
    """A member, and among its pairs the relays that it has passed."""
    if not hops:
        return message
    return message._replace(pairs={**(message.pairs or {}), HOPS_NAME: hops})


def encode_members(messages: Sequence[SyslogMessage]) -> bytes:
    """Messages as a position."""
    pairs: list[_Pairs] = [
        {name: (isinstance(value, JsonText), bytes(value)) for name, value in each.pairs.items()}
        if each.pairs
        else {}
        for each in messages
    ]
    plain = [each._replace(pairs=None) for each in messages]
    return msgspec.msgpack.encode((plain, pairs))


def decode_members(position: bytes) -> list[SyslogMessage]:
    """The messages of a position; none if it is damaged."""
    if not position:
        return []
    try:
        messages, pairs = _DECODER.decode(position)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return []
    return [
        message._replace(pairs={name: _text(*value) for name, value in own.items()} or None)
        for message, own in zip(messages, pairs, strict=False)
    ]


def _text(is_json: bool, text: bytes) -> bytes:
    return JsonText(text) if is_json else text


_DECODER = msgspec.msgpack.Decoder(tuple[list[SyslogMessage], list[_Pairs]])
