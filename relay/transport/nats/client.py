"""One connection to a NATS server, with nats-py in a thread of its own.

It does not reconnect: what nats-py would send again after that could overtake what is sent
meanwhile.  A lost connection is the end of the client, and of who uses it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from twisted.internet.defer import Deferred

from relay.model.clock import Reactor
from relay.model.errors import UpstreamError
from relay.model.text import printable
from relay.transport.nats.library import LibraryClient, new_library_client
from relay.transport.nats.loop_thread import LoopThread
from relay.wire.nats.answers import (
    NO_RESPONDERS,
    LastMessage,
    Stored,
    StreamError,
    check_answer,
    read_last_message,
    read_stored,
)
from relay.wire.nats.messages import Message, encode_batch, split_headers

API = "$JS.API."
_PING_SECONDS = 10
_PINGS_MAX = 2
_PENDING_OCTETS_MAX = 64 * 1024 * 1024
_CLOSED = "the connection ended"

Answer = tuple[int, bytes]
"""Status and data."""


@dataclass(frozen=True, slots=True)
class Login:
    """Where to connect, and as whom."""

    servers: Sequence[tuple[str, int]]
    name: str
    """Name of the client in the lists of the server."""
    read_secrets: Callable[[], Mapping[str, object]] = field(default=dict, repr=False)
    """Arguments of `connect` that show who this is, as the files hold them now, and `public_nkey`
    of an NKey.  Called in a thread; UpstreamError says what is wrong."""
    tls: Callable[[], ssl.SSLContext] | None = None
    """Made in a thread; UpstreamError says what is wrong.  None = without TLS."""
    server_name: str = ""
    """In the certificate of the server; empty = the host."""
    connect_seconds_max: float = 30.0
    answer_seconds_max: float = 5.0
    """For one answer; who asks may ask again."""

    @property
    def target(self) -> str:
        """All servers, for people."""
        return ",".join(f"{_bracketed(host)}:{port}" for host, port in self.servers)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server as it describes itself."""

    place: str
    version: str
    payload_octets_max: int


class NatsClient:
    """One connection.  All methods are called in the reactor's thread.

    Args:
        on_lost: Called once with the reason when the connection has ended by itself.
    """

    def __init__(self, login: Login, *, reactor: Reactor, on_lost: Callable[[str], None]) -> None:
        self._login = login
        self._on_lost = on_lost
        self._thread = LoopThread(f"nats-{login.name}", reactor=reactor)
        self._connection = Connection(login, on_lost=partial(self._thread.post, self._lost))
        self._is_open = False
        self.closed = False

    def open(self) -> Deferred[ServerInfo]:
        """Connect to one of the servers.  Fails with UpstreamError."""
        self._thread.start()
        opened = self._thread.ask(self._connection.open)

        def note(info: ServerInfo) -> ServerInfo:
            self._is_open = True
            return info

        return opened.addCallback(note)

    def close(self) -> Deferred[None]:
        """End it at once; nothing is answered any more.  Fires when the thread has ended."""
        self.closed = True
        return self._thread.close(self._connection.close)

    def store(self, messages: Sequence[Message]) -> Deferred[Stored]:
        """Publish messages as one batch, or a single one.  Fails with StreamError."""
        return self._thread.ask(partial(self._connection.store, messages))

    def last_message(self, stream: str, subject: bytes) -> Deferred[LastMessage | None]:
        """The last message of a subject, as the stream's leader has it.  Fails with StreamError."""
        request = json.dumps({"last_by_subj": subject.decode("ascii")}).encode("ascii")
        asked = self.ask_api(f"STREAM.MSG.GET.{stream}", request, is_checked=False)
        return asked.addCallback(read_last_message)

    def ask_api(
        self, subject: str, request: bytes = b"", *, is_checked: bool = True
    ) -> Deferred[bytes]:
        """The answer of JetStream's API.  Fails with StreamError.

        Args:
            is_checked: An answer that is an error is a failure.
        """
        return self._thread.ask(
            partial(self._connection.ask_api, API + subject, request, is_checked)
        )

    def subscribe(
        self, inbox: str, take: Callable[[list[tuple[bytes, bytes, bytes, bytes]]], None]
    ) -> Deferred[None]:
        """Have what comes to `inbox` taken: subject, reply, headers and data of each message.

        Args:
            take: Called in the reactor's thread with all that has come in a turn.
        """
        return self._thread.ask(
            partial(self._connection.subscribe, inbox, partial(self._thread.post, take))
        )

    def publish(self, subject: bytes, data: bytes = b"", reply: bytes = b"") -> None:
        """Send a message that nobody answers."""
        self._thread.tell(self._connection.publish, subject, data, reply)

    def new_inbox(self) -> str:
        return self._connection.new_inbox()

    def _lost(self, why: str) -> None:
        if not self.closed and self._is_open:
            self._is_open = False
            self._on_lost(why)


