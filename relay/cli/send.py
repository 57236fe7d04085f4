"""`syslogrelay send`: standard input, or generated traffic, to a destination of any kind."""

from __future__ import annotations

import fcntl
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from datetime import tzinfo
from functools import partial
from itertools import islice

import click
from twisted.internet import task
from twisted.internet.defer import ensureDeferred

from relay.cli.one_destination import OneDestination, read_setting
from relay.cli.progress import Progress
from relay.cli.sending import Generated, Input, Lines, Outcome, Sending
from relay.cli.traffic import generator
from relay.model.clock import Reactor
from relay.model.message import FACILITY_NAMES, SEVERITY_NAMES
from relay.model.text import counted, size
from relay.service.configuration.tables.filter import FACILITIES, SEVERITIES
from relay.service.relay_service import local_zone
from relay.wire.headers.rfc5424 import format_header, format_message
from relay.wire.headers.timestamp import format_epoch

_STANDARD_INPUT = 0
_LINE_BYTES_MAX = 256 * 1024
_FACILITIES = {**FACILITIES, "security": FACILITIES["auth"]}
_TLS_OPTIONS = (
    ("--server-name", "Name that the receiver's certificate must carry."),
    ("--private-key-passphrase-file", "File whose first line is the passphrase of the key."),
    ("--private-key", "Key of the client certificate; PEM."),
    ("--certificate", "Client certificate, if the receiver requires one; PEM."),
    ("--trusted-ca", "CAs that may sign its certificate; PEM."),
)
_TLS_KEYS = {option.removeprefix("--").replace("-", "_"): option for option, _ in _TLS_OPTIONS}


def _tls_options(command: Callable[..., None]) -> Callable[..., None]:
    for option, text in _TLS_OPTIONS:
        metavar = "NAME" if option == "--server-name" else "FILE"
        command = click.option(option, metavar=metavar, default="", help=text)(command)
    return command


@click.command()
@click.option(
    "--to",
    required=True,
    metavar="URL",
    help="The receiver, as in `connect` of a configuration: relp://HOST:PORT, tcp://HOST:PORT, …",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A key of that kind of destination, as in docs/configuration.md; may be repeated.",
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
@click.option("--rate", default="", metavar="N/s", help="Most messages a second.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="Messages to send, then end.")
@click.option(
    "--traffic",
    type=click.Choice(generator.KINDS),
    help="Generate messages of this kind instead of reading them; needs --count.",
)
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0.1, 3600),
    metavar="SECONDS",
    help="Longest wait for the receiver.",
)
def send(
    to: str,
    settings: tuple[str, ...],
    rate: str,
    count: int | None,
    traffic: str | None,
    raw: bool,
    timeout: float,
    **options: str,
) -> None:
    """Send standard input, one message per line, to a receiver of any kind.

    Each line becomes a message of RFC 5424 with this host's name, the process id
    of this command and the tag, in the form that a relay would send to such a destination.
    Where the receiver acknowledges messages, as with relp, this command waits for all
    acknowledgements; elsewhere it says that they were handed to the kernel and not confirmed.
    With TLS the certificate of the receiver is verified against --trusted-ca, or else the CAs
    of this system, and against the host of the URL, unless --server-name overrides it.

    Ends with status 0 if every message was accepted, and otherwise with 1 after a line on
    standard error with the number of those that were not.
    """
    try:
        message_of = new_message(read_pri(options.pop("pri")), options.pop("tag").encode())
        if traffic and count is None:
            raise ValueError("--traffic: needs --count, or it would never end")
        if not traffic:
            _check_input()
        rate_max = read_rate(rate) if rate else None
        given: dict[str, object] = {key: value for key, value in options.items() if value}
        given |= dict(map(read_setting, settings))
        destination = OneDestination(to, given, flag=_flag, zone=local_zone())
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    progress = Progress(count or 0)

    def new_input(reactor: Reactor) -> Input:
        if traffic:
            return Generated(_generated(traffic, count), reactor=reactor)
        return Lines(
            _STANDARD_INPUT,
            bytes if raw else message_of,
            line_bytes_max=_LINE_BYTES_MAX,
            count_max=count,
            reactor=reactor,
        )

    _finish(*_deliver(destination, new_input, progress, rate=rate_max, seconds_max=timeout))


