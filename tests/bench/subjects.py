"""What is measured: the relay, rsyslog and syslog-ng, each configured to do its best."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.service.configuration.tables.rewrite import TOKEN_MODES
from tests.bench.load import BenchError
from tests.bench.usage import counting_syncs, sync_count, traced_pid
from tests.certificate_files import CertificateFiles
from tests.interop.daemons import Rsyslog, SyslogNg
from tests.interop.packages import PackagesRoot
from tests.processes import Program
from tests.relay_process import FOREGROUND, RelayProcess

__all__ = [
    "FORMS",
    "QUEUED_MESSAGES_MAX",
    "Ports",
    "Subject",
    "Traced",
    "ensure_running",
    "relay",
    "rsyslog",
    "syslog_ng",
    "versions",
]

STOP_SECONDS_MAX = 60.0
TOKEN = "0123456789abcdef-0123456789abcdef"
FORMATS = ("rfc5424", "rfc3164")
FORMS = ("none", *TOKEN_MODES, "ewmm", *FORMATS)
"""What the relay can make of a message: a mode of `rewrite`, or a `format`."""
QUEUED_MESSAGES_MAX = 30_000_000


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a subject listens and where it sends, as ``scheme, port``.

    Schemes: tcp, tls, relp, udp for input, tcp, tls, relp, relp+tls for output.
    """

    feed: tuple[str, int]
    upstream: tuple[str, int]


@dataclass(frozen=True)
class Subject:
    """One program in one configuration.

    Attributes:
        name: For the table.
        output: What it sends with: relp or tcp.
        kept: What a message that was taken survives.
        is_verbatim: It passes messages on as they came, octet for octet.
        make: Makes the program in a folder, not started.
    """

    name: str
    output: str
    kept: str
    make: Callable[[Path, Ports], Program]
    is_verbatim: bool = False

    def start(self, folder: Path, ports: Ports) -> Program:
        program = self.make(folder, ports)
        program.start()
        return program

    def start_counting_syncs(self, folder: Path, ports: Ports) -> Traced | None:
        program = self.make(folder, ports)
        report = folder / "strace.out"
        command = counting_syncs(program.command, report)
        if command is None:
            return None
        program.command = command
        program.start()
        return Traced(program, report)


class Traced:
    """A program under strace."""

    def __init__(self, program: Program, report: Path) -> None:
        self.program = program
        self._report = report

    def syncs(self) -> int:
        return sync_count(self._report)

    def end(self) -> None:
        if self.program.is_running:
            # strace itself takes no signal while its program runs.
            os.kill(traced_pid(self.program.pid), signal.SIGKILL)
            self.program.wait_exit()


def relay(
    form: str = "none",
    certificates: CertificateFiles | None = None,
    arguments: Sequence[str] = FOREGROUND,
) -> Subject:
    """The relay that sends one of FORMS; `arguments` are twistd's."""

    def make(folder: Path, ports: Ports) -> Program:
        folder.mkdir(parents=True, exist_ok=True)
        token = folder / "token"
        token.write_text(f"{TOKEN}\n")
        source: dict[str, Any] = {"listen": "{}://127.0.0.1:{}".format(*ports.feed)}
        upstream: dict[str, Any] = {
            "connect": "{}://127.0.0.1:{}".format(*ports.upstream),
            **_sent_as(form, token),
            "retry_seconds_max": 1.0,
        }
        if certificates is not None and "tls" in ports.feed[0]:
            source |= {
                "certificate": certificates.server_certificate,
                "private_key": certificates.server_key,
                "peer_verify": "none",
            }
        if certificates is not None and "tls" in ports.upstream[0]:
            upstream |= {"trusted_ca": certificates.ca}
        return RelayProcess(
            folder,
            sources={"feed": source},
            destinations={"upstream": upstream},
            relay={"queue_bytes_max": "40 GiB"},
            arguments=arguments,
        )

    return Subject(f"relay, {form}", "relp", "power cut", make, is_verbatim=form == "none")


def _sent_as(form: str, token: Path) -> dict[str, Any]:
    """Keys of a destination that gets one of FORMS."""
    if form in FORMATS:
        return {"format": form}
    return {
        "rewrite": {"mode": form, **({"token_file": str(token)} if form in TOKEN_MODES else {})}
    }


_RSYSLOG_QUEUES = {
    "memory": ('queue.type="LinkedList"', "nothing"),
    "disk": ('queue.type="Disk" queue.filename="action"', "clean stop"),
    "disk synced": (
        'queue.type="Disk" queue.filename="action" queue.syncqueuefiles="on"'
        ' queue.checkpointInterval="1024"',
        "power cut, not its main queue",
    ),
}


