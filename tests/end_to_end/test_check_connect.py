"""`syslogrelay check --connect` names each of these prepared faults."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from ssl import TLSVersion
from typing import Any

import pytest

from tests.certificate_files import CertificateFiles
from tests.end_to_end.bulk_program import Server
from tests.end_to_end.faulty_receivers import Authority, Receivers
from tests.end_to_end.full_disk import small_mount
from tests.end_to_end.name_server import NameServer
from tests.end_to_end.users import USER, folder_of_user, python_for_user
from tests.processes import Programs, free_port, running_programs
from tests.relay_process import RelayProcess, toml_text

TIMEOUT_SECONDS = 2
MANY = 2**10
TOKEN = "99999999-8888-7777-6666-555555555555"


@dataclass
class Setup:
    """A configuration whose sources and destinations have a fault each."""

    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    destinations: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Checked:
    status: int
    findings: Mapping[str, Sequence[Mapping[str, str]]]
    """By subject."""

    def faults(self, subject: str) -> list[str]:
        return [each["fault"] for each in self.findings[subject] if each["severity"] != "ok"]

    def texts(self, subject: str) -> str:
        return "\n".join(f"{each['text']}; {each['remedy']}" for each in self.findings[subject])


def check(path: Path, *, before: Sequence[str] = (), python: str = "", **keywords: Any) -> Checked:
    program = str(Path(sys.executable).with_name("syslogrelay"))
    arguments = ("check", "--connect", "--json", "--timeout", str(TIMEOUT_SECONDS), str(path))
    command = [*before, python or sys.executable, program, *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, **keywords)
    assert done.stdout, done.stderr.decode()
    subjects = json.loads(done.stdout)["subjects"]
    return Checked(done.returncode, {each["subject"]: each["findings"] for each in subjects})


def written(folder: Path, setup: Setup, **relay: Any) -> Path:
    path = folder / "relay.toml"
    own = {"state_dir": str(folder / "state"), "allow_volatile_state": True}
    own |= {"queue_bytes_max": "1 MiB", "min_free_bytes": 0}
    tables = {"relay": own | relay, "sources": setup.sources, "destinations": setup.destinations}
    path.write_text(toml_text(tables))
    return path


NETWORK_FAULTS = {
    "name": ("dns-unknown", "cannot be resolved"),
    "refused": ("tcp-refused", "refuses the connection"),
    "blackhole": ("tcp-timeout", "firewall that drops packets"),
    "unreachable": ("tcp-unreachable", "ip route get"),
    "bind": ("bind-unknown", "this host has no address 192.0.2.1"),
    "some-addresses": ("tcp-partial", "remove this address from the name"),
    "tls-to-silent": ("tls-no-answer", "is this a port for plain text"),
    "tls-to-plain": ("tls-plain-port", "does not speak TLS"),
    "tls-to-relp": ("tls-plain-port", "does not speak TLS"),
    "expired": ("tls-expired", "has expired at 2025-02-01"),
    "not-yet": ("tls-not-yet-valid", "not valid before 2039-01-01"),
    "other-name": ("tls-wrong-name", "is for other.example.com, expected 127.0.0.1"),
    "unknown-ca": ("tls-unknown-ca", "set trusted_ca to the authority"),
    "server-purpose": ("tls-purpose", "extended key usage"),
    "client-wanted": ("tls-client-certificate", "set `certificate` and `private_key`"),
    "client-unknown": ("tls-client-certificate", "does not know the issuer of"),
    "client-purpose": ("tls-purpose", "extended key usage has to allow clientAuth"),
    "old-version": ("tls-version", "tls_version_min"),
    "expires-soon": ("tls-expires-soon", "2 days left"),
    "relp-to-tls": ("relp-tls-port", "write relp+tls://"),
    "relp-to-syslog": ("relp-closed", "plain syslog (tcp://)"),
    "relp-to-silent": ("relp-no-answer", "does not answer the open"),
    "relp-refused": ("relp-refused", "500 not from here"),
    "syslog-to-tls": ("syslog-tls-port", "write tls://"),
    "syslog-to-relp": ("syslog-relp-port", "write relp://"),
    "syslog-to-smtp": ("syslog-other-port", "220 mail.example.com"),
    "syslog-over-tls-to-relp": ("syslog-relp-port", "write relp+tls://"),
    "http-to-tls": ("http-no-answer", "is this a port for TLS"),
    "http-password": ("http-unauthorised", "compare user, password_file"),
    "http-right": ("http-forbidden", "who asks may not do that"),
    "http-limit": ("http-too-many", "set requests_max or drain_rate lower"),
    "http-gateway": ("http-down", "see whether that one runs"),
    "http-health": ("http-not-ready", "see whether its queues or its disk are full"),
    "http-token": ("token-unknown", "compare the token with the app's"),
    "http-clock": ("clock-differs", "synchronise both"),
    "https-expired": ("tls-expired", "has expired at 2025-02-01"),
    "file-is-a-directory": ("path-taken", "is a directory"),
    "file-below-a-file": ("path-taken", "is a file, and has to be a directory"),
    "nearly-full": ("disk-nearly-full", "make room"),
    "full": ("disk-full", "make room"),
}
SOURCE_FAULTS = {
    "tcp-taken": ("port-taken", f"(process {os.getpid()})"),
    "udp-taken": ("port-taken", f"(process {os.getpid()})"),
    "unix-taken": ("port-taken", f"(process {os.getpid()})"),
    "no-socket": ("path-taken", "not a socket"),
    "address": ("address-unknown", "no such address"),
    "nothing-to-read": ("file-missing", "no file matches"),
    "no-pipe": ("path-taken", "is no named pipe"),
    "no-program": ("program-not-runnable", "is not a program"),
    "no-unit": ("socket-unit-missing", "FileDescriptorName=syslogrelay-nowhere.socket"),
}
FILE_FAULTS = {
    "own-expired": "expired on 2025-02-01; replace it",
    "key-mismatch": "does not belong to the first certificate",
    "key-missing": "No such file or directory",
    "token-missing": "No such file or directory",
    "token-open": "every user",
}


def _status(line: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % line


def _unwell(connection: socket.socket) -> None:
    """Splunk's HEC, with full queues."""
    asked = connection.recv(65536)
    is_health = asked.startswith(b"GET /services/collector/health ")
    connection.sendall(_status(b"503 Queues are full" if is_health else b"400 No data"))
    connection.recv(1)


