"""What sends to a topic and reads one: the relay, rsyslog and syslog-ng."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.kafka_topic import TOPIC
from tests.bench.subjects import QUEUED_MESSAGES_MAX, Ports, Subject
from tests.interop.daemons import Rsyslog, SyslogNg
from tests.interop.packages import PackagesRoot
from tests.processes import Program
from tests.relay_process import RelayProcess

__all__ = [
    "direct_relay",
    "reading_relay",
    "reading_rsyslog",
    "sending_relay",
    "sending_rsyslog",
    "sending_syslog_ng",
]

PENDING_BYTES_MAX = "32 MiB"


class _NewerRdkafka(PackagesRoot):
    """The packages with the librdkafka of confluent-kafka: Debian's 2.0.2 cannot talk to Tansu.

    So all subjects use the same one.
    """

    def __init__(self, packages: PackagesRoot, folder: Path) -> None:
        super().__init__(packages.root)
        import confluent_kafka

        self._libraries = Path(confluent_kafka.__file__).parent.with_suffix(".libs")
        self._links = folder
        folder.mkdir(parents=True, exist_ok=True)
        (library,) = self._libraries.glob("librdkafka-*.so.1")
        (folder / "librdkafka.so.1").symlink_to(library)

    @property
    def library_folders(self) -> list[Path]:
        return [self._links, *super().library_folders, self._libraries]


def _relay(
    name: str, kept: str, tables: Callable[[Ports], dict[str, dict[str, Any]]], output: str = "relp"
) -> Subject:
    def make(folder: Path, ports: Ports) -> Program:
        folder.mkdir(parents=True, exist_ok=True)
        found = tables(ports)
        return RelayProcess(
            folder,
            sources={"feed": found["source"]},
            destinations={"upstream": found["destination"]},
            relay={"queue_bytes_max": "40 GiB", "pending_bytes_max": PENDING_BYTES_MAX},
        )

    return Subject(name, output, kept, make, is_verbatim=True)


def _as_it_came(ports: Ports, **more: object) -> dict[str, object]:
    scheme, port = ports.upstream
    path = f"/{TOPIC}" if scheme == "kafka" else ""
    connect = f"{scheme}://127.0.0.1:{port}{path}"
    return {"connect": connect, "rewrite": {"mode": "none"}, **more}


def sending_relay(compression: str) -> Subject:
    """A queue on disk in between; the lineage decides about the partition."""

    def tables(ports: Ports) -> dict[str, dict[str, Any]]:
        return {
            "source": {"listen": "{}://127.0.0.1:{}".format(*ports.feed)},
            "destination": _as_it_came(
                ports, compression=compression, replicas_min=0, retry_seconds_max=1.0
            ),
        }

    return _relay(f"relay, {compression}", "power cut", tables)


def direct_relay(linger_seconds: float) -> Subject:
    """RELP senders are answered when the broker has acknowledged."""

    def tables(ports: Ports) -> dict[str, dict[str, Any]]:
        return {
            "source": {
                "listen": "{}://127.0.0.1:{}".format(*ports.feed),
                "answer": "upstream",
            },
            "destination": _as_it_came(ports, replicas_min=0, linger_seconds=linger_seconds),
        }

    return _relay(f"relay, direct, linger {linger_seconds * 1000:g} ms", "as the topic", tables)


def reading_relay() -> Subject:
    """Fixed partitions, a queue on disk."""

    def tables(ports: Ports) -> dict[str, dict[str, Any]]:
        source = {"listen": f"kafka://127.0.0.1:{ports.feed[1]}/{TOPIC}", "partitions": "0"}
        return {"source": source, "destination": _as_it_came(ports, retry_seconds_max=1.0)}

    return _relay("relay, partitions", "power cut", tables)


_RSYSLOG_QUEUES = {
    "memory": ('queue.type="LinkedList"', "nothing"),
    "disk": (
        'queue.type="Disk" queue.filename="action"',
        "clean stop; handed to librdkafka counts as sent",
    ),
}
_SIZE = f'queue.size="{QUEUED_MESSAGES_MAX}" queue.timeoutEnqueue="60000"'
_MAIN_QUEUE = f'main_queue(queue.type="LinkedList" {_SIZE} queue.dequeueBatchSize="1024")'


def sending_rsyslog(packages: PackagesRoot, queue: str, compression: str) -> Subject:
    """omkafka with the action queue `queue`."""
    settings, kept = _RSYSLOG_QUEUES[queue]

    def make(folder: Path, ports: Ports) -> Program:
        config = f"""
            module(load="imptcp" threads="2")
            module(load="omkafka")
            {_MAIN_QUEUE}
            input(type="imptcp" socketBacklog="1000" address="127.0.0.1" port="{ports.feed[1]}")
            action(type="omkafka" broker=["127.0.0.1:{ports.upstream[1]}"] topic="{TOPIC}"
              template="raw-frame"
              resubmitOnFailure="on" keepFailedMessages="on" failedMsgFile="{folder}/failed"
              confParam=["compression.codec={compression}", "acks=all", "linger.ms=5",
                "queue.buffering.max.messages=1000000"]
              action.resumeRetryCount="-1" action.resumeInterval="1"
              {settings} {_SIZE} queue.dequeueBatchSize="1024" queue.maxFileSize="64m"
              queue.timeoutShutdown="1000" queue.timeoutActionCompletion="1000")
            """
        return Rsyslog(
            _NewerRdkafka(packages, folder / "rdkafka"), folder, config, tcp=[ports.feed[1]]
        )

    name = f"rsyslog omkafka, {queue}, {compression}"
    return Subject(name, "kafka", kept, make, is_verbatim=True)


def reading_rsyslog(packages: PackagesRoot) -> Subject:
    """imkafka, whose offsets are committed by a timer, and RELP behind a queue in memory."""

    def make(folder: Path, ports: Ports) -> Program:
        config = f"""
            module(load="imkafka")
            module(load="omrelp")
            {_MAIN_QUEUE}
            input(type="imkafka" broker=["127.0.0.1:{ports.feed[1]}"] topic="{TOPIC}"
              consumergroup="central" confParam=["auto.offset.reset=earliest",
              "max.poll.interval.ms=6000", "session.timeout.ms=6000"])
            action(type="omrelp" target="127.0.0.1" port="{ports.upstream[1]}"
              template="raw-frame" windowSize="5000" timeout="90"
              action.resumeRetryCount="-1" action.resumeInterval="1"
              queue.type="LinkedList" {_SIZE} queue.dequeueBatchSize="1024")
            """
        return Rsyslog(_NewerRdkafka(packages, folder / "rdkafka"), folder, config)

    return Subject("rsyslog imkafka, memory", "relp", "nothing", make, is_verbatim=True)


def sending_syslog_ng(packages: PackagesRoot, compression: str, *, on_disk: bool) -> Subject:
    """kafka-c, with or without a disk buffer, and flow control."""
    buffer = (
        "disk-buffer(reliable(yes) mem-buf-size(167772160) disk-buf-size(34359738368)"
        ' dir("{folder}"))'
        if on_disk
        else ""
    )

    def make(folder: Path, ports: Ports) -> Program:
        config = f"""@module kafka
            source s {{ network(ip("127.0.0.1") port({ports.feed[1]}) transport(tcp)
              flags(no-parse) log-fetch-limit(1000) log-iw-size(100000)
              max-connections(100)); }};
            destination d {{ kafka-c(bootstrap-servers("127.0.0.1:{ports.upstream[1]}")
              topic("{TOPIC}") message("$MSG") workers(1) sync-send(no)
              config(compression.codec("{compression}") acks("all") linger.ms("5")
                queue.buffering.max.messages("1000000"))
              {buffer.format(folder=folder)}); }};
            log {{ source(s); destination(d); flags(flow-control); }};
            """
        return SyslogNg(
            _NewerRdkafka(packages, folder / "rdkafka"), folder, config, tcp=[ports.feed[1]]
        )

    kept = "kill -9, not what librdkafka has" if on_disk else "nothing"
    name = f"syslog-ng kafka-c, {'disk' if on_disk else 'memory'}, {compression}"
    return Subject(name, "kafka", kept, make, is_verbatim=True)
