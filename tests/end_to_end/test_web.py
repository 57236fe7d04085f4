"""The web server of a real relay, asked over the network."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from relay.cli.control_client import ask
from tests.certificate_files import make_certificate_files
from tests.plain_senders import feed_lines
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, wait_for_lines

TOKEN = "0123456789abcdef"


def get(url: str, context: ssl.SSLContext | None = None, **headers: str) -> tuple[int, str]:
    """Status and body of an answer, whatever it is."""
    request = Request(url, headers=headers)
    try:
        with urlopen(request, timeout=10, context=context) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


class Watched:
    """A relay with a web server, a TCP source and one destination."""

    def __init__(self, programs: Programs, folder: Path, connect: str, **web: Any) -> None:
        self.port, web_port = free_port(), free_port()
        scheme = "https" if web else "http"
        self.url = f"{scheme}://127.0.0.1:{web_port}"
        self.relay = RelayProcess.started(
            programs,
            folder,
            sources={"in": {"listen": f"tcp://127.0.0.1:{self.port}"}},
            destinations={"out": {"connect": connect, "retry_seconds_max": 1.0}},
            web={"listen": self.url, **web},
        )

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Each sample by its name and the values of its labels, in the order of their names."""
        return samples_of(self.url)


def samples_of(url: str) -> dict[tuple[str, ...], float]:
    """The samples of `/metrics`, as `Watched.metrics` has them."""
    status, text = get(f"{url}/metrics", Accept="application/openmetrics-text")
    assert status == 200
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_agree_with_what_was_sent_and_with_status(
    programs: Programs, tmp_path: Path
) -> None:
    arrived = tmp_path / "received.log"
    watched = Watched(programs, tmp_path, f"file://{arrived}")
    feed_lines(watched.port, [b"<11>host app: %d" % number for number in range(500)])
    wait_for_lines(arrived, 500)
    source = "syslogrelay_source"
    name = ("syslogrelay_destination_delivered_messages_total", "out")
    wait_until(lambda: watched.metrics()[name] == 500, "all are acknowledged")
    severity = f"{source}_severity_messages_total", "error", "in"
    wait_until(lambda: watched.metrics()[severity] == 500, "severities are on disk")
    found = watched.metrics()
    assert found[f"{source}_received_messages_total", "in"] == 500
    assert found[f"{source}_peer_messages_total", "127.0.0.1", "in"] == 500
    assert found[f"{source}_stored_seconds_count", "in"] == 500
    assert found["syslogrelay_destination_queued_messages", "out"] == 0
    document = ask(str(watched.relay.state_dir), "status")
    assert document["sources"][0]["received_bytes"] == found[f"{source}_received_bytes_total", "in"]
    assert get(f"{watched.url}/readyz") == (200, "healthy\n")


def test_an_outage_is_no_reason_to_restart(programs: Programs, tmp_path: Path) -> None:
    watched = Watched(programs, tmp_path, f"relp://127.0.0.1:{free_port()}")
    feed_lines(watched.port, [b"<13>host app: waits"] * 7)
    queued = ("syslogrelay_destination_queued_messages", "out")
    wait_until(lambda: watched.metrics()[queued] == 7, "all are queued")
    failures = ("syslogrelay_destination_failures_total", "refused", "out")
    wait_until(lambda: watched.metrics().get(failures, 0) > 0, "it was refused")
    found = watched.metrics()
    assert found["syslogrelay_destination_ready", "out"] == 0
    assert found["syslogrelay_destination_oldest_seconds", "out"] >= 0
    status, text = get(f"{watched.url}/readyz")
    assert status == 503
    assert text.startswith("out: ") and "refused" in text
    assert get(f"{watched.url}/healthz")[0] == 200


def test_only_with_the_token_and_by_our_names(programs: Programs, tmp_path: Path) -> None:
    files = make_certificate_files(tmp_path / "certificates")
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    watched = Watched(
        programs,
        tmp_path,
        f"file://{tmp_path}/received.log",
        token_file=str(token_file),
        certificate=files.server_certificate,
        private_key=files.server_key,
        peer_verify="none",
    )
    context = ssl.create_default_context(cafile=files.ca)
    metrics = f"{watched.url}/metrics"
    assert get(metrics, context)[0] == 401
    assert get(metrics, context, Authorization="Bearer other")[0] == 401
    assert get(metrics, context, Authorization=f"Bearer {TOKEN}")[0] == 200
    assert get(f"{watched.url}/healthz", context)[0] == 200
    assert get(metrics, context, Authorization=f"Bearer {TOKEN}", Host="evil.com")[0] == 421
    token_file.write_text("another-token-from-now-on")
    assert get(metrics, context, Authorization=f"Bearer {TOKEN}")[0] == 401
    with pytest.raises(URLError, match="certificate verify failed"):
        get(metrics, ssl.create_default_context())
    assert TOKEN not in watched.relay.log()
