"""Write the manual pages from what `--help` and docs/configuration.md are made of.

    python docs/write_man_pages.py DIR

makes syslogrelay.1, syslogrelay.toml.5 and syslogrelay.8 in DIR.  They bear the date in
SOURCE_DATE_EPOCH, if that is in the environment, so that a package can be built again.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# The folder above, so that this runs as a script as well.
sys.path.insert(0, str(Path(__file__).parents[1]))

import click

from docs.roff import Page
from docs.write_reference import BEGINNING, parts
from relay import __version__
from relay.cli.main import main
from relay.service.options import EXAMPLES, Options

_SEE_ALSO = [("syslogrelay", 1), ("syslogrelay.toml", 5), ("syslogrelay", 8)]
_EXAMPLE = """\
include = ["conf.d/*.toml"]

[sources.network]
listen = "udp://:514"

[sources.local]
listen = "unixgram:///run/syslogrelay/log"

[destinations.central]
connect = "relp+tls://central.example.com:20515"
trusted_ca = "ca.pem"
"""
_STATUSES = (
    ("0", "Success; a check found no problem."),
    ("1", "A check found problems, or a search found nothing."),
    ("2", "Failure: wrong options, no relay, no room for the output."),
    ("130", "Interrupted."),
    ("141", "The reader of the output has gone."),
)
_SIGNALS = (
    (
        "SIGTERM, SIGINT",
        "Stop: sources are closed, what has come in is stored, and the process ends within five "
        "seconds.",
    ),
    (
        "SIGHUP",
        "Read the configuration again and apply what has changed, as `syslogrelay reload` does. "
        "Look at certificates, tokens and tables again; close and open the files of destinations.",
    ),
)
_FILES = (
    ("/etc/syslogrelay/relay.toml", "The configuration; see `syslogrelay.toml`(5)."),
    ("/var/lib/syslogrelay", "The state directory, unless `relay.state_dir` is another one."),
    ("/var/lib/syslogrelay/queue", "The queue: all that is not delivered yet."),
    ("/var/lib/syslogrelay/control.sock", "Where `syslogrelay`(1) asks the running relay."),
)
_VARIABLES = (
    ("NOTIFY_SOCKET, WATCHDOG_USEC", "Where systemd is told that the relay works, and how often."),
    ("LISTEN_FDS, LISTEN_FDNAMES", "Sockets that systemd passes, for `systemd://NAME`."),
    ("CREDENTIALS_DIRECTORY", "Where systemd puts credentials, for paths that begin with it."),
    ("TZ", "The time zone of messages that name none."),
    ("SYSLOGRELAY_PURE", "If it is 1, nothing compiled is used."),
)


def pages(*, date: str) -> dict[str, str]:
    """The text of each page by the name of its file."""
    return {
        "syslogrelay.1": _commands(date),
        "syslogrelay.toml.5": _configuration(date),
        "syslogrelay.8": _daemon(date),
    }


def _page(name: str, section: int, summary: str, date: str) -> Page:
    return Page(name, section, summary, date=date, version=f"syslogrelay {__version__}")


def _commands(date: str) -> str:
    page = _page("syslogrelay", 1, "inspect and operate a syslog relay", date)
    page.section("Synopsis")
    page.paragraph("`syslogrelay` [OPTION]... COMMAND [ARGUMENT]...")
    page.section("Description")
    page.paragraphs(_help_of(main))
    root = click.Context(main, info_name="syslogrelay")
    page.section("Options")
    page.item("-h, --help", "Show a help text of the program or of COMMAND, and exit.")
    _options(page, main, root)
    page.section("Commands")
    for context in _contexts(root):
        command = context.command
        usage = " ".join(command.collect_usage_pieces(context))
        page.subsection(context.command_path.removeprefix("syslogrelay "))
        page.paragraph(f"`{context.command_path}` {usage}")
        page.paragraphs(_help_of(command))
        _options(page, command, context)
    page.section("Exit status")
    for status, meaning in _STATUSES:
        page.item(status, meaning)
    page.section("Environment")
    page.item("SYSLOGRELAY_STATE_DIR", "The state directory of the relay, without -c and -d.")
    page.section("Files")
    for file, meaning in _FILES:
        page.item(file, meaning)
    page.see_also(_SEE_ALSO[1:])
    return page.text()


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """The commands of a group and of the groups in it, in the order of their names."""
    group = context.command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            inner = click.Context(command, info_name=name, parent=context)
            yield inner
            yield from _contexts(inner)


def _help_of(command: click.Command) -> str:
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    return re.sub(r"(?<=\s)--?[a-z][a-z-]*", lambda found: f"`{found[0]}`", text)


def _options(page: Page, command: click.Command, context: click.Context) -> None:
    for parameter in command.get_params(context):
        record = None if parameter.name == "help" else parameter.get_help_record(context)
        if record is not None:
            page.item(*record)


def _configuration(date: str) -> str:
    page = _page("syslogrelay.toml", 5, "configuration of syslogrelay", date)
    page.section("Description")
    page.paragraph(
        "`syslogrelay`(8) reads one file of TOML, usually /etc/syslogrelay/relay.toml, and the "
        "files that it includes. Documents that are named here come with the program."
    )
    for text in BEGINNING.strip().split("\n\n"):
        if text.startswith("## "):
            page.section(text.removeprefix("## "))
        elif not text.startswith("# ") and "`make reference`" not in text:  # how it is made
            page.paragraph(text)
    for part in parts():
        page.section(part.title)
        if part.text:
            page.paragraph(part.text)
        for head, *rows in part.tables:
            for row in rows:
                page.item(row[0].strip("`"), *_explained(head, row))
    page.section("Example")
    page.literal(_EXAMPLE)
    page.see_also([_SEE_ALSO[0], _SEE_ALSO[2]])
    return page.text()


def _explained(head: list[str], row: list[str]) -> Iterator[str]:
    """What a row of the reference says of the key or the URL in its first cell."""
    cells = dict(zip(head[1:], row[1:], strict=True))
    meaning = cells.pop("Meaning", None) or cells.popitem()[1]
    yield f"{meaning[:1].upper()}{meaning[1:]}."
    words: dict[str, Callable[[str], str]] = {
        "Of": lambda text: f"Of {text}.",
        "Value": lambda text: f"Value: {text}.",
        "Default": lambda text: f"Default: {text}.",
    }
    said = [words[name](cells[name]) for name in words if cells.get(name)]
    yield " ".join(said)


def _daemon(date: str) -> str:
    page = _page("syslogrelay", 8, "syslog relay with a disk queue", date)
    page.section("Synopsis")
    page.paragraph("`twistd` [OPTION]... `syslogrelay` `--config` FILE")
    page.paragraph(f"`twistd` [OPTION]... `syslogrelay` {Options.synopsis}")
    page.section("Description")
    page.paragraph(Options.longdesc)
    page.section("Options")
    for long, short, default, meaning in Options.optParameters:
        page.item(f"-{short}, --{long}" if short else f"--{long}", meaning, default or "")
    for name in ("listen", "forward"):
        page.item(f"--{name} URL", inspect.cleandoc(getattr(Options, f"opt_{name}").__doc__))
    for title, items in (("Signals", _SIGNALS), ("Environment", _VARIABLES), ("Files", _FILES)):
        page.section(title)
        for tag, meaning in items:
            page.item(tag, meaning)
    page.section("Exit status")
    page.item("0", "The relay was stopped.")
    page.item("1", "It could not start or had to give up; its last line says why.")
    page.section("Examples")
    page.literal(inspect.cleandoc(EXAMPLES.partition("Options of twistd")[0].split(":", 1)[1]))
    page.see_also([*_SEE_ALSO[:2], ("twistd", 1), ("systemd.service", 5)])
    return page.text()


def _today() -> str:
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/write_man_pages.py DIR")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages(date=_today()).items():
        (folder / name).write_text(text, encoding="ascii")
