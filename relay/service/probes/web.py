"""Look whether the web server could listen, and whether its tokens can be used."""

from __future__ import annotations

from relay.model.token import Token
from relay.service.configuration.model import WebConfiguration
from relay.service.configuration.tables.rewrite import token_from_file
from relay.service.probes.listener import probe_stream_port
from relay.service.probes.probe import Probe


def probe_web(probe: Probe, web: WebConfiguration) -> None:
    """Its port, its certificate and the files of its tokens."""
    probe_stream_port(probe, web.listen, web.tls if web.is_encrypted else None)
    reader = probe_token(probe, "web.token_file", web.token_file)
    admin = probe_token(probe, "web.admin_token_file", web.admin_token_file)
    if reader is not None and reader == admin:
        probe.fail(
            "token",
            "tokens-equal",
            f"{web.admin_token_file} holds the token of {web.token_file}, so nobody is let in",
            "write another token to one of them",
        )


def probe_token(probe: Probe, key: str, file: str) -> Token | None:
    """The token of the file that `key` names; None where there is none."""
    if not file:
        return None
    try:
        token = token_from_file(file)
    except ValueError as error:
        remedy = "write a file that this user may read and that holds nothing but the token"
        probe.fail("token", "token-unusable", f"{key}: {error}", remedy)
        return None
    probe.passed("token", f"{key} {file} holds a token")
    return token
