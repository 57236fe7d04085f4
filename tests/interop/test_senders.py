"""What every host has: logger, Python's SysLogHandler, netcat and openssl, to sets of listeners."""

from __future__ import annotations

import logging
import logging.handlers
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.certificate_files import CertificateFiles
from tests.interop.packages import PackagesRoot
from tests.processes import free_port, running_programs
from tests.relay_process import RelayProcess, wait_for_lines
from tests.relp_sender import RelpSender

TEXT = 'árvíztűrő 日本語 🐘 "quotes" \\ and {"json": [1, 2.5]} %s $(true)'
RFC3164 = rb"<133>[A-Z][a-z]{2} [ 0-9]\d \d\d:\d\d:\d\d \S+ app: "
RFC5424 = rb"<133>1 \d{4}-\d\d-\d\dT\S+ \S+ app - - (\[timeQuality [^]]*\]|-) "

# Where a sender's UDP, TCP and TLS go, for each set.
KEYS = {
    "default-network": ("udp_port", "tcp_port", "rfc5424_tls_port", "rfc5424_tcp_port"),
    "sematext-receiver": ("udp_port", "tcp_port", "tls_port", "relp_port"),
}


class Receiver:
    """A relay with a set of listeners and a local socket; everything goes to one file."""

    def __init__(self, programs: Any, folder: Path, scheme: str, files: CertificateFiles) -> None:
        self.arrived = folder / "received.log"
        self.log_path = str(folder / "log")
        self.scheme = scheme
        ports = {key: free_port() for key in KEYS[scheme]}
        self.udp, self.tcp, self.tls, self.last = ports.values()
        self.ca = files.ca
        RelayProcess.started(
            programs,
            folder,
            sources={
                "network": {
                    "listen": f"{scheme}://127.0.0.1",
                    "certificate": files.server_certificate,
                    "private_key": files.server_key,
                    "peer_verify": "none",
                    **ports,
                },
                "local": {"listen": f"unixgram://{self.log_path}"},
            },
            destinations={"file": {"connect": f"file://{self.arrived}"}},
        )

    def lines(self, count: int) -> list[bytes]:
        """What has arrived, when `count` messages have; there must not be more."""
        lines = wait_for_lines(self.arrived, count)
        assert len(lines) == count
        return lines

    def send(self, port: int, octets: bytes) -> None:
        """What ``… | nc 127.0.0.1 PORT`` does."""
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(octets)


@pytest.fixture(params=list(KEYS))
def receiver(
    request: pytest.FixtureRequest, tmp_path: Path, certificates: CertificateFiles
) -> Iterator[Receiver]:
    with running_programs() as running:
        yield Receiver(running, tmp_path, request.param, certificates)


def logger(*options: str, text: str = TEXT) -> None:
    command = ["logger", "--tag", "app", "--priority", "local0.notice", *options, "--", text]
    subprocess.run(command, check=True, timeout=20)


@pytest.mark.parametrize("form", ["3164", "5424"])
def test_logger_over_the_network(receiver: Receiver, form: str) -> None:
    to = (f"--rfc{form}", "--server", "127.0.0.1", "--port")
    logger("--udp", *to, str(receiver.udp))
    receiver.lines(1)
    logger("--tcp", *to, str(receiver.tcp))
    receiver.lines(2)
    logger("--tcp", "--octet-count", *to, str(receiver.tcp))
    lines = receiver.lines(3)
    if receiver.scheme == "default-network":
        logger("--tcp", "--octet-count", *to, str(receiver.last))
        lines = receiver.lines(4)
    header = RFC3164 if form == "3164" else RFC5424
    for line in lines:
        assert re.fullmatch(header + re.escape(TEXT.encode()), line), line


def test_logger_on_this_host(receiver: Receiver) -> None:
    logger("--socket", receiver.log_path)
    assert receiver.lines(1)[0].endswith(b"app: " + TEXT.encode())