_CEE_TEMPLATE = f"""
            template(name="cee" type="list") {{
              constant(value="<") property(name="pri") constant(value=">")
              property(name="timereported" dateFormat="rfc3339") constant(value=" ")
              property(name="hostname") constant(value=" ") property(name="syslogtag")
              constant(value="@cee: {{\\"logsene-app-token\\": \\"{TOKEN}\\", \\"message\\": \\"")
              property(name="msg" format="json") constant(value="\\"}}")
            }}
            """
"""The job of the relay's cee, as Sematext documents it for rsyslog, without an LF at the end."""


def rsyslog(packages: PackagesRoot, queue: str, *, is_cee: bool = False) -> Subject:
    """rsyslog with the action queue `queue`; the main queue is in memory, as by default.

    It sends messages as they came, or with `is_cee` in an object with a token.
    """
    settings, kept = _RSYSLOG_QUEUES[queue]
    template = "cee" if is_cee else "raw-frame"

    def make(folder: Path, ports: Ports) -> Program:
        module, parameters = {
            "tcp": ('imptcp" threads="2', 'imptcp" socketBacklog="1000" address="127.0.0.1'),
            "relp": ("imrelp", 'imrelp" address="127.0.0.1'),
            "udp": (
                'imudp" batchSize="128" threads="2',
                'imudp" rcvbufSize="8m" address="127.0.0.1',
            ),
        }[ports.feed[0]]
        size = f'queue.size="{QUEUED_MESSAGES_MAX}" queue.timeoutEnqueue="60000"'
        config = f"""
            {_CEE_TEMPLATE}
            module(load="{module}")
            module(load="omrelp")
            main_queue(queue.type="LinkedList" {size} queue.dequeueBatchSize="1024")
            input(type="{parameters}" port="{ports.feed[1]}")
            action(type="omrelp" target="127.0.0.1" port="{ports.upstream[1]}"
              template="{template}" windowSize="5000" timeout="90"
              action.resumeRetryCount="-1" action.resumeInterval="1"
              {settings} {size} queue.dequeueBatchSize="1024" queue.maxFileSize="64m"
              queue.timeoutShutdown="1000" queue.timeoutActionCompletion="1000")
            """
        tcp, udp = ([], [ports.feed[1]]) if ports.feed[0] == "udp" else ([ports.feed[1]], [])
        return Rsyslog(packages, folder, config, tcp=tcp, udp=udp)

    name = f"rsyslog, {queue}{', CEE' if is_cee else ''}"
    return Subject(name, "relp", kept, make, is_verbatim=not is_cee)


def syslog_ng(packages: PackagesRoot, *, reliable: bool) -> Subject:
    """syslog-ng with a disk buffer and flow control."""
    kept = "kill -9, not what is in its socket"
    buffer = (
        "reliable(yes) mem-buf-size(167772160)"
        if reliable
        else "reliable(no) mem-buf-length(100000) qout-size(1000)"
    )

    def make(folder: Path, ports: Ports) -> Program:
        more = "so-rcvbuf(8388608)" if ports.feed[0] == "udp" else "max-connections(100)"
        config = f"""
            source s {{ network(ip("127.0.0.1") port({ports.feed[1]}) transport({ports.feed[0]})
              flags(syslog-protocol) log-fetch-limit(1000) log-iw-size(100000) {more}); }};
            destination d {{ network("127.0.0.1" port({ports.upstream[1]}) transport(tcp)
              flags(syslog-protocol) flush-lines(1000)
              disk-buffer({buffer} disk-buf-size(34359738368) dir("{folder}"))); }};
            log {{ source(s); destination(d); flags(flow-control); }};
            """
        tcp, udp = ([], [ports.feed[1]]) if ports.feed[0] == "udp" else ([ports.feed[1]], [])
        return SyslogNg(packages, folder, config, tcp=tcp, udp=udp)

    name = "reliable" if reliable else "not reliable"
    return Subject(f"syslog-ng, {name}", "tcp", kept if reliable else "clean stop", make)


def ensure_running(subject: Subject, program: Program) -> None:
    if not program.is_running:
        raise BenchError(f"{subject.name} has ended:\n{program.log()[-2000:]}")


def versions(packages: PackagesRoot | None) -> str:
    """Of rsyslog and syslog-ng."""
    if packages is None:
        return "rsyslog and syslog-ng were not there"
    found = [
        re.search(pattern, _output([str(program), option], packages))
        for program, option, pattern in (
            (packages.rsyslogd, "-v", r"rsyslogd +(8\.\S+)"),
            (packages.syslog_ng, "--version", r"\((\d\S+)\)"),
        )
    ]
    rsyslogd, ng = [match[1] if match else "?" for match in found]
    return f"rsyslog {rsyslogd} and syslog-ng {ng}"


def _output(command: Sequence[str], packages: PackagesRoot) -> str:
    done = subprocess.run(
        command, env=packages.environment, capture_output=True, text=True, timeout=20
    )
    return done.stdout
