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
    """

    def __init__(
        self, method: str, path: str, headers: Mapping[str, str], secrets: tuple[bytes, ...] = ()
    ) -> None:
        self._method = method
        self._path = path
        self._headers = headers
        self._secrets = secrets

    def __call__(self, probe: Probe, upstream: Upstream, connection: Connection) -> None:
        began = time.monotonic()
        try:
            connection.sendall(self._request(upstream))
            data = _answered(connection, probe.seconds_max)
        except TlsBroken as error:
            probe.findings.append(tls_finding(upstream, error))
            return
        except OSError:
            data = b""
        answer = _parsed(data)
        if answer is None:
            self._no_answer(probe, upstream, data)
            return
        milliseconds = (time.monotonic() - began) * 1000
        self._judge(
            probe, f"{upstream.place} answers {answer.status} in {milliseconds:.1f} ms", answer
        )
        _compare_clocks(probe, answer)

    def _request(self, upstream: Upstream) -> bytes:
        # Of HTTP/1.0, so that the answer ends with the connection and has no chunks.
        lines = [f"{self._method} {self._path} HTTP/1.0", f"Host: {upstream.url.host}"]
        lines += [f"{name}: {value}" for name, value in self._headers.items()]
        if self._method == "POST":
            lines.append("Content-Length: 0")
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")

    def _judge(self, probe: Probe, text: str, answer: Answer) -> None:
        (verdict,) = verdicts_of(answer, 1, read_any)
        shown = f"{text}: {self._masked(verdict.reason)}" if verdict.reason else text
        is_other = self._method != "POST" and answer.status in _NO_SUCH_METHOD
        if verdict.fate is Fate.RETRY:
            remedy = "see the log of the server; the relay tries again until it takes messages"
            probe.warn("request", "http-busy", shown, remedy)
        elif verdict.fate is not Fate.HOLD or is_other:
            probe.passed("request", text)
        elif verdict.cause == "unknown token":
            probe.fail("request", "token-unknown", shown, "compare the token with the app's")
        elif answer.status in (401, 403):
            remedy = "compare user, password_file, api_key_file or token_file with the server's"
            probe.fail("request", "http-unauthorised", shown, remedy)
        elif answer.status == 404:
            probe.fail("request", "http-not-found", shown, "compare the path and `body`")
        else:
            probe.fail("request", "http-refused", shown, "change the URL, or the server")

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
