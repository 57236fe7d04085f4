"""`… | syslogrelay send` to a real relay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from relay.cli.traffic.generator import messages
from tests.certificate_files import SERVER_NAME, CertificateFiles, make_certificate_files
from tests.end_to_end.faulty_receivers import Receivers
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, wait_for_lines

VIA = ("tls", "relp", "https", "tcp", "udp")
TOKEN = "01234567-89ab-cdef-0123-456789abcdef"


@dataclass
class Sematext:
    """What stands for Sematext on this host."""

    ports: dict[str, int]
    token: str
    ca: str
    received: Path

    def arguments(self, via: str, key: str, value: str) -> list[str]:
        keys = {"via": via, "host": "127.0.0.1", "port": self.ports[via], key: value}
        tls = ["--set", f"trusted_ca={self.ca}"] if via in ("tls", "https") else []
        return [
            *("--to", "sematext://us", *tls),
            *(word for name, each in keys.items() for word in ("--set", f"{name}={each}")),
        ]


def send(text: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    program = str(Path(sys.executable).with_name("syslogrelay"))
    command = [sys.executable, program, "send", *arguments]
    return subprocess.run(command, input=text, capture_output=True, timeout=60, check=False)


def test_over_relp_and_over_a_unix_socket(programs: Programs, tmp_path: Path) -> None:
    port, local = free_port(), tmp_path / "log"
    received = tmp_path / "received.log"
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={
            "relp": {"listen": f"relp://127.0.0.1:{port}"},
            "local": {"listen": f"unixgram://{local}"},
        },
        destinations={"file": {"connect": f"file://{received}"}},
    )
    text = b"".join(b"line %d\n" % number for number in range(3000))
    to_relp = ("--to", f"relp://127.0.0.1:{port}")
    done = send(text, *to_relp, "--tag", "backup", "--pri", "local0.err")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    lines = wait_for_lines(received, 3000)
    assert [line.rpartition(b" - - ")[2] for line in lines] == text.splitlines()
    assert all(line.startswith(b"<131>1 ") and b" backup " in line for line in lines)
    done = send(text, "--to", f"unixgram://{local}", "--raw")
    assert done.returncode == 0, done.stderr
    assert wait_for_lines(received, 6000)[3000:] == text.splitlines()
    relay.stop()
    done = send(text, *to_relp)
    assert done.returncode == 1
    assert done.stderr.decode() == (f"nothing was sent: refused by relp://127.0.0.1:{port}\n")


def test_a_relay_that_accepts_nothing_is_not_taken_for_one_with_tls(
    programs: Programs, tmp_path: Path
) -> None:
    port = free_port()
    RelayProcess.started(
        programs,
        tmp_path,
        relay={"min_free_bytes": 2**44},
        sources={"relp": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={"file": {"connect": f"file://{tmp_path}/received.log"}},
    )
    done = send(b"one\n", "--to", f"relp://127.0.0.1:{port}", "--timeout", "0.5")
    assert done.returncode == 1
    assert "it may not be accepting messages, so look at `syslogrelay status`" in str(done.stderr)


def test_over_tls(programs: Programs, tmp_path: Path, certificates: CertificateFiles) -> None:
    port, plain, received = free_port(), free_port(), tmp_path / "received.log"
    own = {
        "certificate": certificates.server_certificate,
        "private_key": certificates.server_key,
        "trusted_ca": certificates.ca,
    }
    RelayProcess.started(
        programs,
        tmp_path,
        sources={
            "tls": {"listen": f"relp+tls://127.0.0.1:{port}", **own},
            "relp": {"listen": f"relp://127.0.0.1:{plain}"},
        },
        destinations={"file": {"connect": f"file://{received}"}},
    )
    to = ("--to", f"relp+tls://127.0.0.1:{port}")
    ca = ("--trusted-ca", certificates.ca)
    shown = ("--certificate", certificates.client_certificate)
    shown += ("--private-key", certificates.client_key)
    text = b"".join(b"line %d\n" % number for number in range(3000))
    for name in ((), ("--server-name", SERVER_NAME)):
        done = send(text, *to, *ca, *shown, *name, "--raw")
        assert (done.returncode, done.stderr) == (0, b"")
    assert wait_for_lines(received, 6000) == 2 * text.splitlines()
    stranger = make_certificate_files(tmp_path / "stranger").ca
    for arguments, words in (
        ((*to, *ca, *shown, "--server-name", "other.example.com"), "expected other.example.com"),
        ((*to, "--trusted-ca", stranger, *shown), f"is not among the trusted CAs in {stranger}"),
        ((*to, *shown), "is not among the trusted CAs of the system"),
        ((*to, *ca), "the receiver requires a client certificate: set "),
        (("--to", f"relp+tls://127.0.0.1:{plain}", *ca), "the peer does not speak TLS"),
        (
            ("--to", f"relp://127.0.0.1:{port}"),
            "before the session was open: is this a port for TLS (relp+tls://)",
        ),
    ):
        done = send(b"lost\n", *arguments)
        assert done.returncode == 1
        assert words in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1


NOT_CONFIRMED = b" handed to the kernel, not confirmed by the receiver\n"


def test_to_every_kind(programs: Programs, tmp_path: Path, certificates: CertificateFiles) -> None:
    ports = {scheme: free_port() for scheme in ("tcp", "tls", "udp")}
    own = {
        "certificate": certificates.server_certificate,
        "private_key": certificates.server_key,
        "peer_verify": "none",
    }
    received = tmp_path / "received.log"
    RelayProcess.started(
        programs,
        tmp_path,
        sources={
            scheme: {
                "listen": f"{scheme}://127.0.0.1:{port}",
                **(own if scheme == "tls" else {}),
            }
            for scheme, port in ports.items()
        },
        destinations={"file": {"connect": f"file://{received}"}},
    )
    expected: list[bytes] = []
    for scheme, port in ports.items():
        arguments = ["--to", f"{scheme}://127.0.0.1:{port}", "--raw"]
        if scheme == "tls":
            arguments += ["--trusted-ca", certificates.ca]
        text = b"".join(b"<13>%s %d\n" % (scheme.encode(), number) for number in range(50))
        done = send(text, *arguments)
        assert (done.returncode, done.stderr) == (0, b"50 messages" + NOT_CONFIRMED)
        expected += text.splitlines()
        assert wait_for_lines(received, len(expected)) == expected
    direct = tmp_path / "direct.log"
    done = send(b"one\ntwo", "--to", f"file:{direct}", "--raw")
    assert (done.returncode, done.stderr) == (0, b"")
    assert direct.read_bytes() == b"one\ntwo\n"


def test_traffic_rate_and_count(programs: Programs, tmp_path: Path) -> None:
    port, received = free_port(), tmp_path / "received.log"
    RelayProcess.started(
        programs,
        tmp_path,
        sources={"relp": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={"file": {"connect": f"file://{received}"}},
    )
    to = ("--to", f"relp://127.0.0.1:{port}")
    done = send(b"", *to, "--traffic", "host5424", "--count", "3000")
    assert (done.returncode, done.stderr) == (0, b"")
    assert wait_for_lines(received, 3000) == messages("host5424", 3000)
    began = time.monotonic()
    done = send(b"x\n" * 100, *to, "--raw", "--count", "21", "--rate", "20/s")
    assert (done.returncode, done.stderr) == (0, b"")
    assert time.monotonic() - began > 0.9  # a rate can be kept by a busy machine as well
    assert wait_for_lines(received, 3021)[3000:] == [b"x"] * 21


def test_the_bar_of_a_terminal(programs: Programs, tmp_path: Path) -> None:
    port = free_port()
    RelayProcess.started(
        programs,
        tmp_path,
        sources={"relp": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={"file": {"connect": f"file://{tmp_path}/received.log"}},
    )
    program = str(Path(sys.executable).with_name("syslogrelay"))
    ours, theirs = os.openpty()
    arguments = ("--to", f"relp://127.0.0.1:{port}", "--traffic", "uniform", "--count", "2000")
    with open(ours, "rb", buffering=0) as terminal:
        done = subprocess.run(
            [sys.executable, program, "send", *arguments],
            stdin=subprocess.DEVNULL,
            stderr=theirs,
            timeout=60,
            check=False,
        )
        shown = terminal.read(65536)
        os.close(theirs)
    assert done.returncode == 0
    assert b" of 2,000 messages, " in shown
    assert shown.endswith(b"\r\x1b[K")


def test_over_http(programs: Programs, tmp_path: Path) -> None:
    port, received = free_port(), tmp_path / "received.log"
    RelayProcess.started(
        programs,
        tmp_path,
        sources={"http": {"listen": f"http://127.0.0.1:{port}"}},
        destinations={"file": {"connect": f"file://{received}", "template": "$MSG"}},
    )
    text = b"".join(b"line %d\n" % number for number in range(50))
    done = send(text, "--to", f"http://127.0.0.1:{port}/logs/_bulk", "--set", "ordered=true")
    assert (done.returncode, done.stderr) == (0, b"")
    assert wait_for_lines(received, 50) == text.splitlines()


def test_an_interruption(programs: Programs, tmp_path: Path) -> None:
    port = free_port()
    RelayProcess.started(
        programs,
        tmp_path,
        sources={"relp": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={"file": {"connect": f"file://{tmp_path}/received.log"}},
    )
    program = str(Path(sys.executable).with_name("syslogrelay"))
    with subprocess.Popen(
        [sys.executable, program, "send", "--to", f"relp://127.0.0.1:{port}", "--raw"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as sending:
        assert sending.stdin is not None
        sending.stdin.write(b"one\n")
        sending.stdin.flush()
        assert wait_for_lines(tmp_path / "received.log", 1) == [b"one"]
        sending.send_signal(signal.SIGINT)
        assert sending.wait(20) == 130
        assert sending.stderr is not None
        assert b"interrupted: 1 of 1 message taken\n" in sending.stderr.read()


def test_standard_input_that_cannot_be_read() -> None:
    """Not an error of the reactor, and not the bytes of another descriptor."""
    program = str(Path(sys.executable).with_name("syslogrelay"))
    command = f"timeout 20 {sys.executable} {program} send --to relp://127.0.0.1:1"
    for redirection, words in (
        ("<&-", "standard input is closed"),
        ("0>/dev/null", "standard input is open for writing only"),
    ):
        done = subprocess.run(
            ["sh", "-c", f"{command} {redirection}"], capture_output=True, check=False
        )
        assert (done.returncode, words in done.stderr.decode()) == (2, True), done.stderr


@pytest.mark.parametrize("scheme", ["unix", "pipe"])
def test_to_programs_of_this_host(programs: Programs, tmp_path: Path, scheme: str) -> None:
    place, received = tmp_path / "in", tmp_path / "received.log"
    RelayProcess.started(
        programs,
        tmp_path,
        sources={"in": {"listen": f"{scheme}://{place}"}},
        destinations={"file": {"connect": f"file://{received}"}},
    )
    wait_until(place.exists, "the socket or pipe")
    text = b"".join(b"<13>number %d\n" % number for number in range(2000))
    done = send(text, "--to", f"{scheme}://{place}", "--raw")
    read = b"2,000 messages read by the program at the other end, not confirmed by the receiver\n"
    assert (done.returncode, done.stderr) == (0, read)
    assert wait_for_lines(received, 2000) == text.splitlines()


@pytest.fixture
def sematext(programs: Programs, tmp_path: Path, certificates: CertificateFiles) -> Sematext:
    """A relay on the ports of Sematext's receivers."""
    ports = {via: free_port() for via in VIA}
    own = {
        "certificate": certificates.server_certificate,
        "private_key": certificates.server_key,
        "peer_verify": "none",
    }
    schemes = {"relp": "relp", "https": "https", "tls": "tls", "tcp": "tcp", "udp": "udp"}
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    RelayProcess.started(
        programs,
        tmp_path,
        sources={
            via: {
                "listen": f"{schemes[via]}://127.0.0.1:{port}",
                **(own if via in ("tls", "https") else {}),
            }
            for via, port in ports.items()
        },
        destinations={"file": {"connect": f"file://{tmp_path}/received.log"}},
    )
    return Sematext(ports, str(token), certificates.ca, tmp_path / "received.log")