class Connection:
    """The part of a client that lives in a loop.  Fails with StreamError or UpstreamError."""

    def __init__(self, login: Login, *, on_lost: Callable[[str], None]) -> None:
        self._login = login
        self._on_lost = on_lost
        self._library: LibraryClient | None = None
        self._error = ""  # the last one that the server has told
        self._waiting: dict[bytes, asyncio.Future[Answer]] = {}
        self._tokens = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._inbox = self.new_inbox()
        self._batch = self._inbox.rpartition(".")[2]

    @staticmethod
    def new_inbox() -> str:
        return f"_INBOX.{random.SystemRandom().getrandbits(96):024x}"

    async def open(self) -> ServerInfo:
        login = self._login
        loop = asyncio.get_running_loop()
        secrets = await loop.run_in_executor(None, login.read_secrets)
        context = None if login.tls is None else await loop.run_in_executor(None, login.tls)
        servers = [*login.servers]
        random.shuffle(servers)
        failures: list[str] = []
        for host, port in servers:
            place = f"{_bracketed(host)}:{port}"
            self._error = ""
            library = new_library_client()
            library.use_nkey(str(secrets.get("public_nkey", "")))
            try:
                async with asyncio.timeout(login.connect_seconds_max):
                    await library.connect(
                        f"{'nats' if context is None else 'tls'}://{place}",
                        name=login.name,
                        allow_reconnect=False,
                        max_reconnect_attempts=1,
                        reconnect_time_wait=0,  # the pause is for who makes clients
                        connect_timeout=login.connect_seconds_max,
                        ping_interval=_PING_SECONDS,
                        max_outstanding_pings=_PINGS_MAX,
                        pending_size=_PENDING_OCTETS_MAX,
                        error_cb=self._noted,
                        closed_cb=self._ended,
                        **({} if context is None else {"tls": context}),
                        **({"tls_hostname": login.server_name} if login.server_name else {}),
                        **{name: each for name, each in secrets.items() if name != "public_nkey"},
                    )
            except library.failures as error:
                failures.append(f"{place}: {self._error or _text_of(error)}")
                await library.abandon()
                continue
            self._library = library
            await library.subscribe_raw(f"{self._inbox}.*", self._answered)
            return ServerInfo(place, library.server_version, library.max_payload)
        raise UpstreamError("; ".join(failures))

    async def close(self) -> None:
        if self._library is not None:
            await self._library.abandon()

    async def store(self, messages: Sequence[Message]) -> Stored:
        token, answer = self._new_token()
        batch_id = f"{self._batch}-{token.decode('ascii')}"
        inbox = f"{self._inbox}.{token.decode('ascii')}"
        try:
            await self._send(encode_batch(messages, batch_id=batch_id, inbox=inbox))
            async with asyncio.timeout(self._login.answer_seconds_max):
                return read_stored(*await answer)
        except TimeoutError:
            raise StreamError(0, self._no_answer("the stream has not answered")) from None
        finally:
            self._waiting.pop(token, None)

    async def ask_api(self, subject: str, request: bytes, is_checked: bool) -> bytes:
        token, answer = self._new_token()
        inbox = f"{self._inbox}.{token.decode('ascii')}".encode("ascii")
        try:
            await self._send(_pub(subject.encode("ascii"), request, inbox))
            async with asyncio.timeout(self._login.answer_seconds_max):
                status, data = await answer
        except TimeoutError:
            raise StreamError(0, self._no_answer(f"no answer to {subject}")) from None
        finally:
            self._waiting.pop(token, None)
        if status == NO_RESPONDERS:
            raise StreamError(NO_RESPONDERS, "JetStream does not answer: nobody listens")
        if is_checked:
            check_answer(data)
        return data

    async def subscribe(
        self, inbox: str, take: Callable[[list[tuple[bytes, bytes, bytes, bytes]]], None]
    ) -> None:
        come: list[tuple[bytes, bytes, bytes, bytes]] = []
        loop = asyncio.get_running_loop()

        def hand_over() -> None:
            taken = come[:]
            come.clear()
            take(taken)

        def received(subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
            if not come:
                loop.call_soon(hand_over)
            come.append((subject, reply, headers, data))

        if self._library is None:
            raise StreamError(0, _CLOSED)
        await self._library.subscribe_raw(inbox, received)

    def publish(self, subject: bytes, data: bytes, reply: bytes) -> None:
        if self._library is not None and self._library.is_connected:
            task = asyncio.get_running_loop().create_task(
                self._library.write(_pub(subject, data, reply))
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, commands: bytes) -> None:
        if self._library is None or not self._library.is_connected:
            raise StreamError(0, _CLOSED)
        await self._library.write(commands)

    def _new_token(self) -> tuple[bytes, asyncio.Future[Answer]]:
        token = b"%d" % next(self._tokens)
        answer = self._waiting[token] = asyncio.get_running_loop().create_future()
        return token, answer

    def _answered(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        answer = self._waiting.get(subject.rpartition(b".")[2])
        status = split_headers(headers)[0] if headers else 0
        if answer is None or answer.done() or not (status or data):
            return  # the beginning of a batch is answered with nothing
        answer.set_result((status, data))

    def _no_answer(self, text: str) -> str:
        text = f"{text} within {self._login.answer_seconds_max:g} s"
        return f"{text} ({self._error})" if self._error else text

    async def _noted(self, error: Exception) -> None:
        self._error = _text_of(error)

    async def _ended(self) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(StreamError(0, _CLOSED))
        self._on_lost(f"{_CLOSED}: {self._error}" if self._error else _CLOSED)


def _pub(subject: bytes, data: bytes, reply: bytes) -> bytes:
    inbox = reply + b" " if reply else b""
    return b"PUB %s %s%d\r\n%s\r\n" % (subject, inbox, len(data), data)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _text_of(error: BaseException) -> str:
    """An error in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, TimeoutError):
        return "no answer"
    text = printable(str(error)) or type(error).__name__
    return text.removeprefix("nats: ").strip("'\"")
