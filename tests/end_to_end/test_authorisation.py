"""A central receiver for two apps: who is authorised, where it goes, and what nobody ever sees."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from relay.queue.store import QueueStore
from tests.certificate_files import SERVER_NAME, CertificateFiles
from tests.plain_senders import feed_datagrams, feed_lines
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines
from tests.relp_sender import RelpSender

WEB = b"0f9e8d7c-89ab-cdef-0123-456789abcdef"
SHOP = b"SHOP_APP_TOKEN_GOES_HERE"
WRONG = b"ffffffff-89ab-cdef-0123-456789ab0000"
START = b"<13>2026-11-21T00:00:00Z web-1 "


class Receiver(RelayProcess):
    """Two apps; a listener for each way to be authorised."""

    def __init__(self, folder: Path, certificates: CertificateFiles) -> None:
        for name, token in (("web", WEB), ("shop", SHOP)):
            (folder / f"{name}.token").write_bytes(token + b"\n")
        self.ports = {name: free_port() for name in ("udp", "tcp", "relp", "tls")}
        self.files = {name: folder / f"{name}.log" for name in ("web", "shop", "rewritten")}
        address = "127.0.0.1"
        tokens = {"authorise": ["token"], "unauthorised": "quarantine"}
        super().__init__(
            folder,
            apps={
                "web": {
                    "token_file": str(folder / "web.token"),
                    "tls_names": ["*.example.com"],
                },
                "shop": {
                    "token_files": [str(folder / "shop.token")],
                    "networks": ["127.0.0.0/8"],
                },
            },
            sources={
                "udp": {"listen": f"udp://{address}:{self.ports['udp']}", "authorise": ["token"]},
                "tcp": {"listen": f"tcp://{address}:{self.ports['tcp']}", **tokens},
                "relp": {
                    "listen": f"relp://{address}:{self.ports['relp']}",
                    "authorise": ["token", "network"],
                    "unauthorised": "quarantine",
                },
                "tls": {
                    "listen": f"tls://{address}:{self.ports['tls']}",
                    "authorise": ["tls-name"],
                    "peer_verify": "optional",
                    "trusted_ca": certificates.ca,
                    "certificate": certificates.server_certificate,
                    "private_key": certificates.server_key,
                },
            },
            destinations={
                "web": {"connect": f"file://{self.files['web']}", "apps": ["web"]},
                "shop": {"connect": f"file://{self.files['shop']}", "apps": ["shop"]},
                "rewritten": {
                    "connect": f"file://{self.files['rewritten']}",
                    "rewrite": {"mode": "ewmm"},
                },
            },
        )

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = ask(str(self.state_dir), "status")
        return document

    def source(self, name: str) -> dict[str, Any]:
        return next(report for report in self.status()["sources"] if report["id"] == name)

    def everything_seen(self) -> bytes:
        """All that a person or the next hop gets to see."""
        shown = json.dumps(self.status()).encode() + self.log().encode()
        return shown + b"\n".join(line for path in self.files.values() for line in received(path))


@pytest.fixture
def receiver(programs: Programs, tmp_path: Path, certificates: CertificateFiles) -> Receiver:
    relay = Receiver(tmp_path, certificates)
    programs.add(relay)
    relay.start()
    return relay


def send_over_tls(port: int, certificates: CertificateFiles, line: bytes, *, show: bool) -> None:
    context = ssl.create_default_context(cafile=certificates.ca)
    if show:
        context.load_cert_chain(certificates.client_certificate, certificates.client_key)
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    with context.wrap_socket(plain, server_hostname=SERVER_NAME) as connection:
        connection.sendall(line + b"\n")


def test_messages_go_to_their_apps_and_tokens_nowhere(
    receiver: Receiver, certificates: CertificateFiles
) -> None:
    cee = b'my-host my-process:@cee: {"logsene-app-token": "%s", "message": "%s"}'
    feed_datagrams(receiver.ports["udp"], [cee % (WEB, b"udp")])
    wait_for_lines(receiver.files["web"], 1)
    lines = [
        cee % (WEB, b"hello world!"),
        b"my-host %s:hello world!" % SHOP,
        START + WEB + b"[12]: tag",
        b"<13>1 2026-11-21T00:00:00Z web-1 %s 1 - - app-name" % SHOP,
        START + b'su: {"message":"no cookie","logsene-app-token":"%s"}' % WEB,
    ]
    feed_lines(receiver.ports["tcp"], lines)
    wait_for_lines(receiver.files["web"], 4)
    wait_for_lines(receiver.files["shop"], 2)
    with RelpSender(receiver.ports["relp"]) as sender:
        sender.send([START + b"su: by network", cee % (WEB, b"token before network")])
        sender.close()
    send_over_tls(receiver.ports["tls"], certificates, START + b"su: by name", show=True)
    assert wait_for_lines(receiver.files["web"], 6) == [
        b'my-host my-process:@cee: {"message": "udp"}',
        b'my-host my-process:@cee: {"message": "hello world!"}',
        START + b"-[12]: tag",
        START + b'su: {"message":"no cookie"}',
        b'my-host my-process:@cee: {"message": "token before network"}',
        START + b"su: by name",
    ]
    assert wait_for_lines(receiver.files["shop"], 3) == [
        b"my-host -:hello world!",
        b"<13>1 2026-11-21T00:00:00Z web-1 - 1 - - app-name",
        START + b"su: by network",
    ]
    wait_for_lines(receiver.files["rewritten"], 9)
    apps = {report["id"]: report["apps"] for report in receiver.status()["sources"]}
    assert apps == {
        "udp": {"web": 1},
        "tcp": {"web": 3, "shop": 2},
        "relp": {"web": 1, "shop": 1},
        "tls": {"web": 1},
    }
    seen = receiver.everything_seen()
    assert WEB not in seen
    assert SHOP not in seen
    receiver.stop()


def test_others_are_refused_counted_and_said(
    receiver: Receiver, certificates: CertificateFiles
) -> None:
    claim = START + b'su:@cee: {"logsene-app-token": "%s"}' % WRONG
    feed_datagrams(receiver.ports["udp"], [START + b"su: nobody", claim])
    feed_lines(receiver.ports["tcp"], [START + b"su: nobody", claim])
    with RelpSender(receiver.ports["relp"]) as sender:  # refused on purpose is final
        sender.send([claim])
        sender.close()
        assert sender.answered == [claim]
    send_over_tls(receiver.ports["tls"], certificates, START + b"su: nobody", show=False)
    wait_until(lambda: receiver.source("tls")["dropped_records"], "the refusal over TLS")
    wait_until(lambda: sum(receiver.source("udp")["dropped_records"].values()) == 2, "udp")
    wait_until(lambda: receiver.source("tcp")["quarantined_records"] == 2, "the quarantine")
    found = {
        report["id"]: (report["dropped_records"], report["quarantined_records"])
        for report in receiver.status()["sources"]
    }
    assert found == {
        "udp": ({"unauthorised": 1, "unknown-token": 1}, 0),
        "tcp": ({}, 2),
        "relp": ({}, 1),
        "tls": ({"unauthorised": 1}, 0),
    }
    log = receiver.log()
    assert "source udp, 127.0.0.1:" in log
    assert "no app has the token of the last one, ffff…0000" in log
    assert "dropped: no app authorises them by tls-name" in log
    assert WRONG not in receiver.everything_seen()
    assert [received(path) for path in receiver.files.values()] == [[], [], []]
    receiver.stop()
    store = QueueStore.open(
        str(receiver.state_dir / "queue"), destinations=(), sources=(), map_bytes=2**30
    )
    kept = {id: ledger.quarantined for id, ledger in store.ledgers.items() if ledger.quarantined}
    store.close()
    assert kept == {"source/tcp": 2, "source/relp": 1}
