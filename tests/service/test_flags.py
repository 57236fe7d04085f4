from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from relay.model.errors import ConfigurationError
from relay.model.token import Token
from relay.service.configuration.model import (
    Configuration,
    RewriteConfiguration,
    TlsConfiguration,
    UnreadToken,
    Url,
)
from relay.service.flags import OtherFlags, configuration_from_flags
from relay.service.kinds import KINDS
from relay.service.tls.certificates import make_authority
from tests.configurations import new_destination, new_source, schemes

LISTEN = ["udp://:5514"]
FORWARD = ["relp://far:20514"]


def from_flags(listen: list[str], forward: list[str], *, base_dir: str, **flags: Any) -> Any:
    return configuration_from_flags(listen, forward, KINDS, OtherFlags(**flags), base_dir=base_dir)


def problems(listen: list[str], forward: list[str], **flags: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        from_flags(listen, forward, base_dir="/base", **flags)
    return caught.value.problems


def test_defaults() -> None:
    assert from_flags(LISTEN, FORWARD, base_dir="/base") == Configuration(
        name=socket.gethostname(),
        state_dir="/var/lib/syslogrelay",
        sources=(new_source("udp-all-5514", Url("udp", port=5514)),),
        destinations=(
            new_destination("relp-far-20514", Url("relp", "far", 20514), sources=("udp-all-5514",)),
        ),
    )


def test_everything(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret-secret-secret\n")
    (tmp_path / "ca.pem").write_bytes(make_authority("test").certificate_pem())
    configuration = from_flags(
        ["tcp://:1", "unixgram:log"],
        ["tls://far:6514", "file:received.log"],
        state_dir="state",
        rewrite="cee",
        token_file="token",
        base_dir=str(tmp_path),
        name="web-1",
        trusted_ca="ca.pem",
    )
    assert (configuration.name, configuration.state_dir) == ("web-1", f"{tmp_path}/state")
    tls, file = configuration.destinations
    assert (
        tls.rewrite == file.rewrite == RewriteConfiguration("cee", Token(b"secret-secret-secret"))
    )
    assert tls.tls == TlsConfiguration(trusted_ca=f"{tmp_path}/ca.pem")
    assert file.tls is None
    assert tls.framing == "octet-counting"
    assert file.connect.path == f"{tmp_path}/received.log"
    assert tls.sources == file.sources == tuple(source.id for source in configuration.sources)


@pytest.mark.parametrize("scheme", ["default-network", "sematext-receiver"])
def test_flags_cannot_say_enough_for_a_set_of_listeners(scheme: str) -> None:
    assert problems([f"{scheme}://127.0.0.1"], FORWARD) == [
        f"--listen {scheme}: opens a TLS listener, which needs a certificate, and flags cannot "
        "give one; use a configuration file with --config"
    ]


def test_all_problems_are_reported_at_once() -> None:
    assert problems(
        ["tpc://:1", "tls://:6514", "udp://:1", "udp://:1"],
        ["relp://me:geheim@far:1", "relp://127.0.0.1:1", "tcp://far:1"],
        rewrite="ce",
        trusted_ca="nowhere",
        name="two words",
    ) == [
        "--listen 'tpc://:1': unknown scheme 'tpc', did you mean 'tcp'? listen takes "
        f"{schemes('listen')}",
        "--listen udp://:1: is given twice; remove one",
        "--forward '…@far:1': a user name or password before '@' has no meaning here; remove it",
        "--listen tls://:6514: a TLS listener needs a certificate, and flags cannot give one; use "
        "a configuration file with --config",
        "--rewrite: expected one of none, cee, json, tag, app-name, ewmm; found 'ce', did you mean "
        "'cee'?",
        "--trusted-ca: has no meaning without a --forward to dtls:// or tls:// or relp+tls:// or "
        "sematext:// or https:// or nats+tls:// or "
        "kafka+tls://; remove it",
        "--name: expected a name of 1 to 255 printable ASCII characters without spaces, found "
        "'two words'",
    ]


def test_sources_and_destinations_are_needed() -> None:
    assert problems([], []) == [
        "--listen: there is none; add at least one, such as --listen udp://:514",
        "--forward: there is none; add at least one, such as --forward "
        "relp://central.example.com:20514",
    ]


def test_conflicts_name_the_flags() -> None:
    assert problems(["tcp://:1", "relp://:1"], ["udp://127.0.0.1:1", "tcp://127.0.0.1:1"]) == [
        "--listen relp://:1: relp://:1 is already taken by --listen tcp://:1 (tcp://:1); choose "
        "another one",
        "--forward tcp://127.0.0.1:1: tcp://127.0.0.1:1 is this relay itself and messages would "
        "go round for ever (source 'tcp-all-1' feeds 'tcp-127.0.0.1-1'); give the sources of "
        "'tcp-127.0.0.1-1' without 'tcp-all-1'",
    ]


def test_token_problems(tmp_path: Path) -> None:
    assert problems(LISTEN, FORWARD, rewrite="tag") == [
        "--rewrite: mode 'tag' needs a token; add --token-file FILE"
    ]
    assert problems(LISTEN, FORWARD, rewrite="ewmm", token_file="x") == [
        "--token-file: has no meaning for --rewrite ewmm, only for cee, json, tag, app-name; "
        "remove it or change the mode"
    ]


def test_files_that_are_missing_are_waited_for() -> None:
    configuration = from_flags(
        *(LISTEN, ["tls://far:6514"]),
        base_dir="/base",
        rewrite="cee",
        token_file="x",
        trusted_ca="ca.pem",
    )
    (destination,) = configuration.destinations
    assert destination.tls.trusted_ca == "/base/ca.pem"
    assert destination.rewrite.token == UnreadToken(
        "cannot read the token file /base/x: No such file or directory", file="/base/x"
    )


def test_a_file_may_be_listened_to() -> None:
    configuration = from_flags(["file:///var/log/*.log"], FORWARD, base_dir="/base")
    (source,) = configuration.sources
    assert source.listen.path == "/var/log/*.log"
    assert source.id.startswith("file-var-log-_.log-")


def test_a_token_that_every_user_can_read_is_a_warning(tmp_path: Path) -> None:
    flags: dict[str, Any] = {"rewrite": "cee", "token_file": "token", "base_dir": str(tmp_path)}
    (tmp_path / "token").write_text("secret-secret-secret\n")
    (tmp_path / "token").chmod(0o644)
    (warning,) = from_flags(["tcp://:1"], ["tcp://far:1"], **flags).warnings
    assert warning.startswith("--token-file: every user can read")
    (tmp_path / "token").chmod(0o600)
    assert from_flags(["tcp://:1"], ["tcp://far:1"], **flags).warnings == ()
