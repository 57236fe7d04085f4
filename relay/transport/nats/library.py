"""nats-py's client with what a relay needs beside its public interface.

* Messages are taken as they are on the wire: nats-py makes an object of each, and a mapping of
  its headers, which costs ten times as much as reading them.
* Commands are written as they are, so that a batch is one write.
* A connection that has to be encrypted is, or is none: nats-py sends the password in the clear
  if the server does not ask for TLS.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from relay.model.errors import UpstreamError

Take = Callable[[bytes, bytes, bytes, bytes], None]
"""Subject, reply, headers and data."""

MISSING = "nats-py is not installed; pip install 'syslogrelay[nats]' brings it"


_MISREADINGS = (AssertionError, AttributeError, LookupError, TypeError, ValueError)
"""With these nats-py fails at a greeting that is cut off or that no server of NATS sends."""


def library_problem() -> str:
    """Why there can be no client; empty = there can."""
    try:
        importlib.import_module("nats.aio.client")
    except ImportError:
        return MISSING
    return ""


def new_library_client() -> LibraryClient:
    """A client that is not connected yet.  Raises UpstreamError if nats-py is not installed."""
    try:
        client = importlib.import_module("nats.aio.client").Client
        failure = importlib.import_module("nats.errors").Error
    except ImportError:
        raise UpstreamError(MISSING) from None
    made: LibraryClient = type("Client", (LibraryClient, client), {})()
    made.failures = (OSError, UpstreamError, failure, *_MISREADINGS)
    return made


class _Transport(Protocol):
    _io_writer: asyncio.StreamWriter | None


class LibraryClient:
    """Before nats-py's class in the order of methods.

    Attributes:
        failures: What connecting may fail with.
        is_connected, max_payload: As nats-py has them.
    """

    failures: tuple[type[Exception], ...]
    is_connected: bool
    max_payload: int

    CLOSED: int  # from here on, attributes and methods of nats-py's class
    options: dict[str, object]
    _pending: list[bytes]
    _server_info: dict[str, object]
    _sid: int
    _status: int
    _transport: _Transport | None
    _flusher_task: asyncio.Task[None] | None
    _ping_interval_task: asyncio.Task[None] | None
    _reading_task: asyncio.Task[None] | None
    _flush_pending: Callable[[], Awaitable[object]]
    _send_command: Callable[[bytes], Awaitable[None]]

    def __init__(self) -> None:
        super().__init__()
        self._raw: dict[int, Take] = {}

    async def connect(self, servers: str, **arguments: object) -> None:
        await super().connect(servers, **arguments)  # type: ignore[misc]  # nats-py's

    @property
    def server_version(self) -> str:
        return str(self._server_info.get("version", ""))

    def use_nkey(self, public: str) -> None:
        """Show this public key, with a signature, at `connect`; empty = none."""
        self._public_nkey = public or None

    async def _process_info(
        self, info: dict[str, object], initial_connection: bool = False
    ) -> None:
        if initial_connection:
            wants = self.options.get("tls") is not None
            if wants and not (info.get("tls_required") or info.get("tls_available")):
                raise UpstreamError("the server does not offer TLS, which nats+tls:// asks for")
            if not wants and info.get("tls_required"):
                raise UpstreamError("the server asks for TLS; write nats+tls://")
            info["tls_required"] = wants
        # Names of other servers are not used: the configuration says which ones are.
        info.pop("connect_urls", None)
        await super()._process_info(info, initial_connection)  # type: ignore[misc]

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        take = self._raw.get(sid)
        if take is not None:
            take(bytes(subject), bytes(reply), bytes(headers or b""), bytes(data))
        else:
            await super()._process_msg(sid, subject, reply, data, headers)  # type: ignore[misc]

    async def subscribe_raw(self, subject: str, take: Take) -> None:
        """Have each message of a subject taken at once, in the order of their coming."""
        self._sid += 1
        self._raw[self._sid] = take
        await self.write(b"SUB %s  %d\r\n" % (subject.encode("ascii"), self._sid))

    async def write(self, commands: bytes) -> None:
        await self._send_command(commands)
        await self._flush_pending()

    async def abandon(self) -> None:
        """Close it at once, without waiting for the server."""
        self._status = self.CLOSED
        for task in (self._reading_task, self._ping_interval_task, self._flusher_task):
            if task is not None:
                task.cancel()
        writer = self._transport._io_writer if self._transport else None
        if writer is not None:
            if self._pending:  # the last acknowledgements
                writer.writelines(self._pending)
                await asyncio.sleep(0)
            writer.transport.abort()
