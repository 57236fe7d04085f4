"""On this host: named pipes, programs, and the relay's own log."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from twisted.application.internet import backoffPolicy
from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import globalLogPublisher

from relay.model.clock import DelayedCall
from relay.model.origin import Transport
from relay.model.text import Document
from relay.observe.log_lines import as_message
from relay.service.checks.warnings import directory_warnings
from relay.service.configuration.keys import group, key
from relay.service.configuration.model import SourceConfiguration, Where, reserved_key
from relay.service.configuration.table import Named, Permissions, Texts
from relay.service.configuration.tables.filter import SEVERITIES
from relay.service.configuration.url import Bare, Path
from relay.service.probes.files import probe_runnable
from relay.service.probes.local import probe_pipe_to_read
from relay.service.refusal import StartRefused
from relay.service.sources.kind import SourceKind, SourceParts
from relay.service.sources.listening import (
    MultiLine,
    joining_problems,
    prepared,
    stream_encoding,
)
from relay.service.sources.service import Receiving, SourceService
from relay.transport.local.inbound import OwnLog, PipeConnection
from relay.transport.local.program import Program
from relay.transport.sockets import make_parents
from relay.transport.stream.connection import InboundFactory, InboundLimits
from relay.transport.stream.inbound import SyslogStreamProtocol

_FINISH_SECONDS_MAX = 1.5
_RAN_WELL_SECONDS = 60.0  # after such a run the next pause is a short one again


@dataclass(frozen=True, slots=True)
class LinesConfiguration(SourceConfiguration):
    """Lines of programs of this host, which have no address and get no answer."""

    transport: ClassVar = Transport.UNIX

    reserved: bool = reserved_key(True)
    joining: MultiLine = group(MultiLine)

    @property
    def is_local_socket(self) -> bool:
        return False

    @property
    def connections_and_files(self) -> tuple[int, int]:
        return 1, 0

    def encoding_problem(self) -> str:
        return stream_encoding(self)

    def problems(self, where: Where, given: object) -> Iterable[str]:
        return joining_problems(self, self.joining, where)


@dataclass(frozen=True, slots=True)
class PipeConfiguration(LinesConfiguration):
    pipe_mode: int = key(Permissions(), 0o622, "permissions of a named pipe that the relay makes")

    def warnings(self, where: Where) -> Iterable[str]:
        return directory_warnings(self.listen.path, where("listen"))


@dataclass(frozen=True, slots=True)
class ProgramConfiguration(LinesConfiguration):
    arguments: tuple[str, ...] = key(
        Texts("a list of arguments", may_repeat=True), (), "arguments of the program"
    )

    def warnings(self, where: Where) -> Iterable[str]:
        path = self.listen.path
        if not os.access(path, os.X_OK) or os.path.isdir(path):
            yield f"{where('listen')}: {path} is not a program that may be run"


@dataclass(frozen=True, slots=True)
class InternalConfiguration(SourceConfiguration):
    severity_max: int = key(
        Named(SEVERITIES, 7), 6, "least severe line of the log that is taken", default_text="info"
    )

    def encoding_problem(self) -> str:
        has_none = self.parse.encoding is None
        return "" if has_none else "has no meaning for the relay's own log, in UTF-8; remove it"


class _LinesSource(SourceService):
    """A source that reads one pipe at a time."""

    def __init__(self, configuration: LinesConfiguration, receiving: Receiving) -> None:
        super().__init__(configuration, receiving)
        reception, frame_bytes_max = prepared(
            configuration, configuration.joining, receiving, has_connections=True
        )
        self._factory = InboundFactory(
            reception=reception,
            transport=configuration.transport,
            new_protocol=SyslogStreamProtocol,
            limits=InboundLimits(
                frame_bytes_max=frame_bytes_max,
                connections_max=2,  # a program may end before its last line has been read
                idle_seconds_max=0,
                handshake_seconds_max=0,
                oversize=configuration.oversize,
                keep_empty_lines=configuration.parse.empty_lines,
            ),
            clock=receiving.reactor,
            secure=False,
        )

    def read(self, fd: int) -> None:
        protocol = self._factory.buildProtocol(None)
        assert protocol is not None
        PipeConnection(fd, protocol, self._reactor)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        self._factory.stopping = True
        return self._factory.shut_down(seconds_max=_FINISH_SECONDS_MAX)


class PipeSource(_LinesSource):
    """A named pipe, whose writers come and go."""

    _fd: int

    def __init__(self, configuration: PipeConfiguration, receiving: Receiving) -> None:
        super().__init__(configuration, receiving)
        self._path, self._mode = configuration.listen.path, configuration.pipe_mode
        self._opened = False

    def privilegedStartService(self) -> None:
        """Make and open it, while the process may still have the rights to."""
        try:
            if not os.path.lexists(self._path):
                make_parents(self._path)
                os.mkfifo(self._path)
                os.chmod(self._path, self._mode)  # whatever the umask
            # For writing too, or the end of the last writer would be the end of the pipe.
            self._fd = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            if not stat.S_ISFIFO(os.fstat(self._fd).st_mode):
                os.close(self._fd)
                raise OSError(0, "it is no named pipe; remove it, and the relay makes one")
        except OSError as error:
            reason = error.strerror or str(error)
            raise StartRefused(f"source {self.id}: cannot read {self.url}: {reason}") from error
        self._opened = True

    def startService(self) -> None:
        if not self._opened:
            self.privilegedStartService()
        Service.startService(self)
        self.read(self._fd)
        self._log.info("source {id}: reads {address}", id=self.id, address=self.address)


class ProgramSource(_LinesSource):
    """What a program writes to its standard output; it is started again when it ends."""

    def __init__(self, configuration: ProgramConfiguration, receiving: Receiving) -> None:
        super().__init__(configuration, receiving)
        self._command = (configuration.listen.path, *configuration.arguments)
        self._warn = receiving.reception.warn
        self._pause = backoffPolicy()
        self._failures = 0
        self._started_at = 0.0
        self._state = "not started"
        self._program: Program | None = None
        self._retry: DelayedCall | None = None

    def startService(self) -> None:
        Service.startService(self)
        self._run()

    def report(self) -> Document:
        return super().report() | {"state": self._state, "ready": self._program is not None}

    def stopService(self) -> Deferred[None]:
        if self._retry is not None:
            self._retry.cancel()
        stopped = super().stopService()
        if self._program is None:
            return stopped
        # At once: nobody reads what the program would still write.
        ended = self._program.end(patience_seconds=0)
        return gatherResults([stopped, ended]).addCallback(lambda _: None)

    def _run(self) -> None:
        self._retry, self._started_at = None, self._reactor.seconds()
        readable, writable = os.pipe()
        os.set_blocking(readable, False)
        program = Program(on_text=partial(self._warn, "stderr"), on_end=self._ended)
        try:
            with open(os.devnull, "rb") as nowhere:
                files: dict[int, int | str] = {0: nowhere.fileno(), 1: writable, 2: "r"}
                program.start(self._reactor, self._command, files)
        except OSError as error:
            os.close(readable)
            self._ended(error.strerror or str(error))
            return
        finally:
            os.close(writable)
        self._program, self._state = program, f"running {self._command[0]}"
        self._log.info("source {id}: {state}", id=self.id, state=self._state)
        self.read(readable)

    def _ended(self, reason: str) -> None:
        self._program = None
        if not self.running:
            return
        ran_well = self._reactor.seconds() - self._started_at >= _RAN_WELL_SECONDS
        self._failures = 1 if ran_well else self._failures + 1
        seconds = self._pause(self._failures)
        self._state = f"{reason}, next start in {seconds:.0f} s"
        self._warn("ended", f"{self._command[0]}: {self._state}")
        self._retry = self._reactor.callLater(seconds, self._run)


class InternalSource(SourceService):
    """The relay's own log."""

    def __init__(
        self, configuration: SourceConfiguration, receiving: Receiving, *, log: OwnLog
    ) -> None:
        super().__init__(configuration, receiving)
        self._own_log = log

    def startService(self) -> None:
        Service.startService(self)
        globalLogPublisher.addObserver(self._own_log)  # type: ignore[arg-type]  # zope

    def stopService(self) -> None:
        Service.stopService(self)
        globalLogPublisher.removeObserver(self._own_log)  # type: ignore[arg-type]  # zope
        self._own_log.flush()


