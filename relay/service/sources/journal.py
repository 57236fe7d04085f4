"""systemd's journal as a source that starts and stops with the relay."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from twisted.application.internet import backoffPolicy
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from relay.model.text import Document
from relay.service.configuration.keys import key
from relay.service.configuration.model import SourceConfiguration, Url, Where, reserved_key
from relay.service.configuration.table import shown
from relay.service.configuration.url import Role
from relay.service.probes.local import probe_journal
from relay.service.sources.kind import Positions, SourceKind, SourceParts
from relay.service.sources.listening import read_from_key, split_problems
from relay.service.sources.service import Receiving, SourceService
from relay.transport.journal.journalctl import Selection, find_journalctl
from relay.transport.journal.reader import CURSOR, JournalReader
from relay.transport.reception import OversizePolicy
from relay.wire.journal_message import HEADER_FIELDS, new_journal_format

# systemd.journal-fields(7), sd_journal_add_match(3): at most 64 bytes.
_FIELD = r"[A-Z_][A-Z0-9_]{0,63}"
_MATCH = re.compile(rf"{_FIELD}=[^\0]*", re.DOTALL)
_NAME = re.compile(_FIELD)
_COUNT_MAX = 100


@dataclass(frozen=True, slots=True)
class Matches:
    """A list of ``FIELD=value`` and ``+``, as journalctl takes them."""

    allowed: ClassVar[str] = 'a list such as ["_TRANSPORT=kernel", "+", "SYSLOG_FACILITY=10"]'

    def read(self, value: object) -> tuple[str, ...]:
        matches = _texts(value, self.allowed)
        for match in matches:
            if match != "+" and not _MATCH.fullmatch(match):
                raise ValueError(
                    "expected FIELD=value, with a field of systemd.journal-fields(7), or '+' "
                    f"between alternatives, found {shown(match)}"
                )
        if "+" in (matches[:1] + matches[-1:]) or ("+", "+") in pairwise(matches):
            raise ValueError("'+' stands between two matches; remove it elsewhere")
        return matches


@dataclass(frozen=True, slots=True)
class FieldNames:
    """A list of names of fields; may be empty."""

    allowed: ClassVar[str] = 'a list of fields such as ["_SYSTEMD_UNIT", "_UID"]'

    def read(self, value: object) -> tuple[str, ...]:
        names = _texts(value, self.allowed)
        for number, name in enumerate(names):
            # RFC 5424 §6.3.2: a PARAM-NAME has at most 32 characters.
            if not _NAME.fullmatch(name) or len(name) > 32:
                raise ValueError(
                    "expected names of fields, as in systemd.journal-fields(7) and at most 32 "
                    f"characters long, found {shown(name)}"
                )
            if name in names[:number]:
                raise ValueError(f"{shown(name)} is in the list twice; remove one")
        return names


def _texts(value: object, allowed: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"expected {allowed}, found {shown(value)}")
    if len(value) > _COUNT_MAX:
        raise ValueError(f"expected at most {_COUNT_MAX} of them, found {len(value)}")
    return tuple(value)


@dataclass(frozen=True, slots=True)
class _Journal:
    form: ClassVar[str] = "://[/directory]"

    def read(self, scheme: str, rest: str, role: Role, base_dir: str) -> Url:
        if rest == "//":
            return Url(scheme, is_bare=True)
        if not rest.startswith("///") or "\0" in rest:
            raise ValueError(
                f"expected {scheme}:// for the system's journal, or a directory with journal "
                f"files, as in {scheme}:///var/log/journal/remote, found {rest!r}"
            )
        return Url(scheme, path=os.path.normpath("/" + rest.lstrip("/")))


@dataclass(frozen=True, slots=True)
class JournalConfiguration(SourceConfiguration):
    reserved: bool = reserved_key(True)
    matches: tuple[str, ...] = key(
        Matches(), (), "entries to read, as arguments of journalctl", default_text="all"
    )
    read_from: str = read_from_key("end")
    fields: tuple[str, ...] = key(
        FieldNames(),
        ("_TRANSPORT", "_SYSTEMD_UNIT", "_UID", "_GID", "_EXE"),
        "fields that become structured data",
    )

    def encoding_problem(self) -> str:
        if self.parse.encoding is None:
            return ""
        return "has no meaning for journald, whose entries say themselves what they are; remove it"

    def problems(self, where: Where, given: object) -> Iterable[str]:
        return split_problems(self, where)


class JournalSource(SourceService):
    """Reads the journal.  There is nothing to bind: journalctl runs as a child.

    Args:
        positions: How far a source has read, by name; the queue knows once it is open.
    """

    def __init__(
        self,
        configuration: SourceConfiguration,
        receiving: Receiving,
        *,
        reader: JournalReader,
        positions: Positions,
    ) -> None:
        super().__init__(configuration, receiving)
        self._reader = reader
        self._positions = positions

    def startService(self) -> None:
        Service.startService(self)
        cursor = self._positions(self.id).get(CURSOR)
        self._reader.start(cursor or b"", is_lost=cursor == b"")
        self._log.info("source {id}: reads {address}", id=self.id, address=self.address)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return self._reader.stop()

    def report(self) -> Document:
        return {
            **super().report(),
            "state": self._reader.state,
            "ready": self._reader.is_reading,
            "journalctl_starts": self._reader.starts,
            "gaps": self._reader.gaps,
        }


def _make(
    configuration: JournalConfiguration, receiving: Receiving, parts: SourceParts
) -> JournalSource:
    reader = JournalReader(
        receiving.reception,
        selection=Selection(
            directory=configuration.listen.path,
            matches=configuration.matches,
            fields=tuple(dict.fromkeys((*HEADER_FIELDS, *configuration.fields))),
        ),
        format=new_journal_format(configuration.fields),
        oversize=OversizePolicy(
            configuration.oversize,
            frame_bytes_max=configuration.frame_bytes_max,
            counters=receiving.reception.counters,
        ),
        from_beginning=configuration.read_from == "beginning",
        retry_seconds=backoffPolicy(),
        find_program=find_journalctl,
        reactor=receiving.reactor,
    )
    return JournalSource(configuration, receiving, reader=reader, positions=parts.positions)


JOURNALD = SourceKind(
    scheme="journald",
    address=_Journal(),
    configuration=JournalConfiguration,
    delivered="systemd's journal, kernel messages too",
    medium="journal",
    shared=True,  # with other matches
    make=_make,
    probe=lambda source, probe: probe_journal(probe, source.listen.path),
)
