"""Relays that show a server who they are: TLS, tokens, passwords and NKeys."""

from __future__ import annotations

import base64
import binascii
import socket
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.cli.control_client import ask
from relay.wire.nats.nkey import public_key_text
from tests.certificate_files import CertificateFiles
from tests.engines.nats import NatsCluster
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess

pytestmark = pytest.mark.slow


def secret(folder: Path, text: str) -> str:
    path = folder / "secret"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def new_user_key() -> tuple[str, str]:
    """A seed and its public key, as NATS writes them."""
    private = Ed25519PrivateKey.generate()
    raw = bytes((18 << 3 | 5, 0)) + private.private_bytes_raw()
    seed = base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little"))
    return seed.decode().rstrip("="), public_key_text(private.public_key().public_bytes_raw())


def publish(
    programs: Programs, folder: Path, cluster: NatsCluster, scheme: str = "nats", **keys: object
) -> RelayProcess:
    """A relay that publishes a line."""
    port = free_port()
    relay = RelayProcess.started(
        programs,
        folder,
        sources={"net": {"listen": f"tcp://127.0.0.1:{port}"}},
        destinations={
            "bus": {"connect": f"{scheme}://{cluster.hosts}/LOGS", "replicas_min": 0, **keys}
        },
    )
    with socket.create_connection(("127.0.0.1", port)) as sender:
        sender.sendall(b"<13>Oct 11 22:14:15 host app: it\n")
    return relay


def state_of(relay: RelayProcess) -> str:
    return str(ask(str(relay.state_dir), "status")["destinations"][0]["state"])


def test_tls_and_an_nkey(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    seed, public = new_user_key()
    cluster = NatsCluster.started(
        programs,
        tmp_path / "nats",
        size=1,
        more=f"authorization {{ users: [{{ nkey: {public} }}, {{ user: test, password: test }}] }}",
        tls=(certificates.server_certificate, certificates.server_key, certificates.ca),
        login={"user": "test", "password": "test", "tls": client_context(certificates)},
    )
    cluster.add_stream("LOGS", ["logs.>"])
    keys = {
        "trusted_ca": certificates.ca,
        "certificate": certificates.client_certificate,
        "private_key": certificates.client_key,
        "credentials_file": secret(tmp_path, seed),
    }
    publish(programs, tmp_path / "relay", cluster, "nats+tls", **keys)
    wait_until(lambda: cluster.state("LOGS")["messages"] == 1, "it is in the stream")
    other = publish(
        programs,
        tmp_path / "other",
        cluster,
        "nats+tls",
        **{**keys, "server_name": "other.example.com"},
    )
    wait_until(lambda: "certificate" in state_of(other), "another name is refused")
    plain = publish(programs, tmp_path / "plain", cluster)
    wait_until(lambda: "write nats+tls://" in state_of(plain), "a plain connection is refused")


def test_a_token_and_a_wrong_one(programs: Programs, tmp_path: Path) -> None:
    cluster = NatsCluster.started(
        programs,
        tmp_path / "nats",
        size=1,
        more='authorization { token: "correct-horse" }',
        login={"token": "correct-horse"},
    )
    cluster.add_stream("LOGS", ["logs.>"])
    right = secret(tmp_path, "correct-horse\n")
    publish(programs, tmp_path / "relay", cluster, token_file=right)
    wait_until(lambda: cluster.state("LOGS")["messages"] == 1, "it is in the stream")
    (tmp_path / "wrong").mkdir()
    wrong = publish(
        programs, tmp_path / "wrong", cluster, token_file=secret(tmp_path / "wrong", "battery\n")
    )
    wait_until(lambda: "authorization violation" in state_of(wrong).lower(), "it is refused")
    assert "battery" not in wrong.log() + state_of(wrong)


def test_a_server_without_tls_gets_no_password(programs: Programs, tmp_path: Path) -> None:
    cluster = NatsCluster.started(programs, tmp_path / "nats", size=1)
    relay = publish(
        programs,
        tmp_path / "relay",
        cluster,
        "nats+tls",
        user="relay",
        password_file=secret(tmp_path, "correct-horse\n"),
    )
    wait_until(lambda: "does not offer TLS" in state_of(relay), "the connection is refused")


def client_context(certificates: CertificateFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates.ca)
    context.load_cert_chain(certificates.client_certificate, certificates.client_key)
    return context
