"""Ask an HTTP server with a request that brings no message, and compare the clocks."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPException, parse_headers

from relay.model.text import printable
from relay.service.probes.probe import Probe
from relay.service.probes.upstream import Connection, Upstream, heard, tls_finding
from relay.transport.tls.blocking import TlsBroken
from relay.wire.http.answers import Answer, Fate, read_any, verdicts_of

_ANSWER_BYTES_MAX = 64 * 1024
_CLOCK_SECONDS_MAX = 5.0
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r\n")
_NO_SUCH_METHOD = (405, 501)
"""Of a server that is there and takes other requests: those with messages."""


class Asking:
    """Greets one server.

    Args:
        method: With `path`, what is asked for; the body is empty.
        headers: Those of the destination's requests, with the authorization.
        secrets: What is masked in what the server says.
        health: Path where the server says whether it takes anything at present; empty = nowhere.
    """

    def __init__(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        secrets: tuple[bytes, ...] = (),
        *,
        health: str = "",
    ) -> None:
        self._method = method
        self._path = path
        self._health = health
        self._headers = headers
        self._secrets = secrets

    def __call__(self, probe: Probe, upstream: Upstream, connection: Connection) -> None:
        began = time.monotonic()
        try:
            data = _asked(connection, self._request(upstream), probe.seconds_max)
        except TlsBroken as error:
            probe.findings.append(tls_finding(upstream, error))
            return
        answer = _parsed(data)
        if answer is None:
            self._no_answer(probe, upstream, data)
            return
        milliseconds = (time.monotonic() - began) * 1000
        self._judge(
            probe, f"{upstream.place} answers {answer.status} in {milliseconds:.1f} ms", answer
        )
        _compare_clocks(probe, answer)
        if self._health:
            self._ask_health(probe, upstream)

    def _request(self, upstream: Upstream, method: str = "", path: str = "") -> bytes:
        # Of HTTP/1.0, so that the answer ends with the connection and has no chunks.
        method = method or self._method
        lines = [f"{method} {path or self._path} HTTP/1.0", f"Host: {upstream.url.host}"]
        lines += [f"{name}: {value}" for name, value in self._headers.items()]
        if method == "POST":
            lines.append("Content-Length: 0")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")

    def _ask_health(self, probe: Probe, upstream: Upstream) -> None:
        """Whether the server takes anything at present; a proxy before it may hide that."""
        request = self._request(upstream, "GET", self._health)
        try:
            with upstream.connected(probe.seconds_max) as connection:
                answer = _parsed(_asked(connection, request, probe.seconds_max))
        except OSError:
            return
        if answer is None or (answer.status != 200 and not answer.is_server_error):
            return
        (verdict,) = verdicts_of(answer, 1, read_any)
        text = f"{upstream.place} answers {answer.status} to GET {self._health}"
        if not answer.is_server_error:
            probe.passed("health", text)
            return
        remedy = "it runs, but takes nothing: see whether its queues or its disk are full"
        shown = f"{text}: {self._masked(verdict.reason)}"
        probe.warn("health", "http-not-ready", shown, remedy)

    def _judge(self, probe: Probe, text: str, answer: Answer) -> None:
        (verdict,) = verdicts_of(answer, 1, read_any)
        shown = f"{text}: {self._masked(verdict.reason)}" if verdict.reason else text
        is_other = self._method != "POST" and answer.status in _NO_SUCH_METHOD
        if verdict.fate is Fate.RETRY:
            probe.warn("request", *_trouble_of(answer.status, shown))
        elif verdict.fate is not Fate.HOLD or is_other:
            probe.passed("request", text)
        elif verdict.cause == "unknown token":
            probe.fail("request", "token-unknown", shown, "compare the token with the app's")
        else:
            probe.fail("request", *_refusal_of(answer.status, shown))

    def _no_answer(self, probe: Probe, upstream: Upstream, data: bytes) -> None:
        if data:
            what = f"answers {self._masked(printable(data, length_max=60))!r}, which is no HTTP"
        else:
            what = "does not answer a request"
        probe.fail(
            "request",
            "http-no-answer",
            f"{upstream.place} {what}",
            "is this a port for TLS, or for syslog? else see the log of the server",
        )

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret.decode("latin-1"), "****")
        return text


def _trouble_of(status: int, shown: str) -> tuple[str, str, str]:
    """The fault, with its cause and remedy, of a server that may answer otherwise later."""
    if status == 429:
        remedy = "it limits requests: raise its limit, or set requests_max or drain_rate lower"
        return "http-too-many", f"{shown}; it wants fewer requests", remedy
    if status in (502, 504):
        remedy = "a proxy answers for a server that it does not reach: see whether that one runs"
        return "http-down", shown, remedy
    remedy = "see the log of the server; the relay tries again until it takes messages"
    return "http-busy", shown, remedy


def _refusal_of(status: int, shown: str) -> tuple[str, str, str]:
    """The same of one that refuses what it is asked."""
    if status == 401:
        remedy = "compare user, password_file, api_key_file or token_file with the server's"
        return "http-unauthorised", f"{shown}; it does not know who asks", remedy
    if status == 403:
        remedy = "allow it to write there, or compare token_file or api_key_file with the server's"
        return "http-forbidden", f"{shown}; who asks may not do that", remedy
    if status == 404:
        return "http-not-found", shown, "compare the path and `body`; does the index exist?"
    return "http-refused", shown, "change the URL, or the server"


def _asked(connection: Connection, request: bytes, seconds_max: float) -> bytes:
    """What the server answers; empty = nothing.  TlsBroken: TLS has failed."""
    try:
        connection.sendall(request)
        return _answered(connection, seconds_max)
    except TlsBroken:
        raise
    except OSError:
        return b""


def _answered(connection: Connection, seconds_max: float) -> bytes:
    """All that comes until the other end closes, up to a limit."""
    deadline = time.monotonic() + seconds_max
    data = b""
    while len(data) < _ANSWER_BYTES_MAX:
        chunk = heard(connection, deadline - time.monotonic())
        if not chunk:
            break
        data += chunk
        if data.startswith(b"HTTP/") and _is_whole(data):
            break
    return data


def _is_whole(data: bytes) -> bool:
    """Whether the answer says how long it is, and is; not all servers close."""
    head, end, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *([0-9]{1,9})", head, re.IGNORECASE)
    return bool(end and length and len(body) >= int(length[1]))


def _parsed(data: bytes) -> Answer | None:
    """None = that is no answer of HTTP."""
    found = _STATUS.match(data)
    if found is None:
        return None
    head, _, body = data[found.end() :].partition(b"\r\n\r\n")
    try:
        headers = parse_headers(io.BytesIO(head + b"\r\n\r\n"))
    except HTTPException:
        return None
    return Answer(int(found[1]), {name.lower(): text for name, text in headers.items()}, body)


def _compare_clocks(probe: Probe, answer: Answer) -> None:
    try:
        told = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return
    ahead = time.time() - told
    if abs(ahead) <= _CLOCK_SECONDS_MAX:
        probe.passed("clock", "this clock and the server's agree within 5 seconds")
        return
    which = "ahead of" if ahead > 0 else "behind"
    probe.warn(
        "clock",
        "clock-differs",
        f"this clock is {abs(ahead):,.0f} s {which} the server's",
        "synchronise both, as with chrony or systemd-timesyncd: `timedatectl`",
    )
