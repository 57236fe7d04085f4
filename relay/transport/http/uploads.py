"""Records as requests, and answers as verdicts on records."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from twisted.internet.defer import Deferred

from relay.model.clock import Now
from relay.model.errors import UpstreamError
from relay.model.token import redacted_secret
from relay.queue.committer import RunInThread
from relay.transport.http.requests import RequestFailed
from relay.wire.http.answers import NO_CREDENTIALS, Answer, Fate, Read, Verdict, verdicts_of
from relay.wire.http.bodies import Encode, Record

_GZIP_WINDOW_BITS = 31  # zlib's own number for gzip with the largest window


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of the records of one request."""

    verdicts: list[Verdict]
    """One for each record, in order."""
    pause: float = 0.0
    """Seconds that the server wants to be left alone; 0 = it says nothing."""
    server: str = ""
    """Its name; empty = none was asked."""
    moves: bool = False
    """The server has failed, and another one may be asked at once."""


class Server(Protocol):
    """One of the servers that requests may go to."""

    @property
    def name(self) -> str: ...

    @property
    def has_others(self) -> bool:
        """Whether another one is there that is not in trouble, after this one has failed."""

    def post(self, body: bytes, headers: Mapping[str, str]) -> Deferred[Answer]:
        """See `Requests.post`."""


class Servers(Protocol):
    def choose(self) -> Server:
        """The one for the next request."""

    def close(self) -> None:
        """End the connections that no request uses."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What shows the server who sends."""

    headers: Mapping[str, str]
    secrets: Sequence[bytes] = ()
    """To be masked in what the server says."""
    index: bytes = b""
    """The index of records that have none, where it is a secret."""


class Uploads:
    """Brings records to servers that have the same documents.

    Args:
        compress: gzip, zstd or none.
        credentials: Asked before each request, so that files may change; UpstreamError says
            what is wrong.
        headers: Of all requests.
    """

    def __init__(
        self,
        servers: Servers,
        *,
        encode: Encode,
        read: Read,
        compress: str,
        credentials: Callable[[], Credentials],
        headers: Mapping[str, str],
        run_in_thread: RunInThread,
        now: Now,
    ) -> None:
        self._servers = servers
        self._encode = encode
        self._read = read
        self._compress = _COMPRESS.get(compress)
        encoding = {} if self._compress is None else {"Content-Encoding": compress}
        self._headers = {**headers, **encoding}
        self._credentials = credentials
        self._run_in_thread = run_in_thread
        self._now = now

    def send(self, records: Sequence[Record]) -> Deferred[Outcome]:
        """Send `records` in one request; fails with nothing but CancelledError."""
        return Deferred.fromCoroutine(self._send(records))

    def close(self) -> None:
        """End the connections; requests in progress are the caller's to cancel."""
        self._servers.close()

    async def _send(self, records: Sequence[Record]) -> Outcome:
        try:
            credentials = self._credentials()
        except UpstreamError as error:
            return _same(records, Verdict(Fate.HOLD, NO_CREDENTIALS, str(error)))
        if credentials.index:
            records = [
                each if each.index else replace(each, index=credentials.index) for each in records
            ]
        body = self._encode(records, self._now())
        if self._compress is not None:
            compress, data = self._compress, body
            body = await self._run_in_thread(lambda: compress(data))
        server = self._servers.choose()
        try:
            answer = await server.post(body, {**self._headers, **credentials.headers})
        except RequestFailed as error:
            failed = _same(records, Verdict(Fate.RETRY, error.cause, str(error)))
            return replace(failed, server=server.name, moves=server.has_others)
        verdicts = verdicts_of(answer, len(records), self._read)
        masked = [_masked(verdict, credentials.secrets) for verdict in verdicts]
        is_failure = answer.is_server_error and verdicts[0].fate is Fate.RETRY
        moves = is_failure and server.has_others
        return Outcome(masked, answer.retry_after(self._now()), server.name, moves)


def _same(records: Sequence[Record], verdict: Verdict) -> Outcome:
    return Outcome([verdict] * len(records))


def _masked(verdict: Verdict, secrets: Sequence[bytes]) -> Verdict:
    reason = verdict.reason
    for secret in secrets:
        reason = reason.replace(secret.decode("ascii", "replace"), redacted_secret(secret))
    if reason is verdict.reason:
        return verdict
    return replace(verdict, reason=reason)


def _gzip(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=_GZIP_WINDOW_BITS)
    return compressor.compress(data) + compressor.flush()


def _zstd(data: bytes) -> bytes:
    import zstandard  # many relays need none

    return zstandard.ZstdCompressor().compress(data)


_COMPRESS: Mapping[str, Callable[[bytes], bytes]] = {"zstd": _zstd, "gzip": _gzip}
COMPRESSIONS = tuple(_COMPRESS)
"""Names of content codings (RFC 9110 §8.4.1, RFC 8878)."""
