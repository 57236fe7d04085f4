"""`… | syslogrelay send` to a real relay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from relay.cli.traffic.generator import messages
from tests.certificate_files import SERVER_NAME, CertificateFiles, make_certificate_files
from tests.processes import Programs, free_port
from tests.relay_process import RelayProcess, wait_for_lines


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
    ) as sending:
        assert sending.stdin is not None
        sending.stdin.write(b"one\n")
        sending.stdin.flush()
        assert wait_for_lines(tmp_path / "received.log", 1) == [b"one"]
        sending.send_signal(signal.SIGINT)
        assert sending.wait(20) == 130
