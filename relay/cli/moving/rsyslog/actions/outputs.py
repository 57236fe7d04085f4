"""The destination for each action."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from relay.cli.moving.rsyslog.actions.files import file, pipe
from relay.cli.moving.rsyslog.actions.http import http, search
from relay.cli.moving.rsyslog.actions.kafka import kafka
from relay.cli.moving.rsyslog.actions.local import program, socket, users
from relay.cli.moving.rsyslog.actions.network import dtls, forward, relp
from relay.cli.moving.rsyslog.actions.output import Output, add_common
from relay.cli.moving.rsyslog.filters import NotSupported
from relay.cli.moving.rsyslog.language.syntax import Object
from relay.cli.moving.rsyslog.language.values import Reader
from relay.cli.moving.rsyslog.settings import Settings

_UNSUPPORTED = {
    "omshell": "a program that is started for each message; write one that reads lines, and "
    "program://",
    "ommail": "mail; see program of [alerts]",
    "ommysql": "databases; a program of yours can read lines from program://",
    "ompgsql": "databases; a program of yours can read lines from program://",
    "omlibdbi": "databases; a program of yours can read lines from program://",
    "ommongodb": "databases; a program of yours can read lines from program://",
    "omsnmp": "SNMP traps",
    "omhiredis": "Redis",
    "omrabbitmq": "RabbitMQ",
    "omazureeventhubs": "Azure Event Hubs",
    "omstdout": "standard output of the relay",
    "omjournal": "the journal as a destination",
    "omtesting": "an action for tests of rsyslog",
    "omudpspoof": "forged addresses of senders",
    "omruleset": "write call, which is read",
    "omdiscard": "write stop",
    "omsendertrack": "see syslogrelay status, and the counters of each sender",
}


_MAKERS: Mapping[str, Callable[[Settings, Reader], Output]] = {
    "omfile": file,
    "omfwd": forward,
    "omrelp": relp,
    "omprog": program,
    "ompipe": pipe,
    "omusrmsg": users,
    "omuxsock": socket,
    "omelasticsearch": search,
    "omhttp": http,
    "omdtls": dtls,
    "omkafka": kafka,
}


def output_of(action: Object, settings: Settings) -> Output | None:
    """The destination for an action; None if there is none, which the report says."""
    read = Reader(action.parameters, action.said)
    kind = read.text("type").lower().removeprefix("builtin:")
    if kind not in _MAKERS:
        nothing = (
            "it is no action" if kind == "@unknown" else f"there is no destination like {kind}"
        )
        read.said.unsupported(_UNSUPPORTED.get(kind, nothing))
        return None
    try:
        output = _MAKERS[kind](settings, read)
    except NotSupported as error:
        read.said.unsupported(str(error))
        return None
    add_common(read, output)
    for note in output.form.notes:
        read.said.approximated(note)
    read.finish()
    return output