def _make_internal(
    configuration: InternalConfiguration, receiving: Receiving, parts: SourceParts
) -> InternalSource:
    log = OwnLog(
        receiving.reception,
        as_message=as_message,
        relay_name=parts.relay_name,
        severity_max=configuration.severity_max,
        now=parts.wall.now,
        reactor=receiving.reactor,
    )
    return InternalSource(configuration, receiving, log=log)


PIPE = SourceKind(
    scheme="pipe",
    address=Path("named pipe"),
    configuration=PipeConfiguration,
    delivered="lines that programs write into a named pipe",
    medium="pipe",
    make=lambda configuration, receiving, parts: PipeSource(configuration, receiving),
    probe=lambda source, probe: probe_pipe_to_read(probe, source.listen.path),
)
PROGRAM = SourceKind(
    scheme="program",
    address=Path("program"),
    configuration=ProgramConfiguration,
    delivered="lines that a program writes to its standard output",
    medium="program",
    shared=True,
    make=lambda configuration, receiving, parts: ProgramSource(configuration, receiving),
    probe=lambda source, probe: probe_runnable(probe, source.listen.path),
)
INTERNAL = SourceKind(
    scheme="internal",
    address=Bare(),
    configuration=InternalConfiguration,
    delivered="the relay's own log, with facility syslog",
    medium="internal",
    make=_make_internal,
    probe=lambda source, probe: probe.passed("log", "the relay's own log needs nothing else"),
)
