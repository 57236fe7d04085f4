"""On this host: sockets with paths, named pipes, programs, and terminals."""

from __future__ import annotations

import fcntl
import os
import pwd
import signal
import socket
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from twisted.internet.defer import DeferredLock

from relay.model.output import KeyTemplate, SizeLimit
from relay.service.checks.warnings import directory_warnings
from relay.service.configuration.keys import key
from relay.service.configuration.model import DestinationConfiguration, Where
from relay.service.configuration.table import Texts
from relay.service.configuration.tables.format import FORMAT_TABLE, FormatConfiguration
from relay.service.configuration.url import SOCKET_PATH, Bare, Path
from relay.service.destinations.kind import Delivery, DestinationKind, DestinationParts
from relay.service.destinations.link import LocalLink, Outlet
from relay.service.probes.files import (
    probe_connectable,
    probe_pipe,
    probe_runnable,
    probe_terminals,
)
from relay.service.probes.probe import Probe
from relay.transport.datagram.outbound import DatagramSession
from relay.transport.local.outbound import (
    PIPE_BYTES,
    LineSession,
    unread_in_pipe,
    unread_in_socket,
    whole_lines,
)
from relay.transport.local.program import Program
from relay.transport.local.terminals import Terminals, TerminalSession

OnFailure = Callable[[str], None]
_READ = "read by the program at the other end"

_END_SECONDS = 0.7  # that a program may take to end by itself at the end of its input


@dataclass(frozen=True, slots=True)
class LocalConfiguration(DestinationConfiguration):
    def warnings(self, where: Where) -> Iterable[str]:
        return directory_warnings(self.connect.path, where("connect"))


@dataclass(frozen=True, slots=True)
class PipeConfiguration(LocalConfiguration):
    @property
    def size_limit(self) -> SizeLimit:
        """Of a pipe with its largest size; one that is smaller refuses what it cannot hold."""
        return SizeLimit(PIPE_BYTES - len(b"\n"), "quarantine", "pipes, in which no line is cut,")


@dataclass(frozen=True, slots=True)
class ProgramConfiguration(PipeConfiguration):
    arguments: tuple[str, ...] = key(
        Texts("a list of arguments", may_repeat=True), (), "arguments of the program"
    )

    def warnings(self, where: Where) -> Iterable[str]:
        path = self.connect.path
        if not os.access(path, os.X_OK) or os.path.isdir(path):
            yield f"{where('connect')}: {path} is not a program that may be run"


@dataclass(frozen=True, slots=True)
class TerminalsConfiguration(DestinationConfiguration):
    users: tuple[str, ...] = key(
        Texts("a list of user names or numbers"),
        (),
        "users at whose terminals messages are shown",
        default_text="all who are logged in",
    )
    format: FormatConfiguration | None = key(
        FORMAT_TABLE,
        FormatConfiguration("template", "Message from $HOST at $DATE: $MSGHDR$MSG", key="template"),
        "output format, unless `rewrite` ends with a mode",
        default_text="`Message from HOST at DATE: PROGRAM[PID]: text`",
    )

    @property
    def record_key(self) -> KeyTemplate:
        """The severity: users see emergencies although they want no messages."""
        return KeyTemplate("$SEVERITY_NUM", escape=bytes, finish=bytes)

    @property
    def whose(self) -> str:
        """The users, for people."""
        return ", ".join(self.users) or "all users"

    def warnings(self, where: Where) -> Iterable[str]:
        if self.takes_all:
            yield (
                f"{where('match')}: is missing, so users see every message; write for example "
                'match = { severity = "..alert" }'
            )
        for user in self.users:
            if not user.isdecimal() and not _is_user(user):
                yield f"{where('users')}: there is no user {user!r}; make it, or write another one"


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _make_stream(configuration: LocalConfiguration, parts: DestinationParts) -> Delivery:
    path, clock = configuration.connect.path, parts.reactor

    async def connect(outlet: Outlet, on_failure: OnFailure) -> LineSession:
        return LineSession(
            _connected(path, socket.SOCK_STREAM).detach(),
            unread=unread_in_socket,
            drain=outlet.drain,
            clock=clock,
            on_failure=partial(_fail, on_failure, path),
        )

    how = f"connected to {path}, delivered when its program has read it"
    return Delivery(
        new_link=lambda outlet: LocalLink(outlet, connect, how=how, clock=clock), taken=_READ
    )


def _make_datagrams(configuration: LocalConfiguration, parts: DestinationParts) -> Delivery:
    path, clock = configuration.connect.path, parts.reactor

    async def connect(outlet: Outlet, on_failure: OnFailure) -> DatagramSession:
        return DatagramSession(
            _connected(path, socket.SOCK_DGRAM),
            drain=outlet.drain,
            state=outlet.state,
            clock=clock,
            notices=parts.notices,
            on_failure=on_failure,
            bytes_max=None,
        )

    how = f"sending to {path}, delivered when the kernel has queued it there"
    return Delivery(new_link=lambda outlet: LocalLink(outlet, connect, how=how, clock=clock))


def _make_pipe(configuration: LocalConfiguration, parts: DestinationParts) -> Delivery:
    path, clock = configuration.connect.path, parts.reactor

    async def open_pipe(outlet: Outlet, on_failure: OnFailure) -> LineSession:
        return LineSession(
            _opened_pipe(path),
            unread=unread_in_pipe,
            drain=outlet.drain,
            clock=clock,
            on_failure=partial(_fail, on_failure, path),
            end_of_write=whole_lines,
        )

    how = f"writing to {path}, delivered when its reader has read it"
    return Delivery(
        new_link=lambda outlet: LocalLink(outlet, open_pipe, how=how, clock=clock), taken=_READ
    )


