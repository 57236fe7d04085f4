"""Accept connections on a unix socket, and leave its file as it is.

The reactor's own `adoptStreamPort` gives the file of every unix socket mode 0666:
that opens a private socket to everybody, and fails once the process has given up
the rights that it bound the socket with.
"""

from __future__ import annotations

import contextlib
import os
import socket

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from relay.model.clock import DelayedCall, Reactor

__all__ = ["UnixListener"]

_ACCEPTS_MAX = 100  # a wake-up, so that other sockets get their turn
_PAUSE_SECONDS = 1.0  # when there are no file descriptors left


@implementer(IReadDescriptor)
class UnixListener:
    """Hands the connections of one listening, non-blocking socket to a factory.

    Args:
        factory: Makes the protocol of each connection.
        inherited: The socket's file is somebody else's, and stays.
        reactor: Provides IReactorFDSet, IReactorSocket and IReactorTime.
    """

    def __init__(
        self,
        listening: socket.socket,
        factory: Factory,
        *,
        reactor: Reactor,
        inherited: bool = False,
    ) -> None:
        self._socket = listening
        self._path: str = listening.getsockname()
        self._file = _file_at(self._path)
        self._factory = factory
        self._reactor = reactor
        self._inherited = inherited
        self._pause: DelayedCall | None = None
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return f"listener {self._path}"

    def connectionLost(self, reason: Failure) -> None:
        self._socket.close()

    def doRead(self) -> None:
        """Accept who has come (called by the reactor)."""
        for _ in range(_ACCEPTS_MAX):
            try:
                if not self._accept():
                    return
            except OSError:
                self._reactor.removeReader(self)
                self._pause = self._reactor.callLater(_PAUSE_SECONDS, self._resume)
                return

    def stop(self) -> None:
        """Remove our socket file, if it is there and we may, and accept who has come until now.

        The kernel refuses further connections meanwhile, so what somebody has written
        into one that it took is not lost.  Those of an inherited socket wait in it for the
        next start.
        """
        self._reactor.removeReader(self)
        if self._pause is not None and self._pause.active():
            self._pause.cancel()
        if not self._inherited:
            with contextlib.suppress(OSError):
                if self._file == _file_at(self._path):
                    os.unlink(self._path)
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RD)
                while self._accept():  # EINVAL is the end
                    pass
        self._socket.close()

    def _accept(self) -> bool:
        """Accept one connection; False if nobody waits.

        Raises:
            OSError: There are no file descriptors left, for example.
        """
        try:
            accepted, _ = self._socket.accept()
        except BlockingIOError:
            return False
        with accepted, contextlib.suppress(OSError):  # of a peer that is gone already
            accepted.setblocking(False)
            self._reactor.adoptStreamConnection(accepted.fileno(), socket.AF_UNIX, self._factory)
        return True

    def _resume(self) -> None:
        self._reactor.addReader(self)


def _file_at(path: str) -> tuple[int, int] | None:
    """Device and inode of what has the name `path`; None = nothing, or it cannot be seen."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):  # an abstract address is no path
        return None
    return found.st_dev, found.st_ino
