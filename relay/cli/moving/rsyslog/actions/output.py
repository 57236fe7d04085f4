"""A destination to be, and what all actions have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from relay.cli.moving.rsyslog.filters import NotSupported
from relay.cli.moving.rsyslog.forms.templates import Form
from relay.cli.moving.rsyslog.language.values import Reader
from relay.cli.moving.rsyslog.settings import Settings, say_of_queue
from relay.cli.toml_writing import TomlValue
from relay.service.configuration.table import size_value

__all__ = [
    "NO_NEED",
    "Keys",
    "Output",
    "add_common",
    "checked_path",
    "default_template",
    "form_of_action",
]

Keys = dict[str, TomlValue]
NO_NEED = "of rsyslog's own working; the relay has no need of it"
_OWN_WORKING = [
    *("action.copymsg", "action.reportsuspension", "action.reportsuspensioncontinuation"),
    *("action.writeallmarkmessages", "action.errorfile", "action.errorfile.maxsize"),
    *("action.externalstate.file", "action.repeatedmsgcontainsoriginalmsg"),
]


@dataclass(slots=True)
class Output:
    """A destination to be.

    Attributes:
        id: The id that it would like to have.
        steps: Steps of its rewrite, before those of its form.
        is_for_failures: It is used only while the action before it fails.
    """

    id: str
    keys: Keys
    form: Form = field(default_factory=Form)
    steps: list[TomlValue] = field(default_factory=list)
    is_for_failures: bool = False


def form_of_action(
    settings: Settings, read: Reader, default: str, *, wants_lines: bool = True
) -> Form:
    """The form of an action's messages, by its template or `default`.

    Raises:
        NotSupported: The relay cannot do what the template does.
    """
    name = read.text("template") or default
    return settings.form(name, wants_lines=wants_lines)


def default_template(settings: Settings, module: str, default: str) -> str:
    """The name of the template that an action has if it names none."""
    parameters = settings.parameters_of(f"builtin:{module}")
    parameters.asked.add("template")
    return "".join(parameters.values.get("template", [])) or default


def checked_path(path: str) -> str:
    """`path`; raises NotSupported if it has control characters."""
    if re.search(r"[\x00-\x1f]", path):
        raise NotSupported("a path with control characters")
    return path


def add_common(read: Reader, output: Output) -> None:
    """Take what all actions have: name, queue, retries, and how often they run."""
    if name := read.text("name"):
        output.id = name
    keys = output.keys
    size = read.size("queue.maxdiskspace")
    if size:
        keys["queue_bytes_max"] = size_value(max(size, 1 << 20))
    elif read.text("queue.type", "direct").lower() != "direct" and not read.has(
        "queue.maxdiskspace"
    ):
        read.said.taken("its queue is limited by relay.queue_bytes_max")
    if read.text("queue.timeoutenqueue").strip() == "0":
        keys["when_full"] = "drop-newest"
        if not size:
            read.said.approximated("it drops when its limit queue_bytes_max is reached")
            keys["queue_bytes_max"] = "1 GiB"
    if read.has("queue.discardmark") or read.has("queue.discardseverity"):
        severity = read.text("queue.discardseverity", "8")
        if severity.strip() not in ("8", ""):
            read.said.approximated("when full it drops the least severe messages first")
            keys["when_full"] = "drop-by-severity"
            keys.setdefault("queue_bytes_max", "1 GiB")
    say_of_queue(read)
    _retries(read, keys)
    _frequency(read, output)
    read.ignore(_OWN_WORKING, NO_NEED)
    read.text("@noted")
    if read.is_on("@repeats"):
        output.steps.append({"suppress_repeats": 30})
    output.is_for_failures = read.is_on("action.execonlywhenpreviousissuspended")


def _retries(read: Reader, keys: Keys) -> None:
    interval, longest = (
        read.number("action.resumeinterval"),
        read.number("action.resumeintervalmax"),
    )
    if interval and interval > 0:
        keys["retry_seconds_min"] = min(interval, 86_400)
        if interval > 60:
            keys["retry_seconds_max"] = min(interval, 86_400)
    if longest and longest > 0:
        keys["retry_seconds_max"] = min(max(longest, interval or 1), 86_400)
    count = read.number("action.resumeretrycount")
    if count is not None and count >= 0:
        read.said.approximated("the relay tries again for ever, and keeps messages in its queue")


def _frequency(read: Reader, output: Output) -> None:
    every = read.number("action.execonlyeverynthtime")
    if every and every > 1:
        output.steps.append({"sample": min(every, 1_000_000)})
        read.said.approximated("action.execOnlyEveryNthTime: one of so many, by chance")
    read.text("action.execonlyeverynthtimetimeout")
    once = read.number("action.execonlyonceeveryinterval")
    if once and once > 0:
        output.steps.append({"rate": max(round(1 / once, 3), 0.001), "burst": 1})
        read.said.approximated("action.execOnlyOnceEveryInterval: as a rate of messages")
