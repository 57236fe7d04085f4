"""A running relay gets new certificate files: nobody is cut off, nobody needs a restart."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
from contextlib import suppress
from pathlib import Path

from click.testing import CliRunner
from cryptography import x509

from relay.cli.main import main
from tests.certificate_files import SERVER_NAME, CertificateFiles, make_certificate_files
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines


def connected(port: int, trusted: CertificateFiles) -> ssl.SSLSocket:
    """A client that has verified the relay's certificate and shows its own."""
    context = ssl.create_default_context(cafile=trusted.ca)
    context.load_cert_chain(trusted.client_certificate, trusted.client_key)
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    return context.wrap_socket(plain, server_hostname=SERVER_NAME)


def install(files: CertificateFiles, folder: Path) -> None:
    names = {"ca.pem": files.ca, "own.pem": files.server_certificate, "key.pem": files.server_key}
    for name, path in names.items():
        shutil.copy(path, folder / name)


def test_new_files_are_for_new_connections(programs: Programs, tmp_path: Path) -> None:
    first = make_certificate_files(tmp_path / "first")
    second = make_certificate_files(tmp_path / "second")
    install(first, tmp_path)
    port, arrived = free_port(), tmp_path / "received.log"
    source = {
        "listen": f"tls://127.0.0.1:{port}",
        "certificate": str(tmp_path / "own.pem"),
        "private_key": str(tmp_path / "key.pem"),
        "trusted_ca": str(tmp_path / "ca.pem"),
    }
    relay = RelayProcess.started(
        programs,
        tmp_path / "relay",
        sources={"in": source},
        destinations={"file": {"connect": f"file://{arrived}"}},
    )
    with connected(port, first) as before:
        before.sendall(b"7 <13>one")
        wait_for_lines(arrived, 1)
        install(second, tmp_path)
        relay.signal(signal.SIGHUP)
        wait_until(lambda: "source in: new TLS files are in use" in relay.log(), "the new files")
        with connected(port, second) as after:
            after.sendall(b"7 <13>two")
            wait_for_lines(arrived, 2)
        (tmp_path / "key.pem").write_bytes(b"")
        relay.signal(signal.SIGHUP)
        wait_until(lambda: "the old ones still are: private_key" in relay.log(), "the refusal")
        with connected(port, second) as still:
            still.sendall(b"9 <13>three")
            wait_for_lines(arrived, 3)
        before.sendall(b"8 <13>four")
        wait_for_lines(arrived, 4)
    assert received(arrived) == [b"<13>one", b"<13>two", b"<13>three", b"<13>four"]
    relay.stop()


def certs(*arguments: str | Path) -> str:
    done = CliRunner().invoke(main, ["certs", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def sends(port: int, folder: Path, text: bytes) -> int:
    """Send a message as the client in `folder`; return the serial of the relay's certificate."""
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.load_cert_chain(folder / "client.pem", folder / "client-key.pem")
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    with context.wrap_socket(plain, server_hostname="localhost") as connection:
        der = connection.getpeercert(binary_form=True)
        connection.sendall(b"%d %s" % (len(text), text))
        connection.unwrap().close()
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def test_renewed_and_revoked_without_a_restart(programs: Programs, tmp_path: Path) -> None:
    folder, port, arrived = tmp_path / "certs", free_port(), tmp_path / "received.log"
    certs("all", "--out", folder)
    certs("crl", "--out", folder)
    source = {
        "listen": f"tls://127.0.0.1:{port}",
        "certificate": str(folder / "server.pem"),
        "private_key": str(folder / "server-key.pem"),
        "trusted_ca": str(folder / "ca.pem"),
        "crl": str(folder / "crl.pem"),
    }
    relay = RelayProcess.started(
        programs,
        tmp_path / "relay",
        sources={"in": source},
        destinations={"file": {"connect": f"file://{arrived}"}},
    )

    def taken_over(times: int) -> None:
        relay.signal(signal.SIGHUP)
        text = "source in: new TLS files are in use"
        wait_until(lambda: relay.log().count(text) == times, "the new files")

    first = sends(port, folder, b"<13>one")
    certs("renew", folder / "server.pem")
    taken_over(1)
    assert sends(port, folder, b"<13>two") != first
    certs("revoke", folder / "client.pem", "--out", folder, "--reason", "keyCompromise")
    certs("crl", "--out", folder)
    taken_over(2)
    with suppress(OSError):  # a client may have sent before it hears of the refusal (TLS 1.3)
        sends(port, folder, b"<13>never")
    reason = f"is not accepted: it was revoked in {folder}/crl.pem"
    wait_until(lambda: reason in relay.log(), "the refusal")
    certs("renew", folder / "client.pem")
    sends(port, folder, b"<13>three")
    wait_for_lines(arrived, 3)
    state = CliRunner().invoke(main, ["status", "--state-dir", str(relay.state_dir)]).output
    assert f"the certificate in {folder}/server.pem expires in 39" in state.replace("\n  ", " ")
    assert "the revocation list of 'CN=syslogrelay private authority'" in state.replace("\n  ", " ")
    relay.stop()
    assert received(arrived) == [b"<13>one", b"<13>two", b"<13>three"]
