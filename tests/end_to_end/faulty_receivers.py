"""Receivers on loopback, each with one fault, and certificates that openssl(1) has made."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["Authority", "Pair", "Receivers"]

Pair = tuple[str, str]
"""The paths of a certificate and its key."""


class Authority:
    """A directory of `openssl ca`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        (folder / "index.txt").write_text("")
        (folder / "index.txt.attr").write_text("unique_subject = no\n")
        (folder / "openssl.cnf").write_text(
            "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\n"
            "default_md=sha256\npolicy=any\nunique_subject=no\ncopy_extensions=copy\n"
            "[any]\ncommonName=supplied\n"
            "[req]\ndistinguished_name=dn\n[dn]\n[authority]\nbasicConstraints=critical,CA:true\n"
            "keyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
        )
        self.certificate, self.key = str(folder / "ca.pem"), str(folder / "ca-key.pem")
        self._openssl(
            *("req", "-x509", "-config", "openssl.cnf", "-extensions", "authority"),
            *("-subj", f"/CN={folder.name}", "-days", "400"),
            *(*_KEY, "-keyout", self.key, "-out", self.certificate),
        )

    def issue(
        self,
        name: str,
        *,
        names: str = "IP:127.0.0.1",
        usage: str = "serverAuth",
        begin: str = "20250101000000Z",
        end: str = "20400101000000Z",
        days: int | None = None,
    ) -> Pair:
        """A certificate and its key.

        Args:
            days: Until its end, instead of `end`.
        """
        certificate, key, request = (
            str(self._folder / f"{name}{suffix}") for suffix in (".pem", "-key.pem", ".csr")
        )
        self._openssl(
            *("req", "-new", "-config", "openssl.cnf", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName={names}", "-addext", f"extendedKeyUsage={usage}"),
            *(*_KEY, "-keyout", key, "-out", request),
        )
        until = ("-enddate", end) if days is None else ("-days", str(days))
        self._openssl(
            *("ca", "-batch", "-notext", "-config", "openssl.cnf", "-startdate", begin, *until),
            *("-cert", self.certificate, "-keyfile", self.key),
            *("-in", request, "-out", certificate),
        )
        return certificate, key

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments],
            cwd=self._folder,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Receivers:
    """Servers in threads; all end with `close`."""

    def __init__(self) -> None:
        self._open: list[socket.socket] = []

    def close(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def serve(self, script: Callable[[socket.socket], None], host: str = "127.0.0.1") -> int:
        """Listen; `script` has each connection. Returns the port."""
        listening = socket.create_server((host, 0), family=_family(host))
        self._open.append(listening)
        thread = threading.Thread(target=self._accept, args=(listening, script), daemon=True)
        thread.start()
        return int(listening.getsockname()[1])

    def silent(self) -> int:
        """Reads and never says a word."""
        return self.serve(_read_on)

    def saying(self, octets: bytes) -> int:
        """Answers the first bytes that come, whatever they are."""

        def answer(connection: socket.socket) -> None:
            connection.recv(65536)
            connection.sendall(octets)
            _read_on(connection)

        return self.serve(answer)

    def greeting(self, octets: bytes) -> int:
        """Speaks first, as SSH and SMTP do."""

        def greet(connection: socket.socket) -> None:
            connection.sendall(octets)
            _read_on(connection)

        return self.serve(greet)

    def tls(
        self,
        pair: Pair,
        *,
        client_ca: str = "",
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> int:
        """TLS in front of somebody who reads.

        Args:
            client_ca: Requires a client certificate that this authority has signed.
            version: The highest one.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair)
        context.maximum_version = version
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)

        def secure(connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as secured:
                _read_on(secured)

        return self.serve(secure)

    def full(self) -> int:
        """Its backlog is full, so the kernel drops every further SYN: as behind a firewall."""
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        self._open.append(listening)
        for _ in range(4):
            waiting = socket.socket()
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(listening.getsockname())
            self._open.append(waiting)
        return int(listening.getsockname()[1])

    def _accept(self, listening: socket.socket, script: Callable[[socket.socket], None]) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=_run, args=(script, connection), daemon=True).start()


def _run(script: Callable[[socket.socket], None], connection: socket.socket) -> None:
    connection.settimeout(30)
    with connection, suppress(OSError):  # ssl.SSLError is one
        script(connection)


def _read_on(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
