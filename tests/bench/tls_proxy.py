"""Puts TLS on or takes it off a stream, so that the C tools can do without.

An event loop in a thread of its own, in the process of the benchmark.
"""

from __future__ import annotations

import asyncio
import ssl
import threading

from tests.certificate_files import CertificateFiles

__all__ = ["TlsProxy"]

CHUNK_BYTES = 1 << 18
START_SECONDS_MAX = 10.0


class TlsProxy:
    """Listens at `port` and connects to `upstream` for each connection.

    Args:
        certificates: Server side: shown to clients; client side: its CA is trusted.
        takes_tls: True = take TLS from clients and send plain octets on; False = take plain
            octets and speak TLS to `upstream`.
    """

    def __init__(
        self, port: int, upstream: int, certificates: CertificateFiles, *, takes_tls: bool
    ) -> None:
        self._port = port
        self._upstream = upstream
        self._client_side: ssl.SSLContext | None = None
        self._server_side: ssl.SSLContext | None = None
        if takes_tls:
            self._server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._server_side.load_cert_chain(
                certificates.server_certificate, certificates.server_key
            )
        else:
            self._client_side = ssl.create_default_context(cafile=certificates.ca)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._is_listening = threading.Event()

    def __enter__(self) -> TlsProxy:
        self._thread.start()
        assert self._is_listening.wait(START_SECONDS_MAX), "the TLS proxy does not listen"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        server = await asyncio.start_server(
            self._join, "127.0.0.1", self._port, ssl=self._server_side, limit=CHUNK_BYTES
        )
        async with server:
            self._is_listening.set()
            await self._end.wait()
        ours = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in ours:
            task.cancel()
        await asyncio.gather(*ours, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward, to = await asyncio.open_connection(
                "127.0.0.1", self._upstream, ssl=self._client_side, limit=CHUNK_BYTES
            )
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, to), _copy(onward, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass  # the other direction ended it
    finally:
        writer.close()
