"""omfwd, omrelp and omdtls."""

from __future__ import annotations

import re
from collections.abc import Sequence

from relay.cli.moving.rsyslog.actions.output import (
    NO_NEED,
    Keys,
    Output,
    default_template,
    form_of_action,
)
from relay.cli.moving.rsyslog.filters import NotSupported
from relay.cli.moving.rsyslog.language.values import Reader
from relay.cli.moving.rsyslog.settings import Settings
from relay.cli.toml_writing import TomlValue


def forward(settings: Settings, read: Reader) -> Output:
    """The destination for omfwd: UDP, TCP or TLS.

    Raises:
        NotSupported: The relay cannot do what it says.
    """
    protocol = read.text("protocol", "udp").lower()
    form = form_of_action(
        settings,
        read,
        default_template(settings, "omfwd", "RSYSLOG_TraditionalForwardFormat"),
        wants_lines=False,
    )
    targets = read.texts("target") or [""]
    port = read.text("port", "514")
    keys: Keys = {}
    scheme = protocol
    mode = read.text("streamdrivermode", read.text("streamdriver.mode"))
    tls = _stream_tls(settings, read)
    if protocol == "tcp" and mode.strip() not in ("", "0"):
        scheme = "tls"
        keys |= tls
    if protocol == "tcp":
        framing = read.text("tcp_framing", "traditional").lower()
        keys["framing"] = "octet-counting" if framing == "octet-counted" else "newline"
        if framing == _usual_framing(scheme):
            del keys["framing"]
    read.text("tcp_framing")
    keys["connect"] = _targets(scheme, targets, port)
    if len(targets) > 1:
        keys["policy"] = "balance"
        keys["ordered"] = False
    if address := read.text("ipaddress") or read.text("address"):
        keys["bind"] = address
    _say_of_forward(read)
    return Output(f"{scheme}-{targets[0]}", keys, form)


def _say_of_forward(read: Reader) -> None:
    read.approximate(
        ["ziplevel", "compression.mode", "compression.stream.flushontxend"],
        "only RELP between two relays is compressed",
    )
    read.approximate(
        ["rebindinterval"], 'use rebalance_seconds with policy = "balance" and several targets'
    )
    read.ignore(
        [
            *("keepalive", "keepalive.probes", "keepalive.interval", "keepalive.time"),
            *("resendlastmsgonreconnect", "udp.sendtoall", "maxerrormessages", "conerrskip"),
            *("udp.senddelay", "udp.sendbuf", "iobuffer.maxsize", "pool.resumeinterval"),
            *("streamdriver.permitexpiredcerts", "streamdriver.tlsverifydepth"),
            *("streamdriver.checkextendedkeypurpose", "streamdriver.prioritizesan"),
            *("tcp_framedelimiter", "gnutlsprioritystring", "ratelimit.interval"),
            *("ratelimit.burst", "extendedconnectioncheck", "@option s"),
        ],
        "a dead connection is noticed, and what was not confirmed is sent again",
    )
    read.refuse(
        ["networknamespace", "device", "targetsrv", "template.tcp", "ipfreebind"],
        "write target and bind",
    )


def _stream_tls(settings: Settings, read: Reader) -> Keys:
    """Keys for TLS of a stream driver."""
    files = settings.tls
    read.text("streamdriver")
    read.text("streamdriver.name")
    found = {
        "trusted_ca": read.text("streamdriver.cafile", files.ca),
        "certificate": read.text("streamdriver.certfile", files.certificate),
        "private_key": read.text("streamdriver.keyfile", files.key),
        "crl": read.text("streamdriver.crlfile", files.crl),
    }
    keys: Keys = {name: path for name, path in found.items() if path}
    mode = read.text("streamdriverauthmode", read.text("streamdriver.authmode", "anon"))
    peers = read.texts("streamdriverpermittedpeers") or read.texts("streamdriver.permittedpeers")
    return {**keys, **_verification(read, mode.lower().removeprefix("x509/"), peers)}


