"""Send less: drop, take a sample, limit the rate, say repeats only once.

Everything dropped here is counted under a reason.  Senders choose host names and
texts, so long ones are remembered as digests: 10,000 senders cost a few MiB.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

from relay.codec.messages import Messages
from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.rewrite.conditions import Condition, fitting
from relay.rewrite.drops import Drops
from relay.rewrite.steps.changes import Template
from relay.rewrite.steps.pipeline import Change, per_message
from relay.wire.headers.hostname import HOSTNAME_BYTES_MAX
from relay.wire.headers.rfc5424 import APP_NAME_BYTES_MAX, PROCID_BYTES_MAX

_BUCKETS_MAX = 10_000
_KEY_BYTES_MAX = 64  # a longer one is remembered as its digest
_DIGEST_BYTES = 16


def drop(reason: str, drops: Drops) -> Change:
    """Drop everything, under `reason`."""

    def change(messages: Sequence[SyslogMessage], origin: Origin) -> list[None]:
        drops.drop(reason, messages, origin.peer)
        return [None] * len(messages)

    return change


def sample(one_of: int, drops: Drops) -> Change:
    """Let the first of every `one_of` messages pass; reason ``sampled``."""
    seen = 0

    def change(message: SyslogMessage) -> SyslogMessage | None:
        nonlocal seen
        seen = (seen + 1) % one_of
        if seen == 1 % one_of:
            return message
        drops.drop("sampled", [message])
        return None

    return per_message(change)


def limit_rate(
    rate_max: float, burst: float, drops: Drops, *, per: Template | None = None
) -> Change:
    """A token bucket: drop what comes faster; reason ``rate-limit``.

    Args:
        rate_max: Messages per second.
        burst: Messages that may come at once after a silence, at least 1.
        per: One bucket for each of its values; the 10,000 used last are kept, and
            one that is forgotten begins anew, full.
    """
    buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # tokens, and when

    def passes(key: bytes, now: float) -> bool:
        key = short_key(key)
        tokens, since = buckets.pop(key, (burst, now))
        tokens = min(burst, tokens + (now - since) * rate_max)
        enough = tokens >= 1
        buckets[key] = (tokens - 1 if enough else tokens, now)
        if len(buckets) > _BUCKETS_MAX:
            buckets.popitem(last=False)
        return enough

    def change(messages: Sequence[SyslogMessage], origin: Origin) -> list[SyslogMessage | None]:
        keys = per(messages, origin) if per is not None else [b""] * len(messages)
        passed = [passes(key, origin.monotonic_at) for key in keys]
        each = list(zip(messages, passed, strict=True))
        drops.drop("rate-limit", [message for message, passes in each if not passes], origin.peer)
        return [message if passes else None for message, passes in each]

    return change


class RepeatSuppression:
    """Messages that only repeat the one before become one that says how many.

    Two messages are the same when host, program, process, priority and MSG are.  The
    first passes at once.  ``last message repeated N times`` follows, as a message of
    its own from the same program, when a different message comes from that host,
    when the repeats have gone on for `seconds_max`, or when `flush` is called after
    that time.  What it stands for is counted as dropped; reason ``repeated``.

    Args:
        condition: Which messages this looks at; others pass and interrupt nothing.
        seconds_max: Longest time that repeats are held back.
    """

    def __init__(self, condition: Condition, seconds_max: float, drops: Drops) -> None:
        self._condition = condition
        self._seconds_max = seconds_max
        self._drops = drops
        # By host: the message, its digest, how often it was held back, and since when.
        self._last: OrderedDict[bytes, tuple[SyslogMessage, bytes, int, float]] = OrderedDict()

    def __call__(
        self, messages: Sequence[SyslogMessage], origin: Origin
    ) -> Sequence[SyslogMessage]:
        """The stage."""
        fits = frozenset(fitting(self._condition(origin), Messages(messages)))
        passed: list[SyslogMessage] = []
        for index, message in enumerate(messages):
            if index in fits:
                self._take(message, origin, passed)
            else:
                passed.append(message)
        return passed

    def flush(self, now: float) -> list[SyslogMessage]:
        """What is due at `now`: say it, and go on counting from zero."""
        due = []
        for host, (last, _, count, since) in list(self._last.items()):
            if count and now - since >= self._seconds_max:
                due.append(_summary(last, count))
                del self._last[host]
        return due

    def _take(self, message: SyslogMessage, origin: Origin, passed: list[SyslogMessage]) -> None:
        host = message.hostname or origin.peer_host.encode("ascii", "replace")
        key, digest = short_key(host), _digest_of(message)
        now = origin.monotonic_at
        last, known, count, since = self._last.pop(key, (None, b"", 0, now))
        if last is not None and known == digest:
            self._drops.drop("repeated", [message], origin.peer)
            count += 1
            since = now if count == 1 else since
            if now - since >= self._seconds_max:
                passed.append(_summary(last, count))
                count = 0
            self._last[key] = (last, digest, count, since)
            return
        if last is not None and count:
            passed.append(_summary(last, count))
        passed.append(message)
        self._last[key] = (_remembered(message, host), digest, 0, now)
        if len(self._last) > _BUCKETS_MAX:
            _, (oldest, _, count, _) = self._last.popitem(last=False)
            if count:
                passed.append(_summary(oldest, count))


def _remembered(message: SyslogMessage, host: bytes) -> SyslogMessage:
    """Enough of the last message of a host to sum up its repeats: of each field as much as a
    header of RFC 5424 may hold, and no stamp; the summary gets that of its sending."""
    return SyslogMessage(
        facility=message.facility,
        severity=message.severity,
        version=0,
        timestamp=None,
        hostname=host[:HOSTNAME_BYTES_MAX] or None,
        app_name=message.app_name and message.app_name[:APP_NAME_BYTES_MAX],
        procid=message.procid and message.procid[:PROCID_BYTES_MAX],
        msgid=None,
        structured_data=None,
        msg=b"",
        raw=b"",
        app=message.app,
    )


def _summary(last: SyslogMessage, count: int) -> SyslogMessage:
    text = b"last message repeated %d %s" % (count, b"time" if count == 1 else b"times")
    return last._replace(msg=text, raw=b"<%d>%s" % (last.pri, text))


def _digest_of(message: SyslogMessage) -> bytes:
    """Equal for messages of the same host, program, process, priority and MSG."""
    fields = (message.hostname, message.app_name, message.procid)
    # Lengths first, or text could move from one field to the next unnoticed.
    lengths = [-1 if field is None else len(field) for field in fields]
    digest = hashlib.blake2b(repr((message.pri, lengths)).encode(), digest_size=_DIGEST_BYTES)
    for field in (*fields, message.msg):
        digest.update(field or b"")
    return digest.digest()


def short_key(key: bytes) -> bytes:
    """`key`, or a digest of it: what senders choose must not be remembered at its length."""
    if len(key) <= _KEY_BYTES_MAX:
        return key
    return hashlib.blake2b(key, digest_size=_DIGEST_BYTES).digest()