def _check_input() -> None:
    """Make sure that standard input is there.

    Where it is closed, its descriptor would become another one's, such as the reactor's.

    Raises:
        ValueError: It is closed, or open for writing only.
    """
    if sys.stdin is None:  # Python found it closed
        raise ValueError("standard input is closed; pipe messages into this command")
    if fcntl.fcntl(_STANDARD_INPUT, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
        raise ValueError("standard input is open for writing only; write `< FILE`, not `0> FILE`")


def _flag(key: str) -> str:
    if key == "connect":
        return "--to"
    return _TLS_KEYS.get(key, f"--set {key}")


def _generated(kind: str, count: int | None) -> Iterator[bytes]:
    return (line.raw for line in islice(generator.lines(kind), count))


def _deliver(
    destination: OneDestination,
    new_input: Callable[[Reactor], Input],
    progress: Progress,
    *,
    rate: float | None,
    seconds_max: float,
) -> tuple[Sending, Input, str]:
    """Send everything; the result says too what is known of it without a confirmation."""
    made: list[Sending] = []
    ended: list[tuple[Sending, Input, str]] = []

    async def run(reactor: Reactor) -> None:
        records, delivery = new_input(reactor), destination.delivery(reactor)
        sending = Sending(
            records,
            target=destination.target,
            write=destination.payloads,
            on_progress=progress.show,
            rate=rate,
            seconds_max=seconds_max,
            reactor=reactor,
        )
        made.append(sending)
        await sending.run(delivery)
        ended.append((sending, records, "" if delivery.is_confirmed else delivery.taken))

    try:
        task.react(lambda reactor: ensureDeferred(run(reactor)))
    except SystemExit as end:  # this is how it ends, also when all is well
        progress.end()
        if not ended and not end.code:
            for sending in made:
                click.echo(_interrupted(sending.outcome), err=True)
            raise KeyboardInterrupt from None
        if not ended:
            raise
    return ended[0]


def _interrupted(outcome: Outcome) -> str:
    return f"interrupted: {outcome.delivered:,} of {counted(outcome.read, 'message')} taken"


def _finish(sending: Sending, records: Input, unconfirmed: str) -> None:
    """Say what was not accepted, or not confirmed, and end with the status for it."""
    outcome = sending.outcome
    if isinstance(records, Lines) and records.truncated:
        cut = counted(records.truncated, "line")
        click.echo(f"{cut} cut to {size(_LINE_BYTES_MAX)}", err=True)
    if cut_again := sending.state.truncated_records:
        click.echo(f"{counted(cut_again, 'message')} cut to the size of a datagram", err=True)
    if outcome.problem or outcome.delivered != outcome.read:
        click.echo(_not_taken(outcome, is_whole=records.ended), err=True)
        raise SystemExit(1)
    if unconfirmed and outcome.read:
        sent = counted(outcome.delivered, "message")
        click.echo(f"{sent} {unconfirmed}, not confirmed by the receiver", err=True)
    if trouble := records.trouble if isinstance(records, Lines) else "":
        click.echo(f"{counted(outcome.read, 'message')} sent; {trouble}", err=True)
        raise SystemExit(1)


def _not_taken(outcome: Outcome, *, is_whole: bool) -> str:
    """Report the messages that were not accepted."""
    problem = outcome.problem or "dropped by the form of the destination"
    if outcome.is_silent:
        problem += "; it may not be accepting messages, so look at `syslogrelay status` there"
    if not outcome.read:
        return f"nothing was sent: {problem}"
    missing = outcome.read - outcome.delivered
    were = "was" if missing == 1 else "were"
    rest = "" if is_whole else "; the rest of the input was not read"
    of = counted(outcome.read, "message")
    return f"{missing:,} of {of} {were} not taken: {problem}{rest}"


def read_rate(text: str) -> float:
    """The messages a second of ``N/s`` or ``N``.

    Raises:
        ValueError: It is neither, or not from 0.01 to 10,000,000.
    """
    try:
        rate = float(text.removesuffix("/s"))
    except ValueError:
        rate = math.nan
    if 0.01 <= rate <= 10_000_000:
        return rate
    raise ValueError(
        f"--rate: expected messages a second from 0.01 to 10,000,000, such as 500/s, found {text!r}"
    )


def read_pri(text: str) -> int:
    """The number of ``facility.severity``, or of a number.

    Raises:
        ValueError: It is neither; the text says what is allowed.
    """
    if text.isascii() and text.isdecimal() and int(text) <= 191:
        return int(text)
    facility, _, severity = text.lower().partition(".")
    if facility in _FACILITIES and severity in SEVERITIES:
        return _FACILITIES[facility] * 8 + SEVERITIES[severity]
    raise ValueError(
        f"--pri: expected a number from 0 to 191 or FACILITY.SEVERITY, found {text!r}; facilities "
        f"are {', '.join(FACILITY_NAMES)}; severities are {', '.join(SEVERITY_NAMES)}"
    )


def new_message(
    pri: int, tag: bytes, *, now: Callable[[], float] = time.time
) -> Callable[[bytes], bytes]:
    """What makes a message of RFC 5424 of a line."""
    return partial(_message, pri, tag, socket.gethostname().encode(), local_zone(), now)


def _message(
    pri: int, tag: bytes, host: bytes, zone: tzinfo, now: Callable[[], float], line: bytes
) -> bytes:
    pid = b"%d" % os.getpid()
    header = format_header(pri, format_epoch(now(), zone), host, tag, pid, None, None)
    return format_message(header, line)