def _network_setup(folder: Path, receivers: Receivers, programs: Programs) -> Setup:
    ours, other = Authority(folder / "ours"), Authority(folder / "other")
    server = ours.issue("server")
    trusts = {"trusted_ca": ours.certificate}

    def client(pair: tuple[str, str]) -> dict[str, str]:
        return {**trusts, "certificate": pair[0], "private_key": pair[1]}

    relp, tcp, relp_tls = free_port(), free_port(), free_port()
    of_relay = {"certificate": server[0], "private_key": server[1], "peer_verify": "none"}
    RelayProcess.started(
        programs,
        folder / "receiver",
        sources={
            "relp": {"listen": f"relp://127.0.0.1:{relp}"},
            "tcp": {"listen": f"tcp://127.0.0.1:{tcp}"},
            "secure": {"listen": f"relp+tls://127.0.0.1:{relp_tls}", **of_relay},
        },
        destinations={"file": {"connect": f"file:{folder}/receiver.log"}},
    )
    mutual, rsp = receivers.tls(server, client_ca=ours.certificate), b"500 not from here"
    tls = {
        "tls-to-silent": receivers.silent(),
        "tls-to-plain": receivers.greeting(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n"),
        "tls-to-relp": relp,
        "expired": receivers.tls(ours.issue("expired", end="20250201000000Z")),
        "not-yet": receivers.tls(ours.issue("not-yet", begin="20390101000000Z")),
        "other-name": receivers.tls(ours.issue("other-name", names="DNS:other.example.com")),
        "unknown-ca": receivers.tls(other.issue("stranger")),
        "server-purpose": receivers.tls(ours.issue("purpose", usage="clientAuth")),
        "client-wanted": mutual,
        "old-version": receivers.tls(server, version=TLSVersion.TLSv1_2),
        "expires-soon": receivers.tls(ours.issue("soon", days=3)),
        "syslog-over-tls-to-relp": relp_tls,
    }
    plain = {
        "refused": free_port(),
        "blackhole": receivers.full(),
        "relp-to-tls": receivers.tls(server),
        "relp-to-syslog": tcp,
        "relp-to-silent": receivers.silent(),
        "relp-refused": receivers.saying(b"1 rsp %d %s\n" % (len(rsp), rsp)),
    }
    lines = {
        "syslog-to-tls": receivers.tls(server),
        "syslog-to-relp": relp,
        "syslog-to-smtp": receivers.greeting(b"220 mail.example.com ESMTP\r\n"),
    }
    unknown = b"Application not found for token"
    http = {
        "http-to-tls": receivers.tls(server),
        "http-password": receivers.saying(b"HTTP/1.1 401 Who?\r\nContent-Length: 0\r\n\r\n"),
        "http-right": receivers.saying(_status(b"403 Not you")),
        "http-limit": receivers.saying(_status(b"429 Too many")),
        "http-gateway": receivers.saying(_status(b"502 Bad gateway")),
        "http-token": receivers.saying(
            b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n%b" % (len(unknown), unknown)
        ),
        "http-clock": receivers.saying(
            b"HTTP/1.1 400 No body\r\nContent-Length: 0\r\n"
            b"Date: Sun, 01 Nov 2020 08:00:00 GMT\r\n\r\n"
        ),
    }
    url = "{}://127.0.0.1:{}".format
    setup = Setup()
    for scheme, ports, keys in (
        ("tls", tls, trusts),
        ("relp", plain, {}),
        ("tcp", lines, {}),
        ("http", http, {"index": "logs"}),
        ("https", {"https-expired": tls["expired"]}, {"index": "logs", **trusts}),
    ):
        for id, port in ports.items():
            setup.destinations[id] = {"connect": url(scheme, port), **keys}
    setup.destinations["old-version"]["tls_version_min"] = "1.3"
    some_addresses = receivers.silent()
    own = {
        "client-unknown": client(other.issue("stranger-client", usage="clientAuth")),
        "client-purpose": client(ours.issue("client-purpose", usage="serverAuth")),
        "own-expired": client(ours.issue("own-expired", end="20250201000000Z")),
        "key-mismatch": client((server[0], ours.issue("another")[1])),
        "key-missing": client((server[0], str(folder / "nowhere.pem"))),
    }
    for id, keys in own.items():
        setup.destinations[id] = {"connect": url("tls", mutual), **keys}
    health = url("http", receivers.serve(_unwell))
    setup.destinations |= {
        "http-health": {"connect": health, "body": "splunk-hec"},
        "name": {"connect": "relp://nowhere.invalid:20514"},
        "bind": {"connect": url("tcp", lines["syslog-to-smtp"]), "bind": "192.0.2.1"},
        "unreachable": {"connect": "relp://255.255.255.255:20514"},
        "some-addresses": {"connect": f"tcp://both.test:{some_addresses}"},
    }
    return setup


def _add_files(setup: Setup, folder: Path) -> None:
    (folder / "directory").mkdir()
    (folder / "file").write_text("")
    token = folder / "open-token"
    token.write_text(TOKEN)
    token.chmod(0o644)
    for id, path in (
        ("file-is-a-directory", folder / "directory"),
        ("file-below-a-file", folder / "file" / "received.log"),
        ("nearly-full", folder / "nearly" / "received.log"),
        ("full", folder / "full" / "received.log"),
        ("token-missing", folder / "1.log"),
        ("token-open", folder / "2.log"),
    ):
        setup.destinations[id] = {"connect": f"file:{path}"}
    for id, name in (("token-missing", "no-token"), ("token-open", "open-token")):
        setup.destinations[id]["rewrite"] = {"mode": "cee", "token_file": str(folder / name)}


def _add_sources(setup: Setup, folder: Path, held: ExitStack) -> None:
    tcp = held.enter_context(socket.create_server(("127.0.0.1", 0)))
    udp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    udp.bind(("127.0.0.1", 0))
    local = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    local.bind(str(folder / "held.sock"))
    setup.sources |= {
        "tcp-taken": {"listen": f"tcp://127.0.0.1:{tcp.getsockname()[1]}"},
        "udp-taken": {"listen": f"udp://127.0.0.1:{udp.getsockname()[1]}"},
        "unix-taken": {"listen": f"unixgram:{folder}/held.sock"},
        "no-socket": {"listen": f"unixgram:{folder}/file"},
        "address": {"listen": f"tcp://192.0.2.1:{free_port()}"},
        "nothing-to-read": {"listen": f"file:{folder}/nothing/*.log"},
        "no-pipe": {"listen": f"pipe:{folder}/open-token"},
        "no-program": {"listen": f"program:{folder}/open-token"},
        "no-unit": {"listen": "systemd://syslogrelay-nowhere.socket"},
    }


@contextmanager
def _small_disks(folder: Path) -> Iterator[None]:
    size = 2**20
    with small_mount(folder / "nearly", size) as nearly, small_mount(folder / "full", size) as full:
        if nearly is None or full is None:
            pytest.skip("a file system can only be mounted as root")
        (folder / "nearly" / "filler").write_bytes(bytes(size - 8 * 4096))
        (folder / "full" / "filler").write_bytes(bytes(size))
        yield


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checked]:
    """All faults that root can prepare, in one configuration."""
    folder = tmp_path_factory.mktemp("faults")
    hosts = folder / "hosts"
    hosts.write_text("127.0.0.1 localhost both.test\n::1 both.test\n")
    in_namespace = ("unshare", "--mount", "sh", "-c")
    in_namespace += ('mount --bind "$0" /etc/hosts && exec "$@"', str(hosts))
    receivers = Receivers()
    with running_programs() as programs, ExitStack() as held, _small_disks(folder):
        held.callback(receivers.close)
        setup = _network_setup(folder, receivers, programs)
        _add_files(setup, folder)
        _add_sources(setup, folder, held)
        path = written(folder, setup, queue_bytes_max="1 TiB")
        yield check(path, before=in_namespace)


