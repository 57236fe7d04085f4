from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from relay.model.counters.histogram import Histogram
from relay.model.counters.peers import PeerTable
from relay.model.origin import Origin, Transport
from relay.observe.metrics import (
    METRICS,
    OTHERS,
    PEERS_MAX,
    RelayCollector,
    content_type,
    exposition,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def document(**values: Any) -> dict[str, Any]:
    return {
        "version": "1.2",
        "compiled": True,
        "uptime_seconds": 12.5,
        "admission": {"open": False, "queue_bytes": 100, "queue_bytes_max": 1000},
        "sources": [],
        "destinations": [],
        "certificates": [],
        "expression_timeouts": {},
        "degraded": [],
        "alerts": [],
        "watch": {"rules": []},
        **values,
    }


def test_alerts_and_rules_of_watch() -> None:
    rules = [
        {"id": "logins", "counts_as": "error", "records": 7},
        {"id": "noise", "counts_as": "ignore", "records": 0},
    ]
    alerts = [{"rule": "silent"}, {"rule": "down"}, {"rule": "silent"}]
    found = samples(document(alerts=alerts, watch={"rules": rules}))
    assert (found["alerts_running", "silent"], found["alerts_running", "down"]) == (2, 1)
    assert found["watch_messages_total", "logins", "error"] == 7
    assert found["watch_messages_total", "noise", "ignore"] == 0


def samples(
    found: dict[str, Any], peers: dict[str, PeerTable] | None = None
) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels: first whose it is."""
    return scraped(RelayCollector(lambda: found, peers or {}))


def scraped(collector: RelayCollector) -> dict[tuple[str, ...], float]:
    text = exposition(collector, content_type(""))
    labels = ("source", "destination", *(label for metric in METRICS for label in metric.labels))
    order = [*dict.fromkeys(labels), "le"]
    return {
        (
            sample.name.removeprefix("syslogrelay_"),
            *(sample.labels[label] for label in order if label in sample.labels),
        ): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_the_relay_and_its_build() -> None:
    found = samples(document(degraded=["a", "b"], expression_timeouts={"x+": 3}))
    assert found["build_info", "1.2", "true"] == 1
    assert found["degraded",] == 2
    assert found["uptime_seconds",] == 12.5
    assert found["admission_open",] == 0
    assert found["expression_timeouts_total", "x+"] == 3


def test_how_late_the_relay_is() -> None:
    late = Histogram([0.1])
    late.observe(0.05, 2)
    names = ("reactor_delay_seconds", "commit_seconds", "commit_writing_seconds")
    found = samples(document(**dict.fromkeys(names, late.report())))
    for name in names:
        assert (found[f"{name}_count",], found[f"{name}_bucket", "0.1"]) == (2, 2)


def test_the_web_server() -> None:
    found = samples(document(web={"readers": 2, "requests_refused": {"token": 3, "host": 1}}))
    assert found["web_readers",] == 2
    assert found["web_refused_requests_total", "token"] == 3
    assert found["web_refused_requests_total", "host"] == 1
    assert ("web_readers",) not in samples(document(web=None))


def test_a_source() -> None:
    stored = Histogram([0.1, 1.0])
    for seconds in (0.05, 0.5, 5.0):
        stored.observe(seconds)
    source = {
        "id": "in",
        "received_records": 7,
        "dropped_records": {"empty": 2, "loop": 1},
        "stored_seconds": stored.report(),
    }
    found = samples(document(sources=[source]))
    assert found["source_ready", "in"] == 1
    assert found["source_received_messages_total", "in"] == 7
    assert found["source_dropped_messages_total", "in", "empty"] == 2
    assert found["source_dropped_messages_total", "in", "loop"] == 1
    buckets = {key[2]: count for key, count in found.items() if key[0].endswith("_bucket")}
    assert buckets == {"0.1": 1, "1.0": 2, "+Inf": 3}
    assert found["source_stored_seconds_sum", "in"] == pytest.approx(5.55)


def test_a_source_that_cannot_receive_is_not_ready() -> None:
    found = samples(document(sources=[{"id": "in", "ready": False}]))
    assert found["source_ready", "in"] == 0


def test_a_destination() -> None:
    destination = {
        "id": "out",
        "ready": False,
        "queued_records": 4,
        "oldest_seconds": None,
        "failures_by_cause": {"refused": 5, "dns": 2},
        "limit": {"used_bytes": 80, "queue_bytes_max": 100, "seconds_to_full": 9.5},
    }
    found = samples(document(destinations=[destination]))
    assert found["destination_ready", "out"] == 0
    assert found["destination_queued_messages", "out"] == 4
    assert found["destination_full_in_seconds", "out"] == 9.5
    assert ("destination_oldest_seconds", "out") not in found
    assert found["destination_failures_total", "out", "refused"] == 5
    assert found["destination_failures_total", "out", "dns"] == 2
    destination["limit"] = None
    assert ("destination_full_in_seconds", "out") not in samples(
        document(destinations=[destination])
    )


def test_the_stages_of_a_message() -> None:
    latency = Histogram([1.0])
    latency.observe(0.5, 3)
    destination = {"id": "out", "latencies": {"stored_to_sent": latency.report()}}
    found = samples(document(destinations=[destination]))
    assert found["destination_latency_seconds_count", "out", "stored_to_sent"] == 3
    assert found["destination_latency_seconds_sum", "out", "stored_to_sent"] == 1.5


def test_certificates() -> None:
    reports = [
        {"subject": "source a", "kind": "certificate", "certificate": "/a", "expires_days": 2.0},
        {"subject": "source a", "kind": "crl", "crl": "/c", "days_left": -0.5},
        {"subject": "source b", "kind": "unusable", "problem": "none"},
    ]
    found = samples(document(certificates=reports))
    expires = {key[1:]: value for key, value in found.items() if key[0].startswith("certificate")}
    assert expires == {
        ("source a", "certificate", "/a"): 172800,
        ("source a", "crl", "/c"): -43200,
    }


def send(table: PeerTable, host: str, count: int) -> None:
    peer = table.of(Origin("in", Transport.TCP, peer_host=host))
    peer.records += count
    peer.bytes += 100 * count


def of_peers(found: dict[tuple[str, ...], float]) -> dict[str, float]:
    return {key[2]: value for key, value in found.items() if "peer_messages_total" in key[0]}


def test_the_most_active_peers_have_series_of_their_own() -> None:
    table = PeerTable()
    for number in range(PEERS_MAX + 5):
        send(table, f"10.0.0.{number}", number + 1)
    found = samples(document(), {"in": table})
    messages = of_peers(found)
    assert len(messages) == PEERS_MAX + 1
    assert messages["10.0.0.24"] == 25
    assert messages[OTHERS] == 1 + 2 + 3 + 4 + 5
    assert found["source_peer_bytes_total", "in", OTHERS] == 1500


def test_few_peers_leave_no_others() -> None:
    table = PeerTable()
    send(table, "10.0.0.1", 3)
    assert of_peers(samples(document(), {"in": table})) == {"10.0.0.1": 3}


def test_the_others_never_count_down() -> None:
    table = PeerTable()
    for number in range(PEERS_MAX + 1):
        send(table, f"10.0.0.{number}", 10 + 2 * number)
    collector = RelayCollector(document, {"in": table})
    assert of_peers(scraped(collector))[OTHERS] == 10
    send(table, "10.0.0.0", 100)  # takes the place of 10.0.0.1, which had 12
    send(table, "10.0.0.1", 1)
    found = of_peers(scraped(collector))
    assert found["10.0.0.0"] == 110
    assert "10.0.0.1" not in found
    # The first value of a new series is no rate, so what it has sent since counts here.
    assert found[OTHERS] == 10 + 100 + 1
    send(table, "10.0.0.0", 5)
    send(table, "10.0.0.1", 6)
    found = of_peers(scraped(collector))
    assert (found["10.0.0.0"], found[OTHERS]) == (115, 117)


def test_a_peer_whose_counters_began_anew_keeps_the_others_right() -> None:
    table = PeerTable()
    for number in range(PEERS_MAX + 1):
        send(table, f"10.0.0.{number}", 10 + number)
    collector = RelayCollector(document, {"in": table})
    assert of_peers(scraped(collector))[OTHERS] == 10
    peer = table.of(Origin("in", Transport.TCP, peer_host="10.0.0.20"))
    table.others.add(peer)
    peer.records = peer.bytes = 0
    send(table, "10.0.0.20", 29)
    send(table, "10.0.0.0", 2)
    assert of_peers(scraped(collector))[OTHERS] == 12


def test_peers_that_the_table_forgets_are_not_counted_twice() -> None:
    table = PeerTable(peers_max=PEERS_MAX)
    for number in range(2 * PEERS_MAX):
        send(table, f"10.0.0.{number}", 100 + number)
    collector = RelayCollector(document, {"in": table})
    before = of_peers(scraped(collector))
    send(table, "10.0.1.1", 1)  # the less active half joins the others
    assert len(table) < 2 * PEERS_MAX
    after = of_peers(scraped(collector))
    assert sum(after.values()) == sum(before.values()) + 1
    assert after[OTHERS] == before[OTHERS] + 1


def test_both_formats_are_right_whatever_the_labels_hold() -> None:
    odd = 'a"b\\c\nd é'
    found = document(expression_timeouts={odd: 1})
    collector = RelayCollector(lambda: found, {})
    kind = content_type("text/html, application/openmetrics-text; version=1.0.0; q=0.5")
    assert kind.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    text = exposition(collector, kind).decode()
    families = {family.name: family for family in openmetrics_families(text)}
    assert families["syslogrelay_expression_timeouts"].samples[0].labels == {"expression": odd}
    kind = content_type("text/plain")
    assert kind.startswith("text/plain; version=0.0.4")
    assert list(text_string_to_metric_families(exposition(collector, kind).decode()))


def test_versions_that_clients_ask_for_are_not_believed() -> None:
    asked = ("9" * 5000, "x", "1.0.0\u00ff", "-1", "", "1..0")
    kinds = {content_type(f"application/openmetrics-text; version={each}") for each in asked}
    assert kinds == {content_type("application/openmetrics-text")}
    assert content_type("text/plain; version=x") == content_type("")


def test_names_keep_the_conventions() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+|degraded", metric.name), metric.name
        assert (metric.type == "counter") == metric.name.endswith("_total"), metric.name
        assert metric.help.endswith("."), metric.name
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_the_documents_list_every_metric() -> None:
    section = DOCUMENT.read_text()
    rows = re.findall(r"^\| `(syslogrelay_\w+)` \| (.+) \|$", section, re.MULTILINE)
    declared = [
        (
            f"syslogrelay_{metric.name}",
            f"{metric.type} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help}",
        )
        for metric in METRICS
    ]
    assert rows == declared