@pytest.mark.parametrize("transport", ["udp", "tcp", "unix"])
@pytest.mark.parametrize("with_nul", [True, False])
def test_python(receiver: Receiver, transport: str, with_nul: bool) -> None:
    """A NUL is its only delimiter; without it, TCP needs a newline in the text."""
    kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
    address: Any = {
        "udp": ("127.0.0.1", receiver.udp),
        "tcp": ("127.0.0.1", receiver.tcp),
        "unix": receiver.log_path,
    }[transport]
    sender = logging.handlers.SysLogHandler(address, facility="local0", socktype=kind)
    sender.append_nul = with_nul
    sender.ident = "app: "
    end = "\n" if transport == "tcp" and not with_nul else ""
    for number in range(3):
        record = logging.LogRecord("app", logging.WARNING, "", 0, f"{number} {TEXT}{end}", (), None)
        sender.emit(record)
    sender.close()
    expected = [f"<132>app: {number} {TEXT}".encode() for number in range(3)]
    assert sorted(receiver.lines(3)) == expected


SEED = [
    b'my-host my-process:@cee: {"logsene-app-token": "LOGS_APP_TOKEN_GOES_HERE", '
    b'"message": "hello world!"}',
    b"my-host LOGS_APP_TOKEN_GOES_HERE:hello world!",
    b"my-host LOGS_APP_TOKEN_GOES_HERE:  a line of file.txt, with its spaces  ",
]
COUNTED = [b"<13>" + line for line in SEED]  # a count is only believed before a PRI (RFC 5425 §4.3)


def octet_counted(messages: Sequence[bytes]) -> bytes:
    return b"".join(b"%d %s" % (len(message), message) for message in messages)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_netcat(receiver: Receiver, transport: str) -> None:
    for number, line in enumerate(SEED, 1):
        if transport == "tcp":
            receiver.send(receiver.tcp, line + b"\n")
        else:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(line + b"\n", ("127.0.0.1", receiver.udp))
        receiver.lines(number)
    assert receiver.lines(3) == SEED


def test_netcat_with_many_lines_in_one_connection(receiver: Receiver) -> None:
    receiver.send(receiver.tcp, b"".join(line + b"\n" for line in SEED))
    assert receiver.lines(3) == SEED


@pytest.mark.parametrize("framing", ["lines", "octet-counting"])
def test_openssl(receiver: Receiver, framing: str) -> None:
    sent = SEED if framing == "lines" else COUNTED
    lines = b"".join(line + b"\n" for line in SEED)
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{receiver.tls}"]
    command += ["-CAfile", receiver.ca, "-verify_return_error", "-quiet", "-no_ign_eof"]
    ended = subprocess.run(
        command,
        input=lines if framing == "lines" else octet_counted(sent),
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert receiver.lines(3) == sent


def test_both_versions_of_tls(receiver: Receiver) -> None:
    for number, version in enumerate((ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3), 1):
        context = ssl.create_default_context(cafile=receiver.ca)
        context.minimum_version = context.maximum_version = version
        raw = socket.create_connection(("127.0.0.1", receiver.tls), timeout=20)
        with context.wrap_socket(raw, server_hostname="127.0.0.1") as connection:
            connection.sendall(SEED[0] + b"\n")
            receiver.lines(number)


def test_the_fourth_listener(receiver: Receiver) -> None:
    """RELP of a Sematext receiver; port 601 of syslog-ng's drivers, which counts octets."""
    if receiver.scheme == "sematext-receiver":
        with RelpSender(receiver.last) as sender:
            sender.send(COUNTED)
            sender.close()
    else:
        receiver.send(receiver.last, octet_counted(COUNTED))
    assert receiver.lines(3) == COUNTED


@pytest.mark.parametrize(
    "options",
    [
        *(["--inet", "--stream"], ["--inet", "--stream", "--syslog-proto"]),
        *(["--inet", "--stream", "--syslog-proto", "--no-framing"], ["--inet", "--dgram"]),
        ["--use-ssl"],
    ],
    ids=["tcp", "octet-counting", "tcp-5424", "udp", "tls"],
)
def test_loggen(receiver: Receiver, packages: PackagesRoot, options: list[str]) -> None:
    """syslog-ng's generator numbers what it sends."""
    port = receiver.tls if "--use-ssl" in options else receiver.tcp
    port = receiver.udp if "--dgram" in options else port
    count = 200
    ended = subprocess.run(
        [
            *(packages.root / "usr/bin/loggen", *options, "--rate", "2000", "--size", "300"),
            *("--number", str(count), "127.0.0.1", str(port)),
        ],
        env={**packages.environment, "SYSLOGNG_PREFIX": str(packages.root / "usr")},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    lines = receiver.lines(count)
    numbers = [int(line.partition(b"seq: ")[2].split(b",")[0]) for line in lines]
    assert numbers == list(range(count))
    assert {len(line) for line in lines} <= {299, 300}
