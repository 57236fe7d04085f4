"""`syslogrelay explain`: how a message is parsed, routed and rewritten."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Any, TypeVar

import click
import msgspec

from relay.cli.output import binary_output, give_up
from relay.cli.screen import GOOD, SEVERE, WARNING, Screen
from relay.model.errors import ConfigurationError
from relay.model.message import FACILITY_NAMES, SEVERITY_NAMES, SyslogMessage
from relay.model.origin import Arrival, Origin, Transport
from relay.model.parse_options import OPTION_NAMES, ParseOptions
from relay.model.text import Document, printable
from relay.service.configuration.file import examine_file
from relay.service.configuration.model import Configuration
from relay.service.configuration.reading import Reading, Reported
from relay.service.configuration.table import AnAddress
from relay.service.configuration.tables.format import TimeZone
from relay.service.configuration.tables.parse import ParseTable
from relay.service.kinds import KINDS
from relay.service.relay_service import local_zone
from relay.service.routes.explanation import Explainer, Explanation, described, with_placeholders
from relay.wire.parse_options import new_parser, utf8_of

T = TypeVar("T")

_visible = partial(printable, length_max=None)  # control characters and invalid UTF-8 are escaped


@click.command()
@click.argument("message", required=False)
@click.option(
    "-c", "--config", metavar="FILE", help="Show the result for each destination of FILE."
)
@click.option("--source", default="", help="Source that receives it (default: the first).")
@click.option(
    *("--peer", "peer_host"),
    default="",
    metavar="ADDRESS",
    help="Address of the sender (default: local).",
)
@click.option(
    *("--tls-name", "tls_names"), multiple=True, help="A name in the sender's verified certificate."
)
@click.option("--json", "as_json", is_flag=True, help="Read and write one JSON object per line.")
@click.option(
    "--mode",
    type=click.Choice(["auto", "rfc3164", "rfc5424"]),
    default="auto",
    help="How lines are read without --config: auto tries everything.",
)
@click.option("--now", metavar="ISO8601", help="The time of receipt (default: now).")
@click.option("--zone", metavar="NAME", help="Zone of stamps without one (default: local).")
@click.option("--options", default="", metavar="A,B,C", help="Parse options by their names.")
def explain(
    message: str | None,
    config: str | None,
    as_json: bool,
    mode: str,
    now: str | None,
    zone: str | None,
    options: str,
    **sender: Any,
) -> None:
    """Explain MESSAGE, or each line of standard input.

    MESSAGE is UTF-8, whatever the encoding of the source; standard input is in that encoding.
    With --json each line of input is {"frame": "…"}, one character per byte (latin-1), and
    so is all text of the output.
    """
    try:
        clock = time.time() if now is None else _read("--now", _moment, now)
        local = local_zone() if zone is None else _read("--zone", TimeZone().read, zone)
        if peer := sender["peer_host"]:
            _read("--peer", AnAddress().read, peer)
        is_utf8 = message is not None and not as_json  # a text from a terminal
        if config is None:
            parsed = _parsing(_options(mode, options), clock, local, is_utf8)
        else:
            explainer = Explainer(_as_started(config), now=clock, zone=local)
            parsed = partial(explainer.explain, is_utf8=is_utf8, **sender)
        screen = Screen.of_output()
        for frame in _frames(message, as_json):
            if as_json:
                _write_json(parsed(frame), clock, local, with_outcomes=config is not None)
            else:
                show(parsed(frame), screen, now=clock, zone=local)
    except ConfigurationError as error:
        give_up("\n".join(error.problems))
    except ValueError as error:
        give_up(str(error))


def _parsing(
    options: ParseOptions, now: float, zone: tzinfo, is_utf8: bool
) -> Callable[[bytes], Explanation]:
    """How a frame is parsed without a configuration."""
    parser = new_parser(options, zone=zone)
    arrival = Arrival.of_one(1, Origin("stdin", Transport.NONE, received_at=now))

    def parsed(frame: bytes) -> Explanation:
        text = frame if is_utf8 else utf8_of(options, frame)
        return Explanation(parser([text], arrival).message(0))

    return parsed


def _as_started(path: str) -> Configuration:
    """The configuration with which a relay starts, with placeholders for missing tokens.

    What the relay waits for is said on standard error.

    Raises:
        ConfigurationError: A relay does not start with it.
    """
    examined = examine_file(path, KINDS)
    if examined.configuration is None or not examined.is_whole:
        raise ConfigurationError(examined.problems)
    configuration = with_placeholders(examined.configuration)
    for problem in examined.problems:
        click.echo(f"{problem}; the relay starts and waits for it", err=True)
    if configuration != examined.configuration:
        click.echo("**** below stands for a token that could not be read", err=True)
    return configuration


def show(explained: Explanation, screen: Screen, *, now: float, zone: tzinfo) -> None:
    """Print in human-readable form."""
    fields = _fields(explained.message, now, zone)
    width = max(len(name) for name, _ in fields)
    for name, text in fields:
        screen.say(f"{name:<{width}}  {text}")
    if explained.refused:
        screen.say(f"refused: {explained.refused}", SEVERE)
    for outcome in explained.outcomes:
        mark = "→" if outcome.taken else "✗"
        style = GOOD if outcome.taken else WARNING
        screen.say(f"{mark} {outcome.destination}: {outcome.why}", style)
        if outcome.payload is not None:
            if outcome.key is not None:
                screen.say(f"key: {_visible(outcome.key)}")
            click.echo(f"    {_visible(outcome.payload)}")  # to be copied: never wrapped
    click.echo()


def _fields(message: SyslogMessage, now: float, zone: tzinfo) -> list[tuple[str, str]]:
    fields = described(message, now=now, zone=zone, text=_visible)
    fields["facility"] = f"{message.facility} ({FACILITY_NAMES[message.facility]})"
    fields["severity"] = f"{message.severity} ({SEVERITY_NAMES[message.severity]})"
    if message.app:
        fields["app"] = message.app
    rows = []
    for name, value in fields.items():
        if isinstance(value, dict):
            for inner, text in value.items():
                if isinstance(text, dict):
                    text = " ".join(f'{key}="{one}"' for key, many in text.items() for one in many)
                rows.append((name, f"{inner}: {text}"))
        elif value not in (None, []):
            rows.append((name, ", ".join(value) if isinstance(value, list) else str(value)))
    return rows


def _write_json(explained: Explanation, now: float, zone: tzinfo, *, with_outcomes: bool) -> None:
    document: Document = described(explained.message, now=now, zone=zone)
    if with_outcomes:
        document["app"] = explained.message.app
        document["refused"] = explained.refused or None
        document["destinations"] = {
            outcome.destination: {
                "taken": outcome.taken,
                "why": outcome.why,
                "payload": None if outcome.payload is None else outcome.payload.decode("latin-1"),
                **({} if outcome.key is None else {"key": outcome.key.decode("latin-1")}),
            }
            for outcome in explained.outcomes
        }
    binary_output().write(msgspec.json.encode(document) + b"\n")


def _frames(message: str | None, as_json: bool) -> list[bytes]:
    if message is not None and not as_json:
        return [message.encode("utf-8", "surrogateescape")]
    lines = sys.stdin.buffer.read().splitlines() if message is None else [message.encode()]
    if not as_json:
        return [line for line in lines if line]
    frames = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            frame = msgspec.json.decode(line, type=_Request).frame
            frames.append(frame.encode("latin-1"))
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise ValueError(
                f'line {number}: expected {{"frame": "…"}} with characters up to U+00FF: {error}'
            ) from None
    return frames


class _Request(msgspec.Struct):
    frame: str


def _options(mode: str, names: str) -> ParseOptions:
    """Parse options by syslog-ng's names; those with a value as ``encoding=ISO-8859-1``."""
    table: dict[str, object] = {"mode": mode, "adapters": mode == "auto"}
    message_bytes_max = 0
    for item in filter(None, (part.strip() for part in names.split(","))):
        name, has_value, value = item.partition("=")
        key = name.replace("-", "_")
        if key in ("log_msg_size", "message_bytes_max") and value.isdecimal():
            message_bytes_max = int(value)
        elif has_value:
            table[key] = int(value) if value.isdecimal() else value
        elif name in OPTION_NAMES:
            field, setting = OPTION_NAMES[name]
            table[field] = setting
        else:
            table[key] = True
    reading = Reading()
    try:
        options = reading.read(ParseTable(), table, "--options")
    except Reported:
        raise ValueError("\n".join(reading.problems)) from None
    return replace(options, message_bytes_max=message_bytes_max)


def _read(option: str, read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected a time such as 2026-11-21T12:00:00Z, found {text!r}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
