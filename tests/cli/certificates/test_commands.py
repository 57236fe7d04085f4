from __future__ import annotations

from click.testing import CliRunner

from relay.cli.main import main


def test_all_commands_are_listed() -> None:
    text = CliRunner().invoke(main, ["certs", "--help"]).output
    for name in ("all", "ca", "client", "crl", "issued", "renew", "revoke", "server", "show"):
        assert f"\n  {name} " in text