def _make_program(configuration: ProgramConfiguration, parts: DestinationParts) -> Delivery:
    path, reactor = configuration.connect.path, parts.reactor
    command = (path, *configuration.arguments)

    async def run(outlet: Outlet, on_failure: OnFailure) -> LineSession:
        readable, writable = os.pipe()
        os.set_blocking(writable, False)
        _enlarge(writable)

        def on_end(reason: str) -> None:
            session.fail(reason)

        def on_lost(reason: str) -> None:
            program.signal(signal.SIGKILL)
            on_failure(f"{path}: {reason}")

        program = Program(
            on_text=partial(parts.notices.warn, f"destination {configuration.id}", "stderr"),
            on_end=on_end,
        )
        try:
            with open(os.devnull, "wb") as nowhere:
                files: dict[int, int | str] = {0: readable, 1: nowhere.fileno(), 2: "r"}
                program.start(reactor, command, files)
        except BaseException:
            os.close(writable)
            raise
        finally:
            os.close(readable)
        session = LineSession(
            writable,
            unread=unread_in_pipe,
            drain=outlet.drain,
            clock=reactor,
            on_failure=on_lost,
            on_close=partial(program.end, patience_seconds=_END_SECONDS),
            end_of_write=whole_lines,
        )
        return session

    how = f"running {path}, delivered when it has read it"
    return Delivery(
        new_link=lambda outlet: LocalLink(outlet, run, how=how, clock=reactor), taken=_READ
    )


def _make_terminals(configuration: TerminalsConfiguration, parts: DestinationParts) -> Delivery:
    reactor, subject = parts.reactor, f"destination {configuration.id}"
    one_at_a_time = DeferredLock()  # of two lanes

    def say(kind: str, text: str) -> None:
        reactor.callFromThread(parts.notices.warn, subject, kind, text)

    terminals = Terminals(configuration.users, say=say)

    async def begin(outlet: Outlet, on_failure: OnFailure) -> TerminalSession:
        return TerminalSession(
            terminals.show,
            drain=outlet.drain,
            run_in_thread=partial(one_at_a_time.run, parts.run_in_thread),
            on_failure=on_failure,
        )

    how = f"writing to terminals of {configuration.whose}, delivered when written to once"
    return Delivery(
        new_link=lambda outlet: LocalLink(outlet, begin, how=how, clock=reactor),
        target="terminals",
        details=terminals.details,
    )


def _fail(on_failure: OnFailure, path: str, reason: str) -> None:
    on_failure(f"{path}: {reason}")


def _connected(path: str, kind: socket.SocketKind) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX, kind)
    try:
        connected.setblocking(False)
        connected.connect(path)
    except BaseException:
        connected.close()
        raise
    return connected


def _opened_pipe(path: str) -> int:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if not stat.S_ISFIFO(os.stat(path).st_mode):
            raise OSError(0, "it is no named pipe; make one with mkfifo") from None
        if error.strerror == "No such device or address":
            raise OSError(0, "no program has it open for reading") from None
        raise
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(0, "it is no named pipe; make one with mkfifo")
    _enlarge(fd)
    return fd


def _enlarge(pipe: int) -> None:
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:  # users without privileges have a limit for all their pipes
        pass


def _probe_stream(configuration: LocalConfiguration, probe: Probe) -> None:
    probe_connectable(probe, configuration.connect.path, socket.SOCK_STREAM)


def _probe_datagrams(configuration: LocalConfiguration, probe: Probe) -> None:
    probe_connectable(probe, configuration.connect.path, socket.SOCK_DGRAM)


def _probe_pipe(configuration: LocalConfiguration, probe: Probe) -> None:
    probe_pipe(probe, configuration.connect.path)


def _probe_program(configuration: ProgramConfiguration, probe: Probe) -> None:
    probe_runnable(probe, configuration.connect.path)


def _probe_terminals(configuration: TerminalsConfiguration, probe: Probe) -> None:
    probe_terminals(probe)


UNIX = DestinationKind(
    scheme="unix",
    address=SOCKET_PATH,
    configuration=LocalConfiguration,
    delivered="the program behind the socket has read it",
    medium="unix",
    make=_make_stream,
    probe=_probe_stream,
)
UNIXGRAM = DestinationKind(
    scheme="unixgram",
    address=SOCKET_PATH,
    configuration=LocalConfiguration,
    delivered="the kernel has queued it at the socket",
    medium="unixgram",
    make=_make_datagrams,
    probe=_probe_datagrams,
)
PIPE = DestinationKind(
    scheme="pipe",
    address=Path("named pipe"),
    configuration=PipeConfiguration,
    delivered="the reader of the named pipe has read it",
    medium="pipe",
    make=_make_pipe,
    probe=_probe_pipe,
)
PROGRAM = DestinationKind(
    scheme="program",
    address=Path("program"),
    configuration=ProgramConfiguration,
    delivered="the program has read it from its standard input",
    medium="program",
    shared=True,
    make=_make_program,
    probe=_probe_program,
)
USERTTY = DestinationKind(
    scheme="usertty",
    address=Bare(),
    configuration=TerminalsConfiguration,
    delivered="it was written to each terminal once; one that takes nothing misses it",
    medium="usertty",
    shared=True,
    make=_make_terminals,
    probe=_probe_terminals,
)
