"""`syslogrelay send`: standard input to a relay, one message a line."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import click
from OpenSSL import SSL

from relay.cli.sending import LineReader, Outcome, send_datagrams, send_relp
from relay.model.message import FACILITY_NAMES, SEVERITY_NAMES
from relay.model.text import counted, size
from relay.service.configuration.keys import compose
from relay.service.configuration.model import TlsConfiguration, Url
from relay.service.destinations.streams import RELP, RELP_TLS
from relay.service.kinds import KINDS
from relay.service.relay_service import local_zone
from relay.service.sources.datagrams import UNIXGRAM
from relay.service.tls.files import file_problems, read_material, upstream_problems
from relay.transport.tls.blocking import TlsConnection
from relay.transport.tls.endpoints import TlsUpstream
from relay.wire.headers.rfc5424 import format_header, format_message
from relay.wire.headers.timestamp import format_epoch

_STANDARD_INPUT = 0
_LINE_BYTES_MAX = 256 * 1024
_OTHER_NAMES = {"emergency": "emerg", "panic": "emerg", "critical": "crit", "error": "err"}
_OTHER_NAMES |= {"warn": "warning", "security": "auth"}
_KINDS = {kind.scheme: kind for kind in (RELP, RELP_TLS, UNIXGRAM)}
"""The kinds of destinations that acknowledge, and of sources on this host."""
_FORMS = f"{RELP.scheme}://HOST:PORT, {RELP_TLS.scheme}://HOST:PORT or {UNIXGRAM.scheme}:///PATH"


def _tls_options(command: Callable[..., None]) -> Callable[..., None]:
    for option, words in (
        ("--server-name", "Name that the relay's certificate must carry."),
        ("--private-key-passphrase-file", "File whose first line is the passphrase of the key."),
        ("--private-key", "Key of the client certificate; PEM."),
        ("--certificate", "Client certificate, if the relay requires one; PEM."),
        ("--trusted-ca", "CAs that may sign its certificate; PEM."),
    ):
        metavar = "NAME" if option == "--server-name" else "FILE"
        command = click.option(option, metavar=metavar, default="", help=words)(command)
    return command


@click.command()
@click.option(
    "--to",
    required=True,
    metavar="URL",
    help=f"The relay: {_FORMS}.",
)
@_tls_options
@click.option("--tag", default="syslogrelay", show_default=True, help="Name of the sender.")
@click.option(
    "--pri",
    default="user.notice",
    show_default=True,
    metavar="FACILITY.SEVERITY",
    help="FACILITY.SEVERITY, or a number from 0 to 191.",
)
@click.option("--raw", is_flag=True, help="Lines are complete messages: send them unchanged.")
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0.1, 3600),
    metavar="SECONDS",
    help="Longest wait for the relay.",
)
def send(to: str, tag: str, pri: str, raw: bool, timeout: float, **tls_options: str) -> None:
    """Send standard input to a relay, one message per line.

    Each line becomes a message of RFC 5424 with this host's name, the process id
    of this command and the tag.  Over RELP the relay acknowledges each message once it is
    on disk, and this command waits for all acknowledgements.  With TLS the certificate of
    the relay is verified against --trusted-ca, or else the CAs of this system, and against
    the host of the URL, unless --server-name overrides it.

    Ends with status 0 if every message was accepted, and otherwise with 1 after a line on
    standard error with the number of those that were not.
    """
    try:
        url = _parse_to(to)
        upstream = _tls_upstream(url, tls_options)
        message_of = bytes if raw else partial(_message, read_pri(pri), tag.encode())
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    lines = LineReader(_STANDARD_INPUT, message_of, line_bytes_max=_LINE_BYTES_MAX)
    try:
        outcome = _deliver(url, upstream, lines, timeout)
    except OSError as error:
        click.echo(
            f"nothing was sent: cannot connect to {url}: {error.strerror or error}", err=True
        )
        raise SystemExit(1) from None
    if lines.truncated:
        cut = counted(lines.truncated, "line")
        click.echo(f"{cut} cut to {size(_LINE_BYTES_MAX)}", err=True)
    if outcome.problem or outcome.taken != lines.count:
        click.echo(_not_taken(url, lines, outcome), err=True)
        raise SystemExit(1)


def _not_taken(url: Url, lines: LineReader, outcome: Outcome) -> str:
    """Report the messages that were not accepted."""
    problem = outcome.problem + _remedy(url, outcome)
    if not lines.count:
        return f"nothing was sent: {problem}"
    missing = lines.count - outcome.taken
    were = "was" if missing == 1 else "were"
    rest = "" if lines.ended else "; the rest of the input was not read"
    of = counted(lines.count, "message")
    return f"{missing:,} of {of} {were} not taken: {problem}{rest}"


def _remedy(url: Url, outcome: Outcome) -> str:
    is_plain = url.scheme == RELP.scheme
    secured = str(replace(url, scheme=RELP_TLS.scheme)) if is_plain else ""
    if outcome.timed_out and outcome.opened:
        return (
            "; the receiver has answered the open, but not the messages; look at "
            "`syslogrelay status` there"
        )
    if outcome.timed_out:  # a relay that stores nothing reads nothing, not even the open
        return (
            "; the receiver took the connection, but did not answer the open: it may not be "
            "accepting messages, so look at `syslogrelay status` there"
            + (f"; if it speaks TLS there, write {secured}" if secured else "")
        )
    return f"; if it speaks TLS there, write {secured}" if secured and not outcome.opened else ""


def read_pri(text: str) -> int:
    """The number of ``facility.severity``, or of a number.

    Raises:
        ValueError: It is neither; the text says what is allowed.
    """
    if text.isascii() and text.isdecimal() and int(text) <= 191:
        return int(text)
    facility, _, severity = text.lower().partition(".")
    facility = _OTHER_NAMES.get(facility, facility)
    severity = _OTHER_NAMES.get(severity, severity)
    if facility in FACILITY_NAMES and severity in SEVERITY_NAMES:
        return FACILITY_NAMES.index(facility) * 8 + SEVERITY_NAMES.index(severity)
    raise ValueError(
        f"--pri: expected a number from 0 to 191 or FACILITY.SEVERITY, found {text!r}; facilities "
        f"are {', '.join(FACILITY_NAMES)}; severities are {', '.join(SEVERITY_NAMES)}"
    )


def _parse_to(text: str) -> Url:
    kind = _KINDS.get(text.partition(":")[0].lower())
    try:
        url = KINDS.url(text, "listen" if kind is UNIXGRAM else "connect", base_dir=os.getcwd())
    except ValueError as error:
        raise ValueError(f"--to: {error}") from None
    if kind is None:
        raise ValueError(f"--to: {url.scheme} does not acknowledge messages; write {_FORMS}")
    return url


def _tls_upstream(url: Url, options: Mapping[str, str]) -> TlsUpstream | None:
    """The TLS settings for `url`; None without TLS.

    Raises:
        ValueError: The options do not fit, or their files cannot be used.
    """
    given = {key: value for key, value in options.items() if value}
    if url.scheme != RELP_TLS.scheme:
        if given:
            flags = ", ".join(map(_flag, given))
            raise ValueError(
                f"{flags}: has no meaning without TLS; write {RELP_TLS.scheme}://HOST:PORT"
            )
        return None
    name = given.pop("server_name", "")
    files = {key: os.path.abspath(path) for key, path in given.items()}
    tls = compose(TlsConfiguration, {**files, "server_name": name})
    if problems := [*upstream_problems(tls, _flag), *file_problems(tls, _flag)]:
        raise ValueError("; ".join(problems))
    try:
        return TlsUpstream(read_material(tls), server_name=name or url.host)
    except SSL.Error as error:
        raise ValueError(f"OpenSSL does not take these files: {error}") from None


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _deliver(
    url: Url, upstream: TlsUpstream | None, lines: LineReader, seconds_max: float
) -> Outcome:
    if url.path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
            local.connect(url.path)
            return send_datagrams(local, lines, seconds_max=seconds_max)
    with socket.create_connection((url.host, url.port), timeout=seconds_max) as connection:
        if upstream is None:
            return send_relp(connection, lines, seconds_max=seconds_max)
        secured = TlsConnection(connection, upstream)
        secured.handshake()
        outcome = send_relp(secured, lines, seconds_max=seconds_max)
        secured.close()
        return outcome


def _message(pri: int, tag: bytes, line: bytes, *, now: Callable[[], float] = time.time) -> bytes:
    header = format_header(
        pri,
        format_epoch(now(), local_zone()),
        socket.gethostname().encode(),
        tag,
        b"%d" % os.getpid(),
        None,
        None,
    )
    return format_message(header, line)