def test_errors_are_the_status(checked: Checked) -> None:
    assert checked.status == 2


@pytest.mark.parametrize("fault", NETWORK_FAULTS)
def test_a_destination(checked: Checked, fault: str) -> None:
    name, words = NETWORK_FAULTS[fault]
    assert checked.faults(f"destination {fault}") == [name]
    assert words in checked.texts(f"destination {fault}")


@pytest.mark.parametrize("fault", SOURCE_FAULTS)
def test_a_source(checked: Checked, fault: str) -> None:
    name, words = SOURCE_FAULTS[fault]
    found = [each for each in checked.faults(f"source {fault}") if not each.startswith("buffer")]
    assert found == [name]
    assert words in checked.texts(f"source {fault}")


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_a_file_that_the_configuration_names(checked: Checked, fault: str) -> None:
    found = [each["text"] for each in checked.findings["file"] if f".{fault}." in each["text"]]
    assert FILE_FAULTS[fault] in "\n".join(found)


def test_a_disk_that_is_smaller_than_the_queue(checked: Checked) -> None:
    assert checked.faults("relay") == ["disk-smaller-than-queue"]


@pytest.fixture(scope="module")
def as_user() -> Iterator[Checked]:
    """What only another user than root meets."""
    python = python_for_user()
    with folder_of_user() as folder:
        closed = folder / "closed"
        closed.mkdir(mode=0o755)
        for name in ("received.log", "read.log", "key.pem"):
            (closed / name).write_text("")
            (closed / name).chmod(0o600)
        authority = Authority(folder / "authority")
        certificate, _ = authority.issue("own", usage="clientAuth")
        for path in (folder / "authority", *(folder / "authority").iterdir()):
            path.chmod(0o755)
        tls = {"trusted_ca": authority.certificate, "certificate": certificate}
        setup = Setup(
            sources={
                "privileged": {"listen": "tcp://127.0.0.1:14"},
                "buffer": {
                    "listen": f"udp://127.0.0.1:{free_port()}",
                    "receive_buffer_bytes": "1 GiB",
                },
                "read": {"listen": f"file:{closed}/read.log"},
                "many": {"listen": f"unix:{folder}/stream", "connections_max": 10_000},
                "socket": {"listen": f"unixgram:{closed}/log"},
            },
            destinations={
                "file": {"connect": f"file:{closed}/received.log"},
                "directory": {"connect": f"file:{closed}/new.log"},
                "key": {
                    "connect": f"tls://127.0.0.1:{free_port()}",
                    **tls,
                    "private_key": str(closed / "key.pem"),
                },
            },
        )
        path = written(folder, setup, state_dir=str(closed / "state"), min_free_bytes="15 TiB")
        yield check(
            path,
            python=python.path,
            env=python.environment,
            cwd="/",
            user=USER,
            extra_groups=[],
            preexec_fn=_limit_files,
        )


