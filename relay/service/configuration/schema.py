"""The tables of a configuration file: their keys, kinds, ranges and schemes.

Defaults are not here: they are those of the values in `configuration.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from relay.model.policy import POLICIES, WAYS
from relay.service.configuration.filter_table import FACILITIES, SEVERITIES
from relay.service.configuration.model import Url
from relay.service.configuration.table import (
    Anything,
    Choice,
    Choices,
    Duration,
    Expression,
    Flag,
    Kind,
    Named,
    Networks,
    Permissions,
    Rate,
    Seconds,
    Size,
    Text,
    Texts,
    Whole,
    join_path,
)
from relay.service.configuration.url import CONNECT_SCHEMES, LISTEN_SCHEMES
from relay.service.sources.journal_keys import FieldNames, Matches
from relay.service.sources.listener_set import PORT_KEYS, schemes_of

__all__ = [
    "DESTINATION",
    "FILE",
    "ID",
    "RELAY",
    "RELAY_NAME",
    "RETIRED_RELAY_KEYS",
    "SOURCE",
    "TLS",
    "fitting_keys",
    "foreign_keys",
]

KiB, MiB, GiB, TiB = 2**10, 2**20, 2**30, 2**40
YEAR_SECONDS = 365 * 86400.0

ID = Text(
    "an id of at most 63 ASCII letters, digits, '.', '_' and '-' that starts with a letter or a "
    "digit",
    r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}",
)

# It becomes a HOSTNAME in messages (RFC 5424 §6).
RELAY_NAME = Text("a name of 1 to 255 printable ASCII characters without spaces", r"[!-~]{1,255}")

_PATH = Text("a path")

FILE: Mapping[str, Kind] = {
    "relay": Anything(),
    "apps": Anything(),
    "sources": Anything(),
    "destinations": Anything(),
    "filters": Anything(),
    "tests": Anything(),
}

RELAY: Mapping[str, Kind] = {
    "name": RELAY_NAME,
    "state_dir": _PATH,
    "queue_bytes_max": Size(1 * MiB, 16 * TiB),
    "reserve_bytes": Size(0, 16 * TiB),
    "min_free_bytes": Size(0, 16 * TiB),
    "local_block_seconds_max": Seconds(0, 3600),
    "commit_seconds_min": Seconds(0, 1),
    "pending_bytes_max": Size(64 * KiB, 1 * GiB),
    "quarantine_bytes_max": Size(0, 1 * TiB),
    "quarantine_seconds_max": Seconds(0, 100 * YEAR_SECONDS),
    "allow_volatile_state": Flag(),
    "strict_queue": Flag(),
    "compact_free_percent": Whole(0, 95),
    "examine_fully": Flag(),
    "statistics_seconds": Seconds(0, YEAR_SECONDS),
}

RETIRED_RELAY_KEYS: Mapping[str, str] = {
    "drain_process": "has no effect any more: destinations run in the relay's only process; "
    "remove it",
}
"""Keys that older versions knew.  A file that still has one gets this warning, not an error."""

TLS: Mapping[str, Kind] = {
    "trusted_ca": _PATH,
    "certificate": _PATH,
    "private_key": _PATH,
    "private_key_passphrase_file": Text("a path", secret=True),  # a pasted one is a likely slip
    "crl": _PATH,
    "peer_verify": Choice(("required", "optional", "none")),
    "peer_names": Texts("a list of names"),
    "peer_fingerprints": Texts("a list of fingerprints"),
    "server_name": Text("a host name or an address"),
    "tls_version_min": Choice(("1.2", "1.3")),
    "tls_ciphers": Text("a cipher list of OpenSSL", r"[!-~][ -~]*"),
}

SOURCE: Mapping[str, Kind] = {
    "listen": Text("a URL such as tcp://0.0.0.0:514", r".+"),
    "protocol": Choice(("syslog", "tls", "relp", "relp+tls")),
    **{key: kind for key, kind in TLS.items() if key != "server_name"},
    "frame_bytes_max": Size(480, 16 * MiB),
    "oversize": Choice(("truncate", "drop", "split", "quarantine")),
    "allow": Networks(),
    "deny": Networks(),
    "proxy_protocol": Flag(),
    "connections_max": Whole(1, 1_000_000),
    "connections_per_peer_max": Whole(0, 1_000_000),
    "unfinished_bytes_max": Size(0, 16 * GiB),
    "rate_per_peer_max": Whole(0, 10_000_000),
    "idle_seconds_max": Seconds(0.1, YEAR_SECONDS),
    "handshake_seconds_max": Seconds(0.1, 3600),
    "socket_mode": Permissions(),
    "receive_buffer_bytes": Size(4 * KiB, 1 * GiB),
    "parse": Anything(),
    "check_sequence": Flag(),
    "authorise": Choices(WAYS),
    "unauthorised": Choice(("drop", "quarantine")),
    "keep_tokens": Flag(),
    "reserved": Flag(),
    "matches": Matches(),
    "read_from": Choice(("end", "beginning")),
    "fields": FieldNames(),
    **dict.fromkeys(PORT_KEYS, Whole(0, 65535)),
    "format": Choice(("text", "syslog")),
    "tag": Text("a name of 1 to 48 printable ASCII characters without spaces", r"[!-~]{1,48}"),
    "facility": Named(FACILITIES, 23),
    "severity": Named(SEVERITIES, 7),
    "multi_line": Expression(),
    "multi_line_seconds_max": Seconds(0.1, 3600),
    "files_max": Whole(1, 100_000),
    "follow_symlinks": Flag(),
}

DESTINATION: Mapping[str, Kind] = {
    "connect": Text("a URL such as relp://central.example.com:20514", r".+"),
    "sources": Texts("a list of source ids"),
    "apps": Texts("a list of app ids"),
    "match": Anything(),
    "rewrite": Anything(),
    "format": Anything(),
    "template": Anything(),
    **{key: kind for key, kind in TLS.items() if key != "peer_names"},
    "framing": Choice(("octet-counting", "newline")),
    "window_records": Whole(1, 100_000),
    "drain_rate": Rate(),
    "order": Choice(("oldest-first", "live-first")),
    "backlog_share": Whole(1, 99),
    "answer_seconds_max": Seconds(0.1, 3600),
    "connect_seconds_max": Seconds(0.1, 3600),
    "retry_seconds_min": Seconds(0.01, 86400),
    "retry_seconds_max": Seconds(0.01, 86400),
    "refusals_max": Whole(1, 1_000_000),
    "queue_bytes_max": Size(0, 16 * TiB),
    "queue_seconds_max": Seconds(0, 100 * YEAR_SECONDS),
    "when_full": Choice(POLICIES),
    "history": Duration(0, 100 * YEAR_SECONDS),
    "history_bytes_max": Size(1 * MiB, 16 * TiB),
}

_TLS_SCHEMES = ("tls", "relp+tls")
_RELP_SCHEMES = ("relp", "relp+tls")
_TCP_SCHEMES = ("tcp", "tls", *_RELP_SCHEMES)

# A key that is not here has a meaning for every scheme.
_SCHEMES_OF_KEY: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(TLS, _TLS_SCHEMES),
    "protocol": ("systemd",),
    "connections_max": (*_TCP_SCHEMES, "unix", "systemd"),
    "idle_seconds_max": (*_TCP_SCHEMES, "unix", "systemd"),
    "allow": ("udp", *_TCP_SCHEMES, "systemd"),
    "deny": ("udp", *_TCP_SCHEMES, "systemd"),
    "proxy_protocol": (*_TCP_SCHEMES, "systemd"),
    "connections_per_peer_max": (*_TCP_SCHEMES, "systemd"),
    "unfinished_bytes_max": (*_TCP_SCHEMES, "unix", "systemd"),
    "rate_per_peer_max": ("udp", *_TCP_SCHEMES, "systemd"),
    **PORT_KEYS,
    "handshake_seconds_max": (*_TCP_SCHEMES, "systemd"),
    "socket_mode": ("unixgram", "unix"),
    "receive_buffer_bytes": ("udp", "unixgram", "systemd"),
    **dict.fromkeys(("matches", "fields"), ("journald",)),
    "read_from": ("file", "journald"),
    **dict.fromkeys(("format", "tag", "facility", "severity", "files_max"), ("file",)),
    **dict.fromkeys(("multi_line", "multi_line_seconds_max", "follow_symlinks"), ("file",)),
    "framing": ("tcp", "tls"),
    "window_records": _RELP_SCHEMES,
    "answer_seconds_max": _TCP_SCHEMES,
    "connect_seconds_max": _TCP_SCHEMES,
    "refusals_max": _RELP_SCHEMES,
}


def fitting_keys(schema: Mapping[str, Kind], values: object) -> list[str]:
    """The keys of `schema` that have a meaning for the URL in the table `values`.

    All of them if it has none with a known scheme.
    """
    table = values if isinstance(values, dict) else {}
    key = "listen" if "listen" in schema else "connect"
    scheme = str(table.get(key, "")).partition(":")[0].lower()
    known = LISTEN_SCHEMES if key == "listen" else CONNECT_SCHEMES
    if scheme not in known:
        return list(schema)
    schemes = {*schemes_of(scheme), *([str(table["protocol"])] if "protocol" in table else [])}
    return [
        name
        for name in schema
        if (name == "format" and key == "connect")
        or schemes & set(_SCHEMES_OF_KEY.get(name, schemes))
    ]


def foreign_keys(table: Mapping[str, object], url: Url, path: str) -> list[str]:
    """A problem for each key of `table` that has no meaning for the scheme of `url`."""
    problems = []
    for key in table:
        if key == "format" and "connect" in table:  # every destination has one
            continue
        schemes = _SCHEMES_OF_KEY.get(key, (url.scheme,))
        if not set(schemes_of(url.scheme)) & set(schemes):
            problems.append(
                f"{join_path(path, key)}: has no meaning for {url.scheme}, only for "
                f"{' and '.join(schemes)}; remove it or change the URL"
            )
    if table.get("oversize") == "split" and url.scheme in ("file", "journald"):
        problems.append(
            f"{join_path(path, 'oversize')}: what is read by {url.scheme} cannot be split; write "
            "'truncate', 'drop' or 'quarantine'"
        )
    return problems
