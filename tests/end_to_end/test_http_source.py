"""Events over HTTP through real processes: 200 means on disk, and everything else says why."""

from __future__ import annotations

import gzip
import http.client
import json
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import ApiError, Elasticsearch
from elasticsearch.helpers import bulk

from relay.cli.control_client import ask
from tests.certificate_files import CertificateFiles
from tests.crash.kill import seed_from
from tests.end_to_end.central import Central
from tests.end_to_end.full_disk import FileSizeLimit, SmallDisk, small_mount
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines

LOCAL = "127.0.0.1"
TOKEN = "0f9e8d7c-89ab-cdef-0123-456789abcdef"
KILLS = 12
DISK_BYTES = 6 * 2**20


class Edge(RelayProcess):
    """A relay with an HTTP source `web`."""

    def __init__(
        self, programs: Programs, folder: Path, destination: dict[str, Any], **keywords: Any
    ) -> None:
        self.port = free_port()
        source = {"listen": f"http://{LOCAL}:{self.port}"} | keywords.pop("source", {})
        source["listen"] = source["listen"].replace("PORT", str(self.port))
        super().__init__(
            folder, sources={"web": source}, destinations={"out": destination}, **keywords
        )
        programs.add(self)

    def post(
        self, body: bytes, path: str = "/ingest", seconds_max: float = 10.0, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(LOCAL, self.port, timeout=seconds_max)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("POST", path, body, names)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        report: dict[str, Any] = ask(str(self.state_dir), "status")["sources"][0]
        return report


def to_central(central: Central) -> dict[str, Any]:
    return {"connect": central.url, "retry_seconds_min": 0.05, "retry_seconds_max": 0.2}


def texts_in(path: Path) -> list[str]:
    return [json.loads(line)["MESSAGE"] for line in received(path)]


def test_every_endpoint(programs: Programs, tmp_path: Path) -> None:
    file = tmp_path / "out.log"
    edge = Edge(programs, tmp_path / "edge", {"connect": f"file://{file}", "format": "json"})
    edge.start()
    json_type = {"Content_Type": "application/json"}
    record = {"body": {"stringValue": "otlp"}}
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    requests: list[tuple[str, bytes, dict[str, str]]] = [
        ("/ingest", b"line", {}),
        ("/", b'[{"message":"array"}]', json_type),
        (
            "/ingest",
            gzip.compress(b'{"message":"gzip"}'),
            {**json_type, "Content_Encoding": "gzip"},
        ),
        ("/_bulk", b'{"index":{"_index":"x"}}\n{"message":"bulk"}\n', json_type),
        ("/x/_doc", b'{"message":"document"}', json_type),
        ("/services/collector", b'{"event":"splunk"}', {"Authorization": "Splunk any"}),
        ("/services/collector/raw", b"raw", {}),
        ("/v1/logs", json.dumps(logs).encode(), json_type),
    ]
    for path, body, headers in requests:
        assert edge.post(body, path, **headers)[0] in (200, 201), path
    wait_for_lines(file, len(requests))
    assert texts_in(file) == [
        *("line", "array", "gzip", "bulk", "document", "splunk", "raw", "otlp")
    ]
    assert edge.post(b"x", "/nowhere")[0] == 404
    assert edge.status()["requests_refused"] == {"unknown-path": 1}
    edge.stop()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_with_a_large_body(programs: Programs, tmp_path: Path) -> None:
    """curl asks with Expect before it sends a large body."""
    file, body = tmp_path / "out.log", tmp_path / "body"
    edge = Edge(programs, tmp_path / "edge", {"connect": f"file://{file}"})
    edge.start()
    body.write_bytes(b"".join(b"%d %s\n" % (number, b"x" * 100) for number in range(30_000)))
    url = f"http://{LOCAL}:{edge.port}/ingest"
    for arguments in ([], ["-H", "Transfer-Encoding: chunked"]):
        command = ["curl", "-sS", "-m", "30", url, "--data-binary", f"@{body}", *arguments]
        done = subprocess.run(command, capture_output=True, timeout=40, check=True)
        assert json.loads(done.stdout) == {"accepted": 30_000}
    wait_for_lines(file, 60_000)
    body.write_bytes(bytes(20 * 2**20))
    command = ["curl", "-sS", "-m", "30", "-w", "%{http_code}", url, "--data-binary", f"@{body}"]
    done = subprocess.run(command, capture_output=True, timeout=40, check=True)
    assert done.stdout.endswith(b"413")
    edge.stop()


def test_the_client_of_elasticsearch(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    """Over TLS, with a token as the password, in several compressed bulk requests."""
    file, token = tmp_path / "out.log", tmp_path / "token"
    token.write_text(TOKEN)
    edge = Edge(
        programs,
        tmp_path / "edge",
        {"connect": f"file://{file}", "apps": ["shop"], "format": "json"},
        source={
            "listen": f"https://{LOCAL}:PORT",
            "authorise": ["token"],
            "certificate": certificates.server_certificate,
            "private_key": certificates.server_key,
            "peer_verify": "none",
        },
        apps={"shop": {"token_file": str(token)}},
    )
    edge.start()
    url, ca = f"https://{LOCAL}:{edge.port}", certificates.ca
    documents = [
        {"_index": "logs", "_id": str(number), "message": f"event {number}", "n": number}
        for number in range(2000)
    ]
    with Elasticsearch(url, ca_certs=ca, basic_auth=("user", TOKEN), http_compress=True) as client:
        assert client.info()["version"]["number"]
        assert bulk(client, documents, chunk_size=300) == (2000, [])
        deleted = [{"_op_type": "delete", "_index": "logs", "_id": "1"}]
        count, errors = bulk(client, deleted, raise_on_error=False)
        assert (count, errors[0]["delete"]["status"]) == (0, 400)
        assert client.index(index="logs", document={"message": "last"})["result"] == "created"
    wait_for_lines(file, 2001)
    assert texts_in(file) == [*(f"event {number}" for number in range(2000)), "last"]
    wrong = Elasticsearch(url, ca_certs=ca, basic_auth=("user", "wrong"))
    with wrong as client, pytest.raises(ApiError) as caught:
        client.index(index="logs", document={"message": "x"})
    assert caught.value.status_code == 403
    assert edge.status()["apps"] == {"shop": 2001}
    assert TOKEN.encode() not in file.read_bytes()
    edge.stop()


class Sender(threading.Thread):
    """Posts batches of numbered lines until it is told to stop."""

    def __init__(self, edge: Edge) -> None:
        super().__init__(daemon=True)
        self.answered: list[str] = []
        self.statuses: set[int] = set()
        self._edge = edge
        self._ends = threading.Event()

    def run(self) -> None:
        for batch in range(100_000):
            if self._ends.is_set():
                return
            lines = [f"line {batch * 20 + number} of the sender" for number in range(20)]
            try:
                status, _, _ = self._edge.post("\n".join(lines).encode())
            except (OSError, http.client.HTTPException):
                self._ends.wait(0.02)
                continue
            self.statuses.add(status)
            self.answered += lines if status == 200 else []

    def finish(self) -> None:
        self._ends.set()
        self.join(30)
        assert not self.is_alive()


def test_what_was_answered_is_there_after_kill_9(programs: Programs, tmp_path: Path) -> None:
    moments = random.Random(seed_from("KILL_SEED"))
    file = tmp_path / "out.log"
    edge = Edge(
        programs, tmp_path / "edge", {"connect": f"file://{file}", "template": "${MESSAGE}"}
    )
    edge.start()
    sender = Sender(edge)
    sender.start()
    pause = threading.Event()
    for _ in range(KILLS):
        before = len(sender.answered)
        wait_until(lambda before=before: len(sender.answered) > before, "answers")
        pause.wait(moments.uniform(0.0, 0.3))
        edge.kill()
        edge.start()
    sender.finish()
    assert len(sender.answered) > 20 * KILLS
    missing = set(sender.answered)

    def all_there() -> bool:
        missing.difference_update(line.decode() for line in received(file))
        return not missing

    wait_until(all_there, "every answered line")
    assert "Traceback" not in edge.log()
    edge.stop()


@pytest.fixture(params=["file system", "file size"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    """Small; a limit on the size of files where nothing can be mounted."""
    with ExitStack() as stack:
        small: SmallDisk | None = None
        if request.param == "file system":
            small = stack.enter_context(small_mount(tmp_path / "edge" / "state", DISK_BYTES))
        yield small or FileSizeLimit(DISK_BYTES)


def test_a_full_disk_is_never_answered_with_200(
    disk: SmallDisk, programs: Programs, tmp_path: Path
) -> None:
    central = Central(programs, tmp_path / "central", free_port())
    edge = Edge(programs, tmp_path / "edge", to_central(central), relay={"min_free_bytes": 0})
    edge.start()
    disk.apply(edge)
    answered, refused = [], 0
    for number in range(400):
        line = f"<13>1 2026-10-11T22:14:15Z web app - - - number {number} ".encode() + b"x" * 50_000
        try:
            status, headers, _ = edge.post(line, seconds_max=2.0)
        except TimeoutError:  # its commit is tried again and again
            refused += 1
            continue
        if status == 200:
            answered.append(line)
            continue
        assert status in (429, 503)
        assert int(headers["Retry-After"]) > 0
        refused += 1
        if refused > 5:
            break
    assert answered, "nothing fitted"
    assert refused > 5, "the disk never filled"
    disk.enlarge(edge)
    wait_until(lambda: edge.post(b"<13>1 - - - - - - room again")[0] == 200, "room")
    central.start()
    central.wait_for([*answered, b"<13>1 - - - - - - room again"])
    edge.stop()


def test_a_full_queue_says_come_back_later(programs: Programs, tmp_path: Path) -> None:
    """The central relay is down for a while; nothing is lost, and clients know."""
    central = Central(programs, tmp_path / "central", free_port())
    edge = Edge(programs, tmp_path / "edge", {**to_central(central), "queue_bytes_max": "1 MiB"})
    edge.start()
    answered = []
    for number in range(200):
        line = f"<13>1 2026-10-11T22:14:15Z web app - - - number {number} ".encode() + b"x" * 20_000
        status, headers, body = edge.post(line)
        if status != 200:
            break
        answered.append(line)
    assert (status, headers["Retry-After"]) == (429, "5")
    assert b"queue_bytes_max" in body
    assert len(answered) > 20
    assert edge.status()["requests_refused"] == {"busy": 1}
    central.start()
    wait_until(lambda: edge.post(line)[0] == 200, "room in the queue")
    central.wait_for([*answered, line])
    edge.stop()


def test_a_stop_answers_what_is_under_way(programs: Programs, tmp_path: Path) -> None:
    file = tmp_path / "out.log"
    edge = Edge(
        programs, tmp_path / "edge", {"connect": f"file://{file}", "template": "${MESSAGE}"}
    )
    edge.start()
    sender = Sender(edge)
    sender.start()
    wait_until(lambda: len(sender.answered) > 200, "answers")
    edge.stop()
    sender.finish()
    edge.start()
    wait_until(
        lambda: set(sender.answered) <= {line.decode() for line in received(file)}, "every line"
    )
    edge.stop()


@pytest.mark.parametrize("body", ["bulk", "ndjson", "array", "splunk-hec"])
def test_from_relay_to_relay_with_kills(body: str, programs: Programs, tmp_path: Path) -> None:
    """What the HTTP destination sends, the source reads, field by field."""
    file = tmp_path / "out.log"
    fields = "<${PRI}> ${ISODATE} ${HOST} ${PROGRAM} ${PID} ${MSG}"
    central = Edge(
        programs,
        tmp_path / "central",
        {"connect": f"file://{file}", "template": fields},
        name="central",
    )
    destination = {
        "connect": f"http://{LOCAL}:{central.port}",
        "body": body,
        "compress": "gzip",
        "batch_seconds": 0.05,
        "retry_seconds_min": 0.05,
        "retry_seconds_max": 0.2,
        **({"index": "logs"} if body == "bulk" else {}),
    }
    edge = Edge(programs, tmp_path / "edge", destination, name="edge")
    central.start()
    edge.start()
    expected = []
    for batch in range(6):
        lines = []
        for number in range(batch * 50, batch * 50 + 50):
            stamp = f"2026-10-11T22:14:{number % 60:02}.123+00:00"
            text = f'number {number} "quoted" \u00e9'
            lines.append(
                f"<{8 * (number % 24) + number % 8}>1 {stamp} web-1 app {number} - - {text}"
            )
            expected.append(f"<{8 * (number % 24) + number % 8}> {stamp} web-1 app {number} {text}")
        assert edge.post("\n".join(lines).encode())[0] == 200
        victim = (edge, central)[batch % 2]
        victim.kill()
        victim.start()
    wait_until(
        lambda: set(expected) <= {line.decode() for line in received(file)},
        f"{len(expected)} messages",
    )
    assert {line.decode() for line in received(file)} == set(expected)
    edge.stop()
    central.stop()