def _limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (MANY, MANY))


@pytest.mark.parametrize(
    ("subject", "fault", "words"),
    [
        ("source privileged", "port-privileged", "CAP_NET_BIND_SERVICE"),
        ("source buffer", "buffer-not-granted", "sysctl -w net.core.rmem_max="),
        ("source read", "file-not-readable", "with mode 0600"),
        ("source socket", "directory-not-writable", "with mode 0755"),
        ("destination file", "file-not-writable", "with mode 0600"),
        ("destination directory", "directory-not-writable", "with mode 0755"),
        ("relay", "directory-not-writable", "check as the relay's user"),
        ("relay", "descriptors-low", "raise LimitNOFILE="),
        ("file", "configuration", "key.pem: Permission denied"),
    ],
)
def test_another_user(as_user: Checked, subject: str, fault: str, words: str) -> None:
    assert fault in as_user.faults(subject)
    assert words in as_user.texts(subject)


def test_a_running_relay_and_nothing_wrong(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    ports = {scheme: free_port() for scheme in ("relp", "relp+tls", "tcp", "tls", "udp")}
    own = {
        "certificate": certificates.server_certificate,
        "private_key": certificates.server_key,
        "trusted_ca": certificates.ca,
    }
    shown = {
        "certificate": certificates.client_certificate,
        "private_key": certificates.client_key,
        "trusted_ca": certificates.ca,
    }
    receiver = RelayProcess.started(
        programs,
        tmp_path / "receiver",
        sources={
            scheme.replace("+", "-"): {
                "listen": f"{scheme}://127.0.0.1:{port}",
                **(own if "tls" in scheme else {}),
                **({"receive_buffer_bytes": "16 KiB"} if scheme == "udp" else {}),
            }
            for scheme, port in ports.items()
        },
        destinations={"file": {"connect": f"file:{tmp_path}/received.log"}},
        relay={"queue_bytes_max": "1 MiB", "min_free_bytes": 0},
    )
    found = check(receiver.config_path)
    # The certificates of these tests have a day left, and everybody may read their keys.
    assert (found.status, {*found.faults("file")}) == (1, {"doubtful"})
    for scheme in ports:
        held = f"is held by the relay itself (process {receiver.pid})"
        assert held in found.texts(f"source {scheme.replace('+', '-')}")
    sender = Setup(
        sources={"local": {"listen": f"unixgram:{tmp_path}/log"}},
        destinations={
            scheme.replace("+", "-"): {
                "connect": f"{scheme}://127.0.0.1:{port}",
                **(shown if "tls" in scheme else {}),
            }
            for scheme, port in ports.items()
        },
    )
    found = check(written(tmp_path, sender))
    assert (found.status, found.faults("destination relp")) == (1, [])
    assert {"tls-expires-soon"} == {
        *found.faults("destination tls"),
        *found.faults("destination relp-tls"),
    }
    assert "opens sessions in" in found.texts("destination relp-tls")
    assert "asks for a client certificate of CN=Test authority" in found.texts("destination tls")
    receiver.stop()
    assert (tmp_path / "received.log").read_bytes() == b""


def test_all_servers_of_srv_records(programs: Programs, tmp_path: Path) -> None:
    port, closed = free_port(), free_port()
    RelayProcess.started(
        programs,
        tmp_path / "receiver",
        sources={"relp": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={"file": {"connect": f"file:{tmp_path}/received.log"}},
    )
    names = NameServer(tmp_path / "names", free_port())
    programs.add(names)
    service = "_syslog._tcp.up.test"
    servers = [[10, 0, port, "one.test"], [20, 0, closed, "one.test"]]
    names.say({service: {"SRV": servers}, "one.test": {"A": ["127.0.0.1"]}})
    names.start()
    setup = Setup(destinations={"service": {"connect": f"relp://{service}"}})
    setup.sources["local"] = {"listen": f"unixgram:{tmp_path}/log"}
    found = check(written(tmp_path, setup), python=names.interpreter())
    assert found.faults("destination service") == ["tcp-partial"]
    texts = found.texts("destination service")
    assert f"127.0.0.1 port {port}, 127.0.0.1 port {closed}" in texts
    assert f"127.0.0.1:{port} opens sessions in" in texts


def test_sematext_s_bulk_receiver_is_asked_for_the_token(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    tls = ("--tls", certificates.server_certificate, certificates.server_key)
    server = Server(programs, tmp_path, *tls, "unknown-token", "ok")
    server.start()
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    keys = {"connect": "sematext://eu", "via": "https", "host": "127.0.0.1", "port": server.port}
    setup = Setup({"local": {"listen": f"unixgram:{tmp_path}/log"}})
    setup.destinations["app"] = keys | {"token_file": str(token), "trusted_ca": certificates.ca}
    path = written(tmp_path, setup)
    faults = [check(path).faults("destination app") for _ in range(2)]
    assert faults == [["tls-expires-soon", "token-unknown"], ["tls-expires-soon"]]
    assert {each["path"] for each in server.requests} == {f"/{TOKEN}/_bulk"}
    assert {each["documents"] for each in server.requests} == {0}
