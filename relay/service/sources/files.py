"""Files that are read: lines become messages, or are messages.  Nothing is bound."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from twisted.application.service import Service

from relay.model.message import DEFAULT_FACILITY, DEFAULT_SEVERITY
from relay.model.text import Document, counted
from relay.service.configuration.keys import group, key
from relay.service.configuration.model import SourceConfiguration, Url, Where, reserved_key
from relay.service.configuration.table import Choice, Flag, Named, Text, Whole
from relay.service.configuration.tables.filter import FACILITIES, SEVERITIES
from relay.service.configuration.url import Path
from relay.service.probes.files import probe_read
from relay.service.probes.probe import Probe
from relay.service.sources.kind import SourceKind, SourceParts
from relay.service.sources.listening import MultiLine, read_from_key, split_problems
from relay.service.sources.service import Receiving, SourceService
from relay.transport.files.followed import FileOptions
from relay.transport.files.reader import FileReader
from relay.transport.files.tailed_file import NewDecoder
from relay.transport.reception import OversizePolicy
from relay.wire.framing.charset import Charset
from relay.wire.framing.lines import LineDecoder
from relay.wire.line_message import LineFormat
from relay.wire.wildcard import matches, parse_wildcard


@dataclass(frozen=True, slots=True)
class FilesConfiguration(SourceConfiguration):
    reserved: bool = reserved_key(True)
    format: str = key(
        Choice(("text", "syslog")),
        "text",
        "`text`: each line becomes the text of a message; `syslog`: lines are messages",
    )
    tag: str = key(
        Text("a name of 1 to 48 printable ASCII characters without spaces", r"[!-~]{1,48}"),
        "",
        "APP-NAME of those messages",
        default_text="the file's name without its last suffix",
    )
    facility: int = key(
        Named(FACILITIES, 23), DEFAULT_FACILITY, "of those messages; by name or by number"
    )
    severity: int = key(
        Named(SEVERITIES, 7), DEFAULT_SEVERITY, "of those messages; by name or by number"
    )
    joining: MultiLine = group(MultiLine)
    read_from: str = read_from_key("beginning")
    files_max: int = key(
        Whole(1, 100_000), 1000, "limit of files; further ones are counted and logged"
    )
    follow_symlinks: bool = key(
        Flag(), False, "follow links that lead out of the searched directory"
    )

    @property
    def connections_and_files(self) -> tuple[int, int]:
        return 0, self.files_max

    def encoding_problem(self) -> str:
        encoding = self.parse.encoding
        charset = None if encoding is None else Charset(encoding)
        if charset is None or charset.is_ascii_superset or charset.line_feed:
            return ""
        return (
            f"{encoding!r} is no superset of US-ASCII, and it does not tell where a line of a file "
            "ends; write the file in UTF-8"
        )

    def problems(self, where: Where, given: Collection[str]) -> Iterable[str]:
        yield from split_problems(self, where)
        for name in ("tag", "facility", "severity"):
            if self.format == "syslog" and name in given:
                yield (
                    f"{where(name)}: has no meaning where format is 'syslog': the lines say it "
                    "themselves; remove one of them"
                )


class FileSource(SourceService):
    """A source that reads files, which the user that the relay runs as opens.

    Args:
        positions: Those of this source.
        new_reader: Makes the reader, given what is stored.
    """

    def __init__(
        self,
        configuration: SourceConfiguration,
        receiving: Receiving,
        *,
        positions: Callable[[], Mapping[str, bytes]],
        new_reader: Callable[..., FileReader],
    ) -> None:
        super().__init__(configuration, receiving)
        self._reader: FileReader | None = None
        self._positions = positions
        self._new_reader = new_reader

    def startService(self) -> None:
        Service.startService(self)
        reader = self._reader = self._new_reader(stored=self._positions(), say=self._say)
        reader.start()
        self._say(f"reads {self.address}, {counted(reader.report()['files_open'], 'file')} now")

    def stopService(self) -> None:
        Service.stopService(self)
        if self._reader is not None:
            self._reader.stop()

    def report(self) -> Document:
        files = {} if self._reader is None else self._reader.report()
        return {**super().report(), **files}

    def _say(self, text: str) -> None:
        self._log.info("source {id}: {text}", id=self.id, text=text)


def _make(
    configuration: FilesConfiguration, receiving: Receiving, parts: SourceParts
) -> FileSource:
    return FileSource(
        configuration,
        receiving,
        positions=partial(parts.positions, configuration.id),
        new_reader=partial(
            FileReader,
            receiving.reception,
            FileOptions(
                path=configuration.listen.path,
                files_max=configuration.files_max,
                new_decoder=_decoding(configuration),
                line_format=_line_format(configuration, parts.relay_name),
                follow_symlinks=configuration.follow_symlinks,
                silence_seconds_max=configuration.joining.multi_line_seconds_max,
                from_end=configuration.read_from == "end",
            ),
            oversize=OversizePolicy(
                configuration.oversize,
                frame_bytes_max=configuration.frame_bytes_max,
                counters=receiving.reception.counters,
            ),
            wall=parts.wall,
            clock=receiving.reactor,
        ),
    )


def _decoding(configuration: FilesConfiguration) -> NewDecoder:
    encoding = configuration.parse.encoding
    common = partial(
        LineDecoder,
        frame_bytes_max=configuration.frame_bytes_max,
        begins=configuration.joining.begins,
        charset=None if encoding is None else Charset(encoding),
    )
    return lambda start, head: common(start=start, head=head)


def _line_format(configuration: FilesConfiguration, relay_name: str) -> LineFormat | None:
    """What makes messages of lines; None = they are messages."""
    if configuration.format == "syslog":
        return None
    return LineFormat(
        pri=8 * configuration.facility + configuration.severity,
        hostname=relay_name.encode("ascii", "replace"),
        tag=configuration.tag.encode("ascii", "replace"),
    )


def _reads(listen: Url, connect: Url) -> bool:
    """Whether the file that is written is one of those that are read."""
    return matches(parse_wildcard(listen.path), connect.path)


def _probe(configuration: FilesConfiguration, probe: Probe) -> None:
    probe_read(probe, configuration.listen.path, follow_symlinks=configuration.follow_symlinks)


FILE = SourceKind(
    scheme="file",
    address=Path("file"),
    configuration=FilesConfiguration,
    delivered="reads lines of files; the path may have wildcards",
    medium="file",
    arrives=_reads,
    make=_make,
    probe=_probe,
)