@pytest.mark.parametrize("via", VIA)
def test_to_sematext(sematext: Sematext, via: str) -> None:
    arguments = sematext.arguments(via, "token_file", sematext.token)
    done = send(b"one\n", *arguments)
    is_confirmed = via in ("relp", "https")
    expected = b"" if is_confirmed else b"1 message" + NOT_CONFIRMED
    assert (done.returncode, done.stderr) == (0, expected)
    (line,) = wait_for_lines(sematext.received, 1)
    assert b"one" in line
    if via != "https":  # whose token is the index
        assert b'{"logsene-app-token": "%s", "message": "one"}' % TOKEN.encode() in line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        ("", "is empty; put the token into it"),
        (f"{TOKEN}\nsecond", "holds no token"),
        ("with space", "holds no token"),
    ],
)
def test_a_wrong_token_file_sends_nothing(
    sematext: Sematext, content: str | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "another"
    if content is not None:
        path.write_text(content)
    done = send(b"one\n", *sematext.arguments("relp", "token_file", str(path)))
    assert done.returncode == 2
    assert words in done.stderr.decode()
    assert TOKEN not in done.stderr.decode()


def test_over_https_with_a_wrong_certificate_or_token(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    stranger = make_certificate_files(tmp_path / "stranger").ca
    receivers = Receivers()
    answer = b"HTTP/1.1 401 Who?\r\nContent-Length: 3\r\n\r\nwho"
    server = (certificates.server_certificate, certificates.server_key)
    try:
        refusing = receivers.saying(answer)
        secure = receivers.tls(server)
        for to, words in (
            (("--to", f"http://127.0.0.1:{refusing}/logs/_bulk"), "held: 401 who"),
            (
                ("--to", f"https://127.0.0.1:{secure}/logs/_bulk", "--trusted-ca", stranger),
                f"is not among the trusted CAs in {stranger}",
            ),
        ):
            done = send(b"one\n", *to, "--timeout", "5")
            assert done.returncode == 1
            assert words in done.stderr.decode()
            assert done.stderr.startswith(b"1 of 1 message was not taken: ")
    finally:
        receivers.close()
