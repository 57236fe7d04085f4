from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from relay.cli.main import main
from relay.service.tls.certificates import make_authority

CONFIGURATION = """
[sources.relays]
listen = "relp+tls://127.0.0.1:20515"
certificate = "server.pem"
private_key = "server-key.pem"
trusted_ca = "ca.pem"
crl = "crl.pem"
[destinations.central]
connect = "relp+tls://central.example.com:20515"
certificate = "client.pem"
private_key = "client-key.pem"
trusted_ca = "ca.pem"
[destinations.file]
connect = "file:received.log"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = certs("all", "--out", tmp_path, "--name", "c.example", "--client-name", "web-1")
    assert made.exit_code == 0
    assert certs("crl", "--out", tmp_path).exit_code == 0
    (tmp_path / "relay.toml").write_text(CONFIGURATION)
    return tmp_path


def certs(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["certs", *map(str, arguments)])


def shown(*arguments: str | Path) -> list[dict[str, Any]]:
    return list(msgspec.json.decode(certs("show", "--json", *arguments).stdout))


def test_a_certificate_with_the_key_beside_it(folder: Path) -> None:
    result = certs("show", folder / "server.pem", folder / "ca.pem")
    assert (result.exit_code, result.stderr) == (0, "")
    text = result.output
    assert text.startswith(f"{folder}/server.pem: certificate CN=c.example\n")
    assert "  names    c.example\n" in text
    assert "  issuer   CN=syslogrelay private authority\n" in text
    assert "days left\n" in text
    assert "  purpose  server\n" in text
    assert f"  key      P-256, in {folder}/server-key.pem\n" in text
    assert "(itself)" in text


def test_everything_that_a_configuration_names(folder: Path) -> None:
    found = {Path(one["file"]).name: one for one in shown("-c", folder / "relay.toml")}
    assert found.keys() == {
        *("server.pem", "server-key.pem", "ca.pem", "crl.pem", "client.pem", "client-key.pem")
    }
    assert found["ca.pem"]["used_by"] == [
        *("sources.relays.trusted_ca", "destinations.central.trusted_ca")
    ]
    assert found["server.pem"]["key_file"] == str(folder / "server-key.pem")
    assert found["crl.pem"]["days_left"] > 29
    assert not any("problems" in one for one in found.values())


def test_problems_have_lines_and_a_status(folder: Path) -> None:
    for name in ("server", "client"):  # they change places
        pem, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
        pem.rename(folder / f"{name}.old")
        key.rename(folder / f"{name}-key.old")
    (folder / "server.old").rename(folder / "client.pem")
    (folder / "server-key.old").rename(folder / "client-key.pem")
    (folder / "client.old").rename(folder / "server.pem")
    result = certs("show", "-c", folder / "relay.toml")
    assert result.exit_code == 1
    assert "allows client, and it is used as that of a server" in result.output
    assert "allows server, and it is used as that of a client" in result.output
    assert "it cannot be read: No such file" in result.output
    assert result.stderr == "3 problems found\n"


def test_another_authority(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    certs("ca", "--out", other)
    result = certs("show", folder / "client.pem", other / "ca.pem")
    assert result.exit_code == 1
    assert "no authority here signed it: CN=syslogrelay private authority" in result.output


def test_a_key_that_belongs_to_another(folder: Path) -> None:
    (folder / "server-key.pem").write_bytes((folder / "client-key.pem").read_bytes())
    result = certs("show", folder / "server.pem")
    assert result.exit_code == 1
    assert "it belongs to none of these certificates" in result.output


def test_what_a_server_presents(folder: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server-key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            accepted, _ = listener.accept()
            with accepted, context.wrap_socket(accepted, server_side=True) as connection:
                connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        (one, *_) = shown(f"127.0.0.1:{port}")
        thread.join(10)
    assert one["subject"] == "CN=c.example"
    assert one["file"] == f"127.0.0.1:{port}"


def test_wrong_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.cli.certificates.show.DEFAULT_PATH", str(folder / "none.toml"))
    (folder / "plain.toml").write_text('[sources.a]\nlisten = "udp://127.0.0.1:5514"\n')
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for arguments, status, words in (
        ((), 2, "give files, HOST:PORT, or --config"),
        (("x.pem", "-c", "y.toml"), 2, "not both"),
        (("-c", folder / "none.toml"), 2, "none.toml"),
        (("-c", folder / "plain.toml"), 2, "nothing in it uses TLS"),
        ((f"127.0.0.1:{port}",), 2, "expected a server with TLS there"),
    ):
        result = certs("show", *arguments)
        assert result.exit_code == status
        assert words in result.stderr, result.stderr
    missing = certs("show", folder / "none.pem")
    assert missing.exit_code == 1
    assert "problem  it cannot be read: No such file or directory" in missing.output


def test_a_bundle_is_one_line_and_those_with_problems(folder: Path) -> None:
    parts = [make_authority(f"authority {n}", days=-1 if n == 3 else 9) for n in range(12)]
    bundle = folder / "bundle.pem"
    bundle.write_bytes(b"".join(each.certificate_pem() for each in parts))
    result = certs("show", bundle)
    first, second = result.output.split("\n\n")
    assert first == f"{bundle}: 12 authorities"
    assert second.startswith(f"{bundle}: authority CN=authority 3\n")
    assert result.exit_code == 1
    assert len(shown(bundle)) == 12
