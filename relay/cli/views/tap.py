"""`syslogrelay tap`: messages as they pass through a running relay."""

from __future__ import annotations

import math
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click
import msgspec

from relay.cli.control_client import Cut, NoRelay, ask, stream
from relay.cli.output import binary_output, flush, give_up, wait_for_input, wait_while_read
from relay.cli.queue.access import stamp
from relay.cli.screen import SEVERE, STRONG, WARNING, Screen, Style
from relay.cli.support.known_ids import completing
from relay.cli.where import Where, where_options
from relay.model.text import Document, counted, printable, seconds_in
from relay.observe.taps import DROPPED, RATE_MAX, RECEIVED, REWRITTEN, STAGES
from relay.wire.parse import severity_of

_RETRY_SECONDS = 1.0


@dataclass
class Tally:
    """What was shown and missed, over all relays that ran meanwhile."""

    shown: int = 0
    left_out: int = 0
    """By the relays before this one."""
    now: int = 0
    """By this one."""

    def __str__(self) -> str:
        missed = self.left_out + self.now
        return f"{counted(self.shown, 'message')} shown, {missed:,} left out"


def _seconds(ctx: click.Context, option: click.Parameter, text: str | None) -> float:
    try:
        return 0.0 if text is None else seconds_in(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _filters(command: Callable[..., object]) -> Callable[..., object]:
    """The options by which messages are chosen, as `queue grep` has them."""
    for option in reversed(
        (
            click.option("--grep", "pattern", default="", help="Only those that match PATTERN."),
            click.option("-i", "--ignore-case", is_flag=True, help="Of PATTERN."),
            click.option(
                *("-F", "--fixed"),
                is_flag=True,
                help="PATTERN is literal text, not a regular expression.",
            ),
            click.option(
                "--hostname",
                metavar="GLOB",
                help="Only with this HOSTNAME; * and ? are wildcards.",
            ),
            click.option(
                "--severity", metavar="RANGE", help="Such as err, ..err or warning..; 0 is emerg."
            ),
        )
    ):
        command = option(command)
    return command


@click.command()
@where_options
@click.argument(
    "id",
    metavar="[SOURCE|DESTINATION]",
    default="",
    shell_complete=completing("sources", "destinations"),
)
@click.option(
    "--stage",
    type=click.Choice([name for name in STAGES if name != DROPPED]),
    help="Where to look; default: received, and rewritten for a destination.",
)
@click.option("--dropped", is_flag=True, help="What is dropped or cannot be parsed, with reasons.")
@_filters
@click.option("-n", "--count", type=click.IntRange(1), help="End after so many messages.")
@click.option("--for", "seconds", callback=_seconds, metavar="TIME", help="End after 30s, 5m, 1h.")
@click.option(
    "--rate",
    type=click.FloatRange(1, RATE_MAX),
    default=100.0,
    show_default=True,
    help="Show at most so many messages per second.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option(
    "--raw", "is_raw", is_flag=True, help="Only the bytes of each message and a line feed."
)
def tap(
    where: Where,
    id: str,
    stage: str | None,
    dropped: bool,
    count: int | None,
    as_json: bool,
    is_raw: bool,
    **options: object,
) -> None:
    """Show messages as they pass through the relay.  Tokens are masked.

    \b
    received   frames of a source, as they came
    rewritten  what is queued for a destination
    delivered  what a destination has acknowledged

    The relay waits for nobody: of more messages than --rate, or than are read, some are left
    out, and their number is shown.  With a filter it looks at 5,000 messages a second at most.
    Of each message the first 16 KiB are shown.  At most 8 taps can be open.

    Goes on until Ctrl-C, also when the relay restarts.  Status 0: messages were shown until the
    end or Ctrl-C.  2: failure; standard error gives the reason.
    """
    if dropped and stage:
        raise click.UsageError("--dropped is a stage of its own, so --stage has no meaning")
    if is_raw and as_json:
        raise click.UsageError("--raw and --json are two formats; choose one")
    if is_raw and sys.stdout is not None and sys.stdout.isatty():
        raise click.UsageError(
            "--raw writes the bytes of peers, which may do anything to a terminal; write them to "
            "a file or a pipe, or omit --raw"
        )
    stage = DROPPED if dropped else stage or _stage_of(where, id)
    wanted = {"stage": stage, "id": id, "count": count or 0, **options}
    tally = Tally()
    show = _raw if is_raw else _json if as_json else _Lines(Screen.of_output())
    try:
        for item in _items(where, wanted, tally):
            show(item)
            flush()
    except KeyboardInterrupt:
        pass
    click.echo(str(tally), err=True)


def _stage_of(where: Where, id: str) -> str:
    """Where to look if nobody says: at a source, if there is one of this name."""
    if not id:
        return RECEIVED
    document = ask(where.state_dir, "status")
    sources, destinations = (
        sorted(each["id"] for each in document[key]) for key in ("sources", "destinations")
    )
    if id not in (*sources, *destinations):
        give_up(
            f"there is no source or destination {printable(id)!r}; sources: {', '.join(sources)}; "
            f"destinations: {', '.join(destinations)}"
        )
    return RECEIVED if id in sources else REWRITTEN


def _items(where: Where, wanted: Document, tally: Tally) -> Iterator[Document]:
    """What the relay sends, and after a restart what the next one sends."""
    was_cut = False
    until = time.monotonic() + wanted["seconds"] if wanted["seconds"] else math.inf

    def opened() -> None:
        about = f" of {wanted['id']}" if wanted["id"] else ""
        text = "the relay is back" if was_cut else f"what is {wanted['stage']}{about}"
        click.echo(f"syslogrelay: {text}; Ctrl-C ends", err=True)

    while (left := until - time.monotonic()) > 0:
        rest = {
            "count": wanted["count"] and wanted["count"] - tally.shown,
            "seconds": wanted["seconds"] and left,
        }
        try:
            for item in stream(
                where.state_dir, "tap", {**wanted, **rest}, opened=opened, wait=wait_for_input
            ):
                was_cut = False
                tally.now = item["left_out"]
                tally.shown += "payload" in item
                yield item
            return
        except Cut:
            click.echo("syslogrelay: the relay has stopped; waiting for the next", err=True)
            was_cut = True
            tally.left_out, tally.now = tally.left_out + tally.now, 0
        except NoRelay:
            if not was_cut:
                raise
        wait_while_read(min(_RETRY_SECONDS, left))


def _raw(item: Document) -> None:
    if "payload" in item:
        output = binary_output()
        output.write(b64decode(item["payload"]) + b"\n")


def _json(item: Document) -> None:
    line = dict(item)
    for name in ("payload", "key"):
        if name in line:
            line[name] = printable(b64decode(line[name]), length_max=None)
    if "at" in line:
        line["at"] = stamp(line["at"])
    click.echo(msgspec.json.encode(line))


class _Lines:
    """Prints items for people."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._left_out = 0

    def __call__(self, item: Document) -> None:
        screen, missed = self._screen, item["left_out"] - self._left_out
        if missed > 0:
            screen.say(f"… {counted(missed, 'message')} left out", WARNING)
        self._left_out = item["left_out"]
        if "payload" not in item:
            return
        payload = b64decode(item["payload"])
        parts = [stamp(item["at"]), item.get("source") or item["destination"]]
        parts += [str(item[name]) for name in ("seq", "peer", "reason") if name in item]
        if "key" in item:
            parts.append(f"[{printable(b64decode(item['key']), length_max=None)}]")
        head = printable(" ".join(parts), length_max=None)
        text = printable(payload, length_max=None)
        if item["size"] > len(payload):
            text += f"… ({item['size']:,} bytes)"
        screen.line((head, STRONG), (text, _style(payload)))


def _style(payload: bytes) -> Style | None:
    severity = severity_of(payload)
    return SEVERE if severity <= 3 else WARNING if severity == 4 else None