def relp(settings: Settings, read: Reader) -> Output:
    """The destination for omrelp.

    Raises:
        NotSupported: The relay cannot do what it says.
    """
    form = form_of_action(settings, read, "RSYSLOG_ForwardFormat", wants_lines=False)
    target, port = read.text("target"), read.text("port", "514")
    keys: Keys = {}
    scheme = "relp"
    files = {
        "trusted_ca": read.text("tls.cacert"),
        "certificate": read.text("tls.mycert"),
        "private_key": read.text("tls.myprivkey"),
    }
    mode, peers = read.text("tls.authmode").lower(), read.texts("tls.permittedpeer")
    if read.is_on("tls"):
        scheme = "relp+tls"
        keys |= {name: path for name, path in files.items() if path}
        keys |= _verification(read, mode, peers)
    keys["connect"] = _targets(scheme, [target], port)
    if address := read.text("localclientip"):
        keys["bind"] = address
    if window := read.number("windowsize"):
        keys["window_records"] = min(max(window, 1), 100_000)
    for name, ours in (("timeout", "answer_seconds_max"), ("conn.timeout", None)):
        seconds = read.number(name)
        if seconds and 0 < seconds <= 3600:
            keys[ours or "connect_seconds_max"] = seconds
    read.approximate(["rebindinterval"], "connections are not renewed by a number of messages")
    read.approximate(
        ["tls.prioritystring", "tls.tlscfgcmd"], "the relay's own list of ciphers is used"
    )
    read.ignore(
        [
            *("keepalive", "keepalive.probes", "keepalive.interval", "keepalive.time"),
            *("tls.compression", "tls.tlslib", "tls.permanentfailuredisablesaction"),
        ],
        NO_NEED,
    )
    return Output(f"relp-{target}", keys, form)


def dtls(settings: Settings, read: Reader) -> Output:
    """The destination for omdtls.

    Raises:
        NotSupported: The relay cannot do what it says.
    """
    form = form_of_action(settings, read, "RSYSLOG_TraditionalForwardFormat", wants_lines=False)
    files = {
        "trusted_ca": read.text("tls.cacert"),
        "certificate": read.text("tls.mycert"),
        "private_key": read.text("tls.myprivkey"),
    }
    keys: Keys = {name: path for name, path in files.items() if path}
    target, port = read.text("target"), read.text("port", "4433")
    keys["connect"] = _targets("dtls", [target], port)
    keys["octet_counting"] = False
    mode, peers = read.text("tls.authmode").lower(), read.texts("tls.permittedpeer")
    keys |= _verification(read, mode.removeprefix("x509/"), peers)
    return Output(f"dtls-{target}", keys, form)


def _usual_framing(scheme: str) -> str:
    """rsyslog's name for the framing that the relay uses for a scheme if nothing is said."""
    return "octet-counted" if scheme == "tls" else "traditional"


def _targets(scheme: str, targets: Sequence[str], port: str) -> TomlValue:
    urls: list[TomlValue] = []
    for target in targets:
        if not re.fullmatch(r"[A-Za-z0-9_.:%-]+", target):
            raise NotSupported(f"expected a target, found {target[:50]!r}")
        host = f"[{target}]" if ":" in target else target
        number = {"syslog": "514", "syslog-tls": "6514", "shell": "514"}.get(port.strip(), port)
        if not re.fullmatch(r"[0-9]{1,5}", number.strip()) or not 0 < int(number) < 65536:
            raise NotSupported(f"expected a port, found {port[:20]!r}")
        urls.append(f"{scheme}://{host}:{number.strip()}")
    return urls[0] if len(urls) == 1 else urls


def _verification(read: Reader, mode: str, peers: Sequence[str]) -> Keys:
    """Keys that say which server is trusted."""
    match mode:
        case "name" if peers:
            names = [each for each in peers if "*" not in each]
            if len(peers) == 1 and names:
                return {"server_name": names[0]}
            read.said.approximated(
                "the server's certificate has to carry the host of connect; server_name takes one "
                "name without *"
            )
            return {}
        case "fingerprint" if peers:
            return {"peer_fingerprints": list(peers)}
        case "certvalid" | "name":
            read.said.approximated("the server's certificate has to carry the host of connect")
            return {}
        case "anon" | "none" | "":
            return {"peer_verify": "none"}
    read.said.unsupported(f"the authentication {mode!r}; the host's name is verified")
    return {}
