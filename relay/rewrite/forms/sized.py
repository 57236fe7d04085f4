"""Payloads above the size limit of an upstream: cut, split or dropped before they are queued.

The upstream would cut or refuse them, and nobody would know.  A cut keeps the header and, of a JSON
object, all members but the longest text, so the object stays one and keeps its token.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from relay.codec import Lines, total_bytes
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin
from relay.model.output import SizeLimit
from relay.model.text import counted
from relay.rewrite.drops import Drops
from relay.rewrite.forms.form import Form, messages_of_each
from relay.rewrite.forms.token import TOKEN_KEY, has_token
from relay.rewrite.json.text import find_object, json_string, text_of_string
from relay.wire.framing.charset import whole_characters

_ROOM_MIN = 8  # a piece has at least this part of the limit for text; JSON escapes take six bytes
_SPACES_MAX = 64

TOO_LONG = "too-long"
"""The reason for which they are dropped."""


class _Text(NamedTuple):
    """The text of a message that gives way."""

    text: bytes
    put: Callable[[bytes], SyslogMessage]
    """The message with a part of it instead."""


class Sized(Form):
    """A form whose payloads have at most the bytes of a limit.

    Args:
        form: Makes one payload of each message.
        drops: Where messages are counted that are dropped.
        on_long: Called with a text about those that were cut or split.

    Attributes:
        changed: How many messages were truncated, and split, by these two names.
    """

    def __init__(
        self, form: Form, limit: SizeLimit, *, drops: Drops, on_long: Callable[[str], None]
    ) -> None:
        self.changed: Counter[str] = Counter()
        self._form = form
        self._limit = limit
        self._drops = drops
        self._on_long = on_long

    def write(
        self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival
    ) -> Sequence[bytes]:
        """The payloads of lines, or of those at `indexes`, in their order."""
        payloads = self._form.write(lines, indexes, arrival)
        long = self._long(payloads)
        if not long:
            return payloads
        chosen = long if indexes is None else [indexes[at] for at in long]
        each = messages_of_each(lines, chosen, arrival)
        found = [(message, origin) for messages, origin in each for message in messages]
        return self._settled(payloads, dict(zip(long, found, strict=True)))

    def _long(self, payloads: Sequence[bytes]) -> list[int]:
        bytes_max = self._limit.bytes_max
        if total_bytes(payloads) <= bytes_max:
            return []
        return [at for at, payload in enumerate(payloads) if len(payload) > bytes_max]

    def _settled(
        self, payloads: Sequence[bytes], long: Mapping[int, tuple[SyslogMessage, Origin]]
    ) -> list[bytes]:
        settled: list[bytes] = []
        kept = 0
        for at, payload in enumerate(payloads):
            pieces = self._pieces(*long[at]) if at in long else [payload]
            kept += at in long and bool(pieces)
            settled += pieces
            if not pieces:
                message, origin = long[at]
                self._drops.drop(TOO_LONG, [message], origin.peer)
        if kept:
            how = "split" if self._limit.policy == "split" else "truncated"
            self.changed[how] += kept
            self._on_long(
                f"{counted(kept, 'message')} {how}: longer than {self._limit.bytes_max:,} bytes, "
                f"the limit of {self._limit.whose}"
            )
        return settled

    def _pieces(self, message: SyslogMessage, origin: Origin) -> list[bytes]:
        """The payloads of a message; none = there is no room for any of its text, or nobody wants
        a part of it."""
        splits = self._limit.policy == "split"
        if self._limit.policy == "drop":
            return []
        for text, put in _texts(message):
            pieces: list[bytes] = []
            while text:
                stop, piece = self._longest(text, put, origin)
                # Pieces that repeat a long header or large members would be many.
                enough = min(len(text), self._limit.bytes_max // _ROOM_MIN) if splits else 1
                if stop < enough:
                    pieces = []
                    break
                pieces.append(piece)
                text = text[stop:] if splits else b""
            if pieces:
                return pieces
        return []

    def _longest(
        self, text: bytes, put: Callable[[bytes], SyslogMessage], origin: Origin
    ) -> tuple[int, bytes]:
        """How much of `text` fits, and the payload with that."""
        bytes_max = self._limit.bytes_max

        def payload(size: int) -> bytes:
            part = whole_characters(text, size)
            return self._form.write_messages([put(part)], origin)[0]

        high = min(len(text), bytes_max)
        if high == len(text) and len(whole := payload(high)) <= bytes_max:
            return high, whole
        size = bisect_right(range(1, high + 1), bytes_max, key=lambda size: len(payload(size)))
        # The rest should not begin with a space: some forms take it for a separator.
        near = range(size, max(size - _SPACES_MAX, 0), -1)
        size = next((at for at in near if text[at : at + 1] != b" "), size)
        part = whole_characters(text, size)
        return len(part), payload(len(part)) if part else b""


def _texts(message: SyslogMessage) -> Iterator[_Text]:
    """What may give way: of a JSON object its longest text, or else MSG."""
    msg = message.msg
    found = find_object(msg) if b"{" in msg else None
    if found is not None:
        values = [bytes(raw) for name, raw in found.members.items() if name != TOKEN_KEY]
        strings = [value for value in values if value[:1] == b'"']
        longest = max(strings, key=len, default=b"")
        text = text_of_string(longest)
        if text:
            yield _Text(
                text,
                lambda part: message._replace(
                    msg=found.text.replace(longest, json_string(part), 1)
                ),
            )
        if has_token(message):
            return  # without the token in it, the message would go to another app
    yield _Text(msg, lambda part: message._replace(msg=part))
