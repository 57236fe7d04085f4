"""omprog, omusrmsg and omuxsock."""

from __future__ import annotations

import re
import shlex

from relay.cli.moving.rsyslog.actions.output import (
    NO_NEED,
    Keys,
    Output,
    checked_path,
    form_of_action,
)
from relay.cli.moving.rsyslog.filters import NotSupported
from relay.cli.moving.rsyslog.forms.templates import Form
from relay.cli.moving.rsyslog.language.values import Reader
from relay.cli.moving.rsyslog.settings import Settings
from relay.cli.toml_writing import TomlValue


def program(settings: Settings, read: Reader) -> Output:
    """The destination for omprog.

    Raises:
        NotSupported: The relay cannot do what it says.
    """
    form = form_of_action(settings, read, "RSYSLOG_FileFormat")
    try:
        words = shlex.split(read.text("binary"))
    except ValueError as error:
        raise NotSupported(f"binary: {error}") from None
    if not words or not words[0].startswith("/"):
        raise NotSupported("binary: expected the path of a program and its arguments")
    keys: Keys = {"connect": f"program://{checked_path(words[0])}"}
    if len(words) > 1:
        keys["arguments"] = list[TomlValue](words[1:])
    read.approximate(
        ["confirmmessages", "confirmtimeout", "reportfailures", "usetransactions"],
        "what the program has read counts as delivered; it confirms nothing",
    )
    read.ignore(
        [
            *("forcesingleinstance", "hup.signal", "signalonclose", "closetimeout"),
            *("killunresponsive", "begintransactionmark", "committransactionmark"),
            *("hup.forward", "fileowner", "filegroup"),
        ],
        NO_NEED,
    )
    read.approximate(["output"], "what the program writes to its standard error is logged")
    return Output(words[0].rpartition("/")[2], keys, form)


def users(settings: Settings, read: Reader) -> Output:
    """The destination for omusrmsg.

    Raises:
        NotSupported: The relay cannot do what it says.
    """
    users = [name for each in read.texts("users") for name in each.split(",") if name]
    keys: Keys = {"connect": "usertty://"}
    name = read.text("template")
    form = settings.form(name) if name else Form()
    if "*" in users:
        return Output("everybody", keys, form)
    bad = [each for each in users if not re.fullmatch(r"[A-Za-z0-9_.-]+", each)]
    if not users or bad:
        raise NotSupported("expected names of users, or *")
    keys["users"] = list(dict.fromkeys(users))
    return Output("users", keys, form)


def socket(settings: Settings, read: Reader) -> Output:
    """The destination for omuxsock.

    Raises:
        NotSupported: The relay cannot do what it says.
    """
    form = form_of_action(settings, read, "RSYSLOG_TraditionalForwardFormat", wants_lines=False)
    path = read.text("socket")
    if not path.startswith("/"):
        raise NotSupported("expected the path of the socket, as in $OMUxSockSocket /run/x")
    keys: Keys = {"connect": f"unixgram://{checked_path(path)}"}
    return Output(f"socket-{path.rpartition('/')[2]}", keys, form)
